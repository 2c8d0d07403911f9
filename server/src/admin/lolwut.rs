//! LOLWUT: a drawing of falling snow that settles into firn, and the version.

use crate::command::{After, ServerCall, ServerCommand};
use crate::session::REDIS_VERSION;
use firn_engine::command::{Args, Arity, CommandError, Flags, Group, Reply, Spec};
use std::hash::{BuildHasher, RandomState};

/// `LOLWUT`.
pub(super) static LOLWUT: ServerCommand = ServerCommand {
    spec: Spec {
        name: "LOLWUT",
        arity: Arity::AtLeast(1),
        flags: Flags::READONLY.and(Flags::FAST),
        group: Group::Server,
        since: "5.0.0",
        summary: "Draws snow.",
        syntax: "[VERSION version] [columns [rows]]",
        ..Spec::BASE
    },
    run: lolwut,
};

const COLUMNS_MAX: i64 = 160;
const ROWS_MAX: i64 = 60;

fn lolwut(_: &mut ServerCall<'_, '_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<After, CommandError> {
    // There is one drawing, whatever version is asked for.
    let mut first = 1;
    if args.len() >= 3 && args.is(1, "VERSION") {
        args.integer(2)?;
        first = 3;
    }
    let size = |at: usize, default: i64, max: i64| {
        if at < args.len() { args.integer(at).map(|given| given.clamp(1, max)) } else { Ok(default) }
    };
    let columns = size(first, 60, COLUMNS_MAX)? as usize;
    let rows = size(first + 1, 14, ROWS_MAX)? as usize;
    let seed = RandomState::new().hash_one(rows);
    let text =
        format!("{}\nFirn {}. Redis ver. {REDIS_VERSION}\n", draw(columns, rows, seed), env!("CARGO_PKG_VERSION"));
    reply.verbatim("txt", text.as_bytes());
    Ok(After::Nothing)
}

/// Flakes above; below them layers, the denser the deeper.
fn draw(columns: usize, rows: usize, seed: u64) -> String {
    let mut state = seed | 1;
    let mut next = |below: u64| {
        // xorshift64: a drawing needs no better.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let depth = rows * 2 / 5;
    let mut heights: Vec<usize> = Vec::with_capacity(columns);
    let mut height = depth;
    for _ in 0..columns {
        height = (height + next(3) as usize).saturating_sub(1).clamp(depth / 2, depth + depth / 2);
        heights.push(height);
    }
    let mut text = String::new();
    for row in (0..rows).rev() {
        let line: String = heights
            .iter()
            .map(|&height| match height.checked_sub(row + 1) {
                None => [' ', ' ', ' ', ' ', ' ', ' ', ' ', '*', '.', ' ', ' ', ' '][next(12) as usize],
                Some(0) => '~',
                Some(1 | 2) => '.',
                Some(3 | 4) => ':',
                Some(_) => '#',
            })
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_keeps_to_its_size() {
        for (columns, rows) in [(1, 1), (60, 14), (160, 60)] {
            let text = draw(columns, rows, 7);
            assert_eq!(text.lines().count(), rows);
            assert!(text.lines().all(|line| line.len() <= columns));
        }
        assert_ne!(draw(60, 14, 1), draw(60, 14, 2));
    }
}
