//! Files of every version and encoding, made byte by byte; values through the writer and back; hostile bytes.

use super::dump::{self, Restored};
use super::*;
use crate::key::HashSeed;
use crate::keyspace::Value;
use crate::keyspace::entry::{self, Assembly, Stored, Whole};
use crate::value::part::{Item, Items, StreamItem};
use crate::value::stream::{Id, Pending, Stream};
use crate::value::{Collection, Kind, Shaping};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::sync::LazyLock;

fn shaping() -> Shaping {
    Shaping::new(HashSeed([7; 16]))
}

fn text(bytes: &[u8]) -> String {
    if bytes.len() > 80 { format!("({} bytes)", bytes.len()) } else { bytes.escape_ascii().to_string() }
}

/// All events of a file as lines: what a person would want to see.
fn read(bytes: &[u8]) -> Result<String, String> {
    let mut reader = Reader::new(bytes).map_err(|error| error.to_string())?;
    let mut out = String::new();
    while let Some(event) = reader.next_event().map_err(|error| error.to_string())? {
        match event {
            Event::Aux { name, value } => writeln!(out, "aux {}={}", text(name), text(value)),
            Event::Database(db) => writeln!(out, "db {db}"),
            Event::Expected { entries, deadlines } => writeln!(out, "expected {entries} {deadlines}"),
            Event::Function(Library::Source(source)) => writeln!(out, "function {}", text(source)),
            Event::Function(Library::PreGa { name, engine, source }) => {
                writeln!(out, "function {} {} {}", text(name), text(engine), text(source))
            }
            Event::Skipped { what: Skipped::ModuleValue { key, module, .. }, .. } => {
                writeln!(out, "module {module} {}", text(key))
            }
            Event::Skipped { what: Skipped::ModuleAux(module), .. } => writeln!(out, "module {module}"),
            Event::Skipped { what: Skipped::Empty { key, .. }, .. } => writeln!(out, "empty {}", text(key)),
            Event::Skipped { what: Skipped::Cluster, .. } => writeln!(out, "cluster"),
            Event::End { verified } => writeln!(out, "end {verified}"),
            Event::Entry(part) => {
                let stored = part.stored;
                write!(out, "{} {}", stored.kind.name(), text(stored.key)).unwrap();
                if let Some(deadline) = stored.deadline {
                    write!(out, " @{deadline}").unwrap();
                }
                match part.usage {
                    Usage::Unknown => Ok(()),
                    Usage::Idle(seconds) => write!(out, " idle {seconds}"),
                    Usage::Frequency(count) => write!(out, " freq {count}"),
                }
                .unwrap();
                writeln!(out, ":{}{}", items(stored.kind, stored.body), if stored.continued { " ..." } else { "" })
            }
        }
        .unwrap();
    }
    Ok(out)
}

fn items(kind: Kind, body: &[u8]) -> String {
    let mut out = String::new();
    let mut items = Items::new(kind, body);
    while let Some(item) = items.take().unwrap() {
        match item {
            Item::Element(element) => write!(out, " {}", text(element)),
            Item::Scored { member, score } => write!(out, " {}={score}", text(member)),
            Item::Field(field) => {
                let deadline = field.deadline.map_or(String::new(), |at| format!("@{at}"));
                write!(out, " {}{deadline}={}", text(field.name), text(field.value))
            }
            Item::Stream(StreamItem::Header { header, late }) => {
                let (last, deleted) = (header.last_id, header.max_deleted_id);
                let (late, added) = (if late { "late" } else { "early" }, header.entries_added);
                write!(out, " {late}({}-{} {}-{} {added})", last.ms, last.seq, deleted.ms, deleted.seq)
            }
            Item::Stream(StreamItem::Entry(id)) => {
                let words: Vec<String> = items.words().iter().map(|word| text(word)).collect();
                write!(out, " {}-{}[{}]", id.ms, id.seq, words.join(" "))
            }
            Item::Stream(StreamItem::Group { name, last_id, entries_read }) => {
                write!(out, " group {} {}-{} {entries_read:?}", text(name), last_id.ms, last_id.seq)
            }
            Item::Stream(StreamItem::Consumer { number, name, seen_ms, active_ms }) => {
                write!(out, " consumer {} {} {seen_ms} {active_ms:?}", number.0, text(name))
            }
            Item::Stream(StreamItem::Pending(pending)) => {
                let Pending { id, delivered_ms, deliveries, consumer } = pending;
                write!(out, " pending {}-{} {delivered_ms} {deliveries} {}", id.ms, id.seq, consumer.0)
            }
        }
        .unwrap();
    }
    out
}

/// A file of one version.
fn file(version: &str, body: &[&[u8]]) -> Vec<u8> {
    let mut bytes = [version.as_bytes(), &body.concat(), &[0xff]].concat();
    if version.starts_with('V') || version[5..].parse::<u32>().unwrap() >= 5 {
        bytes.extend_from_slice(&input::crc64(&bytes).to_le_bytes());
    }
    bytes
}

