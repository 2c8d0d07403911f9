//! The tables that `firn convert` writes, CSV and Parquet, row by row as the objects that JSON Lines have (see `json`).
//!
//! Only Firn's own tables can be read: others have other columns, and Parquet's other encodings are no part of this.

use super::rows::{Content, Object, Row, Take};
use crate::{parquet, text};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// First line of a CSV file.
pub(crate) const CSV_HEAD: &str = "db,key,type,expires_ms,elements,memory_bytes,value";
/// Longest cell.
const CELL_LEN_MAX: usize = 2 << 30;

/// Visits the rows of a CSV file.
pub(crate) fn csv<E: From<std::io::Error>>(path: &Path, row: &mut Take<'_, E>) -> Result<(), E> {
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path)?);
    let mut cells = Vec::new();
    let mut number = 0;
    while csv_record(&mut reader, &mut cells)? {
        number += 1;
        if cells.is_empty() {
            row(number, Err("the file ends within a quoted cell: it was cut".to_owned()))?;
        } else if number > 1 && !(cells.len() == 1 && cells[0].is_empty()) {
            row(number, csv_row(&cells))?;
        }
    }
    Ok(())
}

/// Takes one record as RFC 4180 has it; false at the end. No cells: the file ends within one.
fn csv_record(reader: &mut impl BufRead, cells: &mut Vec<Vec<u8>>) -> std::io::Result<bool> {
    cells.clear();
    let (mut cell, mut quoted, mut any) = (Vec::new(), false, false);
    loop {
        // Up to a byte that has a meaning.
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            if quoted {
                cells.clear();
            } else if any {
                cells.push(cell);
            }
            return Ok(any);
        }
        any = true;
        let plain =
            buffer.iter().position(|byte| if quoted { *byte == b'"' } else { matches!(byte, b'"' | b',' | b'\n') });
        let len = plain.unwrap_or(buffer.len());
        if cell.len() + len > CELL_LEN_MAX {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a cell is longer than 2 GiB"));
        }
        cell.extend_from_slice(&buffer[..len]);
        let byte = plain.map(|at| buffer[at]);
        reader.consume(len + usize::from(byte.is_some()));
        match byte {
            None => {}
            Some(b'"') if quoted => {
                // Two quotes are one; one ends the quoting.
                if reader.fill_buf()?.first() == Some(&b'"') {
                    reader.consume(1);
                    cell.push(b'"');
                } else {
                    quoted = false;
                }
            }
            Some(b'"') => quoted = true,
            Some(b',') => cells.push(std::mem::take(&mut cell)),
            Some(_) => {
                if cell.last() == Some(&b'\r') {
                    cell.pop();
                }
                cells.push(cell);
                return Ok(true);
            }
        }
    }
}

fn csv_row(cells: &[Vec<u8>]) -> Result<Row<'_>, String> {
    let [db, key, kind, deadline, _, _, value] = cells else {
        return Err(format!("{} cells instead of 7", cells.len()));
    };
    fn text(cell: &[u8]) -> Result<&str, String> {
        std::str::from_utf8(cell).map_err(|_| "a cell is not UTF-8".to_owned())
    }
    let number = |cell: &[u8]| text(cell)?.parse::<u64>().map_err(|_| "a number is none".to_owned());
    // Bytes that are no text, or begin with a quote, are as redis-cli quotes them.
    fn bytes(cell: &[u8]) -> Result<Cow<'_, [u8]>, String> {
        if cell.starts_with(b"\"") {
            text::unquoted(text(cell)?).map(Cow::Owned).map_err(|error| error.to_string())
        } else {
            Ok(Cow::Borrowed(cell))
        }
    }
    let kind = text(kind)?;
    Ok(Row::Key(Object {
        db: number(db)?,
        key: bytes(key)?,
        kind: Cow::Borrowed(kind),
        expires_ms: if deadline.is_empty() { None } else { Some(number(deadline)?) },
        access: 0,
        value: if kind == "string" { Content::Bytes(bytes(value)?) } else { Content::Json(text(value)?) },
    }))
}

