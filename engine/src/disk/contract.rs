//! What every [`Disk`] does when nothing fails: run against the real and the simulated one, so that they cannot drift apart.

use super::{Disk, OpenMode, read_full_at, write_all_at};
use std::any::Any;
use std::io::ErrorKind;

/// An empty disk, and what must live as long as it.
type Fresh<'a> = &'a dyn Fn() -> (Box<dyn Disk>, Box<dyn Any>);

/// Runs all checks, each on a fresh disk.
pub(super) fn check(fresh: Fresh<'_>) {
    for check in [open_modes, reads_and_writes, lengths, names, handles_outlive_names, locks] {
        let (disk, _keep) = fresh();
        check(&*disk);
    }
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("this must fail"),
        Err(error) => error.kind(),
    }
}

fn listed(disk: &dyn Disk) -> Vec<(String, u64)> {
    disk.list().unwrap().into_iter().map(|entry| (entry.name, entry.len)).collect()
}

fn open_modes(disk: &dyn Disk) {
    assert_eq!(kind(disk.open("a", OpenMode::Read)), ErrorKind::NotFound);
    assert_eq!(kind(disk.open("a", OpenMode::Write)), ErrorKind::NotFound);
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    assert_eq!(kind(disk.open("a", OpenMode::CreateNew)), ErrorKind::AlreadyExists);
    write_all_at(&*file, b"abc", 0).unwrap();
    let writer = disk.open("a", OpenMode::Write).unwrap();
    write_all_at(&*writer, b"X", 1).unwrap();
    let reader = disk.open("a", OpenMode::Read).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(read_full_at(&*reader, &mut buffer, 0).unwrap(), 3);
    assert_eq!(&buffer[..3], b"aXc");
    reader.write_at(b"Y", 0).unwrap_err();
    reader.set_len(0).unwrap_err();
    assert_eq!(reader.len().unwrap(), 3);
}

fn reads_and_writes(disk: &dyn Disk) {
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 0);
    write_all_at(&*file, b"end", 5000).unwrap();
    let mut buffer = vec![1; 6000];
    assert_eq!(read_full_at(&*file, &mut buffer, 0).unwrap(), 5003);
    assert!(buffer[..5000].iter().all(|&byte| byte == 0), "a hole reads as zeros");
    assert_eq!(&buffer[5000..5003], b"end");
    assert_eq!(file.read_at(&mut buffer, 5003).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, 9999).unwrap(), 0);
    file.sync().unwrap();
    file.drop_cache().unwrap();
    assert_eq!(read_full_at(&*file, &mut buffer[..3], 5000).unwrap(), 3);
    assert_eq!(&buffer[..3], b"end");
}

fn lengths(disk: &dyn Disk) {
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    write_all_at(&*file, b"abcdef", 0).unwrap();
    file.preallocate(100_000).unwrap();
    assert_eq!(file.len().unwrap(), 6, "reserving blocks does not change the length");
    file.preallocate(0).unwrap();
    file.set_len(3).unwrap();
    file.set_len(5).unwrap();
    let mut buffer = [9; 8];
    assert_eq!(read_full_at(&*file, &mut buffer, 0).unwrap(), 5);
    assert_eq!(&buffer[..5], b"abc\0\0", "what was cut off does not come back");
}

fn names(disk: &dyn Disk) {
    assert_eq!(listed(disk), []);
    for name in ["b", "c", "a"] {
        write_all_at(&*disk.open(name, OpenMode::CreateNew).unwrap(), name.as_bytes(), 0).unwrap();
    }
    disk.rename("c", "a").unwrap();
    assert_eq!(listed(disk), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    let mut byte = [0];
    disk.open("a", OpenMode::Read).unwrap().read_at(&mut byte, 0).unwrap();
    assert_eq!(&byte, b"c", "a rename replaces its target");
    disk.rename("a", "a").unwrap();
    disk.remove("b").unwrap();
    assert_eq!(kind(disk.remove("b")), ErrorKind::NotFound);
    assert_eq!(kind(disk.rename("b", "d")), ErrorKind::NotFound);
    disk.sync_dir().unwrap();
    assert_eq!(listed(disk), [("a".to_owned(), 1)]);
    let long = "x".repeat(256);
    for bad in ["", ".", "..", "a/b", "../a", "/a", "a\0b", &long] {
        assert_eq!(kind(disk.open(bad, OpenMode::CreateNew)), ErrorKind::InvalidInput, "{bad:?}");
        assert_eq!(kind(disk.rename("a", bad)), ErrorKind::InvalidInput, "{bad:?}");
        assert_eq!(kind(disk.rename(bad, "a")), ErrorKind::InvalidInput, "{bad:?}");
        assert_eq!(kind(disk.remove(bad)), ErrorKind::InvalidInput, "{bad:?}");
    }
}

fn handles_outlive_names(disk: &dyn Disk) {
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    write_all_at(&*file, b"old", 0).unwrap();
    disk.rename("a", "b").unwrap();
    write_all_at(&*file, b"new", 0).unwrap();
    let mut buffer = [0; 3];
    disk.open("b", OpenMode::Read).unwrap().read_at(&mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"new");
    disk.remove("b").unwrap();
    disk.sync_dir().unwrap();
    write_all_at(&*file, b"end", 0).unwrap();
    file.sync().unwrap();
    file.read_at(&mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"end");
    assert_eq!(listed(disk), []);
}

fn locks(disk: &dyn Disk) {
    let held = disk.lock().unwrap();
    assert_eq!(kind(disk.lock().map(drop)), ErrorKind::WouldBlock);
    assert_eq!(listed(disk), [], "the lock is not one of the files");
    drop(held);
    disk.lock().map(drop).unwrap();
    assert!(!disk.describe().is_empty());
}