/// A short string in front of which stands its length.
fn s(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    length::put_length(&mut out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out
}

/// One entry of a type, with key `k`.
fn value(version: &str, encoding: u8, body: &[u8]) -> Result<String, String> {
    let text = read(&file(version, &[&[encoding], b"\x01k", body]))?;
    let (line, _) = text.split_once('\n').unwrap();
    Ok(line.to_owned())
}

fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
    let (mut body, mut previous, mut tail) = (Vec::new(), 0usize, 10);
    for entry in entries {
        let begin = body.len();
        tail = 10 + begin;
        if previous < 254 {
            body.push(previous as u8);
        } else {
            body.push(254);
            body.extend_from_slice(&(previous as u32).to_le_bytes());
        }
        body.extend_from_slice(entry);
        previous = body.len() - begin;
    }
    let len = 10 + body.len() + 1;
    let head = [&(len as u32).to_le_bytes()[..], &(tail as u32).to_le_bytes(), &(entries.len() as u16).to_le_bytes()];
    [&head.concat(), &body[..], &[0xff]].concat()
}

fn listpack(elements: &[&[u8]]) -> Vec<u8> {
    let mut run = Vec::new();
    elements.iter().for_each(|element| crate::value::listpack::push_back(&mut run, *element));
    let mut out = Vec::new();
    packed::put_listpack(&mut out, crate::value::listpack::Listpack::new(&run));
    out
}

#[test]
fn checksum_is_redis_own() {
    assert_eq!(input::crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
}

#[test]
fn every_note_and_opcode_is_read() {
    let bytes = file(
        "REDIS0012",
        &[
            b"\xfa\x09redis-ver\x057.4.0",
            b"\xfa\x05ctime\xc2\x01\x02\x03\x04",
            b"\xf5\x12#!lua name=x\nredis",
            b"\xf6\x01x\x03LUA\x01\x04desc\x04code",
            b"\xf7\x81\x01\x02\x03\x04\x05\x06\x07\x08\x02\x01\x01\x05\x02\x09\x03abcd\x04abcdefgh\x05\x03xyz\x00",
            b"\xfe\x03\xfb\x07\x02\xf4\x01\x02\x03",
            b"\xfc\x01\x00\x00\x00\x00\x00\x00\x00\xf8\x05\x00\x01k\x01v",
            b"\xfd\x02\x00\x00\x00\xf9\x09\x00\x01k\xc1\xff\x7f",
            b"\xfd\xff\xff\xff\xff\x00\x01k\xc0\x80",
            b"\x07\x01m\x81\x01\x02\x03\x04\x05\x06\x07\x08\x00",
        ],
    );
    let expected = "aux redis-ver=7.4.0\naux ctime=67305985\nfunction #!lua name=x\\nredis\nfunction x LUA code\n\
        module AQIDBAUGB\ndb 3\nexpected 7 2\ncluster\nstring k @1 idle 5: v\nstring k @2000 freq 9: 32767\n\
        string k @1: -128\nmodule AQIDBAUGB m\nend true\n";
    assert_eq!(read(&bytes).as_deref(), Ok(expected));
    // What the last of these readers does not know, and others do.
    assert_eq!(read(&file("VALKEY080", &[b"\xf3\x03job\x01\x05\x06"])).as_deref(), Ok("cluster\nend true\n"));
    assert!(read(&file("REDIS0011", &[b"\xf3\x03job\x01\x05\x06"])).is_err());
}

#[test]
fn versions_are_told_apart() {
    for version in 1..=12 {
        let expected = if version < 5 { "end false\n" } else { "end true\n" };
        assert_eq!(read(&file(&format!("REDIS{version:04}"), &[])).as_deref(), Ok(expected));
    }
    let error = |bytes: &[u8]| read(bytes).unwrap_err();
    assert!(error(b"REDIS0013\xff").contains("version 13 is newer"));
    assert!(error(b"VALKEY081\xff").contains("version 81 is newer"));
    assert!(error(b"REDIS0000\xff").contains("version 0 does not exist"));
    assert!(error(b"REDIS 011\xff").contains("no RDB file"));
    assert!(error(b"RUBBISH99\xff").contains("no RDB file"));
    assert!(error(b"REDI").contains("end too early"));
    // No checksum where it says so; a wrong one is named.
    let mut bytes = file("REDIS0010", &[b"\xfe\x00"]);
    let at = bytes.len() - 8;
    bytes[at..].fill(0);
    assert_eq!(read(&bytes).as_deref(), Ok("db 0\nend false\n"));
    bytes[at] = 1;
    assert!(error(&bytes).starts_with("at byte 12: the checksum is 0x0000000000000001, the bytes give 0x"));
}

#[test]
fn strings_of_every_form() {
    let string = |body: &[u8]| value("REDIS0003", kind::STRING, body);
    assert_eq!(string(b"\x03abc").as_deref(), Ok("string k: abc"));
    assert_eq!(string(b"\x40\x03abc").as_deref(), Ok("string k: abc"));
    assert_eq!(string(b"\x80\x00\x00\x00\x03abc").as_deref(), Ok("string k: abc"));
    assert_eq!(string(b"\x81\x00\x00\x00\x00\x00\x00\x00\x03abc").as_deref(), Ok("string k: abc"));
    assert_eq!(string(b"\xc2\x00\x00\x00\x80").as_deref(), Ok("string k: -2147483648"));
    assert_eq!(string(b"\xc3\x09\x40\x64\x01aa\xe0\x57\x00\x01aa").as_deref(), Ok("string k: (100 bytes)"));
    let key = "at byte 12, in the value of key \"k\": ";
    assert_eq!(string(b"\xc4"), Err(format!("{key}a string has the unknown form 4")));
    assert_eq!(string(b"\x82"), Err(format!("{key}a length has the unknown form 0x82")));
    assert_eq!(
        string(b"\x81\xff\xff\xff\xff\xff\xff\xff\xf7"),
        Err(format!("{key}a string of 18446744073709551607 bytes is longer than 1073741824"))
    );
    assert_eq!(
        string(b"\xc3\x01\x80\x01\x00\x00\x00\x01"),
        Err(format!("{key}16777216 bytes cannot come out of 1 compressed ones"))
    );
    assert!(string(b"\xc3\x02\x05\x00a").unwrap_err().contains("do not decompress"));
    // A promise of much that does not come takes no memory.
    assert!(string(b"\x80\x1f\xff\xff\xffabc").unwrap_err().contains("end too early"));
}

#[test]
fn lists_of_every_encoding() {
    let expected = Ok("list k: a 5 -7000");
    let elements: &[&[u8]] = &[b"\x01a", b"\xf6", b"\xc0\xa8\xe4"];
    assert_eq!(value("REDIS0001", kind::LIST, b"\x03\x01a\xc0\x05\xc1\xa8\xe4").as_deref(), expected);
    assert_eq!(value("REDIS0006", kind::LIST_ZIPLIST, &s(&ziplist(elements))).as_deref(), expected);
    let nodes = [b"\x02".as_slice(), &s(&ziplist(&elements[..2])), &s(&ziplist(&elements[2..]))].concat();
    assert_eq!(value("REDIS0007", kind::LIST_QUICKLIST, &nodes).as_deref(), expected);
    let nodes = [b"\x02\x01\x01a\x02".as_slice(), &s(&listpack(&[b"5", b"-7000"]))].concat();
    assert_eq!(value("REDIS0010", kind::LIST_QUICKLIST_2, &nodes).as_deref(), expected);
    assert_eq!(value("REDIS0010", kind::LIST_QUICKLIST_2, b"\x00").as_deref(), Ok("empty k"));
    let nodes = [b"\x01".as_slice(), &s(&ziplist(&[]))].concat();
    assert_eq!(value("REDIS0007", kind::LIST_QUICKLIST, &nodes).as_deref(), Ok("empty k"));
    let bad = value("REDIS0010", kind::LIST_QUICKLIST_2, b"\x01\x03\x01a").unwrap_err();
    assert_eq!(bad, "at byte 13, in the value of key \"k\": a list's node is of the unknown kind 3");
}

#[test]
fn ziplists_of_every_form() {
    let long = [b'x'; 70];
    let forms: &[&[u8]] = &[
        b"\xf1",
        b"\xfd",
        b"\xfe\x80",
        b"\xc0\x00\x80",
        b"\xf0\x00\x00\x80",
        b"\xd0\x00\x00\x00\x80",
        b"\xe0\x00\x00\x00\x00\x00\x00\x00\x80",
        b"\x00",
        &[b"\x40\x46", &long[..]].concat(),
        b"\x80\x00\x00\x00\x01y",
    ];
    let good = ziplist(forms);
    let long = "x".repeat(70);
    let expected = format!("list k: 0 12 -128 -32768 -8388608 -2147483648 -9223372036854775808  {long} y");
    let expected = expected.as_str();
    assert_eq!(value("REDIS0006", kind::LIST_ZIPLIST, &s(&good)).as_deref(), Ok(expected));
    // Any byte changed is seen, or changes an element; nothing is read outside.
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert_ne!(value("REDIS0006", kind::LIST_ZIPLIST, &s(&bad)).as_deref(), Ok(expected), "byte {at}");
        }
    }
    for cut in 0..good.len() {
        assert!(value("REDIS0006", kind::LIST_ZIPLIST, &s(&good[..cut])).is_err());
    }
}

