//! The memory limit at the real binary: it holds under pipelined load with every policy, and refuses what it has to refuse.

mod support;

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Connection, PATIENCE, Server, encode};

const MB: u64 = 1 << 20;

/// Runs a command that answers one line.
fn ask(connection: &mut Connection<UnixStream>, words: &[&str]) -> String {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    connection.line(&encode(&words))
}

/// A section of INFO.
fn info(connection: &mut Connection<UnixStream>, section: &str) -> String {
    let len: usize = ask(connection, &["INFO", section]).strip_prefix('$').expect("a bulk").parse().expect("a length");
    let mut text = connection.take(len + 2);
    text.truncate(len);
    String::from_utf8(text).expect("text")
}

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// What counts against the limit: as INFO counts it, and as the allocator does.
fn counted(connection: &mut Connection<UnixStream>) -> (u64, u64) {
    let text = info(connection, "memory");
    let uncounted = number(&text, "mem_not_counted_for_evict");
    let allocated = number(&text, "allocator_allocated");
    (number(&text, "used_memory") - uncounted, allocated.saturating_sub(uncounted))
}

/// Sends commands in pipelines and takes their replies; gives the number of errors, all of which must be of one text.
fn load(
    connection: &mut Connection<UnixStream>,
    batches: usize,
    error: &str,
    command: &mut dyn FnMut(usize) -> Vec<u8>,
) -> usize {
    const PIPELINE: usize = 64;
    let mut errors = 0;
    for batch in 0..batches {
        let bytes: Vec<u8> = (batch * PIPELINE..(batch + 1) * PIPELINE).flat_map(&mut *command).collect();
        connection.send(&bytes);
        for _ in 0..PIPELINE {
            let reply = connection.line(b"");
            if let Some(text) = reply.strip_prefix('-') {
                assert_eq!(text, error);
                errors += 1;
            }
        }
    }
    errors
}

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

#[test]
fn the_limit_holds_within_a_hundredth_under_pipelined_load_whatever_the_policy() {
    for policy in [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ] {
        let limit = 64 * MB;
        let server = Server::start(&["--maxmemory", "64mb", "--maxmemory-policy", policy]);
        let done = AtomicBool::new(false);
        let (largest, samples) = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut connection = server.connect();
                let (mut largest, mut samples) = ((0, 0), 0);
                while !done.load(Ordering::Relaxed) {
                    let (used, allocated) = counted(&mut connection);
                    largest = (used.max(largest.0), allocated.max(largest.1));
                    samples += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                (largest, samples)
            });
            // Small strings, strings of tens of kilobytes, and a set that grows large, are dropped, and grow again.
            let writers: Vec<_> = (0..2usize)
                .map(|writer| {
                    let server = &server;
                    scope.spawn(move || {
                        let mut connection = server.connect();
                        load(&mut connection, 500, "", &mut |n| {
                            let key = format!("key:{writer}:{n}");
                            let len = if n % 100 == 0 { 60_000 } else { n * 7919 % 1500 };
                            encode(&[b"SET", key.as_bytes(), &vec![b'v'; len], b"EX", b"10000"])
                        });
                        load(&mut connection, 500, "", &mut |n| {
                            let key = format!("set:{writer}:{}", n / 3000);
                            let member = format!("member:{n}:{}", "m".repeat(200));
                            if n % 3000 == 2999 {
                                encode(&[b"EXPIRE", key.as_bytes(), b"10000"])
                            } else {
                                encode(&[b"SADD", key.as_bytes(), member.as_bytes()])
                            }
                        });
                    })
                })
                .collect();
            writers.into_iter().for_each(|writer| writer.join().expect("it ends well"));
            done.store(true, Ordering::Relaxed);
            watch.join().expect("it ends well")
        });
        let mut connection = server.connect();
        let stats = info(&mut connection, "stats");
        assert!(number(&stats, "evicted_keys") > 1000, "{policy}");
        assert!(samples > 20, "{policy}: {samples} samples");
        assert!(largest.0 <= limit + limit / 100, "{policy}: {} bytes were used of {limit}", largest.0);
        // The allocator's own count includes what is in flight between two of its statistics' ticks.
        assert!(largest.1 <= limit + limit / 50, "{policy}: {} bytes were allocated of {limit}", largest.1);
        let (used, _) = counted(&mut connection);
        assert!(used > limit / 2, "{policy}: only {used} bytes are in use");
    }
}

