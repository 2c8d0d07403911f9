//! Files that a real redis-server wrote: read, converted there and back, and repaired when they are damaged.

mod common;

use common::{firn, free_port, shown};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Server(Child, u16);

impl Server {
    fn start(program: &Path, folder: &Path, more: &[&str]) -> Server {
        let port = free_port();
        let child = Command::new(program)
            .args([
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--dir",
                shown(folder),
                "--enable-debug-command",
                "local",
            ])
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let server = Server(child, port);
        for _ in 0..200 {
            if server.cli(&["PING"]).contains("PONG") {
                return server;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("the server does not answer");
    }

    fn cli(&self, args: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["-p", &self.1.to_string()]).args(args).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fills a server with every type, small and large.
fn fill(server: &Server) {
    for command in [
        "SET plain value",
        "SET number 12345",
        "SET dead value PXAT 9000000000000",
        "RPUSH list a b c 1 2 3",
        "SADD ints 1 2 3",
        "SADD set a b c",
        "ZADD zset 1 a 2.5 b inf c",
        "HSET hash f v g w",
        "XADD stream 1-1 f v",
        "XADD stream 2-1 f w",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group me COUNT 1 STREAMS stream >",
        "XDEL stream 1-1",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        server.cli(&words);
    }
    server.cli(&["-n", "3", "SET", "elsewhere", "x"]);
    for (name, number) in [("biglist", 2000), ("bigset", 2000), ("bighash", 2000), ("bigzset", 2000)] {
        let script = match name {
            "biglist" => "for i=1,ARGV[1] do redis.call('RPUSH',KEYS[1],'element '..i) end",
            "bigset" => "for i=1,ARGV[1] do redis.call('SADD',KEYS[1],'member '..i) end",
            "bighash" => "for i=1,ARGV[1] do redis.call('HSET',KEYS[1],'field '..i,i) end",
            _ => "for i=1,ARGV[1] do redis.call('ZADD',KEYS[1],i*1.5,'member '..i) end",
        };
        server.cli(&["EVAL", script, "1", name, &number.to_string()]);
    }
}

#[test]
fn an_rdb_file_as_a_store_and_back_is_the_same_to_redis() {
    let Some(program) = firn_tests::process::redis_server() else { return };
    let at = tempfile::tempdir().expect("a folder");
    let (first, second) = (at.path().join("first"), at.path().join("second"));
    fs::create_dir(&first).expect("made");
    fs::create_dir(&second).expect("made");
    let server = Server::start(&program, &first, &["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"]);
    fill(&server);
    assert_eq!(server.cli(&["SAVE"]).trim(), "OK");
    let digest = server.cli(&["DEBUG", "DIGEST"]);
    drop(server);
    let dump = first.join("dump.rdb");
    firn(&["check", shown(&dump)]).ended(0);
    let (store, back) = (at.path().join("store"), second.join("dump.rdb"));
    firn(&["convert", shown(&dump), shown(&store)]).ended(0);
    firn(&["convert", shown(&store), shown(&back)]).ended(0);
    let checked = Command::new("redis-check-rdb").arg(&back).output().expect("it runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let again = Server::start(&program, &second, &[]);
    assert_eq!(again.cli(&["DEBUG", "DIGEST"]), digest);
    drop(again);
    // The folder of the append-only file holds the same.
    let folder = first.join("appendonlydir");
    firn(&["check", shown(&folder)]).ended(0);
    firn(&["diff", shown(&dump), shown(&folder)]).ended(0);
    assert_eq!(firn(&["get", shown(&dump), "plain"]).ended(0).out, "\"value\"\n");
    assert_eq!(firn(&["get", shown(&folder), "list", "--as", "json"]).ended(0).json()["value"][0], "a");
    let lines = firn(&["history", shown(&folder), "plain", "--json"]).ended(0).lines();
    assert_eq!(lines.last().expect("a change")["words"][0], "SET");
}

fn keys(store: &Path) -> BTreeSet<String> {
    let lines = firn(&["inspect", shown(store), "--keys", "--json"]).ended(0).lines();
    lines.iter().map(|line| line["key"].as_str().expect("a name").to_owned()).collect()
}

/// A dump and an append-only file of 1000 keys.
fn thousand(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let program = firn_tests::process::redis_server()?;
    let server = Server::start(&program, folder, &["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"]);
    let script = "for i=0,999 do redis.call('SET','key:'..i,'value '..i..' of the thousand') end";
    server.cli(&["EVAL", script, "0"]);
    // A script is one transaction: one by one the damage of one key stays that of one.
    for number in 0..200 {
        server.cli(&["SET", &format!("one:{number}"), "value"]);
    }
    server.cli(&["SAVE"]);
    drop(server);
    let aof =
        fs::read_dir(folder.join("appendonlydir")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let aof = aof.into_iter().find(|path| shown(path).ends_with(".incr.aof")).expect("commands");
    Some((folder.join("dump.rdb"), aof))
}

#[test]
fn damage_in_the_middle_costs_what_it_hits() {
    let at = tempfile::tempdir().expect("a folder");
    let Some((dump, aof)) = thousand(at.path()) else { return };
    let bytes = fs::read(&aof).expect("readable");
    let place = bytes.windows(7).position(|window| window == b"one:100").expect("it is there");
    let mut damaged = bytes.clone();
    damaged[place - 4] = 0xff;
    damaged[place - 3] = 0x00;
    let file = at.path().join("damaged.aof");
    fs::write(&file, damaged).expect("writable");
    let check = firn(&["check", shown(&file), "--json"]).ended(1).json();
    assert!(check["problems"][0]["offset"].is_u64(), "{check}");
    let made = at.path().join("aof-made");
    firn(&["repair", shown(&file), "-o", shown(&made)]).ended(1);
    assert_eq!(keys(&made).len(), 1199);
    // A tail that was cut is what a power failure leaves.
    let cut = at.path().join("cut.aof");
    fs::write(&cut, &bytes[..bytes.len() - 5]).expect("writable");
    let made = at.path().join("cut-made");
    firn(&["repair", shown(&cut), "-o", shown(&made)]).ended(0);
    assert_eq!(keys(&made).len(), 1199);

    let mut bytes = fs::read(&dump).expect("readable");
    let place = bytes.windows(7).position(|window| window == b"key:500").expect("it is there");
    // The length of the value behind the key.
    bytes[place + 7] = 0xc7;
    let file = at.path().join("damaged.rdb");
    fs::write(&file, bytes).expect("writable");
    firn(&["check", shown(&file)]).ended(1);
    let made = at.path().join("rdb-made");
    firn(&["repair", shown(&file), "-o", shown(&made)]).ended(1);
    let left = keys(&made).len();
    assert!(left >= 1197, "{left}");
}