#[test]
fn sets_of_every_encoding() {
    assert_eq!(value("REDIS0001", kind::SET, b"\x02\x01a\xc0\x05").as_deref(), Ok("set k: a 5"));
    assert_eq!(value("REDIS0011", kind::SET_LISTPACK, &s(&listpack(&[b"a", b"5"]))).as_deref(), Ok("set k: a 5"));
    for (width, values) in [(2, "-32768 1"), (4, "-70000 1"), (8, "-9223372036854775808 1")] {
        let numbers: Vec<i64> = values.split(' ').map(|value| value.parse().unwrap()).collect();
        let mut bytes = Vec::new();
        intset::encode(&numbers, &mut bytes);
        assert_eq!(bytes.len(), 8 + 2 * width);
        let expected = format!("set k: {values}");
        assert_eq!(value("REDIS0002", kind::SET_INTSET, &s(&bytes)), Ok(expected));
    }
    for bad in [
        &b"\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00"[..],
        b"\x03\x00\x00\x00\x00\x00\x00\x00",
        b"\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x01\x00",
        b"\x02\x00\x00\x00",
        b"\x08\x00\x00\x00\xff\xff\xff\xff",
    ] {
        assert!(value("REDIS0002", kind::SET_INTSET, &s(bad)).unwrap_err().contains("intset"));
    }
}

