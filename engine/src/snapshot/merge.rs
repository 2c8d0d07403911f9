//! Writes a snapshot from entries that come one by one, in order: what offline tools make, where no keyspace is captured.
//!
//! 1. Within a database entries come in order of position. Databases may alternate; a block ends where another one begins.
//! 2. Memory: one block, one write, and the rows of the index (48 bytes for some 64 KB of data).
//! 3. The file has a temporary name until all of it is synced, and is a snapshot only after [`OrderedWriter::finish`].

use super::block::{BlockInfo, BlockKind, encode_block};
use super::index::{
    AuxPair, FOOTER_LEN, Footer, INDEX_ROWS_MAX, IndexRow, check_layout, encode_aux, encode_rows, sort_rows,
};
use super::{BadSnapshot, LIBRARY_AUX, SnapshotError};
use crate::disk::{Disk, File, OpenMode, write_all_at};
use crate::format::{FileHeader, FileKind, FileName, Seed};
use crate::keyspace::{Entry, entry};
use crate::limits::{BLOCK_LEN_TARGET, SNAPSHOT_WRITE_LEN};
use std::sync::Arc;

/// A snapshot in the making.
pub struct OrderedWriter {
    disk: Arc<dyn Disk>,
    header: FileHeader,
    seed: Seed,
    name: String,
    temporary: String,
    file: Option<Box<dyn File>>,
    /// Entries of the open block.
    block: Vec<u8>,
    info: Option<BlockInfo>,
    rows: Vec<IndexRow>,
    /// Encoded bytes not yet written; they belong at `written`.
    buffer: Vec<u8>,
    written: u64,
    entries: u64,
    part: Vec<u8>,
}

