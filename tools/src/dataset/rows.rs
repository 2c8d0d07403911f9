//! Rows of JSON Lines and of tables: what one says, and the commands that make its entry.
//!
//! A row may be as long as the largest value there is: beside the row itself and the value that is made of it nothing as long is in memory,
//! because elements are taken one by one. (Streams excepted: their groups may speak of any entry.)

use super::Damages;
use super::change::Change;
use super::state::Small;
use crate::json;
use firn_engine::value::stream::Id;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Items of one command.
const ITEMS_MAX: usize = 64;

/// Takes rows: number, and the row or what is wrong.
pub(crate) type Take<'r, E> = dyn FnMut(u64, Result<Row<'_>, String>) -> Result<(), E> + 'r;

/// A row.
pub(crate) enum Row<'a> {
    /// A key with its value.
    Key(Object<'a>),
    /// The source of a library of functions.
    Library(Vec<u8>),
}

/// What a row says of a key.
pub(crate) struct Object<'a> {
    /// The database.
    pub(crate) db: u64,
    /// The key.
    pub(crate) key: Cow<'a, [u8]>,
    /// The type's name.
    pub(crate) kind: Cow<'a, str>,
    /// The deadline, Unix ms.
    pub(crate) expires_ms: Option<u64>,
    /// As files have it; 0: not known.
    pub(crate) access: u64,
    /// The value.
    pub(crate) value: Content<'a>,
}

/// A value.
pub(crate) enum Content<'a> {
    /// Of a string.
    Bytes(Cow<'a, [u8]>),
    /// As JSON.
    Json(&'a str),
}

/// A line, its long parts unread.
#[derive(Deserialize)]
struct Line<'a> {
    db: Option<Value>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(rename = "type")]
    kind: Option<Value>,
    expires_ms: Option<Value>,
    access: Option<Value>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    library: Option<Value>,
    source: Option<Value>,
}

/// The bytes that a JSON value stands for: where it needs no escapes those of the text itself.
fn bytes_of(text: &str) -> Option<Cow<'_, [u8]>> {
    /// Borrowed where that can be.
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    if text.starts_with('"') {
        return Some(match serde_json::from_str::<Text<'_>>(text).ok()?.0 {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        });
    }
    json::to_bytes(&serde_json::from_str(text).ok()?).map(Cow::Owned)
}

impl<'a> Row<'a> {
    /// What a line of JSON Lines says.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn of_line(line: &'a [u8]) -> Result<Row<'a>, String> {
        let line: Line<'a> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let missing = |name: &str| format!("\"{name}\" is missing");
        if line.library.is_some() {
            let source = line.source.as_ref().ok_or_else(|| missing("source"))?;
            return json::to_bytes(source).map(Row::Library).ok_or_else(|| "\"source\" is no text".to_owned());
        }
        let db = line.db.map_or(Some(0), |db| db.as_u64()).ok_or("\"db\" is no database")?;
        let key = bytes_of(line.key.ok_or_else(|| missing("key"))?.get());
        let kind = line.kind.ok_or_else(|| missing("type"))?;
        Ok(Row::Key(Object {
            db,
            key: key.ok_or("\"key\" is neither a string nor {\"hex\": ...}")?,
            kind: Cow::Owned(kind.as_str().ok_or("\"type\" is no string")?.to_owned()),
            expires_ms: line.expires_ms.and_then(|at| at.as_u64()),
            access: line.access.and_then(|access| access.as_u64()).unwrap_or(0),
            value: Content::Json(line.value.ok_or_else(|| missing("value"))?.get()),
        }))
    }
}

/// An item of a collection: an element, or a name with a value.
enum Item {
    Element(Value),
    Pair(String, Value),
}