#[test]
fn sorted_sets_of_every_encoding() {
    let old = b"\x05\x01a\x031.5\x01b\xff\x01c\xfe\x01d\x041e-5\x01e\x02-0";
    assert_eq!(value("REDIS0001", kind::ZSET, old).as_deref(), Ok("zset k: a=1.5 b=-inf c=inf d=0.00001 e=-0"));
    assert!(value("REDIS0001", kind::ZSET, b"\x01\x01a\xfd").unwrap_err().contains("score is not a number"));
    assert!(value("REDIS0001", kind::ZSET, b"\x01\x01a\x03abc").unwrap_err().contains("score is not a number"));
    let binary = [b"\x01\x01a".as_slice(), &2.25f64.to_le_bytes()].concat();
    assert_eq!(value("REDIS0008", kind::ZSET_2, &binary).as_deref(), Ok("zset k: a=2.25"));
    let nan = [b"\x01\x01a".as_slice(), &f64::NAN.to_le_bytes()].concat();
    assert!(value("REDIS0008", kind::ZSET_2, &nan).unwrap_err().contains("score is not a number"));
    let packed = s(&ziplist(&[b"\x01a", b"\x031.5", b"\x01b", b"\xf4"]));
    assert_eq!(value("REDIS0002", kind::ZSET_ZIPLIST, &packed).as_deref(), Ok("zset k: a=1.5 b=3"));
    let packed = s(&listpack(&[b"a", b"1.5", b"b", b"inf"]));
    assert_eq!(value("REDIS0010", kind::ZSET_LISTPACK, &packed).as_deref(), Ok("zset k: a=1.5 b=inf"));
    let odd = s(&listpack(&[b"a", b"1.5", b"b"]));
    assert!(value("REDIS0010", kind::ZSET_LISTPACK, &odd).unwrap_err().contains("not whole pairs"));
}

#[test]
fn hashes_of_every_encoding() {
    let expected = Ok("hash k: a=1 b=x");
    assert_eq!(value("REDIS0001", kind::HASH, b"\x02\x01a\xc0\x01\x01b\x01x").as_deref(), expected);
    let zipmap = s(b"\x02\x01a\x01\x031abc\x01b\xfe\x01\x00\x00\x00\x00x\xff");
    assert_eq!(value("REDIS0002", kind::HASH_ZIPMAP, &zipmap).as_deref(), expected);
    for bad in
        [&b"\x02\x01a\x01\x001\xff"[..], b"\x01\x01a\x01\x001", b"\x01\x01a\x01\x051\xff", b"\x01\xfe\x01\x00", b""]
    {
        assert!(value("REDIS0002", kind::HASH_ZIPMAP, &s(bad)).unwrap_err().contains("zipmap"));
    }
    let packed = s(&ziplist(&[b"\x01a", b"\xf2", b"\x01b", b"\x01x"]));
    assert_eq!(value("REDIS0004", kind::HASH_ZIPLIST, &packed).as_deref(), expected);
    assert_eq!(value("REDIS0010", kind::HASH_LISTPACK, &s(&listpack(&[b"a", b"1", b"b", b"x"]))).as_deref(), expected);
}

#[test]
fn deadlines_of_fields_of_both_servers() {
    let expected = Ok("hash k: a@1001=1 b=x");
    let pre_ga = b"\x02\x43\xe9\x01a\x011\x00\x01b\x01x";
    assert_eq!(value("REDIS0012", kind::HASH_METADATA_PRE_GA, pre_ga).as_deref(), expected);
    let metadata = b"\xe8\x03\x00\x00\x00\x00\x00\x00\x02\x02\x01a\x011\x00\x01b\x01x";
    assert_eq!(value("REDIS0012", kind::HASH_METADATA, metadata).as_deref(), expected);
    let packed = s(&listpack(&[b"a", b"1", b"1001", b"b", b"x", b"0"]));
    assert_eq!(value("REDIS0012", kind::HASH_LISTPACK_EX_PRE_GA, &packed).as_deref(), expected);
    let with_first = [b"\xe9\x03\x00\x00\x00\x00\x00\x00".as_slice(), &packed].concat();
    assert_eq!(value("REDIS0012", kind::HASH_LISTPACK_EX, &with_first).as_deref(), expected);
    let valkey = b"\x02\x01a\x011\xe9\x03\x00\x00\x00\x00\x00\x00\x01b\x01x\xff\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(value("VALKEY080", kind::HASH_METADATA_PRE_GA, valkey).as_deref(), expected);
    assert!(value("VALKEY080", kind::HASH_METADATA, metadata).unwrap_err().contains("unknown type 24"));
    let overflow = b"\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x01a\x011";
    assert!(value("REDIS0012", kind::HASH_METADATA, overflow).unwrap_err().contains("deadline"));
    let odd = s(&listpack(&[b"a", b"1", b"x"]));
    assert!(value("REDIS0012", kind::HASH_LISTPACK_EX_PRE_GA, &odd).unwrap_err().contains("deadline"));
}

