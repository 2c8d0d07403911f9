//! TLS: from the configuration's files to what handshakes use, and the handshake itself.
//!
//! 1. [`configure`] reads and checks everything; a wrong file is a reason in words, and what was used before stays in use.
//! 2. New files count for new connections; those that are there keep what they agreed on.
//! 3. A client that does not finish its handshake in [`HANDSHAKE_MAX`] is closed.
//! 4. The cryptography is rustls with ring: TLS 1.2 and 1.3, no cipher that needs an excuse.

use super::tls_stream::TlsStream;
use crate::config::Config;
use crate::log;
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What new connections use; `None` without `tls-port`.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    current: Mutex<Option<Arc<ServerConfig>>>,
    /// When [`Tls::look_again`] read the files, in ms of the server's clock.
    read_ms: AtomicU64,
}

impl Tls {
    /// For the connections from now on.
    pub(crate) fn publish(&self, tls: Option<Arc<ServerConfig>>) {
        *self.current.lock() = tls;
    }

    /// `tls-auto-reload-interval`: reads the files anew when it is time to; what is wrong is logged, and what was used stays in use.
    pub(crate) fn look_again(&self, config: &Config, now_ms: u64) {
        let every_ms = config.size("tls-auto-reload-interval").saturating_mul(1000);
        if every_ms == 0 || now_ms < self.read_ms.load(Ordering::Relaxed).saturating_add(every_ms) {
            return;
        }
        self.read_ms.store(now_ms, Ordering::Relaxed);
        match configure(config) {
            Ok(tls) => self.publish(tls),
            Err(reason) => log::warning(format_args!("The certificates are not read anew: {reason}")),
        }
    }

    /// Agrees on keys with a client.
    ///
    /// # Errors
    /// Why that did not succeed.
    pub(crate) async fn accept(&self, socket: TcpStream) -> Result<TlsStream, String> {
        let tls = self.current.lock().clone().ok_or("TLS was turned off meanwhile")?;
        let handshake = TlsAcceptor::from(tls).accept(socket);
        match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
            Ok(Ok(stream)) => {
                let (socket, session) = stream.into_inner();
                Ok(TlsStream::new(socket, session))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no handshake within {} seconds", HANDSHAKE_MAX.as_secs())),
        }
    }
}

/// Reads and checks what the configuration names; `None` without `tls-port`.
///
/// # Errors
/// What is wrong, with the directive and the file.
pub(crate) fn configure(config: &Config) -> Result<Option<Arc<ServerConfig>>, String> {
    if config.number("tls-port") == 0 {
        return Ok(None);
    }
    let cert_file = file(config, "tls-cert-file").ok_or("tls-port needs tls-cert-file and tls-key-file")?;
    let key_file = file(config, "tls-key-file").ok_or("tls-port needs tls-cert-file and tls-key-file")?;
    let chain = certificates(&cert_file, "tls-cert-file")?;
    let key = PrivateKeyDer::from_pem_file(&key_file).map_err(|error| {
        let encrypted = std::fs::read(&key_file).is_ok_and(|text| memchr::memmem::find(&text, b"ENCRYPTED").is_some());
        match encrypted {
            true => format!(
                "tls-key-file {}: the key is encrypted; only keys without a passphrase are read",
                key_file.display()
            ),
            false => format!("tls-key-file {}: {error}", key_file.display()),
        }
    })?;

    let suites = suites(&text(config, "tls-ciphers"), &text(config, "tls-ciphersuites"))?;
    let provider = Arc::new(CryptoProvider { cipher_suites: suites, ..ring::default_provider() });
    let versions = versions(&text(config, "tls-protocols"))?;
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions).map_err(|error| {
            format!("tls-protocols, tls-ciphers and tls-ciphersuites leave nothing to agree on: {error}")
        })?;
    let builder = match config.choice("tls-auth-clients") {
        "no" => builder.with_no_client_auth(),
        auth => {
            let roots = Arc::new(roots(config)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = if auth == "optional" { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| format!("tls-ca-cert-file: {error}"))?)
        }
    };
    let mut tls = builder.with_single_cert(chain, key).map_err(|error| {
        format!("tls-key-file {} does not go with tls-cert-file {}: {error}", key_file.display(), cert_file.display())
    })?;
    tls.ignore_client_order = config.bool("tls-prefer-server-ciphers");
    if config.bool("tls-session-caching") {
        tls.session_storage =
            ServerSessionMemoryCache::new(config.size("tls-session-cache-size").clamp(1, 1 << 24) as usize);
    } else {
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
    }
    Ok(Some(Arc::new(tls)))
}

fn file(config: &Config, name: &str) -> Option<std::path::PathBuf> {
    Some(config.path(name)).filter(|path| !path.as_os_str().is_empty())
}

fn text(config: &Config, name: &str) -> String {
    String::from_utf8_lossy(config.bytes(name)).into_owned()
}

fn certificates(path: &Path, directive: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{directive} {}: {error}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?.collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong(&"it holds no certificate (PEM)")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(&error)),
    }
}

