//! TLS at the real binary: certificates made here, rustls and redis-cli as clients.

mod support;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use support::{BINARY, Connection, PATIENCE, Server, encode, free_port};

/// Who vouches for certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, in PEM.
    fn certificate(&self) -> (String, String) {
        let params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes `NAME-ca.pem`, `NAME.pem` and `NAME.key`.
    fn write(&self, folder: &Path, name: &str) {
        let (certificate, key) = self.certificate();
        fs::write(folder.join(format!("{name}-ca.pem")), &self.pem).expect("written");
        fs::write(folder.join(format!("{name}.pem")), certificate).expect("written");
        fs::write(folder.join(format!("{name}.key")), key).expect("written");
    }
}

type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Connects, trusting `ca`; with a certificate and key of its own if given. The handshake's failure is an error.
fn connect(port: u16, ca: &str, own: Option<&(String, String)>) -> Result<Connection<Secure>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"),
            )
            .expect("they match"),
    };
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").expect("a name"));
    let socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket.set_write_timeout(Some(PATIENCE)).expect("set");
    let mut stream = StreamOwned::new(session.expect("a session"), socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
    }
    // In TLS 1.3 the server's objection to a certificate comes after the client's part of the handshake.
    stream.write_all(b"PING\r\n").map_err(|error| error.to_string())?;
    let mut pong = [0; 7];
    std::io::Read::read_exact(&mut stream, &mut pong).map_err(|error| error.to_string())?;
    assert_eq!(&pong, b"+PONG\r\n");
    Ok(Connection::over(stream))
}

struct Setup {
    server: Server,
    port: u16,
    ca: Authority,
    folder: tempfile::TempDir,
}

