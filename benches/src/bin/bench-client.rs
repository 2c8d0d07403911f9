//! What redis-benchmark cannot do: fill a server with an exact set of keys, ping it while others load it, and listen to channels.
//!
//! `fill` writes `key:000000000000` upwards, every key once, so that a count of keys is exact. `ping` sends PING at a fixed
//! rate until its standard input ends or its time is up, and prints percentiles in microseconds as JSON. A ping that was
//! due while an earlier one still waited counts from the moment it was due, so one long pause is not seen as one sample.
//! `listen` subscribes many connections to one channel and reads them in turn until its standard input ends; it prints the bytes of
//! messages that each has got.

use clap::Parser;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Fills a server, pings it or listens to it.
#[derive(Parser)]
enum Arguments {
    /// Writes keys `from..to` with values of `--value` bytes.
    Fill {
        /// Server's port.
        #[arg(long)]
        port: u16,
        /// First key.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// One past the last key.
        #[arg(long)]
        to: u64,
        /// Bytes of each value.
        #[arg(long, default_value_t = 16)]
        value: usize,
        /// Commands in one write.
        #[arg(long, default_value_t = 256)]
        pipeline: u64,
    },
    /// Subscribes to the channel `c`.
    Listen {
        /// Server's port.
        #[arg(long)]
        port: u16,
        /// Connections.
        #[arg(long, default_value_t = 100)]
        connections: usize,
    },
    /// Pings and prints percentiles.
    Ping {
        /// Server's port.
        #[arg(long)]
        port: u16,
        /// Microseconds from one ping to the next.
        #[arg(long, default_value_t = 500)]
        interval: u64,
        /// Longest time to run.
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
    },
}

fn fill(port: u16, from: u64, to: u64, value_len: usize, pipeline: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let mut random = 0x1234_5678_9abc_def1_u64;
    let mut out = Vec::new();
    let mut replies = vec![0; 5 * pipeline as usize];
    let mut at = from;
    while at < to {
        let end = to.min(at + pipeline);
        out.clear();
        for key in at..end {
            write!(out, "*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${value_len}\r\n")?;
            let start = out.len();
            while out.len() < start + value_len {
                // xorshift: letters, half of which compress away in a log, as in real values.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                out.extend(random.to_le_bytes().map(|byte| b'a' + (byte & 15)));
            }
            out.truncate(start + value_len);
            out.extend_from_slice(b"\r\n");
        }
        stream.write_all(&out)?;
        let expected = 5 * (end - at) as usize;
        stream.read_exact(&mut replies[..expected])?;
        if let Some(wrong) = replies[..expected].chunks(5).find(|reply| *reply != b"+OK\r\n") {
            return Err(io::Error::other(format!("SET answered {}", wrong.escape_ascii())));
        }
        at = end;
    }
    Ok(())
}

/// Whether standard input has ended.
fn end_of_input() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        end.store(true, Ordering::Relaxed);
    });
    ended
}

fn listen(port: u16, connections: usize) -> io::Result<()> {
    const CONFIRMATION: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
    let mut streams = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..connections {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"SUBSCRIBE c\r\n")?;
        stream.read_exact(&mut buffer[..CONFIRMATION.len()])?;
        if !buffer.starts_with(CONFIRMATION) {
            return Err(io::Error::other("the subscription was not confirmed"));
        }
        stream.set_nonblocking(true)?;
        streams.push(Listener { stream, bytes: 0, tail: Vec::new() });
    }
    println!("ready");
    let ended = end_of_input();
    let mut last = TcpStream::connect(("127.0.0.1", port))?;
    let (mut told, mut progressed) = (false, Instant::now());
    // Reading in turns, not when something comes: the load is on the server, not on this program.
    while !streams.iter().all(|listener| told && listener.tail == LAST) {
        if !told && ended.load(Ordering::Relaxed) {
            // Who has this message has all that were published before: a server that is only slow is waited for.
            last.write_all(b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$4\r\nlast\r\n")?;
            told = true;
        }
        for (number, listener) in streams.iter_mut().enumerate() {
            match listener.stream.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    listener.took(&buffer[..n]);
                    progressed = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                closed => {
                    let why = closed.err().map_or_else(|| "closed".to_owned(), |error| error.to_string());
                    return Err(io::Error::other(format!(
                        "connection {number} of {connections} ended after {} bytes ({why}): the server closes subscribers whose \
                         replies wait beyond client-output-buffer-limit",
                        listener.bytes
                    )));
                }
            }
        }
        if told && progressed.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let all: Vec<u64> = streams.iter().map(|listener| listener.bytes).collect();
    if streams.iter().any(|listener| listener.tail != LAST || listener.bytes != all[0]) {
        return Err(io::Error::other(format!("messages are missing: bytes by connection are {all:?}")));
    }
    println!("{}", all.first().map_or(0, |bytes| bytes - LAST.len() as u64));
    Ok(())
}

/// The message that is published last, as subscribers get it.
const LAST: &[u8] = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\nlast\r\n";
/// For how long nobody gets anything before what is missing is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// One subscriber.
struct Listener {
    stream: TcpStream,
    bytes: u64,
    /// The last bytes it got.
    tail: Vec<u8>,
}

impl Listener {
    fn took(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(LAST.len())..]);
        self.tail.drain(..self.tail.len().saturating_sub(LAST.len()));
    }
}

fn ping(port: u16, interval: Duration, time: Duration) -> io::Result<()> {
    let ended = end_of_input();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let (began, mut due, mut reply, mut times) = (Instant::now(), Instant::now(), [0; 7], Vec::new());
    while !ended.load(Ordering::Relaxed) && began.elapsed() < time {
        let now = Instant::now();
        if now < due {
            std::thread::sleep(due - now);
        }
        // The sleep's own lateness is the machine's, not the server's: a ping that was not kept waiting starts now.
        let from = if now > due { due } else { Instant::now() };
        stream.write_all(b"PING\r\n")?;
        stream.read_exact(&mut reply)?;
        if &reply != b"+PONG\r\n" {
            return Err(io::Error::other(format!("PING answered {}", reply.escape_ascii())));
        }
        times.push(from.elapsed().as_nanos() as u64);
        due += interval;
    }
    times.sort_unstable();
    let at = |part: f64| {
        times
            .get(((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1)))
            .map_or(0.0, |t| *t as f64 / 1e3)
    };
    println!(
        "{{\"count\": {}, \"p50\": {:.1}, \"p99\": {:.1}, \"p999\": {:.1}, \"max\": {:.1}}}",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    Ok(())
}

fn main() -> io::Result<()> {
    match Arguments::parse() {
        Arguments::Fill { port, from, to, value, pipeline } => fill(port, from, to, value, pipeline),
        Arguments::Listen { port, connections } => listen(port, connections),
        Arguments::Ping { port, interval, seconds } => {
            ping(port, Duration::from_micros(interval), Duration::from_secs(seconds))
        }
    }
}
