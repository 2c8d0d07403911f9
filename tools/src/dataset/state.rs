//! The state that a base and the changes on top of it give, in bounded memory.
//!
//! 1. A first pass over the changes notes which positions they touch (a bitmap of 2^26 bits: a false hit only costs memory), how many bytes
//!    they may need for each slice of positions, what becomes of whole databases, and which keys are tied together by commands with
//!    several keys.
//! 2. If there are many ranges, changes (and the touched entries of a base without order) are spread over files by range ([`super::spread`]).
//!    Then, range of positions by range, the touched keys of the base are loaded into a small engine and the changes of that range are replayed
//!    in it; untouched entries pass by. If the engine grows beyond the budget all the same, the range is halved on the way, and the upper
//!    half comes later.
//! 3. Keys that are tied together live in an engine of their own for the whole time: they are the one part that is not bounded
//!    by the budget, but by how many there are. A command that may read any key (SORT with patterns) makes it one range of all.
//! 4. With an ordered base entries come range by range, within that by database, within that by position: what
//!    [`firn_engine::snapshot::merge::OrderedWriter`] takes.

use super::change::{self, Change, Touches, touched};
use super::spread::{PARTS_MAX, Spread};
use super::{Base, Damages, Loss, Tail, Unnamed, Visit};
use crate::ToolError;
use crate::filter::Filter;
use crate::folder::{Finding, Severity};
use firn_engine::command::{Args, NoReply, Session};
use firn_engine::engine::Engine;
use firn_engine::key::HashSeed;
use firn_engine::keyspace::libraries::Libraries;
use firn_engine::keyspace::{Deadline, Entry, Keyspace, Value};
use firn_engine::log::Effects;
use std::collections::{HashMap, HashSet};

const BITMAP_BITS: u32 = 26;
const SLICE_BITS: u32 = 12;
/// How often the engine's size is looked at, in commands.
const LOOK_EVERY: u32 = 256;
/// What a key takes beside its own bytes: header, index, and the tool's own lists.
const BESIDE_KEY: u64 = 96;
/// With more parts than this the changes are spread over files, instead of being read again for each.
const PARTS_READ_AGAIN: usize = 2;
/// Databases at most, whatever a file says.
const DATABASES_MAX: usize = firn_engine::limits::DATABASES_MAX;

/// What the first pass over the changes found out.
struct Survey {
    touched: Vec<u64>,
    slices: Vec<u64>,
    linked: HashSet<u64>,
    /// Which database of the base stands at each number in the end: `at[number]`.
    at: Vec<Option<usize>>,
    /// Numbers behind these hold what they held: no FLUSHALL came.
    rest_stays: bool,
    anything: bool,
    changes: u64,
    /// FUNCTION commands as the log has them.
    functions: Vec<Vec<Vec<u8>>>,
}

impl Survey {
    fn of(tail: &dyn Tail, base: &dyn Base, filter: &Filter, damages: &Damages) -> Result<Survey, ToolError> {
        let mut survey = Survey {
            touched: Vec::new(),
            slices: vec![0; 1 << SLICE_BITS],
            linked: HashSet::new(),
            at: Vec::new(),
            rest_stays: true,
            anything: false,
            changes: 0,
            functions: Vec::new(),
        };
        let (seed, (entries, bytes)) = (base.seed(), base.size());
        let mean = bytes.checked_div(entries).unwrap_or(0) + BESIDE_KEY;
        let mut keys = Vec::new();
        // Damage that comes behind it counts more.
        let mut unreadable = None;
        tail.visit(&mut |change| {
            survey.changes += 1;
            let databases = change.db.max(named(change));
            if databases >= DATABASES_MAX {
                return Err(ToolError::Damage(format!(
                    "{}: database {databases} is above any that there can be",
                    place(change)
                )));
            }
            survey.grow(databases + 1);
            let Some((_, touches)) = touched(change.words, &mut keys) else {
                if let Err(error) = damages.report(unknown(change)) {
                    unreadable.get_or_insert(error);
                }
                return Ok(());
            };
            match touches {
                Touches::Nothing if change.words[0].eq_ignore_ascii_case(b"FUNCTION") => {
                    survey.functions.push(change.words.iter().map(|word| word.to_vec()).collect());
                }
                Touches::Nothing => {}
                Touches::Databases => survey.databases(change),
                Touches::Anything => survey.anything = true,
                Touches::Together => survey.linked.extend(keys.iter().map(|at| seed.position(change.words[*at]))),
                Touches::Keys => {
                    let bytes: usize = change.words.iter().map(|word| word.len()).sum();
                    let share = bytes as u64 / keys.len() as u64;
                    for &at in &keys {
                        let key = change.words[at];
                        if filter.wants_all_keys() || filter.wants_name(key) {
                            survey.touch(seed.position(key), share, mean);
                        }
                    }
                }
            }
            Ok(())
        })?;
        unreadable.map_or(Ok(survey), Err)
    }