/// A node: master 1-1 with field `f`; 1-1 [f 1], deleted 1-2, 2-0 [g x h y].
fn node() -> Vec<u8> {
    let entries: &[&[u8]] = &[
        b"2", b"1", b"1", b"f", b"0", // live, deleted, fields, name, end
        b"2", b"0", b"0", b"1", b"4", // same fields
        b"3", b"0", b"1", b"9", b"4", // deleted, same fields
        b"0", b"1", b"-1", b"2", b"g", b"x", b"h", b"y", b"8",
    ];
    let id = [1u64.to_be_bytes(), 1u64.to_be_bytes()].concat();
    [s(&id), s(&listpack(entries))].concat()
}

fn raw_id(ms: u64, seq: u64) -> Vec<u8> {
    [ms.to_be_bytes(), seq.to_be_bytes()].concat()
}

fn ms(at: i64) -> Vec<u8> {
    at.to_le_bytes().to_vec()
}

#[test]
fn streams_of_every_version() {
    let group = |version: u8| {
        let mut out = [b"\x01\x01g\x02\x00".to_vec()].concat();
        if version >= 2 {
            out.extend_from_slice(b"\x02");
        }
        out.extend_from_slice(
            &[b"\x02".to_vec(), raw_id(1, 1), ms(70), b"\x01".to_vec(), raw_id(2, 0), ms(71), b"\x03".to_vec()]
                .concat(),
        );
        out.extend_from_slice(&[b"\x02\x05alice".to_vec(), ms(80)].concat());
        if version >= 3 {
            out.extend_from_slice(&ms(-1));
        }
        out.extend_from_slice(&[b"\x01".to_vec(), raw_id(2, 0), b"\x03bob".to_vec(), ms(81)].concat());
        if version >= 3 {
            out.extend_from_slice(&ms(79));
        }
        out.extend_from_slice(&[b"\x01".to_vec(), raw_id(1, 1)].concat());
        out
    };
    let entries = "1-1[f 1] 2-0[g x h y]";
    let pending = "pending 1-1 70 1 1 pending 2-0 71 3 0";
    let one = [b"\x01".to_vec(), node(), b"\x02\x02\x00".to_vec(), group(1)].concat();
    assert_eq!(
        value("REDIS0009", kind::STREAM_LISTPACKS, &one),
        Ok(format!(
            "stream k: {entries} late(2-0 0-0 2) group g 2-0 Some(2) consumer 0 alice 80 Some(80) consumer 1 bob 81 Some(81) {pending}"
        ))
    );
    let counters = b"\x02\x02\x00\x01\x01\x01\x02\x09".to_vec();
    let two = [b"\x01".to_vec(), node(), counters.clone(), group(2)].concat();
    assert_eq!(
        value("REDIS0010", kind::STREAM_LISTPACKS_2, &two),
        Ok(format!(
            "stream k: {entries} late(2-0 1-2 9) group g 2-0 Some(2) consumer 0 alice 80 Some(80) consumer 1 bob 81 Some(81) {pending}"
        ))
    );
    let three = [b"\x01".to_vec(), node(), counters, group(3)].concat();
    assert_eq!(
        value("REDIS0011", kind::STREAM_LISTPACKS_3, &three),
        Ok(format!(
            "stream k: {entries} late(2-0 1-2 9) group g 2-0 Some(2) consumer 0 alice 80 None consumer 1 bob 81 Some(79) {pending}"
        ))
    );
    assert_eq!(
        value("REDIS0009", kind::STREAM_LISTPACKS, b"\x00\x00\x05\x06\x00").as_deref(),
        Ok("stream k: late(5-6 0-0 0)")
    );
    // Wrong in one place each: the last ID below an entry, a pending entry of nobody, one that is not the group's.
    let last = [b"\x01".to_vec(), node(), b"\x02\x01\x09\x00".to_vec()].concat();
    assert!(value("REDIS0009", kind::STREAM_LISTPACKS, &last).unwrap_err().contains("order of their IDs"));
    for swap in [raw_id(1, 1), raw_id(9, 9)] {
        let mut bad = three.clone();
        let at = bad.len() - 16;
        bad[at..].copy_from_slice(&raw_id(2, 0));
        assert!(value("REDIS0011", kind::STREAM_LISTPACKS_3, &bad).unwrap_err().contains("pending entry"));
        bad[at..].copy_from_slice(&swap);
        assert_eq!(value("REDIS0011", kind::STREAM_LISTPACKS_3, &bad).is_ok(), swap == raw_id(1, 1));
    }
}