/// A server with a TLS port, and more words on its command line.
fn start(words: &[&str]) -> Setup {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Authority::new("first");
    ca.write(folder.path(), "a");
    let port = free_port();
    let (port_text, path) = (port.to_string(), |name: &str| folder.path().join(name).display().to_string());
    let (certificate, key, roots) = (path("a.pem"), path("a.key"), path("a-ca.pem"));
    let mut all = vec!["--tls-port", &port_text, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    all.extend(["--tls-ca-cert-file", &roots]);
    all.extend(words);
    let server = Server::start(&all);
    Setup { server, port, ca, folder }
}

fn set_config(server: &Server, pairs: &[&str]) -> String {
    let mut words: Vec<&[u8]> = vec![b"CONFIG", b"SET"];
    words.extend(pairs.iter().map(|word| word.as_bytes()));
    server.connect().line(&encode(&words))
}

#[test]
fn large_pipelines_pass_whole_in_both_directions_on_one_and_several_threads() {
    for threads in ["1", "3"] {
        let setup = start(&["--tls-auth-clients", "no", "--io-threads", threads]);
        let clients: Vec<_> = (0..4u8)
            .map(|number| {
                let ca = setup.ca.pem.clone();
                let port = setup.port;
                std::thread::spawn(move || {
                    let mut client = connect(port, &ca, None).expect("a connection");
                    let key = [b'k', number];
                    let value: Vec<u8> = (0..3_000_001u32).map(|n| (n / 7) as u8 ^ number).collect();
                    assert_eq!(client.line(&encode(&[b"SET", &key, &value])), "+OK");
                    // Far more than the socket holds, all asked for before the first is read.
                    let get = encode(&[b"GET", &key]).repeat(10);
                    client.send(&get);
                    for _ in 0..10 {
                        assert_eq!(client.line(b""), "$3000001");
                        assert!(client.take(3_000_003)[..3_000_001] == value[..]);
                    }
                    client.send(&b"PING\r\n".repeat(5000));
                    assert!(client.take(5000 * 7) == b"+PONG\r\n".repeat(5000));
                    assert_eq!(client.line(b"QUIT\r\n"), "+OK");
                    assert_eq!(client.until_closed(), b"", "a farewell, not a cut");
                })
            })
            .collect();
        for client in clients {
            client.join().expect("no assertion failed");
        }
        setup.server.is_well();
    }
}

#[test]
fn clients_must_show_a_certificate_that_somebody_vouches_for() {
    let setup = start(&[]); // tls-auth-clients is yes by default.
    let stranger = Authority::new("stranger").certificate();
    let known = setup.ca.certificate();
    connect(setup.port, &setup.ca.pem, Some(&known)).expect("a known client");
    assert!(connect(setup.port, &setup.ca.pem, None).is_err(), "none");
    assert!(connect(setup.port, &setup.ca.pem, Some(&stranger)).is_err(), "a stranger's");
    assert_eq!(set_config(&setup.server, &["tls-auth-clients", "optional"]), "+OK");
    connect(setup.port, &setup.ca.pem, None).expect("none is needed");
    assert!(connect(setup.port, &setup.ca.pem, Some(&stranger)).is_err(), "but a wrong one is refused");
}

#[test]
fn certificates_change_for_new_connections_and_old_ones_go_on() {
    let setup = start(&["--tls-auth-clients", "no"]);
    let mut old = connect(setup.port, &setup.ca.pem, None).expect("a connection");
    let next = Authority::new("next");
    next.write(setup.folder.path(), "b");
    // The same names with other content, as a renewal does it.
    fs::rename(setup.folder.path().join("b.pem"), setup.folder.path().join("a.pem")).expect("renamed");
    fs::rename(setup.folder.path().join("b.key"), setup.folder.path().join("a.key")).expect("renamed");
    let path = setup.folder.path().join("a.pem").display().to_string();
    assert_eq!(set_config(&setup.server, &["tls-cert-file", &path]), "+OK");
    connect(setup.port, &next.pem, None).expect("the new certificate");
    assert!(connect(setup.port, &setup.ca.pem, None).is_err(), "the old one is gone");
    assert_eq!(old.line(b"PING\r\n"), "+PONG");
}

#[test]
fn renewed_certificates_are_found_by_themselves() {
    let setup = start(&["--tls-auth-clients", "no", "--tls-auto-reload-interval", "1"]);
    let next = Authority::new("next");
    next.write(setup.folder.path(), "a");
    let began = std::time::Instant::now();
    while connect(setup.port, &next.pem, None).is_err() {
        assert!(began.elapsed() < PATIENCE, "it is never found: {}", setup.server.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn wrong_files_are_refused_with_the_reason_and_nothing_changes() {
    let setup = start(&["--tls-auth-clients", "no"]);
    let folder = setup.folder.path();
    Authority::new("other").write(folder, "c");
    fs::write(folder.join("junk"), "no certificate").expect("written");
    let path = |name: &str| folder.join(name).display().to_string();
    for (pairs, reason) in [
        (["tls-cert-file", &path("nope")], "nope: "),
        (["tls-cert-file", &path("junk")], "it holds no certificate"),
        (["tls-key-file", &path("c.key")], "does not go with tls-cert-file"),
        (["tls-key-file", &path("junk")], "junk: "),
        (["tls-protocols", "TLSv1.1"], "only TLSv1.2 and TLSv1.3"),
        (["tls-ciphers", "RC4"], "RC4 is not one of"),
        (["tls-ca-cert-dir", &path("nope")], ""),
    ] {
        let answer = if pairs[0] == "tls-ca-cert-dir" {
            set_config(&setup.server, &[pairs[0], pairs[1], "tls-auth-clients", "yes"])
        } else {
            set_config(&setup.server, &pairs)
        };
        assert!(answer.starts_with("-ERR CONFIG SET failed (possibly related to argument 'tls-"), "{answer}");
        assert!(answer.contains(reason), "{answer}");
    }
    connect(setup.port, &setup.ca.pem, None).expect("as before");
    // What has no certificate at all does not start.
    let output = Command::new(BINARY)
        .args(["--port", "0", "--tls-port", &free_port().to_string(), "--dir"])
        .arg(folder)
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let log = String::from_utf8_lossy(&output.stdout);
    assert!(log.contains("Failed to configure TLS: tls-port needs tls-cert-file and tls-key-file"), "{log}");
}

#[test]
fn who_does_not_speak_tls_is_closed() {
    let setup = start(&["--tls-auth-clients", "no"]);
    let mut plain = Connection::over(TcpStream::connect(("127.0.0.1", setup.port)).expect("it listens"));
    plain.stream.set_read_timeout(Some(PATIENCE)).expect("set");
    plain.send(b"PING\r\nPING\r\n");
    let answer = plain.until_closed();
    assert!(!answer.starts_with(b"+"), "{}", answer.escape_ascii());
    connect(setup.port, &setup.ca.pem, None).expect("others are served");
}

#[test]
fn redis_cli_speaks_tls() {
    if Command::new("redis-cli").arg("--version").output().is_err() {
        println!("SKIPPED: redis-cli is not installed");
        return;
    }
    let setup = start(&[]);
    let (certificate, key) = setup.ca.certificate();
    fs::write(setup.folder.path().join("client.pem"), certificate).expect("written");
    fs::write(setup.folder.path().join("client.key"), key).expect("written");
    let output = Command::new("redis-cli")
        .args(["-h", "localhost", "-p", &setup.port.to_string(), "--tls"])
        .args(["--cacert", "a-ca.pem", "--cert", "client.pem", "--key", "client.key", "SET", "k", "v"])
        .current_dir(setup.folder.path())
        .output()
        .expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "OK\n", "{}", String::from_utf8_lossy(&output.stderr));
}