#[test]
fn volatile_policies_without_volatile_keys_and_noeviction_answer_oom() {
    for policy in ["noeviction", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let server = Server::start(&["--maxmemory", "16mb", "--maxmemory-policy", policy]);
        let mut connection = server.connect();
        let refused =
            load(&mut connection, 1500, OOM, &mut |n| encode(&[b"SET", format!("key:{n}").as_bytes(), &[b'v'; 400]]));
        assert!(refused > 1000, "{policy}: {refused} were refused");
        let stats = info(&mut connection, "stats");
        assert_eq!(number(&stats, "evicted_keys"), 0, "{policy}");
        // Reads and deletions go on, writes resume by themselves.
        assert_eq!(ask(&mut connection, &["EXISTS", "key:1"]), ":1");
        load(&mut connection, 200, "", &mut |n| encode(&[b"DEL", format!("key:{n}").as_bytes()]));
        assert_eq!(ask(&mut connection, &["SET", "again", "1"]), "+OK");
        assert!(number(&info(&mut connection, "stats"), "total_eviction_exceeded_time") > 0, "{policy}");
    }
}

#[test]
fn transactions_are_refused_as_a_whole_or_when_they_are_queued() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    assert_eq!(ask(&mut connection, &["SET", "a", "1"]), "+OK");
    // Queued while there was memory, run when there is none.
    assert_eq!(ask(&mut connection, &["MULTI"]), "+OK");
    assert_eq!(ask(&mut connection, &["SET", "b", "1"]), "+QUEUED");
    let mut other = server.connect();
    assert_eq!(ask(&mut other, &["CONFIG", "SET", "maxmemory", "1"]), "+OK");
    assert_eq!(ask(&mut connection, &["EXEC"]), format!("-EXECABORT Transaction discarded because of: {OOM}"));
    // Queueing takes memory as well, whatever the command.
    assert_eq!(ask(&mut connection, &["MULTI"]), "+OK");
    assert_eq!(ask(&mut connection, &["GET", "a"]), format!("-{OOM}"));
    assert_eq!(ask(&mut connection, &["EXEC"]), "-EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(ask(&mut connection, &["GET", "a"]), "$1");
    connection.take(3);
    // What needs no memory was queued before there was none, and runs.
    assert_eq!(ask(&mut other, &["CONFIG", "SET", "maxmemory", "0"]), "+OK");
    assert_eq!(ask(&mut connection, &["MULTI"]), "+OK");
    assert_eq!(ask(&mut connection, &["DEL", "a"]), "+QUEUED");
    assert_eq!(ask(&mut other, &["CONFIG", "SET", "maxmemory", "1"]), "+OK");
    assert_eq!(ask(&mut connection, &["EXEC"]), "*1");
    assert_eq!(connection.line(b""), ":1");
}