#[test]
fn the_next_entry_is_found_behind_a_value_that_is_wrong() {
    let bad_node =
        [b"\x03\x02".to_vec(), s(&listpack(&[b"a"])), b"\x02\x03xyz\x02".to_vec(), s(&listpack(&[b"b"]))].concat();
    let bad_score =
        [b"\x03\x01a".as_slice(), &1f64.to_le_bytes(), b"\x01b", &f64::NAN.to_le_bytes(), b"\x01c", &[0; 8]].concat();
    let bad_lzf = b"\x02\xc3\x02\x05\x00a\x01v\x01f\x01w".to_vec();
    let stream_body = [b"\x02".to_vec(), s(b"short"), s(b"no"), node(), b"\x02\x02\x00\x00".to_vec()].concat();
    for (encoding, body) in [
        (kind::LIST_QUICKLIST_2, bad_node),
        (kind::ZSET_2, bad_score),
        (kind::HASH, bad_lzf),
        (kind::STREAM_LISTPACKS, stream_body),
        (kind::SET_INTSET, s(b"nonsense")),
    ] {
        let bytes = file("REDIS0010", &[&[encoding], b"\x03bad", &body, b"\x00\x04good\x01v"]);
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        let error = loop {
            match reader.next_event() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(error.is_content() && error.to_string().contains("\"bad\""), "{error}");
        reader.skip_value().unwrap();
        let Some(Event::Entry(part)) = reader.next_event().unwrap() else { panic!("type {encoding}") };
        assert_eq!(part.stored.key, b"good");
        assert_eq!(reader.next_event().unwrap(), Some(Event::End { verified: true }));
        assert_eq!(reader.next_event().unwrap(), None);
    }
}

/// Values of every type in small and large form, and what is hard about them.
fn samples() -> Vec<(&'static str, Sample)> {
    let shaping = shaping();
    let list = |elements: &[&[u8]]| {
        let mut list = crate::value::List::default();
        list.push(false, elements.iter().copied(), &shaping);
        Sample::Collection(Collection::List(list))
    };
    let numbered =
        |count: usize, len: usize| -> Vec<Vec<u8>> { (0..count).map(|n| format!("{n:0len$}-").into_bytes()).collect() };
    fn slices(of: &[Vec<u8>]) -> Vec<&[u8]> {
        of.iter().map(Vec::as_slice).collect()
    }
    let set = |members: &[&[u8]]| {
        let mut set = crate::value::Set::default();
        members.iter().for_each(|member| assert!(set.add(member, &shaping)));
        Sample::Collection(Collection::Set(set))
    };
    let sorted = |members: &[&[u8]], score: fn(usize) -> f64| {
        let mut set = crate::value::SortedSet::default();
        members.iter().enumerate().for_each(|(at, member)| assert_eq!(set.set(member, score(at), &shaping), None));
        Sample::Collection(Collection::SortedSet(set))
    };
    let hash = |names: &[&[u8]], deadline: fn(usize) -> Option<u64>| {
        use crate::value::hash::Lifetime;
        let mut hash = crate::value::Hash::default();
        for (at, name) in names.iter().enumerate() {
            let lifetime = deadline(at).map_or(Lifetime::Unlimited, Lifetime::Until);
            hash.set(name, format!("value {at}").as_bytes(), lifetime, 0, &shaping);
        }
        Sample::Collection(Collection::Hash(hash))
    };
    let large = numbered(3000, 30);
    let large = slices(&large);
    let integers: Vec<Vec<u8>> = (-200..200i64).map(|n| (n * 90_000).to_string().into_bytes()).collect();
    let long = [vec![b'y'; 20_000]];
    vec![
        ("empty string", Sample::String(Vec::new())),
        ("integer", Sample::String(b"-123456".to_vec())),
        ("large integer", Sample::String(b"123456789012".to_vec())),
        ("text", Sample::String(b"hello \x00 world".to_vec())),
        ("compressible", Sample::String(vec![b'z'; 300_000])),
        ("list", list(&[b"a", b"", b"-7", b"9223372036854775807"])),
        ("long list", list(&large)),
        ("list of long elements", list(&[slices(&long).as_slice(), &[b"x"], &slices(&long)].concat())),
        ("intset", set(&slices(&integers))),
        ("set", set(&[b"a", b"5", b""])),
        ("large set", set(&large)),
        ("set with a long member", set(&slices(&long))),
        ("sorted set", sorted(&[b"a", b"b", b"7"], |at| [1.5, f64::NEG_INFINITY, -3.0][at])),
        ("large sorted set", sorted(&large, |at| (at / 3) as f64 * 0.1)),
        ("hash", hash(&[b"a", b"5", b""], |_| None)),
        ("large hash", hash(&large, |_| None)),
        ("hash with deadlines", hash(&[b"a", b"5", b""], |at| [None, Some(77), Some(1 << 41)][at])),
        ("large hash with deadlines", hash(&large, |at| (at % 3 == 0).then_some(1_800_000_000_000 + at as u64))),
        ("empty stream", Sample::Collection(Collection::Stream(Box::new(stream(0, 0))))),
        ("stream", Sample::Collection(Collection::Stream(Box::new(stream(3, 2))))),
        ("large stream", Sample::Collection(Collection::Stream(Box::new(stream(5000, 9000))))),
    ]
}

#[derive(Debug)]
enum Sample {
    String(Vec<u8>),
    Collection(Collection),
}

impl Sample {
    fn value(&self) -> Value<'_> {
        match self {
            Sample::String(bytes) => Value::String(bytes),
            Sample::Collection(collection) => Value::Collection(collection.view()),
        }
    }
}