    /// The libraries in the end. The base knows its own when it has been visited.
    fn libraries(&self, base: &dyn Base) -> Libraries {
        let mut libraries = base.libraries();
        for words in &self.functions {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            function(&mut libraries, &words);
        }
        libraries
    }

    fn grow(&mut self, databases: usize) {
        for number in self.at.len()..databases {
            self.at.push(self.rest_stays.then_some(number));
        }
    }

    fn databases(&mut self, change: &Change<'_>) {
        match change.words[0].to_ascii_uppercase().as_slice() {
            b"FLUSHALL" => {
                self.at.fill(None);
                self.rest_stays = false;
            }
            b"FLUSHDB" => self.at[change.db] = None,
            _ => {
                let number = |at: usize| {
                    let word = change.words.get(at)?;
                    usize::try_from(firn_engine::number::parse_integer(word)?).ok()
                };
                if let (Some(one), Some(other)) = (number(1), number(2)) {
                    self.at.swap(one, other);
                }
            }
        }
    }

    fn touch(&mut self, position: u64, bytes: u64, mean: u64) {
        if self.touched.is_empty() {
            self.touched = vec![0; 1 << (BITMAP_BITS - 6)];
        }
        let bit = position >> (64 - BITMAP_BITS);
        let word = &mut self.touched[(bit >> 6) as usize];
        let slice = &mut self.slices[(position >> (64 - SLICE_BITS)) as usize];
        // Whether more changes of a key add to it nobody knows beforehand: a range that was judged too small is halved later.
        *slice += if *word & (1 << (bit & 63)) == 0 { bytes + mean } else { bytes / 16 };
        *word |= 1 << (bit & 63);
    }

    fn is_touched(&self, position: u64) -> bool {
        let bit = position >> (64 - BITMAP_BITS);
        self.anything || self.touched.get((bit >> 6) as usize).is_some_and(|word| word & (1 << (bit & 63)) != 0)
    }

    /// Where the database of the base is in the end.
    fn fate(&self, db: usize) -> Option<usize> {
        if db >= self.at.len() { self.rest_stays.then_some(db) } else { self.at.iter().position(|at| *at == Some(db)) }
    }

    /// The last position of a range from `start` on that is worth `budget` bytes.
    fn range_end(&self, start: u64, budget: u64) -> u64 {
        if self.anything {
            return u64::MAX;
        }
        let mut slice = (start >> (64 - SLICE_BITS)) as usize;
        let mut sum = 0;
        while slice < self.slices.len() {
            sum += self.slices[slice];
            if sum > budget && slice > (start >> (64 - SLICE_BITS)) as usize {
                return ((slice as u64) << (64 - SLICE_BITS)) - 1;
            }
            slice += 1;
        }
        u64::MAX
    }
}

/// FUNCTION as a log or an append-only file has it. The one who recorded it had understood it.
fn function(libraries: &mut Libraries, words: &[&[u8]]) {
    let is = |at: usize, word: &str| words.get(at).is_some_and(|is| is.eq_ignore_ascii_case(word.as_bytes()));
    let sources = match words {
        [_, _, .., source] if is(1, "LOAD") => vec![source.to_vec()],
        [_, _, payload, ..] if is(1, "RESTORE") => {
            if is(3, "FLUSH") {
                libraries.flush();
            }
            firn_engine::rdb::functions::decode(payload).unwrap_or_default()
        }
        [_, _, name] if is(1, "DELETE") => {
            libraries.delete(name);
            return;
        }
        _ => {
            if is(1, "FLUSH") {
                libraries.flush();
            }
            return;
        }
    };
    for source in sources {
        let _ = libraries.load(&source);
    }
}

