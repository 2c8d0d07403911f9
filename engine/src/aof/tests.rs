//! Append-only files made byte by byte, and hostile ones.

use super::manifest::{Manifest, Part};
use super::read::{AofError, BadAof, Command, CommandReader, Groups};
use super::write::{CommandWriter, put_command};
use proptest::prelude::*;

/// All groups, as lines: words with spaces, commands with `;`. And how reading ended.
fn groups(bytes: &[u8]) -> (Vec<String>, Result<(), AofError>) {
    let mut groups = Groups::new(CommandReader::new(bytes, 0));
    let (mut group, mut lines) = (Vec::new(), Vec::new());
    loop {
        match groups.take(&mut group) {
            Ok(false) => return (lines, Ok(())),
            Err(error) => return (lines, Err(error)),
            Ok(true) => {
                let commands: Vec<String> = group.iter().map(text).collect();
                lines.push(commands.join("; "));
            }
        }
    }
}

fn text(command: &Command) -> String {
    let words: Vec<String> = command.words().map(|word| word.escape_ascii().to_string()).collect();
    let time = command.time.map_or(String::new(), |time| format!("@{time} "));
    format!("{time}{}", words.join(" "))
}

fn file() -> Vec<u8> {
    let mut writer = CommandWriter::new(Vec::new());
    writer.command(0, &[b"SET", b"k", b"a\r\nb"]).unwrap();
    writer.timestamp(1_700_000_000);
    let transaction: [&[&[u8]]; 2] = [&[b"INCR", b"n"], &[b"DEL", b""]];
    writer.transaction([(0, transaction[0]), (3, transaction[1])]).unwrap();
    writer.command(3, &[b"PING"]).unwrap();
    writer.finish().unwrap()
}

#[test]
fn commands_and_transactions_are_read_as_they_were_written() {
    let bytes = file();
    assert!(bytes.starts_with(
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n#TS:1700000000\r\n"
    ));
    let (lines, end) = groups(&bytes);
    end.unwrap();
    let time = "@1700000000 ";
    let transaction = format!("{time}INCR n; {time}SELECT 3; {time}DEL ");
    assert_eq!(lines, ["SELECT 0", "SET k a\\r\\nb", &transaction, &format!("{time}PING")]);
}

#[test]
fn every_cut_gives_a_prefix_and_says_where_it_ends() {
    let bytes = file();
    let (whole, _) = groups(&bytes);
    for cut in 0..bytes.len() {
        let (lines, end) = groups(&bytes[..cut]);
        assert!(whole.starts_with(&lines), "cut at {cut}");
        match end {
            Ok(()) => {}
            Err(AofError::Cut { offset }) => {
                assert!(offset as usize <= cut);
                // What is before that offset is whole.
                let (before, end) = groups(&bytes[..offset as usize]);
                assert_eq!(before, lines, "cut at {cut}");
                end.unwrap();
            }
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
}

#[test]
fn every_way_to_be_wrong_has_its_name_and_place() {
    for (bytes, offset, why) in [
        (&b"SET k v\r\n"[..], 0, BadAof::NotACommand(b'S')),
        (b"*1\r\n$4\r\nPING\r\n\r\n", 14, BadAof::NotACommand(b'\r')),
        (b"*1\r\n:4\r\n", 4, BadAof::NotAWord(b':')),
        (b"*0\r\n", 0, BadAof::Length),
        (b"*-1\r\n", 0, BadAof::Length),
        (b"*01\r\n", 0, BadAof::Length),
        (b"*1x\r\n", 0, BadAof::Length),
        (b"*2147483648\r\n", 0, BadAof::Length),
        (b"*111111111111111111111111\r\n", 0, BadAof::Length),
        (b"*1\r\n$-1\r\n", 4, BadAof::Length),
        (b"*1\r\n$1073741825\r\n", 4, BadAof::Length),
        (b"*1\r\n$1\r\nab\r\n", 9, BadAof::NoCrlf),
        (b"*1\r$1\r\n", 0, BadAof::NoCrlf),
        (b"#TS:1\n", 0, BadAof::NoCrlf),
        (b"*1\r\n$4\r\nEXEC\r\n", 0, BadAof::ExecWithoutMulti),
        (b"*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n", 15, BadAof::NestedMulti),
    ] {
        match groups(bytes).1 {
            Err(AofError::Bad { offset: at, why: found }) => {
                assert_eq!((at, found), (offset, why), "{}", bytes.escape_ascii());
            }
            other => panic!("{}: {other:?}", bytes.escape_ascii()),
        }
    }
    // Lengths of what does not come take no memory.
    assert!(matches!(groups(b"*2147483647\r\n$1073741824\r\nabc").1, Err(AofError::Cut { offset: 0 })));
    let (lines, end) = groups(b"#anything\r\n*1\r\n$5\r\nmulti\r\n*1\r\n$4\r\nPING\r\n*1\r\n$7\r\nDISCARD\r\n");
    assert_eq!((lines, end.is_ok()), (vec![String::new()], true));
}

#[test]
fn manifests_are_read_and_written_as_redis_does() {
    let text = "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.1.incr.aof seq 1 type h\n\
        file \"a b.incr.aof\" seq 4 type i\nfile c.incr.aof seq 5 type i\n";
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    assert_eq!(manifest.text(), text);
    let names: Vec<&str> = manifest.to_read().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["appendonly.aof.2.base.rdb", "a b.incr.aof", "c.incr.aof"]);
    assert_eq!(manifest.files[1].part, Part::History);
    let more = b"# note\nfile a seq 1 type i startoffset 7 endoffset 9\n";
    assert_eq!(Manifest::parse(more).unwrap().files.len(), 1);
    for (bad, line, why) in [
        (&b""[..], 1, "there is none"),
        (b"file a seq 1 type i", 1, "line feed"),
        (b"file a seq 1 type x\n", 1, "type that is not known"),
        (b"file a seq 1\n", 1, "lacks"),
        (b"file a seq one type i\n", 1, "lacks"),
        (b"file a seq 1 type i more\n", 1, "pairs"),
        (b"file ../a seq 1 type i\n", 1, "path"),
        (b"file .. seq 1 type i\n", 1, "path"),
        (b"file \"a seq 1 type i\n", 1, "quotes"),
        (b"file a seq 1 type b\nfile b seq 2 type b\n", 2, "two base"),
        (b"file a seq 2 type i\nfile b seq 2 type i\n", 2, "order"),
        (b"\n", 1, "pairs"),
    ] {
        let error = Manifest::parse(bad).unwrap_err();
        assert!(error.line == line && error.why.contains(why), "{error}");
    }
}

proptest! {
    #[test]
    fn any_commands_come_back(commands in prop::collection::vec(prop::collection::vec(any::<Vec<u8>>(), 1..5), 0..10)) {
        let mut bytes = Vec::new();
        for words in &commands {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            put_command(&mut bytes, &words);
        }
        let mut reader = CommandReader::new(bytes.as_slice(), 0);
        let mut command = Command::default();
        for words in &commands {
            prop_assert!(reader.take(&mut command).unwrap());
            prop_assert!(command.words().eq(words.iter().map(Vec::as_slice)));
        }
        prop_assert!(!reader.take(&mut command).unwrap());
    }

    #[test]
    fn mutated_files_do_no_harm(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..6)) {
        let mut bytes = file();
        for (at, byte, insert) in edits {
            let at = at.index(bytes.len());
            if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        }
        let (lines, _) = groups(&bytes);
        prop_assert!(lines.len() <= bytes.len());
        let _ = Manifest::parse(&bytes);
    }
}