/// Whose clients are trusted.
fn roots(config: &Config) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let mut add = |path: &Path, directive: &str| {
        for certificate in certificates(path, directive)? {
            roots.add(certificate).map_err(|error| format!("{directive} {}: {error}", path.display()))?;
        }
        Ok::<_, String>(())
    };
    let (bundle, folder) = (file(config, "tls-ca-cert-file"), file(config, "tls-ca-cert-dir"));
    if let Some(path) = &bundle {
        add(path, "tls-ca-cert-file")?;
    }
    if let Some(folder) = &folder {
        let wrong = |error: std::io::Error| format!("tls-ca-cert-dir {}: {error}", folder.display());
        for entry in std::fs::read_dir(folder).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            // The folder may hold other things, as OpenSSL's does.
            if path.is_file() && CertificateDer::from_pem_file(&path).is_ok() {
                add(&path, "tls-ca-cert-dir")?;
            }
        }
    }
    if roots.is_empty() {
        return Err("tls-auth-clients needs tls-ca-cert-file or tls-ca-cert-dir with a certificate; \"tls-auth-clients no\" asks \
                    clients for none"
            .into());
    }
    Ok(roots)
}

fn versions(words: &str) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let mut found = Vec::new();
    for word in words.split_ascii_whitespace() {
        match word.to_ascii_lowercase().as_str() {
            "tlsv1.2" => found.push(&version::TLS12),
            "tlsv1.3" => found.push(&version::TLS13),
            // Broken long ago: named beside newer ones they are left out, alone they leave nothing.
            "tlsv1" | "tlsv1.1" => {}
            _ => return Err(format!("tls-protocols: {word} is not one of TLSv1.2 TLSv1.3")),
        }
    }
    match (words.trim().is_empty(), found.is_empty()) {
        (true, _) => Ok(rustls::ALL_VERSIONS.to_vec()),
        (false, true) => Err("tls-protocols: only TLSv1.2 and TLSv1.3 are spoken".into()),
        (false, false) => Ok(found),
    }
}

/// Cipher suites with OpenSSL's names.
const SUITES: [(&str, SupportedCipherSuite); 9] = [
    ("TLS_AES_256_GCM_SHA384", ring::cipher_suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", ring::cipher_suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", ring::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES128-GCM-SHA256", ring::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", ring::cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// What `tls-ciphers` (TLS 1.2) and `tls-ciphersuites` (TLS 1.3) choose; an empty one chooses all of its version.
fn suites(tls12: &str, tls13: &str) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut chosen = Vec::new();
    for (directive, list, is_13) in [("tls-ciphersuites", tls13, true), ("tls-ciphers", tls12, false)] {
        let ours = || SUITES.iter().filter(move |(name, _)| name.starts_with("TLS_") == is_13);
        if list.trim().is_empty() {
            chosen.extend(ours().map(|(_, suite)| *suite));
            continue;
        }
        for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
            let removed = word.strip_prefix(['!', '-']);
            // What is forbidden is usually what is not here: !aNULL, !MD5, !RC4.
            if removed.is_some_and(|word| !ours().any(|(name, _)| name.contains(word))) {
                continue;
            }
            if let Some((_, suite)) = ours().find(|(name, _)| *name == word) {
                chosen.push(*suite);
            } else if ["DEFAULT", "ALL", "HIGH", "SECURE"].contains(&word) {
                chosen.extend(ours().map(|(_, suite)| *suite));
            } else {
                let names: Vec<&str> = ours().map(|(name, _)| *name).collect();
                return Err(format!("{directive}: {word} is not one of {}", names.join(" ")));
            }
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_openssl_choose_suites() {
        let names = |tls12: &str, tls13: &str| {
            let chosen = suites(tls12, tls13)?;
            let name = |suite: &SupportedCipherSuite| SUITES.iter().find(|(_, known)| known == suite).expect("ours").0;
            Ok::<_, String>(chosen.iter().map(name).collect::<Vec<_>>())
        };
        assert_eq!(names("", "").expect("all").len(), 9);
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256:!MD5", "TLS_AES_128_GCM_SHA256").expect("two"),
            ["TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(names("DEFAULT:!MEDIUM", "TLS_AES_128_GCM_SHA256").expect("seven").len(), 7);
        assert!(names("RC4-SHA", "").expect_err("unknown").contains("tls-ciphers: RC4-SHA is not one of ECDHE"));
        assert!(names("HIGH:!ECDHE", "").is_err(), "nobody shall think that it was followed");
    }

    #[test]
    fn only_protocols_that_are_spoken_are_chosen() {
        assert_eq!(versions("").expect("both").len(), 2);
        assert_eq!(versions("TLSv1.2 tlsv1.3").expect("both").len(), 2);
        assert_eq!(versions("TLSv1.1 TLSv1.2").expect("one"), [&version::TLS12]);
        assert!(versions("TLSv1").is_err());
        assert!(versions("SSLv3").is_err());
    }
}
