//! Statistics by key prefix: how many keys and bytes there are of each, and which prefix a key has.
//!
//! A prefix is one of a given list (the longest that fits counts), or else what stands before a delimiter, that included, as long as
//! there are not too many of those. What has none of them is counted together, as the first row.
//!
//! 1. Keys and bytes are exact: every change of a database passes through here ([`Prefixes::change`]), whatever made it. There is one
//!    table for all databases. It stays with the one that changes, so that it costs nothing to find.
//! 2. Turned on, it counts what is there in slices. Keys at positions that the count has not reached are left to it: so numbers
//!    are exact for what is counted, and complete once [`Prefixes::is_complete`].
//! 3. A prefix has a row from its first key on or never: one that came when all rows were taken stays with the others. So no key is
//!    counted in one row and uncounted in another.

use std::sync::Arc;

/// Which prefixes there are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PrefixSettings {
    /// These.
    pub listed: Vec<Box<[u8]>>,
    /// And what stands before this, unless it is empty.
    pub delimiter: Box<[u8]>,
    /// So many of the latter at most.
    pub discovered_max: usize,
}

impl PrefixSettings {
    /// Whether anything is to be counted.
    pub fn is_on(&self) -> bool {
        !self.listed.is_empty() || !self.delimiter.is_empty()
    }
}

/// What is counted of one prefix in all databases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PrefixSize {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values, by size classes of the allocator; the index is not counted.
    pub bytes: u64,
}

/// A discovered prefix is no longer than this.
const DISCOVERED_LEN_MAX: usize = 64;

/// The table.
#[derive(Debug)]
pub struct Prefixes {
    settings: Arc<PrefixSettings>,
    rows: Vec<Row>,
    /// Row numbers by hash, 0 is none: open addressing, at most half full.
    slots: Vec<u16>,
    /// Lengths of listed prefixes, the longest first.
    lengths: Vec<usize>,
    /// The row found last: most keys that follow each other have the same prefix.
    last: usize,
    /// Rows may still be discovered.
    has_room: bool,
    /// The database whose changes come next.
    current: usize,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Row {
    prefix: Box<[u8]>,
    /// Whatever begins with it belongs here: no listed prefix is a longer one.
    exclusive: bool,
}

/// One database's share.
#[derive(Debug, Default)]
struct Column {
    sizes: Vec<PrefixSize>,
    /// Where the count goes on; `None` when everything has been counted.
    next: Option<u64>,
}

impl Column {
    #[inline]
    fn change(&mut self, row: usize, keys: u64, bytes: u64) {
        if row >= self.sizes.len() {
            self.sizes.resize(row + 1, PrefixSize::default());
        }
        let size = &mut self.sizes[row];
        size.keys = size.keys.wrapping_add(keys);
        size.bytes = size.bytes.wrapping_add(bytes);
    }
}

impl Prefixes {
    /// A table for databases that are empty, or not, each.
    pub(super) fn new(settings: &Arc<PrefixSettings>, current: usize, empty: impl Iterator<Item = bool>) -> Prefixes {
        let columns = empty.map(|empty| Column { sizes: Vec::new(), next: (!empty).then_some(0) }).collect();
        let mut lengths: Vec<usize> = settings.listed.iter().map(|prefix| prefix.len()).collect();
        lengths.sort_unstable_by(|one, other| other.cmp(one));
        lengths.dedup();
        let rows_max = settings.listed.len() + settings.discovered_max + 1;
        let mut prefixes = Prefixes {
            rows: vec![Row { prefix: Box::default(), exclusive: false }],
            slots: vec![0; (2 * rows_max).next_power_of_two()],
            lengths,
            last: 0,
            has_room: false,
            current,
            columns,
            settings: Arc::clone(settings),
        };
        for prefix in settings.listed.iter().filter(|prefix| !prefix.is_empty()) {
            if prefixes.find(prefix).is_none() {
                prefixes.add_row(prefix);
            }
        }
        prefixes.has_room = !settings.delimiter.is_empty() && settings.discovered_max > 0;
        prefixes
    }

    /// The settings it was made with.
    pub(super) fn settings(&self) -> &Arc<PrefixSettings> {
        &self.settings
    }