impl Survey {
    /// The last positions of the parts over which changes are spread: ranges that are worth `budget` bytes, or several of these.
    fn parts(&self, budget: u64) -> Vec<u64> {
        let mut ends = Vec::new();
        let mut start = 1;
        loop {
            let end = self.range_end(start, budget);
            ends.push(end);
            if end == u64::MAX {
                break;
            }
            start = end + 1;
        }
        let together = ends.len().div_ceil(PARTS_MAX);
        ends.chunks(together).filter_map(|ends| ends.last().copied()).collect()
    }
}

fn place(change: &Change<'_>) -> String {
    match change.lsn {
        Some(lsn) => format!("{} at byte {}, LSN {lsn}", change.file, change.offset),
        None => format!("{} at byte {}", change.file, change.offset),
    }
}

fn finding(change: &Change<'_>, severity: Severity, message: String) -> Finding {
    Finding { severity, file: change.file.to_owned(), offset: Some(change.offset), lsn: change.lsn, message }
}

fn unknown(change: &Change<'_>) -> Finding {
    let name = change.words.first().map_or_else(String::new, |word| word.escape_ascii().to_string());
    finding(
        change,
        Severity::Unreadable,
        format!("the record holds '{name}', a command that this release does not know"),
    )
}

/// Whether this is a number that no command can have anything against; others may be one too.
fn is_plain_number(word: &[u8]) -> bool {
    const DIGITS_MAX: usize = 18;
    matches!(word.len(), 1..=DIGITS_MAX) && word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || word[0] != b'0')
}

/// Whether this is a score that no command can have anything against; others may be one too.
fn is_plain_score(word: &[u8]) -> bool {
    let has_digit = word.iter().any(u8::is_ascii_digit);
    has_digit && std::str::from_utf8(word).is_ok_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
}

/// An engine that holds some keys and replays changes of these.
pub(crate) struct Small {
    /// The engine.
    pub(crate) engine: Engine,
    session: Session,
}

impl Small {
    /// An empty one.
    pub(crate) fn new(seed: HashSeed, databases: usize) -> Small {
        let mut engine = Engine::new(Keyspace::new(seed, databases), Effects::new(1), 0);
        engine.replaying = true;
        Small { engine, session: Session::default() }
    }

    /// Takes a copy of an entry.
    pub(crate) fn load(&mut self, db: usize, entry: &Entry<'_>) {
        let seed = self.engine.keyspace.seed();
        let key = seed.key(entry.key);
        let to = self.engine.keyspace.db_mut(db);
        match entry.value {
            Value::String(bytes) => to.set_string(key, bytes, entry.deadline.map_or(Deadline::Clear, Deadline::At)),
            Value::Collection(view) => to.put_collection(key, view.to_owned(), entry.deadline),
        }
        to.set_access(key, entry.access);
    }

    /// Applies a command that writes, `words` of `change` (or some of them).
    pub(crate) fn run(&mut self, change: &Change<'_>, words: &[&[u8]], damages: &Damages) -> Result<(), ToolError> {
        let command = firn_engine::command::table::find(words[0]).filter(|command| change::writes(command, words));
        let Some(command) = command else { return Ok(()) };
        if !command.spec.arity.fits(words.len()) {
            let message = change::odd(words).unwrap_or_default();
            return damages.report(finding(change, Severity::Damage, message));
        }
        self.engine.now_ms = change.time_ms.unwrap_or(self.engine.now_ms);
        self.session.db = change.db;
        let mut reply = NoReply::default();
        self.engine.execute(&mut self.session, command, &Args::new(words), &mut reply);
        while self.engine.keyspace.pop_dead().is_some() {}
        match reply.error {
            None => Ok(()),
            Some(error) => {
                let key = words.get(1).map_or_else(String::new, |word| crate::text::word(word, false));
                let message = format!("'{} {key}' cannot be applied: {error}", command.spec.name);
                let mut places = Vec::new();
                touched(words, &mut places);
                damages.lose(Loss {
                    path: change.file.into(),
                    from: change.offset,
                    to: change.offset,
                    keys: places.iter().map(|at| words[*at].to_vec()).collect(),
                    unnamed: Unnamed::default(),
                    harmless: false,
                });
                damages.report(finding(change, Severity::Damage, message))
            }
        }
    }