fn stream(entries: u64, pending: u64) -> Stream {
    let shaping = shaping();
    let mut stream = Stream::default();
    for at in 0..entries {
        let id = Id { ms: 1000 + at / 3, seq: at };
        let value = format!("value {at}");
        let field: &[u8] = if at % 7 == 3 { b"other" } else { b"field" };
        stream.add(id, &[field, value.as_bytes(), b"n", b"12"], &shaping);
    }
    if entries > 2 {
        assert!(stream.delete(Id { ms: 1000, seq: 1 }));
    }
    stream.set_ids(Id { ms: 1 << 40, seq: 5 }, Some(entries + 4), None);
    for (name, read) in [(&b"a"[..], None), (b"group", Some(3))] {
        stream.add_group(name, Id { ms: 5, seq: 5 }, read);
        stream.edit_group(name, |group| {
            for consumer in [&b"z"[..], b"alice", b"nobody"] {
                let (number, _) = group.consumer_or_new(consumer, 900);
                group.saw(number, 901, consumer == b"alice");
            }
            for at in 0..pending {
                let consumer = group.consumer(if at % 3 == 0 { b"z" } else { b"alice" }).unwrap().number();
                let pending = Pending { id: Id { ms: at, seq: at }, delivered_ms: at, deliveries: at % 300, consumer };
                group.assign(pending);
            }
        });
    }
    stream
}

/// A value's parts, as a snapshot would hold them.
fn parts(key: &[u8], value: Value<'_>, mut each: impl FnMut(&Stored<'_>)) {
    let entry = keyspace_entry(key, value);
    let mut from = Some(0);
    while let Some(at) = from {
        let mut bytes = Vec::new();
        from = entry::encode_part(&entry, at, 64 * 1024, &mut bytes);
        each(&entry::take(&mut bytes.as_slice()).unwrap());
    }
}

fn keyspace_entry<'a>(key: &'a [u8], value: Value<'a>) -> crate::keyspace::Entry<'a> {
    crate::keyspace::Entry { key, value, deadline: Some(1_900_000_000_000), edited: false, access: 0 }
}

fn write_all(samples: &[(&str, Sample)], options: writer::Options, spill: bool) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), options).unwrap();
    if spill {
        writer = writer.spilling(Box::new(|| Ok(Box::new(std::io::Cursor::new(Vec::new())))));
    }
    writer.aux(b"firn-ver", b"1").unwrap();
    for (name, sample) in samples {
        let has_deadlines = name.contains("deadlines");
        let mut failed = None;
        parts(name.as_bytes(), sample.value(), |part| {
            if failed.is_none() {
                failed = writer.entry(3, part, Usage::Idle(9)).err();
            }
        });
        let can = options.version >= 12 || options.drop_field_deadlines || !has_deadlines;
        assert_eq!(failed.is_none(), can, "{name}: {failed:?}");
    }
    writer.finish().unwrap()
}

#[test]
fn what_is_written_in_any_version_is_read_again() {
    let samples = samples();
    for version in [9, 10, 11, 12, VALKEY_VERSION] {
        for drop_field_deadlines in [false, true] {
            let options = writer::Options { drop_field_deadlines, ..writer::Options::new(version).unwrap() };
            let bytes = write_all(&samples, options, version % 2 == 0);
            let mut reader = Reader::new(bytes.as_slice()).unwrap();
            let (mut assembly, mut found) = (Assembly::default(), Vec::new());
            while let Some(event) = reader.next_event().unwrap() {
                let Event::Entry(part) = event else { continue };
                assert_eq!((part.db, part.usage, part.stored.deadline), (3, Usage::Idle(9), Some(1_900_000_000_000)));
                assert!(part.stored.body.len() < 400_000);
                if let Some(whole) = assembly.push(&part.stored, &shaping()).unwrap() {
                    found.push((String::from_utf8(part.stored.key.to_vec()).unwrap(), digest(&whole, version)));
                }
            }
            let loses = |name: &str| name.contains("deadlines") && version < 12;
            let expected: Vec<_> = samples
                .iter()
                .filter(|(name, _)| !loses(name) || drop_field_deadlines)
                .map(|(name, sample)| {
                    let whole = match sample {
                        Sample::String(bytes) => Whole::String(bytes),
                        Sample::Collection(collection) => Whole::Collection(collection.clone()),
                    };
                    ((*name).to_owned(), if loses(name) { 0 } else { digest(&whole, version) })
                })
                .collect();
            let found: Vec<_> =
                found.into_iter().map(|(name, digest)| if loses(&name) { (name, 0) } else { (name, digest) }).collect();
            assert_eq!(found, expected, "version {version}");
        }
    }
}

/// What an old version holds of a stream is less: entries and names of groups.
fn digest(whole: &Whole<'_>, version: u32) -> u128 {
    match whole {
        Whole::Collection(Collection::Stream(stream)) if version < 10 => {
            stream.range(Id::MIN, Id::MAX).map(|entry| u128::from(entry.id.seq)).sum::<u128>()
                + stream.groups_len() as u128
        }
        whole => crate::keyspace::entry_digest(&keyspace_entry(b"", whole.value())),
    }
}