    fn slot_of(&self, prefix: &[u8]) -> usize {
        let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (first, last) = match prefix.first_chunk::<8>() {
            Some(first) => (word(Some(first)), word(prefix.last_chunk())),
            None => {
                let mut bytes = [0; 8];
                bytes[..prefix.len()].copy_from_slice(prefix);
                (u64::from_le_bytes(bytes), 0)
            }
        };
        let hash = (first ^ last.rotate_left(29) ^ prefix.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & (self.slots.len() - 1)
    }

    /// The row of exactly this prefix.
    #[inline]
    fn find(&self, prefix: &[u8]) -> Option<usize> {
        let mut slot = self.slot_of(prefix);
        loop {
            let row = usize::from(self.slots[slot]);
            if row == 0 {
                return None;
            }
            if *self.rows[row].prefix == *prefix {
                return Some(row);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    #[cold]
    fn add_row(&mut self, prefix: &[u8]) -> usize {
        let longer = |other: &[u8]| other.len() > prefix.len() && other.starts_with(prefix);
        let exclusive = !self.settings.listed.iter().any(|other| longer(other));
        let row = self.rows.len();
        self.rows.push(Row { prefix: prefix.into(), exclusive });
        let mut slot = self.slot_of(prefix);
        while self.slots[slot] != 0 {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = row as u16;
        row
    }

    /// The row of a key; makes one for a prefix that is new if the key `exists`.
    #[inline]
    pub(crate) fn row_of(&mut self, key: &[u8], exists: bool) -> usize {
        let last = &self.rows[self.last];
        if last.exclusive && key.starts_with(&last.prefix) {
            return self.last;
        }
        let row = self.look_up(key, exists);
        self.last = row;
        row
    }

    fn look_up(&mut self, key: &[u8], exists: bool) -> usize {
        for &len in &self.lengths {
            if let Some(prefix) = key.get(..len)
                && let Some(row) = self.find(prefix)
            {
                return row;
            }
        }
        let delimiter = &self.settings.delimiter;
        let at = match **delimiter {
            [] => None,
            [byte] => memchr::memchr(byte, &key[..key.len().min(DISCOVERED_LEN_MAX)]),
            _ => memchr::memmem::find(&key[..key.len().min(DISCOVERED_LEN_MAX)], delimiter),
        };
        let Some(at) = at else { return 0 };
        let prefix = &key[..at + delimiter.len()];
        match self.find(prefix) {
            Some(row) => row,
            None if exists && self.has_room => {
                let row = self.add_row(prefix);
                self.has_room = self.rows.len() <= self.settings.listed.len() + self.settings.discovered_max;
                row
            }
            None => 0,
        }
    }

    /// A key of the current database came (`before` is `None`), went (`after` is), or takes another number of bytes.
    pub(super) fn change(&mut self, key: &[u8], position: u64, before: Option<u64>, after: Option<u64>) {
        if self.columns[self.current].next.is_some_and(|next| position >= next) {
            return;
        }
        let row = self.row_of(key, true);
        let keys = u64::from(after.is_some()).wrapping_sub(u64::from(before.is_some()));
        let bytes = after.unwrap_or(0).wrapping_sub(before.unwrap_or(0));
        self.columns[self.current].change(row, keys, bytes);
    }

    /// Changes of another database come next.
    pub(super) fn turn_to(&mut self, db: usize) {
        self.current = db;
    }

    /// Two databases were exchanged.
    pub(super) fn swap(&mut self, one: usize, other: usize) {
        self.columns.swap(one, other);
    }

    /// A database was emptied.
    pub(super) fn clear(&mut self, db: usize) {
        self.columns[db] = Column::default();
    }

    /// The next database that is not counted yet, and from which position on.
    pub(super) fn uncounted(&self) -> Option<(usize, u64)> {
        self.columns.iter().enumerate().find_map(|(db, column)| Some((db, column.next?)))
    }

    /// The count has seen a key of a database.
    pub(super) fn count(&mut self, db: usize, key: &[u8], bytes: u64) {
        let row = self.row_of(key, true);
        self.columns[db].change(row, 1, bytes);
    }

    /// The count has come so far in a database.
    pub(super) fn counted(&mut self, db: usize, next: Option<u64>) {
        self.columns[db].next = next;
    }

    /// Whether everything has been counted.
    pub fn is_complete(&self) -> bool {
        self.uncounted().is_none()
    }

    /// All prefixes with what there is of them; the first, which is empty, stands for all others.
    pub fn sizes(&self) -> impl Iterator<Item = (&[u8], PrefixSize)> {
        self.rows.iter().enumerate().map(|(number, row)| {
            let mut sum = PrefixSize::default();
            for size in self.columns.iter().filter_map(|column| column.sizes.get(number)) {
                sum.keys += size.keys;
                sum.bytes += size.bytes;
            }
            (&*row.prefix, sum)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(listed: &[&str], delimiter: &str, discovered_max: usize) -> Prefixes {
        let listed = listed.iter().map(|prefix| prefix.as_bytes().into()).collect();
        let settings = PrefixSettings { listed, delimiter: delimiter.as_bytes().into(), discovered_max };
        Prefixes::new(&Arc::new(settings), 0, [true; 2].into_iter())
    }

    fn name(table: &mut Prefixes, key: &str) -> String {
        let row = table.row_of(key.as_bytes(), true);
        String::from_utf8_lossy(&table.rows[row].prefix).into_owned()
    }

    #[test]
    fn the_longest_listed_prefix_counts_whatever_came_before() {
        let mut table = table(&["a:", "a:b:", "session:", "x", "session:admin-with-a-long-name:"], "", 0);
        for _ in 0..2 {
            for (key, prefix) in [
                ("a:1", "a:"),
                ("a:b:1", "a:b:"),
                ("a:b", "a:"),
                ("session:1", "session:"),
                ("session:admin-with-a-long-name:7", "session:admin-with-a-long-name:"),
                ("session:admin", "session:"),
                ("x", "x"),
                ("xy", "x"),
                ("", ""),
                ("b", ""),
                ("sess", ""),
            ] {
                assert_eq!(name(&mut table, key), prefix, "{key}");
            }
        }
    }

    #[test]
    fn prefixes_are_discovered_by_their_delimiter_up_to_a_bound_and_only_for_keys_that_are() {
        let mut table = table(&["listed:"], "::", 3);
        assert_eq!(table.row_of(b"one::1", false), 0, "nobody has such a key");
        for key in ["one::1", "two::", "::", "listed:a::b", "one::2::3"] {
            name(&mut table, key);
        }
        assert_eq!(name(&mut table, "one::2::3"), "one::");
        assert_eq!(name(&mut table, "::x"), "::");
        assert_eq!(name(&mut table, "listed:a::b"), "listed:");
        assert_eq!(name(&mut table, "four::1"), "", "that would be one too many");
        assert_eq!(name(&mut table, &format!("{}::", "long".repeat(40))), "");
        assert_eq!(table.rows.len(), 5);
    }

    #[test]
    fn what_the_count_has_not_reached_is_left_to_it() {
        let settings = PrefixSettings { listed: vec![b"a".as_slice().into()], ..PrefixSettings::default() };
        let mut table = Prefixes::new(&Arc::new(settings), 0, [false, true].into_iter());
        let size = |table: &Prefixes| table.sizes().nth(1).map(|(_, size)| (size.keys, size.bytes));
        table.change(b"a1", 50, None, Some(8));
        assert_eq!((size(&table), table.uncounted()), (Some((0, 0)), Some((0, 0))));
        table.count(0, b"a0", 16);
        table.counted(0, Some(40));
        table.change(b"a2", 30, None, Some(24));
        table.change(b"a1", 50, Some(8), None);
        assert_eq!(size(&table), Some((2, 40)));
        table.change(b"a2", 30, Some(24), Some(32));
        table.counted(0, None);
        table.change(b"a0", 20, Some(16), None);
        assert_eq!((size(&table), table.is_complete()), (Some((1, 32)), true));
        table.turn_to(1);
        table.change(b"a9", 1, None, Some(8));
        assert_eq!(size(&table), Some((2, 40)));
        table.swap(0, 1);
        table.clear(1);
        assert_eq!(size(&table), Some((1, 8)));
    }
}