    /// What is wrong with a command's own words, whatever its keys may hold: it is tried on nothing. `None`: nothing that this finds.
    ///
    /// Most commands that a log holds cannot be wrong in that way, and cost nothing here.
    pub(crate) fn refusal(&mut self, words: &[&[u8]]) -> Option<String> {
        /// What is said of words; the rest is said of what a key holds.
        const OF_WORDS: [&str; 9] = [
            "wrong number of arguments",
            "syntax error",
            "not an integer",
            "not a valid float",
            "Invalid stream ID",
            "must be greater than 0-0",
            "invalid expire time",
            "DUMP payload",
            "Bad data format",
        ];
        let command = firn_engine::command::table::find(words[0])
            .filter(|command| change::writes(command, words) && command.spec.arity.fits(words.len()))?;
        let is_plain = match command.spec.name {
            "SET" => {
                words.len() == 3
                    || words.len() == 5 && words[3].eq_ignore_ascii_case(b"PXAT") && is_plain_number(words[4])
            }
            "PEXPIREAT" => words.len() == 3 && is_plain_number(words[2]),
            "ZADD" => words.len().is_multiple_of(2) && words[2..].iter().step_by(2).all(|word| is_plain_score(word)),
            "XADD" => {
                let mut id = words[2].split(|byte| *byte == b'-');
                let both = [id.next(), id.next()];
                // 0-0 is none.
                let is_id = words[2].iter().any(|byte| matches!(byte, b'1'..=b'9'))
                    && both.iter().all(|half| half.is_some_and(is_plain_number))
                    && id.next().is_none();
                is_id && !words.len().is_multiple_of(2)
            }
            "HSET" => words.len().is_multiple_of(2),
            "RPUSH" | "LPUSH" | "SADD" | "SREM" | "HDEL" | "ZREM" | "DEL" | "UNLINK" | "APPEND" | "INCR" | "DECR" => {
                true
            }
            "RPOP" | "LPOP" => words.len() == 2,
            _ => false,
        };
        let mut places = Vec::new();
        if is_plain || touched(words, &mut places).is_none() || places.is_empty() {
            return None;
        }
        let mut reply = NoReply::default();
        self.engine.execute(&mut self.session, command, &Args::new(words), &mut reply);
        for at in places {
            let key = self.engine.keyspace.seed().key(words[at]);
            self.engine.keyspace.db_mut(self.session.db).remove(key);
        }
        while self.engine.keyspace.pop_dead().is_some() {}
        let error = reply.error.filter(|error| OF_WORDS.iter().any(|text| error.contains(text)))?;
        let key = words.get(1).map_or_else(String::new, |word| crate::text::word(word, false));
        Some(format!("'{} {key}' cannot be applied: {error}", command.spec.name))
    }

    /// Keeps only keys up to `last`.
    fn keep_up_to(&mut self, last: u64) {
        for db in 0..self.engine.keyspace.databases() {
            let (mut keys, mut cursor) = (Vec::new(), last.saturating_add(1));
            while !self.engine.keyspace.db(db).is_empty() {
                cursor = self.engine.keyspace.db(db).scan(cursor, 1000, &mut |entry| keys.push(entry.key.to_vec()));
                if cursor == 0 {
                    break;
                }
            }
            for key in keys {
                let key = self.engine.keyspace.seed().key(&key);
                self.engine.keyspace.db_mut(db).remove(key);
            }
        }
        while self.engine.keyspace.pop_dead().is_some() {}
    }

    /// Its keys in `range`, database by database, in order.
    fn keys(&self, db: usize, first: u64, last: u64) -> Vec<(u64, Box<[u8]>)> {
        let mut keys = Vec::new();
        let Some(of) = (db < self.engine.keyspace.databases()).then(|| self.engine.keyspace.db(db)) else {
            return keys;
        };
        let (seed, mut cursor) = (self.engine.keyspace.seed(), first);
        while !of.is_empty() {
            cursor = of.scan(cursor, 4096, &mut |entry| {
                let position = seed.position(entry.key);
                if position <= last {
                    keys.push((position, entry.key.into()));
                }
            });
            if cursor == 0 || cursor > last {
                break;
            }
        }
        keys
    }
}

