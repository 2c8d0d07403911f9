//! Replays a trace of requests against a server as a cache does: GET, and on a miss SET; prints how many were hits.
//!
//! A trace is made from a seed alone, so that every server is asked the same. Keys' values have lengths that follow from the key.
//! What misses within one pipeline is set after it: with a pipeline of 16 that is as if 16 clients asked at once.

use clap::{Parser, ValueEnum};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Replays a trace against a server, or fills it.
#[derive(Parser)]
struct Arguments {
    /// The server's port.
    #[arg(long)]
    port: u16,
    /// Which trace; without one, keys 0 to `--requests` are set once each.
    #[arg(long)]
    trace: Option<Trace>,
    /// Requests in all.
    #[arg(long)]
    requests: u64,
    /// The first so many are not counted: the cache fills.
    #[arg(long, default_value_t = 0)]
    warm: u64,
    /// Keys that the trace is about.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Zipf's exponent.
    #[arg(long, default_value_t = 0.9)]
    exponent: f64,
    /// Bytes of a value: from half of this to one and a half.
    #[arg(long, default_value_t = 100)]
    value: u64,
    /// Requests in one write.
    #[arg(long, default_value_t = 16)]
    pipeline: u64,
    /// Requests a second at most; 0 is as fast as it goes.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// All random choices follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Trace {
    /// The k-th key is asked for in proportion to 1 / k^exponent.
    Zipf,
    /// The same, but every fifth request is part of a walk over keys that nobody else asks for.
    Scan,
    /// The same, but over the whole trace half of the keys change their places, a hundredth of that at a time.
    Shift,
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The keys of a trace, one after the other.
struct Requests {
    random: Random,
    /// Sums of the keys' shares up to each rank.
    sums: Vec<f64>,
    trace: Trace,
    total: u64,
    made: u64,
    walked: u64,
}

impl Requests {
    fn new(arguments: &Arguments, trace: Trace) -> Requests {
        let mut sum = 0.0;
        let share = |rank: u64| ((rank + 1) as f64).powf(-arguments.exponent);
        let sums = (0..arguments.keys).map(|rank| {
            sum += share(rank);
            sum
        });
        let sums = sums.collect();
        Requests { random: Random(arguments.seed), sums, trace, total: arguments.requests, made: 0, walked: 0 }
    }

    fn next(&mut self) -> u64 {
        self.made += 1;
        let keys = self.sums.len() as u64;
        if matches!(self.trace, Trace::Scan) && self.made.is_multiple_of(5) {
            self.walked += 1;
            return keys + self.walked;
        }
        let total = self.sums.last().copied().unwrap_or(0.0);
        let drawn = self.random.unit() * total;
        let rank = (self.sums.partition_point(|sum| *sum <= drawn) as u64).min(keys - 1);
        // Ranks are keys, but for those that have been moved on so far.
        let moved = match self.trace {
            Trace::Shift => {
                let steps = 100 * self.made / self.total.max(1);
                (1..=steps).filter(|step| mix(rank ^ step << 40).is_multiple_of(200)).count() as u64
            }
            _ => 0,
        };
        rank + moved * 2 * keys
    }
}

fn value_len(key: u64, mean: u64) -> usize {
    (mean / 2 + mix(key) % mean.max(1)) as usize
}

/// A connection with what it is about to send.
struct Server {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
    line: Vec<u8>,
}

impl Server {
    fn connect(port: u16) -> io::Result<Server> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Server { stream: BufReader::with_capacity(1 << 16, stream), out: Vec::new(), line: Vec::new() })
    }

    fn get(&mut self, key: u64) -> io::Result<()> {
        write!(self.out, "*2\r\n$3\r\nGET\r\n$16\r\nkey:{key:012}\r\n")
    }

    fn set(&mut self, key: u64, len: usize) -> io::Result<()> {
        write!(self.out, "*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${len}\r\n")?;
        let end = self.out.len() + len;
        self.out.resize(end, b'v');
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The next reply's first line.
    fn reply(&mut self) -> io::Result<&[u8]> {
        self.line.clear();
        self.stream.read_until(b'\n', &mut self.line)?;
        let line = self.line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.starts_with(b"-") {
            return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
        }
        Ok(line)
    }

    /// A GET's reply: whether there is a value.
    fn found(&mut self) -> io::Result<bool> {
        let line = self.reply()?;
        if line == b"$-1" || line == b"_" {
            return Ok(false);
        }
        let len = std::str::from_utf8(&line[1..]).ok().and_then(|len| len.parse::<u64>().ok());
        let len = len.ok_or_else(|| io::Error::other("a reply that GET does not have"))?;
        io::copy(&mut io::Read::take(&mut self.stream, len + 2), &mut io::sink())?;
        Ok(true)
    }
}

/// Hits among counted requests.
fn replay(arguments: &Arguments, trace: Trace) -> io::Result<u64> {
    let mut server = Server::connect(arguments.port)?;
    let mut requests = Requests::new(arguments, trace);
    let (mut hits, mut at) = (0, 0);
    let began = Instant::now();
    let mut keys = Vec::new();
    while at < arguments.requests {
        if arguments.rate > 0 {
            let due = Duration::from_secs_f64(at as f64 / arguments.rate as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        keys.clear();
        for _ in 0..arguments.pipeline.min(arguments.requests - at) {
            let key = requests.next();
            server.get(key)?;
            keys.push(key);
        }
        server.send()?;
        let mut missed = Vec::new();
        for &key in &keys {
            at += 1;
            if server.found()? {
                hits += u64::from(at > arguments.warm);
            } else if !missed.contains(&key) {
                missed.push(key);
            }
        }
        for &key in &missed {
            server.set(key, value_len(key, arguments.value))?;
        }
        server.send()?;
        for _ in &missed {
            server.reply()?;
        }
    }
    Ok(hits)
}

fn fill(arguments: &Arguments) -> io::Result<()> {
    let mut server = Server::connect(arguments.port)?;
    let mut at = 0;
    while at < arguments.requests {
        let end = arguments.requests.min(at + 256);
        for key in at..end {
            server.set(key, value_len(key, arguments.value))?;
        }
        server.send()?;
        for _ in at..end {
            server.reply()?;
        }
        at = end;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let began = Instant::now();
    match arguments.trace {
        None => fill(&arguments)?,
        Some(trace) => {
            let hits = replay(&arguments, trace)?;
            let counted = arguments.requests.saturating_sub(arguments.warm);
            let seconds = began.elapsed().as_secs_f64();
            println!("{{\"hits\": {hits}, \"requests\": {counted}, \"seconds\": {seconds:.3}}}");
        }
    }
    Ok(())
}