/// Hands over the items of a JSON array or object one by one; ends when one is not taken.
struct Items<'t>(&'t mut dyn FnMut(Item) -> bool);

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            if !(self.0)(Item::Element(item)) {
                return Err(A::Error::custom("an item is wrong"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some((name, value)) = items.next_entry()? {
            if !(self.0)(Item::Pair(name, value)) {
                return Err(A::Error::custom("an item is wrong"));
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

/// Visits the items of a value.
fn each_item(value: &str, take: &mut dyn FnMut(Item) -> Result<(), String>) -> Result<(), String> {
    let mut failure = None;
    let mut until = |item| match take(item) {
        Ok(()) => true,
        Err(message) => {
            failure = Some(message);
            false
        }
    };
    let read = Items(&mut until).deserialize(&mut serde_json::Deserializer::from_str(value));
    match (failure, read) {
        (Some(message), _) => Err(message),
        (None, read) => read.map_err(|error| format!("the value: {error}")),
    }
}

fn bytes(value: &Value) -> Result<Vec<u8>, String> {
    json::to_bytes(value).ok_or_else(|| format!("{value} is no byte string"))
}

/// Gathers items into commands of bounded length.
struct Batches<'a> {
    name: &'static str,
    key: &'a [u8],
    words: Vec<Vec<u8>>,
    any: bool,
}

impl Batches<'_> {
    fn push(&mut self, item: impl IntoIterator<Item = Vec<u8>>, run: &mut RunWords<'_>) -> Result<(), String> {
        self.words.extend(item);
        if self.words.len() >= ITEMS_MAX { self.run(run) } else { Ok(()) }
    }

    fn run(&mut self, run: &mut RunWords<'_>) -> Result<(), String> {
        if self.words.is_empty() {
            return if self.any { Ok(()) } else { Err("a collection without elements".to_owned()) };
        }
        let mut words = vec![self.name.as_bytes(), self.key];
        words.extend(self.words.iter().map(Vec::as_slice));
        run(&words)?;
        self.words.clear();
        self.any = true;
        Ok(())
    }
}

impl Object<'_> {
    /// Makes the entry in `small`, where `file` and `number` say whose it is; says its database, key and access.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn make(self, file: &str, number: u64, small: &mut Small) -> Result<(usize, Vec<u8>, u32), String> {
        let db = usize::try_from(self.db).ok().filter(|db| *db < small.engine.keyspace.databases());
        let db = db.ok_or("\"db\" is no database")?;
        let mut run = |words: &[&[u8]]| -> Result<(), String> {
            let change = Change { file, offset: number, lsn: None, time_ms: None, db, words };
            small.run(&change, words, &Damages::strict()).map_err(|error| error.to_string())
        };
        match (&*self.kind, &self.value) {
            ("string", Content::Bytes(bytes)) => run(&[b"SET", &self.key, bytes])?,
            ("string", Content::Json(text)) => {
                let bytes = bytes_of(text).ok_or_else(|| "the value is no byte string".to_owned())?;
                run(&[b"SET", &self.key, &bytes])?;
            }
            (_, Content::Bytes(_)) => return Err("the value of a collection is no JSON".to_owned()),
            (kind, Content::Json(text)) => collection(kind, text, &self.key, &mut run)?,
        }
        if let Some(at) = self.expires_ms {
            run(&[b"PEXPIREAT", &self.key, at.to_string().as_bytes()])?;
        }
        Ok((db, self.key.into_owned(), (self.access & 0x00ff_ffff) as u32))
    }
}

/// Makes a collection.
fn collection(kind: &str, text: &str, key: &[u8], run: &mut RunWords<'_>) -> Result<(), String> {
    let batches = |name| Batches { name, key, words: Vec::new(), any: false };
    match kind {
        "list" | "set" => {
            let mut batches = batches(if kind == "list" { "RPUSH" } else { "SADD" });
            each_item(text, &mut |item| match item {
                Item::Element(item) => batches.push([bytes(&item)?], run),
                Item::Pair(..) => Err("the value is no array".to_owned()),
            })?;
            batches.run(run)
        }
        "zset" => {
            let mut batches = batches("ZADD");
            each_item(text, &mut |item| {
                let Item::Element(item) = item else { return Err("the value is no array".to_owned()) };
                let (member, score) =
                    (item.get(0).ok_or("a member is missing")?, item.get(1).ok_or("a score is missing")?);
                let score = score.as_str().map_or_else(|| score.to_string(), str::to_owned);
                batches.push([score.into_bytes(), bytes(member)?], run)
            })?;
            batches.run(run)
        }
        "hash" => {
            let mut batches = batches("HSET");
            // A batch may hold any of the fields before: deadlines come behind it.
            let mut deadlines: Vec<(Vec<u8>, u64)> = Vec::new();
            let expire = |deadlines: &mut Vec<(Vec<u8>, u64)>, run: &mut RunWords<'_>| {
                deadlines.drain(..).try_for_each(|(name, at)| {
                    run(&[b"HPEXPIREAT", key, at.to_string().as_bytes(), b"FIELDS", b"1", &name])
                })
            };
            each_item(text, &mut |item| {
                match item {
                    Item::Pair(name, value) => batches.push([name.into_bytes(), bytes(&value)?], run)?,
                    Item::Element(item) => {
                        let name = bytes(item.get(0).ok_or("a field is missing")?)?;
                        if let Some(at) = item.get(2).and_then(Value::as_u64) {
                            deadlines.push((name.clone(), at));
                        }
                        batches.push([name, bytes(item.get(1).ok_or("a value is missing")?)?], run)?;
                    }
                }
                if batches.words.is_empty() { expire(&mut deadlines, run) } else { Ok(()) }
            })?;
            batches.run(run)?;
            expire(&mut deadlines, run)
        }
        "stream" => {
            let value: Value = serde_json::from_str(text).map_err(|error| format!("the value: {error}"))?;
            stream(&value, key, &mut |words| run(&words.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        }
        other => Err(format!("\"{other}\" is no type")),
    }
}

/// Runs a command.
type RunWords<'r> = dyn FnMut(&[&[u8]]) -> Result<(), String> + 'r;

/// Runs a command of words that were made for it.
type RunOwned<'r> = dyn FnMut(&[Vec<u8>]) -> Result<(), String> + 'r;

fn stream(value: &Value, key: &[u8], run: &mut RunOwned<'_>) -> Result<(), String> {
    let text = |value: &Value, name: &str| -> Result<Vec<u8>, String> {
        let text =
            value.get(name).and_then(Value::as_str).ok_or_else(|| format!("\"{name}\" of a stream is missing"))?;
        Ok(text.as_bytes().to_vec())
    };
    let word = |text: &str| text.as_bytes().to_vec();
    let key = || key.to_vec();
    let each = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let last = text(value, "last_id")?;
    let id_of = |row: &Value| -> Result<Id, String> {
        let id = row.get(0).and_then(Value::as_str).and_then(|id| Id::parse(id.as_bytes(), 0));
        id.ok_or_else(|| "the ID of an entry is missing, or is none".to_owned())
    };
    let (entries, groups) = (each(value, "entries"), each(value, "groups"));
    // An entry may be pending and deleted. XCLAIM takes only such as are there: it is made, and deleted when it is pending.
    let mut made: BTreeMap<Id, Option<&Value>> = BTreeMap::new();
    let pending: Vec<Value> = groups.iter().flat_map(|group| each(group, "pending")).collect();
    for row in &pending {
        made.insert(id_of(row)?, None);
    }
    for entry in &entries {
        made.insert(id_of(entry)?, Some(entry));
    }
    if made.is_empty() {
        let id = if last == b"0-0" { word("0-1") } else { last.clone() };
        run(&[word("XADD"), key(), word("MAXLEN"), word("0"), id, word("x"), word("y")])?;
    }
    for (id, entry) in &made {
        let mut words = vec![word("XADD"), key(), id.text().to_vec()];
        match entry.map(|entry| entry.get(1).and_then(Value::as_array).ok_or("an entry's fields are missing")) {
            Some(fields) => words.extend(fields?.iter().map(bytes).collect::<Result<Vec<_>, _>>()?),
            None => words.extend([word("x"), word("y")]),
        }
        run(&words)?;
    }
    for group in groups {
        let name = bytes(group.get("name").ok_or("a group's name is missing")?)?;
        let read = group.get("entries_read").and_then(Value::as_u64).map_or("-1".to_owned(), |read| read.to_string());
        let create = [word("XGROUP"), word("CREATE"), key(), name.clone(), text(&group, "last_id")?];
        run(&[&create[..], &[word("ENTRIESREAD"), word(&read)]].concat())?;
        for consumer in each(&group, "consumers") {
            let consumer = bytes(consumer.get("name").ok_or("a consumer's name is missing")?)?;
            run(&[word("XGROUP"), word("CREATECONSUMER"), key(), name.clone(), consumer])?;
        }
        for pending in each(&group, "pending") {
            let at = |index: usize| pending.get(index).ok_or("a pending entry is not whole");
            let id = at(0)?.as_str().ok_or("a pending entry's ID is no string")?;
            let (time, times) = (at(2)?.to_string(), at(3)?.to_string());
            run(&[
                word("XCLAIM"),
                key(),
                name.clone(),
                bytes(at(1)?)?,
                word("0"),
                word(id),
                word("TIME"),
                word(&time),
                word("RETRYCOUNT"),
                word(&times),
                word("JUSTID"),
                word("FORCE"),
            ])?;
        }
    }
    for (id, _) in made.iter().filter(|(_, entry)| entry.is_none()) {
        run(&[word("XDEL"), key(), id.text().to_vec()])?;
    }
    let added = value.get("entries_added").and_then(Value::as_u64).unwrap_or(0).to_string();
    let deleted = text(value, "max_deleted_id").unwrap_or_else(|_| word("0-0"));
    run(&[word("XSETID"), key(), last, word("ENTRIESADDED"), word(&added), word("MAXDELETEDID"), deleted])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_without_escapes_are_not_copied() {
        assert!(matches!(bytes_of("\"abc\""), Some(Cow::Borrowed(b"abc"))));
        assert_eq!(bytes_of("\"a\\n\"").as_deref(), Some(&b"a\n"[..]));
        assert_eq!(bytes_of("{\"hex\":\"00ff\"}").as_deref(), Some(&b"\x00\xff"[..]));
        assert!(bytes_of("17").is_none());
    }

    #[test]
    fn items_are_taken_one_by_one_until_one_is_wrong() {
        let mut taken = 0;
        let mut take = |item: Item| {
            taken += 1;
            let Item::Element(item) = item else { return Err("a pair".to_owned()) };
            bytes(&item).map(|_| ())
        };
        assert_eq!(each_item("[\"a\",\"b\",7,\"c\"]", &mut take), Err("7 is no byte string".to_owned()));
        assert_eq!(taken, 3);
        assert!(each_item("17", &mut |_| Ok(())).is_err());
        assert!(each_item("[\"a\"", &mut |_| Ok(())).is_err());
    }
}
