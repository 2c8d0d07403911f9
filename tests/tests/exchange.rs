//! Data handed between Firn and the real redis-server 7.0 and Valkey 9: payloads of DUMP, RDB files, append-only files. What arrives must have the
//! digest that the other server computes. Skipped, loudly, where those servers are not installed.

use firn_engine::rdb::{Event, Reader, Usage, VALKEY_VERSION, Writer, writer};
use firn_tests::client::{Client, Value};
use firn_tests::corpus::{assert_same, call, digest, digests, fill, run, text};
use firn_tests::process::{Program, Server, firn_server_beside, redis_server, valkey_server};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every binary, or a word why nothing is tested.
fn binaries() -> Option<[PathBuf; 3]> {
    let all = (firn_server_beside(), redis_server(), valkey_server());
    if let (Some(firn), Some(redis), Some(valkey)) = all {
        return Some([firn, redis, valkey]);
    }
    println!("SKIPPED: data is exchanged only where firn-server, redis-server 7.0 and valkey-server 9 are installed");
    None
}

fn start(path: &Path, folder: &Path, more: &[&str]) -> Server {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let log = folder.join("log");
    let arguments = ["--enable-debug-command", "yes", "--save", ""].iter().chain(more);
    let arguments = arguments.map(|word| (*word).to_owned()).collect();
    Program { path: path.into(), port, folder: folder.into(), log, arguments }.start().unwrap()
}

#[test]
fn payloads_travel_between_all_servers() {
    let Some(binaries) = binaries() else { return };
    let folder = tempfile::tempdir().unwrap();
    let names = ["firn", "redis", "valkey"];
    let servers: Vec<Server> = binaries
        .iter()
        .zip(names)
        .map(|(path, name)| {
            let folder = folder.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            start(path, &folder, &[])
        })
        .collect();
    let mut clients: Vec<Client> = servers.iter().map(|server| server.connect().unwrap()).collect();
    let mut payloads = 0;
    for from in 0..3 {
        for to in [0, 1, 2].into_iter().filter(|to| *to != from && (from == 0 || *to == 0)) {
            let with_fields = from != 1 && to != 1;
            clients.iter_mut().for_each(|client| drop(run(client, "FLUSHALL")));
            fill(&mut clients[from], with_fields);
            let expected = digests(&mut clients[from]);
            for key in expected.keys() {
                let Value::Bulk(payload) = call(&mut clients[from], &[b"DUMP", key]) else { panic!("a payload") };
                let ttl = call(&mut clients[from], &[b"PEXPIRETIME", key]).integer().unwrap().max(0).to_string();
                let reply = clients[to].call(&[b"RESTORE", key, ttl.as_bytes(), &payload, b"ABSTTL"]).unwrap();
                let key = key.escape_ascii();
                assert!(!reply.is_error(), "{} to {}, {key}: {reply:?}", names[from], names[to]);
                payloads += 1;
            }
            let found = digests(&mut clients[to]);
            assert_same(&found, &expected, &format!("{} to {}", names[from], names[to]));
        }
    }
    println!("counted: {payloads} payloads restored");
}

/// Copies an RDB file through the engine's reader and writer into another version.
fn convert(bytes: &[u8], version: u32) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), writer::Options::new(version).unwrap()).unwrap();
    writer.aux(b"redis-ver", b"7.2.4").unwrap();
    let mut reader = Reader::new(bytes).unwrap();
    while let Some(event) = reader.next_event().unwrap() {
        match event {
            Event::Entry(part) => writer.entry(part.db, &part.stored, Usage::Unknown).unwrap(),
            Event::Expected { entries, deadlines } => writer.database(0, entries, deadlines).unwrap(),
            _ => {}
        }
    }
    writer.finish().unwrap()
}

#[test]
fn files_travel_between_all_servers() {
    let Some([firn, redis, valkey]) = binaries() else { return };
    let folder = tempfile::tempdir().unwrap();
    let new_folder = |name: String| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    };
    for (name, path, with_fields) in [("redis", &redis, false), ("valkey", &valkey, true)] {
        let source = new_folder(name.to_owned());
        let server = start(path, &source, &["--appendonly", "yes", "--aof-timestamp-enabled", "yes"]);
        let mut client = server.connect().unwrap();
        fill(&mut client, with_fields);
        run(&mut client, "SAVE");
        let (expected, all) = (digests(&mut client), digest(&mut client));
        // A base, and commands behind it.
        run(&mut client, "BGREWRITEAOF");
        while !text(&run(&mut client, "INFO persistence")).contains("aof_rewrite_in_progress:0") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        run(&mut client, "MULTI");
        run(&mut client, "SET behind 1");
        run(&mut client, "INCR behind");
        run(&mut client, "EXEC");
        let behind = digest(&mut client);
        drop(client);
        drop(server);
        let bytes = std::fs::read(source.join("dump.rdb")).unwrap();

        // Into Firn: by the file's name, and out of the folder with a manifest.
        for (what, more, expected_all) in
            [("dump", ["--appendonly", "no"], &all), ("parts", ["--appendonly", "yes"], &behind)]
        {
            let into = new_folder(format!("firn-{name}-{what}"));
            if what == "dump" {
                std::fs::write(into.join("dump.rdb"), &bytes).unwrap();
            } else {
                let parts = into.join("appendonlydir");
                std::fs::create_dir(&parts).unwrap();
                for entry in std::fs::read_dir(source.join("appendonlydir")).unwrap() {
                    let entry = entry.unwrap();
                    std::fs::copy(entry.path(), parts.join(entry.file_name())).unwrap();
                }
            }
            let firn = start(&firn, &into, &more);
            let mut client = firn.connect().unwrap();
            assert_eq!(&digest(&mut client), expected_all, "{name}'s {what} in Firn");
            if what == "dump" {
                assert_same(&digests(&mut client), &expected, &format!("{name}'s dump in Firn"));
            }
        }

        // Through our reader and writer, in every version that the servers load.
        let versions: &[u32] = if with_fields { &[VALKEY_VERSION] } else { &[9, 10, 11, VALKEY_VERSION] };
        for &version in versions {
            let converted = convert(&bytes, version);
            let into = new_folder(format!("{name}-{version}"));
            std::fs::write(into.join("dump.rdb"), &converted).unwrap();
            if version <= 10 {
                let checked = Command::new("redis-check-rdb").arg(into.join("dump.rdb")).output().unwrap();
                let told = String::from_utf8_lossy(&checked.stdout).into_owned();
                assert!(checked.status.success() && told.contains("RDB looks OK"), "version {version}: {told}");
            }
            for (by, path) in [("redis", &redis), ("valkey", &valkey)] {
                if by == "valkey" || version <= 10 {
                    let server = start(path, &into, &[]);
                    let mut client = server.connect().unwrap();
                    assert_eq!(digest(&mut client), all, "{name}'s data in version {version}, loaded by {by}");
                    if version >= 10 && by == name {
                        assert_same(&digests(&mut client), &expected, &format!("{name}'s data in version {version}"));
                    }
                }
            }
        }
    }
}