impl std::fmt::Debug for OrderedWriter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("OrderedWriter")
            .field("name", &self.name)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl OrderedWriter {
    /// Begins the snapshot that `header` describes (its `kind` and `flags` are set here), with `aux` beside the entries.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn create(disk: Arc<dyn Disk>, mut header: FileHeader, aux: &[AuxPair]) -> Result<Self, SnapshotError> {
        (header.kind, header.flags) = (FileKind::Snapshot, 0);
        let name = FileName::Snapshot { lsn: header.number, epoch: header.epoch }.to_string();
        let temporary = FileName::Temporary(name.clone()).to_string();
        let file = disk.open(&temporary, OpenMode::CreateNew);
        let file = file.map_err(|error| SnapshotError::disk("creating", &temporary, None, error))?;
        let mut writer = OrderedWriter {
            disk,
            seed: header.seed(),
            name,
            temporary,
            file: Some(file),
            block: Vec::new(),
            info: None,
            rows: Vec::new(),
            buffer: header.encode().to_vec(),
            written: 0,
            entries: 0,
            part: Vec::new(),
            header,
        };
        let mut payload = Vec::new();
        encode_aux(aux, &mut payload);
        let info = BlockInfo { kind: BlockKind::Auxiliary, db: 0, count: aux.len() as u64, first: 0, last: 0 };
        writer.append(info, &payload)?;
        Ok(writer)
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Adds the next entry, whose key has `position`.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn push(&mut self, db: u32, position: u64, entry: &Entry<'_>) -> Result<(), SnapshotError> {
        self.part.clear();
        let mut part = std::mem::take(&mut self.part);
        let result = self.push_parts(db, position, entry, &mut part);
        self.part = part;
        result
    }

    /// Adds a library of functions; in any place among the entries.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn push_library(&mut self, source: &[u8]) -> Result<(), SnapshotError> {
        self.close()?;
        let mut payload = Vec::new();
        encode_aux(&[AuxPair { name: LIBRARY_AUX.into(), value: source.to_vec() }], &mut payload);
        self.append(BlockInfo { kind: BlockKind::Auxiliary, db: 0, count: 1, first: 0, last: 0 }, &payload)
    }

    fn push_parts(
        &mut self,
        db: u32,
        position: u64,
        entry: &Entry<'_>,
        part: &mut Vec<u8>,
    ) -> Result<(), SnapshotError> {
        let mut next = entry::encode_part(entry, 0, BLOCK_LEN_TARGET, part);
        if next.is_none() {
            return self.push_bytes(db, position, part);
        }
        self.close()?;
        loop {
            let count = u64::from(next.is_none());
            self.append(BlockInfo { kind: BlockKind::Part, db, count, first: position, last: position }, part)?;
            self.entries += count;
            let Some(from) = next else { return Ok(()) };
            part.clear();
            next = entry::encode_part(entry, from, BLOCK_LEN_TARGET, part);
        }
    }

    /// Adds the next entry as [`entry::encode`] gave it, whole.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn push_bytes(&mut self, db: u32, position: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        // A block ends between positions, so that blocks do not overlap.
        let ends = self.info.is_some_and(|info| {
            info.db != db || position < info.last || (self.block.len() >= BLOCK_LEN_TARGET && position != info.last)
        });
        if ends {
            self.close()?;
        }
        self.block.extend_from_slice(bytes);
        let fresh = BlockInfo { kind: BlockKind::Entries, db, count: 0, first: position, last: position };
        let info = self.info.get_or_insert(fresh);
        info.count += 1;
        info.last = position;
        self.entries += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), SnapshotError> {
        let Some(info) = self.info.take() else { return Ok(()) };
        let block = std::mem::take(&mut self.block);
        let result = self.append(info, &block);
        self.block = block;
        self.block.clear();
        result
    }

    fn append(&mut self, info: BlockInfo, raw: &[u8]) -> Result<(), SnapshotError> {
        if self.rows.len() >= INDEX_ROWS_MAX {
            let full = std::io::Error::other(format!("a snapshot has at most {INDEX_ROWS_MAX} blocks"));
            return Err(SnapshotError::disk("extending", &self.temporary, self.written, full));
        }
        let offset = self.written + self.buffer.len() as u64;
        let header = encode_block(&mut self.buffer, info, raw, &self.seed, offset);
        self.rows.push(IndexRow::of(&header, offset));
        if self.buffer.len() >= SNAPSHOT_WRITE_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        let Some(file) = self.file.as_deref() else { return Ok(()) };
        write_all_at(file, &self.buffer, self.written)
            .map_err(|error| SnapshotError::disk("writing", &self.temporary, self.written, error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file, syncs it, gives it its name, and syncs the folder. Says the name.
    ///
    /// # Errors
    /// [`SnapshotError`]: the disk's; or that entries did not come in order, which a reader would refuse.
    pub fn finish(mut self) -> Result<String, SnapshotError> {
        self.close()?;
        sort_rows(&mut self.rows);
        let index_offset = self.written + self.buffer.len() as u64;
        let mut payload = Vec::new();
        encode_rows(&self.rows, &mut payload);
        let info = BlockInfo { kind: BlockKind::Index, db: 0, count: self.rows.len() as u64, first: 0, last: 0 };
        let header = encode_block(&mut self.buffer, info, &payload, &self.seed, index_offset);
        let footer = Footer {
            index_offset,
            entries: self.entries,
            lsn: self.header.number,
            file_len: index_offset + header.block_len() + FOOTER_LEN as u64,
            durable: self.header.durable,
        };
        self.buffer.extend_from_slice(&footer.encode(&self.seed));
        check_layout(&self.rows, &footer)
            .map_err(|why| SnapshotError::bad(&self.temporary, index_offset, BadSnapshot::Index(why)))?;
        self.flush()?;
        let failed = |doing| {
            let temporary = self.temporary.clone();
            move |error| SnapshotError::disk(doing, &temporary, None, error)
        };
        if let Some(file) = self.file.take() {
            file.sync().map_err(failed("syncing"))?;
        }
        self.disk.rename(&self.temporary, &self.name).map_err(failed("renaming"))?;
        self.disk.sync_dir().map_err(failed("syncing the folder of"))?;
        Ok(std::mem::take(&mut self.name))
    }
}

/// One that is forgotten leaves no file behind.
impl Drop for OrderedWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = self.disk.remove(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::format::StoreId;
    use crate::key::HashSeed;
    use crate::keyspace::Value;
    use crate::snapshot::reader::{BlockBuffer, SnapshotReader};

    #[test]
    fn entries_in_order_are_a_snapshot_that_a_reader_accepts() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let hash_seed = HashSeed([7; 16]);
        let header = FileHeader {
            kind: FileKind::Snapshot,
            flags: 0,
            store: StoreId([1; 16]),
            hash_seed,
            number: 9,
            epoch: 3,
            created_ms: 5,
            durable: 9,
        };
        let mut writer = OrderedWriter::create(Arc::clone(&disk), header, &[AuxPair::text("databases", 16)]).unwrap();
        for db in [0, 3] {
            let mut keys: Vec<String> = (0..5000).map(|number| format!("key:{db}:{number}")).collect();
            keys.sort_by_key(|key| hash_seed.position(key.as_bytes()));
            for key in &keys {
                let value = Value::String(&[b'v'; 100]);
                let entry = Entry { key: key.as_bytes(), value, deadline: Some(77), edited: false, access: 3 << 8 };
                writer.push(db, hash_seed.position(key.as_bytes()), &entry).unwrap();
            }
            writer.push_library(format!("#!lua name=lib{db}\n").as_bytes()).unwrap();
        }
        let name = writer.finish().unwrap();
        let reader = SnapshotReader::open(&*disk, &name, None).unwrap();
        let verified = reader.verify_all(|_| {}, |_, error| panic!("{error}")).unwrap();
        assert_eq!((verified.entries, reader.footer().lsn), (10_000, 9));
        assert_eq!(reader.aux().iter().filter(|pair| pair.name == b"library").count(), 2);
        let found = reader.find(3, b"key:3:17", &mut BlockBuffer::default(), |entry| entry.deadline).unwrap();
        assert_eq!(found, Some(Some(77)));
    }

    #[test]
    fn entries_out_of_order_are_refused_and_leave_no_file() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let hash_seed = HashSeed([7; 16]);
        let (store, kind) = (StoreId([1; 16]), FileKind::Snapshot);
        let header = FileHeader { kind, flags: 0, store, hash_seed, number: 1, epoch: 1, created_ms: 0, durable: 1 };
        let mut writer = OrderedWriter::create(Arc::clone(&disk), header, &[]).unwrap();
        for position in [5, 9, 7, 8] {
            let entry = Entry { key: b"k", value: Value::String(b""), deadline: None, edited: false, access: 0 };
            writer.push(0, position, &entry).unwrap();
        }
        assert!(writer.finish().is_err());
        assert!(disk.list().unwrap().is_empty());
    }
}