/// Visits what `base` and `tail` give, as far as `filter` wants it. Gives the libraries of functions.
pub(crate) fn visit(
    base: &dyn Base,
    tail: &dyn Tail,
    memory: u64,
    filter: &Filter,
    damages: &Damages,
    visit: &mut Visit<'_>,
) -> Result<Libraries, ToolError> {
    let seed = base.seed();
    let mut emit = |db: usize, position: u64, entry: &Entry<'_>| {
        if filter.wants(db, entry) { visit(db, position, entry) } else { Ok(()) }
    };
    let mut survey = Survey::of(tail, base, filter, damages)?;
    if survey.changes == 0 {
        base.visit(None, 1..=u64::MAX, &mut emit)?;
        return Ok(survey.libraries(base));
    }
    let databases = base.databases().last().map_or(0, |last| last + 1).max(survey.at.len());
    let linked_positions = std::mem::take(&mut survey.linked);
    let is_linked = |position: u64| linked_positions.contains(&position);
    let fates: HashMap<usize, usize> =
        base.databases().into_iter().filter_map(|db| Some((db, survey.fate(db)?))).collect();

    let mut linked = Small::new(seed, databases);
    if !linked_positions.is_empty() && !survey.anything {
        base.visit(None, 1..=u64::MAX, &mut |db, position, entry| {
            if is_linked(position) {
                linked.load(db, entry);
            }
            Ok(())
        })?;
        replay(tail, &mut linked, damages, &mut |position| is_linked(position), &mut |_| Ok(()))?;
    }
    let is_replayed = |position: u64| survey.is_touched(position) && !is_linked(position);
    let ends = survey.parts(memory);
    let mut spread = if ends.len() > PARTS_READ_AGAIN { Some(Spread::new(ends.clone())?) } else { None };
    if let Some(spread) = &mut spread {
        let mut keys = Vec::new();
        tail.visit(&mut |change| spread.change(change, seed, &mut keys, &is_replayed))?;
    }
    if !base.is_ordered() && !survey.anything {
        base.visit(None, 1..=u64::MAX, &mut |db, position, entry| match fates.get(&db) {
            _ if is_linked(position) => Ok(()),
            _ if survey.is_touched(position) => {
                spread.as_mut().map_or(Ok(()), |spread| spread.entry(db, position, entry))
            }
            Some(to) => emit(*to, position, entry),
            None => Ok(()),
        })?;
    }
    let spread = spread.map(Spread::finish).transpose()?;
    let mut start = 1u64;
    for (number, part_end) in ends.into_iter().enumerate() {
        let part = spread.as_ref().map(|spread| spread.part(number)).transpose()?;
        loop {
            let end = std::cell::Cell::new(survey.range_end(start, memory).min(part_end));
            let mine =
                |position: u64| survey.anything || (start..=end.get()).contains(&position) && is_replayed(position);
            let mut small = Small::new(seed, databases);
            let halve = |small: &mut Small| {
                if survey.anything || small.engine.keyspace.used_bytes() <= memory * 3 / 2 || end.get() - start < 2 {
                    return;
                }
                end.set(start + (end.get() - start) / 2);
                small.keep_up_to(end.get());
            };
            let mut loaded = 0u32;
            let mut load = |db: usize, position: u64, entry: &Entry<'_>| {
                if mine(position) {
                    small.load(db, entry);
                    loaded += 1;
                    if loaded.is_multiple_of(LOOK_EVERY) {
                        halve(&mut small);
                    }
                }
                Ok(())
            };
            match &part {
                Some(part) if !base.is_ordered() => {
                    part.entries(seed, &mut |db, entry| load(db, seed.position(entry.key), entry))?;
                }
                _ => base.visit(None, start..=end.get(), &mut load)?,
            }
            let changes: &dyn Tail = part.as_ref().map_or(tail, |part| part);
            replay(changes, &mut small, damages, &mut |position| mine(position), &mut |small| {
                halve(small);
                Ok(())
            })?;
            let end = end.get();
            let range = Range { start, end, small: &small, linked: &linked };
            let ordered = base.is_ordered();
            for db in 0..databases {
                let mut changed = range.keys(db);
                let source = fates.iter().find(|(_, to)| **to == db).map(|(from, _)| *from);
                if let (true, Some(source)) = (ordered && !survey.anything, source) {
                    base.visit(Some(source), start..=end, &mut |_, position, entry| {
                        if survey.is_touched(position) || is_linked(position) {
                            return Ok(());
                        }
                        range.emit(db, &mut changed, position, &mut emit)?;
                        emit(db, position, entry)
                    })?;
                }
                range.emit(db, &mut changed, u64::MAX, &mut emit)?;
            }
            if end == u64::MAX {
                return Ok(survey.libraries(base));
            }
            start = end + 1;
            if end == part_end {
                break;
            }
        }
    }
    Ok(survey.libraries(base))
}