/// Visits the rows of a Parquet file; what is wrong with the file as a whole is one row that is wrong.
pub(crate) fn parquet<E: From<std::io::Error>>(path: &Path, row: &mut Take<'_, E>) -> Result<(), E> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path)?);
    let len = file.get_ref().metadata()?.len();
    let mut tail = [0; 8];
    file.seek(SeekFrom::Start(len.saturating_sub(8)))?;
    let whole = file.read_exact(&mut tail).is_ok() && tail.ends_with(parquet::MAGIC);
    let footer = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let end = len.checked_sub(8 + footer).filter(|end| whole && *end >= 4);
    let Some(end) = end else { return row(0, Err("the file has no Parquet footer: it was cut".to_owned())) };
    let mut meta = Vec::new();
    file.seek(SeekFrom::Start(end))?;
    (&mut file).take(footer).read_to_end(&mut meta)?;
    if memchr::memmem::find(&meta, b"firn ").is_none() || memchr::memmem::find(&meta, b"memory_bytes").is_none() {
        return row(0, Err("it was not written by firn: other Parquet files cannot be read".to_owned()));
    }
    file.seek(SeekFrom::Start(4))?;
    let (mut at, mut number) = (4, 0);
    while at < end {
        let mut columns = Vec::new();
        let mut rows = None;
        for kind in parquet::KEY_COLUMNS.iter().map(|(_, kind)| *kind) {
            let mut head = Vec::new();
            (&mut file).take((end - at).min(parquet::PAGE_HEAD_LEN_MAX)).read_to_end(&mut head)?;
            let page = parquet::PageHead::decode(&head).filter(|page| page.len <= end - at - page.head_len);
            let Some(page) = page.filter(|page| rows.is_none_or(|rows| rows == page.rows)) else {
                return row(number, Err(format!("the page at byte {at} is damaged")));
            };
            file.seek(SeekFrom::Start(at + page.head_len))?;
            let mut bytes = Vec::new();
            (&mut file).take(page.len).read_to_end(&mut bytes)?;
            at += page.head_len + page.len;
            rows = Some(page.rows);
            columns.push(parquet::Cells::new(kind, page.rows, bytes));
        }
        for _ in 0..rows.unwrap_or(0) {
            number += 1;
            let damaged = || format!("row {number} ends too early");
            let made = parquet_row(&mut columns).unwrap_or_else(|| Err(damaged()));
            let is_damaged = made.is_err();
            row(number, made)?;
            if is_damaged {
                // Where its neighbours begin is not known then.
                break;
            }
        }
    }
    Ok(())
}

/// The next row of a group; `None` if its cells are not whole.
fn parquet_row(columns: &mut [parquet::Cells]) -> Option<Result<Row<'_>, String>> {
    let [db, key, kind, deadline, elements, memory, value] = columns else { return None };
    let db = db.int32()?;
    let (deadline, _, _) = (deadline.optional()?, elements.optional()?, memory.optional()?);
    let (key, kind, value) = (key.bytes()?, kind.bytes()?, value.bytes()?);
    let kind = String::from_utf8_lossy(kind);
    let value = match &*kind {
        "string" => Content::Bytes(Cow::Borrowed(value)),
        _ => match std::str::from_utf8(value) {
            Ok(text) => Content::Json(text),
            Err(_) => return Some(Err("the value of a collection is no JSON".to_owned())),
        },
    };
    Some(u64::try_from(db).map_err(|_| "\"db\" is no database".to_owned()).map(|db| {
        let expires_ms = deadline.and_then(|at| u64::try_from(at).ok());
        Row::Key(Object { db, key: Cow::Borrowed(key), kind, expires_ms, access: 0, value })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str) -> Vec<Vec<String>> {
        let (mut reader, mut cells, mut all) = (text.as_bytes(), Vec::new(), Vec::new());
        while csv_record(&mut reader, &mut cells).unwrap() {
            all.push(cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect());
        }
        all
    }

    #[test]
    fn records_are_read_as_rfc_4180_has_them() {
        assert_eq!(records("a,b\r\nc,\"d,\"\"e\"\"\r\n\"\n"), [["a", "b"], ["c", "d,\"e\"\r\n"]]);
        assert_eq!(records("a,,"), [["a", "", ""]]);
        assert!(records("").is_empty());
        assert!(csv_row(&[b"0".to_vec()]).is_err());
    }
}
