//! `firn ping`: asks a server whether it serves, for health checks that have no redis-cli.
//!
//! 1. It takes at most `--timeout`, connecting, agreeing on keys and answering together. Only a host name's lookup may take longer.
//! 2. The password is never on the command line, where everybody on the machine can read it.
//! 3. A reply is believed only as far as it is a line of bounded length; what an error says is shown.

use crate::{Outcome, ToolError};
use clap::Args;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest line of a reply, in bytes.
const LINE_LEN_MAX: usize = 4096;
/// Where the password is looked for if `--password-env` names nothing: redis-cli's own variable comes second.
const PASSWORD_VARIABLES: [&str; 2] = ["FIRN_PASSWORD", "REDISCLI_AUTH"];

#[derive(Args)]
pub(crate) struct PingArgs {
    /// Host name or address.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// TCP port.
    #[arg(short, long, default_value_t = 6379)]
    port: u16,
    /// Unix socket, instead of host and port.
    #[arg(short, long, conflicts_with_all = ["host", "port", "tls"])]
    socket: Option<PathBuf>,
    /// Speak TLS.
    #[arg(long, requires = "cacert")]
    tls: bool,
    /// Certificates of those who vouch for the server (PEM).
    #[arg(long, value_name = "FILE", requires = "tls")]
    cacert: Option<PathBuf>,
    /// Our own certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "key", requires = "tls")]
    cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The name that the server's certificate must have, if not the host's.
    #[arg(long, value_name = "NAME", requires = "tls")]
    sni: Option<String>,
    /// User to log in as.
    #[arg(long)]
    user: Option<String>,
    /// Environment variable with the password; else FIRN_PASSWORD and REDISCLI_AUTH are looked at.
    #[arg(long, value_name = "VARIABLE")]
    password_env: Option<String>,
    /// Seconds after which the server counts as not answering.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 3.0, value_parser = timeout)]
    timeout: f64,
}

fn timeout(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.001..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("from 0.001 to 86400 seconds".into()) }
}

/// A connection of any kind.
trait Socket: Read + Write {
    /// Reads and writes may wait until then.
    fn limit(&mut self, rest: Duration) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn limit(&mut self, rest: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(rest))?;
        self.set_write_timeout(Some(rest))
    }
}

impl Socket for UnixStream {
    fn limit(&mut self, rest: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(rest))?;
        self.set_write_timeout(Some(rest))
    }
}

impl Socket for StreamOwned<ClientConnection, TcpStream> {
    fn limit(&mut self, rest: Duration) -> io::Result<()> {
        self.sock.limit(rest)
    }
}

/// Asks.
///
/// # Errors
/// It does not answer, or with an error: the exit code is 1.
pub(crate) fn run(args: &PingArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    let began = Instant::now();
    let end = began + Duration::from_secs_f64(args.timeout);
    let place = match &args.socket {
        Some(path) => path.display().to_string(),
        None => format!("{}:{}", args.host, args.port),
    };
    let password = password(args)?;
    let unanswered = |what: String| ToolError::Unanswered(format!("{place}: {what}"));
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => unanswered(format!("no answer within {} seconds", args.timeout)),
        _ => unanswered(error.to_string()),
    };
    let mut socket = connect(args, end, &failed)?;
    let mut lines = Lines { rest: Vec::new() };
    if let Some(password) = password {
        let mut words: Vec<&[u8]> = vec![b"AUTH"];
        words.extend(args.user.as_deref().map(str::as_bytes));
        words.push(&password);
        let answer = lines.ask(&mut *socket, &words, end).map_err(failed)?;
        if answer != "+OK" {
            return Err(unanswered(format!("it answered AUTH with: {}", answer.trim_start_matches('-'))));
        }
    }
    let answer = lines.ask(&mut *socket, &[b"PING"], end).map_err(failed)?;
    if answer != "+PONG" {
        return Err(unanswered(format!("it answered PING with: {}", answer.trim_start_matches('-'))));
    }
    writeln!(out, "PONG from {place} in {:.1} ms", began.elapsed().as_secs_f64() * 1000.0)?;
    Ok(Outcome::Fine)
}