/// The highest database that a command names among its words.
pub(super) fn named(change: &Change<'_>) -> usize {
    let words = change.words;
    let number = |word: &&[u8]| usize::try_from(firn_engine::number::parse_integer(word)?).ok();
    let name = words[0];
    if name.eq_ignore_ascii_case(b"SWAPDB") {
        return words.iter().skip(1).filter_map(number).max().unwrap_or(0);
    }
    let word = if name.eq_ignore_ascii_case(b"MOVE") {
        words.get(2)
    } else if name.eq_ignore_ascii_case(b"COPY") {
        let at = words.iter().skip(3).position(|word| word.eq_ignore_ascii_case(b"DB"));
        at.and_then(|at| words.get(at + 4))
    } else {
        None
    };
    word.and_then(number).unwrap_or(0)
}

/// Replays the changes of keys whose position is `mine`; `look` may look at the engine now and then.
fn replay(
    tail: &dyn Tail,
    small: &mut Small,
    damages: &Damages,
    mine: &mut dyn FnMut(u64) -> bool,
    look: &mut dyn FnMut(&mut Small) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    let seed = small.engine.keyspace.seed();
    let mut keys = Vec::new();
    let mut count = 0u32;
    tail.visit(&mut |change| {
        let Some((_, touches)) = touched(change.words, &mut keys) else { return Ok(()) };
        match touches {
            Touches::Nothing => return Ok(()),
            Touches::Databases | Touches::Anything => small.run(change, change.words, damages)?,
            Touches::Together => {
                if mine(seed.position(change.words[keys[0]])) {
                    small.run(change, change.words, damages)?;
                }
            }
            Touches::Keys if keys.len() == 1 => {
                if mine(seed.position(change.words[keys[0]])) {
                    small.run(change, change.words, damages)?;
                }
            }
            Touches::Keys => {
                let words = change::only(change.words, &keys, &mut |key| mine(seed.position(key)));
                if let Some(words) = words {
                    small.run(change, &words, damages)?;
                }
            }
        }
        count += 1;
        if count.is_multiple_of(LOOK_EVERY) { look(small) } else { Ok(()) }
    })
}

/// One range of positions that was replayed.
struct Range<'a> {
    start: u64,
    end: u64,
    small: &'a Small,
    linked: &'a Small,
}

/// Keys of the small engines that are still to be given, the next one last; whether each is linked.
type Changed = Vec<(u64, Box<[u8]>, bool)>;

impl Range<'_> {
    fn keys(&self, db: usize) -> Changed {
        let of = |small: &Small, linked: bool| {
            small.keys(db, self.start, self.end).into_iter().map(move |(position, key)| (position, key, linked))
        };
        let mut keys: Changed = of(self.small, false).chain(of(self.linked, true)).collect();
        keys.sort_unstable_by(|one, other| other.cmp(one));
        keys
    }

    /// Gives the changed entries before `position`.
    fn emit(&self, db: usize, changed: &mut Changed, position: u64, visit: &mut Visit<'_>) -> Result<(), ToolError> {
        while let Some((at, ..)) = changed.last()
            && *at <= position
        {
            let Some((at, key, linked)) = changed.pop() else { break };
            let small = if linked { self.linked } else { self.small };
            let keyspace = &small.engine.keyspace;
            if let Some(entry) = keyspace.db(db).get(keyspace.seed().key(&key)) {
                visit(db, at, &entry)?;
            }
        }
        Ok(())
    }
}