#[test]
fn payloads_come_back() {
    for (name, sample) in samples() {
        for compress in [false, true] {
            let payload = dump::encode(sample.value(), compress, 1);
            let version = u16::from_le_bytes([payload[payload.len() - 10], payload[payload.len() - 9]]);
            assert_eq!(version, if name.contains("deadlines") { 80 } else { 10 }, "{name}");
            let restored = dump::decode(&payload, true, &shaping()).unwrap();
            match (&restored, &sample) {
                (Restored::String(found), Sample::String(bytes)) => assert_eq!(found, bytes, "{name}"),
                (Restored::Collection(found), Sample::Collection(collection)) => {
                    assert_eq!(found.view(), collection.view(), "{name}");
                    assert_eq!(found.view().encoding(), collection.view().encoding(), "{name}");
                }
                _ => panic!("{name}: {restored:?}"),
            }
            let step = if payload.len() > 10_000 { payload.len() / 7 } else { (payload.len() / 50).max(1) };
            for cut in (0..payload.len()).step_by(step) {
                assert!(dump::decode(&payload[..cut], true, &shaping()).is_err(), "{name} cut at {cut}");
            }
            for at in (0..payload.len()).step_by(step) {
                let mut bad = payload.clone();
                bad[at] ^= 1 << (at % 8);
                assert!(dump::decode(&bad, true, &shaping()).is_err(), "{name} with byte {at} flipped");
            }
        }
    }
}

#[test]
fn dead_fields_are_not_dumped() {
    let (_, sample) = samples().into_iter().find(|(name, _)| *name == "hash with deadlines").unwrap();
    let payload = dump::encode(sample.value(), true, 100);
    let Ok(Restored::Collection(Collection::Hash(hash))) = dump::decode(&payload, true, &shaping()) else { panic!() };
    let names: Vec<Vec<u8>> = hash.view().fields().map(|field| field.name.to_vec()).collect();
    assert_eq!(names.len(), 2);
    assert!(!names.contains(&b"5".to_vec()));
}

#[test]
fn redis_own_payloads_are_known() {
    // From the documentation of DUMP: 10, in version 6 of old.
    let payload = b"\x00\xc0\n\n\x00n\x9fWE\x0e\xaec\xbb";
    let Ok(Restored::String(bytes)) = dump::decode(payload, true, &shaping()) else { panic!() };
    assert_eq!(bytes, b"10");
    let trailing = [&payload[..3], b"x", &payload[3..]].concat();
    let error = dump::decode(&trailing, false, &shaping()).unwrap_err().to_string();
    assert!(error.contains("1 bytes follow the value"), "{error}");
}

/// Reads everything, getting behind values that are wrong.
fn devour(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    let (mut assembly, shaping) = (Assembly::default(), shaping());
    let mut events = 0;
    loop {
        events += 1;
        assert!(events <= bytes.len() + 2, "no event without a byte");
        match reader.next_event() {
            Ok(None) => return,
            Ok(Some(Event::Entry(part))) => {
                assert!(part.stored.body.len() <= 100 * bytes.len() + 64);
                let _ = assembly.push(&part.stored, &shaping);
            }
            Ok(Some(_)) => {}
            Err(error) => {
                assert!(error.offset() <= bytes.len() as u64);
                if !error.is_content() || reader.skip_value().is_err() {
                    return;
                }
            }
        }
    }
}

fn small_corpus() -> &'static [Vec<u8>] {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(make_small_corpus);
    &CORPUS
}

fn make_small_corpus() -> Vec<Vec<u8>> {
    let small = |name: &str| !name.contains("arge") && !name.contains("long") && !name.contains("compress");
    let samples = samples();
    [9, 10, 11, 12, VALKEY_VERSION]
        .into_iter()
        .map(|version| {
            let options = writer::Options { drop_field_deadlines: true, ..writer::Options::new(version).unwrap() };
            let mut writer = Writer::new(Vec::new(), options).unwrap();
            for (name, sample) in samples.iter().filter(|(name, _)| small(name)) {
                parts(name.as_bytes(), sample.value(), |part| writer.entry(0, part, Usage::Unknown).unwrap());
            }
            writer.finish().unwrap()
        })
        .chain([file(
            "REDIS0006",
            &[b"\x0a\x01k", &s(&ziplist(&[b"\x01a", b"\xf6"])), b"\x09\x01h", &s(b"\x01\x01a\x01\x001\xff")],
        )])
        .collect()
}

#[test]
fn every_flip_and_cut_of_a_file_ends_in_an_error_or_other_data() {
    for bytes in small_corpus() {
        devour(bytes);
        let whole = read(bytes).unwrap();
        // One of them whole, of the others a part: they differ little.
        let step = if bytes.starts_with(b"REDIS0011") { 1 } else { 11 };
        for at in (0..bytes.len()).step_by(step) {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            devour(&bad);
            assert_ne!(read(&bad).ok().as_ref(), Some(&whole), "byte {at}");
            devour(&bytes[..at]);
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn mutated_files_do_no_harm(which in 0usize..6, edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u8>()), 1..12)) {
        let mut bytes = small_corpus()[which].clone();
        for (at, how, byte) in edits {
            let at = at.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match how {
                0 if !bytes.is_empty() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if bytes.len() > 10 => { bytes.remove(at); }
                _ => bytes.extend_from_within(at..(at + usize::from(byte)).min(bytes.len())),
            }
        }
        devour(&bytes);
    }

    #[test]
    fn any_payload_is_a_value_or_an_error(encoding in 0u8..27, body: Vec<u8>, version in 1u16..14) {
        let payload = [&[encoding][..], &body, &version.to_le_bytes(), &[0; 8]].concat();
        let _ = dump::decode(&payload, false, &shaping());
    }
}