#[test]
fn a_lower_limit_takes_effect_by_itself_and_survives_a_restart_as_deletions() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru", "--enable-debug-command", "local"]);
    let mut connection = server.connect();
    load(&mut connection, 400, "", &mut |n| encode(&[b"SET", format!("key:{n}").as_bytes(), &[b'v'; 1000]]));
    let keys = |connection: &mut Connection<UnixStream>| -> u64 {
        ask(connection, &["DBSIZE"]).strip_prefix(':').expect("a number").parse().expect("a number")
    };
    assert_eq!(keys(&mut connection), 25_600);
    assert_eq!(ask(&mut connection, &["CONFIG", "SET", "maxmemory", "16mb"]), "+OK");
    let began = Instant::now();
    while counted(&mut connection).0 > 16 * MB {
        assert!(began.elapsed() < PATIENCE, "nobody evicts by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    let left = keys(&mut connection);
    assert!(left < 20_000);
    assert_eq!(ask(&mut connection, &["CONFIG", "SET", "maxmemory", "0"]), "+OK");
    let left_after = keys(&mut connection);
    assert_eq!(ask(&mut connection, &["DEBUG", "RELOAD"]), "+OK");
    assert_eq!(keys(&mut connection), left_after, "evictions are in the log");
}

/// Takes the memory that the log and others take once and keep.
fn warm_up(connection: &mut Connection<UnixStream>) {
    load(connection, 4, "", &mut |n| encode(&[b"SET", format!("warm:{n}").as_bytes(), &[b'v'; 1000]]));
    load(connection, 4, "", &mut |n| encode(&[b"DEL", format!("warm:{n}").as_bytes()]));
    // What is evicted is logged at once, and what is logged together is compressed.
    let many: Vec<Vec<u8>> = (0..64).map(|n| format!("{n}{}", "x".repeat(1000)).into_bytes()).collect();
    let mut words: Vec<&[u8]> = vec![b"SADD", b"warm"];
    words.extend(many.iter().map(|word| &word[..]));
    assert_eq!(connection.line(&encode(&words)), ":64");
    assert_eq!(ask(connection, &["DEL", "warm"]), ":1");
}

/// Keys that a limit evicts which is `below` under what counts now.
fn evicted_by_a_limit(connection: &mut Connection<UnixStream>, below: u64) -> u64 {
    let limit = counted(connection).0 - below;
    assert_eq!(ask(connection, &["CONFIG", "SET", "maxmemory", &limit.to_string()]), "+OK");
    assert!(counted(connection).0 <= limit, "what INFO tells is what the limit counts");
    number(&info(connection, "stats"), "evicted_keys")
}

/// Lowers the limit by 39 keys of 1024 bytes, which are known to as many clients that cache them, and sees how many go.
fn lower_the_limit(listeners: usize, threads: &str) {
    let server = Server::start(&["--io-threads", threads, "--maxmemory-policy", "allkeys-lru"]);
    let mut connection = server.connect();
    warm_up(&mut connection);
    let mut caches: Vec<_> = (0..listeners).map(|_| server.connect()).collect();
    for cache in &mut caches {
        cache.send(b"HELLO 3\r\nCLIENT TRACKING on\r\n");
        while cache.line(b"") != "+OK" {}
    }
    let key = |n: usize| format!("{n:03}{}", "x".repeat(1000));
    for n in 0..300 {
        assert_eq!(ask(&mut connection, &["SET", &key(n), "x"]), "+OK");
        for cache in &mut caches {
            assert_eq!(ask(cache, &["GET", &key(n)]), "$1");
            cache.take(3);
        }
    }
    let first = evicted_by_a_limit(&mut connection, 1000);
    let evicted = evicted_by_a_limit(&mut connection, 40_000) - first;
    // 39 at least, and some for memory that whoever evicts, logs and sends takes once and keeps. The messages to ten clients take ten
    // times what is evicted: were they counted, all 300 would go.
    assert!((30..=100).contains(&evicted), "{evicted} keys of 1024 bytes, {listeners} clients, {threads} threads");
    for cache in &mut caches {
        assert_eq!(cache.line(b""), ">2");
    }
}

#[test]
fn a_lower_limit_evicts_no_more_than_is_above_it_whoever_hears_of_it() {
    lower_the_limit(0, "1");
    lower_the_limit(10, "1");
}

#[test]
fn a_lower_limit_evicts_no_more_than_is_above_it_with_several_network_threads() {
    lower_the_limit(10, "3");
}

/// Keys of 100 KB that are there when so many of them have just been written.
fn fill(connection: &mut Connection<UnixStream>, keys: usize) -> String {
    assert_eq!(ask(connection, &["FLUSHALL"]), "+OK");
    for n in 0..keys {
        assert_eq!(ask(connection, &["SETRANGE", &n.to_string(), "100000", "x"]), ":100001");
    }
    ask(connection, &["DBSIZE"])
}

#[test]
fn nothing_is_evicted_for_memory_that_was_freed_since_it_was_measured() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru", "--enable-debug-command", "yes"]);
    let mut connection = server.connect();
    assert_eq!(fill(&mut connection, 20), ":20");
    let script = format!("return '{}'", "x".repeat(8_000_000));
    assert!(ask(&mut connection, &["SCRIPT", "LOAD", &script]).starts_with('$'));
    connection.take(42);
    // With the script there is no room for one key more; that is measured, and then nothing is by the clock.
    let limit = (counted(&mut connection).0 + 50_000).to_string();
    assert_eq!(ask(&mut connection, &["CONFIG", "SET", "maxmemory", &limit]), "+OK");
    assert_eq!(ask(&mut connection, &["DEBUG", "PAUSE-CRON", "1"]), "+OK");
    assert_eq!(ask(&mut connection, &["SCRIPT", "FLUSH", "SYNC"]), "+OK");
    // While the limit is reached it is measured again every few milliseconds.
    std::thread::sleep(Duration::from_millis(200));
    for n in 20..40 {
        assert_eq!(ask(&mut connection, &["SETRANGE", &n.to_string(), "100000", "x"]), ":100001");
    }
    assert_eq!(ask(&mut connection, &["DBSIZE"]), ":40");
}