fn password(args: &PingArgs) -> Result<Option<Vec<u8>>, ToolError> {
    use std::os::unix::ffi::OsStringExt;
    let found = match &args.password_env {
        Some(name) => {
            let found = std::env::var_os(name);
            Some(found.ok_or_else(|| ToolError::Usage(format!("the environment has no variable {name}")))?)
        }
        None => return Ok(password_of_environment()),
    };
    Ok(found.map(OsStringExt::into_vec).filter(|password| !password.is_empty()))
}

/// The password that the environment has for servers.
pub(crate) fn password_of_environment() -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    let found = PASSWORD_VARIABLES.into_iter().find_map(std::env::var_os);
    found.map(OsStringExt::into_vec).filter(|password| !password.is_empty())
}

fn connect(
    args: &PingArgs,
    end: Instant,
    failed: &dyn Fn(io::Error) -> ToolError,
) -> Result<Box<dyn Socket>, ToolError> {
    if let Some(path) = &args.socket {
        return Ok(Box::new(UnixStream::connect(path).map_err(failed)?));
    }
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in (args.host.as_str(), args.port).to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&address, rest(end).map_err(failed)?) {
            Ok(socket) if !args.tls => return Ok(Box::new(socket)),
            Ok(mut socket) => {
                let mut session = session(args)?;
                while session.is_handshaking() {
                    socket.limit(rest(end).map_err(failed)?).map_err(failed)?;
                    session.complete_io(&mut socket).map_err(failed)?;
                }
                return Ok(Box::new(StreamOwned::new(session, socket)));
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// How long there is until `end`.
fn rest(end: Instant) -> io::Result<Duration> {
    let rest = end.saturating_duration_since(Instant::now());
    if rest.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(rest) }
}

fn session(args: &PingArgs) -> Result<ClientConnection, ToolError> {
    let wrong = |what: &dyn std::fmt::Display, path: &PathBuf| ToolError::Usage(format!("{}: {what}", path.display()));
    let mut roots = RootCertStore::empty();
    if let Some(path) = &args.cacert {
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error, path))? {
            let certificate = certificate.map_err(|error| wrong(&error, path))?;
            roots.add(certificate).map_err(|error| wrong(&error, path))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"it holds no certificate (PEM)", path));
        }
    }
    let usage = |error: &dyn std::fmt::Display| ToolError::Usage(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| usage(&error))?
        .with_root_certificates(roots);
    let config = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => {
            let chain: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(cert).map_err(|error| wrong(&error, cert))?.collect();
            let chain = chain.map_err(|error| wrong(&error, cert))?;
            let pem = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(&error, key))?;
            builder.with_client_auth_cert(chain, pem).map_err(|error| wrong(&error, key))?
        }
        _ => builder.with_no_client_auth(),
    };
    let name = args.sni.as_ref().unwrap_or(&args.host).clone();
    let name = ServerName::try_from(name).map_err(|error| usage(&error))?;
    ClientConnection::new(Arc::new(config), name).map_err(|error| usage(&error))
}

/// Replies that are lines.
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn ask(&mut self, socket: &mut dyn Socket, words: &[&[u8]], end: Instant) -> io::Result<String> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        socket.limit(rest(end)?)?;
        socket.write_all(&request)?;
        socket.flush()?;
        loop {
            if let Some(at) = self.rest.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.rest.drain(..at + 2).take(at).collect::<Vec<u8>>();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.rest.len() > LINE_LEN_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, "the answer is no line of the Redis protocol"));
            }
            let mut chunk = [0; 512];
            socket.limit(rest(end)?)?;
            match socket.read(&mut chunk)? {
                0 => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection")),
                n => self.rest.extend_from_slice(&chunk[..n]),
            }
        }
    }
}