#[test]
fn buffers_of_clients_that_have_left_evict_nothing() {
    let server = Server::start(&["--maxmemory", "11mb", "--maxmemory-policy", "allkeys-lru"]);
    let mut connection = server.connect();
    let message = "x".repeat(100_000);
    for round in 0..20 {
        let mut readers: Vec<_> = (0..20).map(|_| server.connect()).collect();
        for reader in &mut readers {
            assert_eq!(ask(reader, &["SUBSCRIBE", "news"]), "*3");
        }
        assert!(fill(&mut connection, 50) == ":50", "nobody has anything waiting");
        assert_eq!(ask(&mut connection, &["CONFIG", "RESETSTAT"]), "+OK");
        while number(&info(&mut connection, "stats"), "evicted_keys") == 0 {
            assert_eq!(ask(&mut connection, &["PUBLISH", "news", &message]), ":20");
        }
        drop(readers);
        // The server sees them end when it gets to it, which is before it answers the second of two requests.
        let began = Instant::now();
        while number(&info(&mut connection, "clients"), "connected_clients") > 1 {
            assert!(began.elapsed() < PATIENCE);
        }
        assert_eq!(fill(&mut connection, 50), ":50", "round {round}");
    }
}

#[test]
fn what_info_tells_comes_under_the_limit_while_there_are_keys_to_evict() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-random"]);
    let mut connection = server.connect();
    warm_up(&mut connection);
    let limit = counted(&mut connection).0 + 100 * 1024;
    assert_eq!(ask(&mut connection, &["CONFIG", "SET", "maxmemory", &limit.to_string()]), "+OK");
    for n in 0..20_000 {
        assert_eq!(ask(&mut connection, &["SET", &format!("key:{n}"), "value"]), "+OK");
        if n % 100 == 0 {
            // One look evicts a bounded number of keys: what something else took at once (the log, a tick) may need a few.
            let looks: Vec<u64> =
                (0..20).map(|_| counted(&mut connection).0).take_while(|used| *used > limit).collect();
            assert!(looks.len() < 20, "{looks:?} of {limit} after {n} keys");
        }
    }
}

#[test]
fn statistics_by_prefix_are_told_by_info_and_count_what_was_there_before() {
    let server = Server::start(&["--enable-debug-command", "local"]);
    let mut connection = server.connect();
    assert!(info(&mut connection, "prefixes").contains("prefix_stats:off\r\n"));
    for n in 0..3000 {
        let prefix = ["session:", "cache:", "plain"][n % 3];
        assert_eq!(ask(&mut connection, &["SET", &format!("{prefix}{n}"), "value"]), "+OK");
    }
    let settings = ["CONFIG", "SET", "prefix-stats", "session: user:", "prefix-stats-delimiter", ":"];
    assert_eq!(ask(&mut connection, &settings), "+OK");
    let rows = |connection: &mut Connection<UnixStream>| -> Vec<String> {
        let began = Instant::now();
        loop {
            let text = info(connection, "prefixes");
            if text.contains("prefix_stats:complete\r\n") {
                let row = |line: &str| line.split(",bytes=").next().unwrap_or_default().to_owned();
                return text.lines().skip(2).map(row).collect();
            }
            assert!(began.elapsed() < PATIENCE, "{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let expected = [
        "prefix0:name=\"session:\",keys=1000",
        "prefix1:name=\"user:\",keys=0",
        "prefix2:name=\"cache:\",keys=1000",
        "prefix_other:keys=1000",
    ];
    assert_eq!(rows(&mut connection), expected);
    // What the store reads again is counted again.
    assert_eq!(ask(&mut connection, &["DEBUG", "RELOAD"]), "+OK");
    assert_eq!(rows(&mut connection), expected);
    assert_eq!(ask(&mut connection, &["GET", "session:0"]), "$5");
    connection.take(7);
    assert_eq!(ask(&mut connection, &["GET", "session:1"]), "$-1");
    assert!(info(&mut connection, "prefixes").contains(",hits=1,misses=1,expired=0,evicted=0\r\n"));
    assert_eq!(ask(&mut connection, &["CONFIG", "RESETSTAT"]), "+OK");
    assert!(!info(&mut connection, "prefixes").contains(",hits=1"));
    assert_eq!(ask(&mut connection, &["FLUSHALL"]), "+OK");
    assert!(rows(&mut connection).iter().all(|row| row.ends_with("keys=0")));
}
