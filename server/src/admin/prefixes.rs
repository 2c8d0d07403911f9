//! Statistics by key prefix: INFO's section `prefixes`, and the rows for whoever else shows them.

use super::info::Text;
use crate::command::ServerCall;
use firn_engine::engine::Engine;
use firn_engine::prefixes::PrefixRow;

/// The name under which keys are counted that have no other prefix.
pub(crate) const OTHER: &str = "(other)";

/// Each prefix by name, those of all others last, and whether all keys have been counted; nothing if statistics by prefix are off.
pub(crate) fn rows(engine: &Engine) -> Option<(Vec<(String, PrefixRow)>, bool)> {
    let (mut rows, complete) = engine.prefix_rows()?;
    // The engine has the others first.
    rows.rotate_left(1);
    let last = rows.len() - 1;
    let named = rows.into_iter().enumerate().map(|(at, row)| {
        let name = if at == last { OTHER.to_owned() } else { shown(&row.prefix) };
        (name, row)
    });
    Some((named.collect(), complete))
}

/// A prefix as it is shown: as text, and never as [`OTHER`].
fn shown(prefix: &[u8]) -> String {
    let name = prefix.escape_ascii().to_string();
    if name == OTHER { format!("\\x28{}", &name[1..]) } else { name }
}

/// INFO's section.
pub(super) fn section(text: &mut Text, call: &mut ServerCall<'_, '_>) {
    let Some((rows, complete)) = rows(call.engine()) else {
        text.field("prefix_stats", "off");
        return;
    };
    text.field("prefix_stats", if complete { "complete" } else { "counting" });
    let last = rows.len() - 1;
    for (at, (name, PrefixRow { size, events, .. })) in rows.iter().enumerate() {
        // A name holds colons as a rule: it stands among the values, in quotes.
        let field = if at == last { "prefix_other".to_owned() } else { format!("prefix{at}") };
        let name = if at == last { String::new() } else { format!("name=\"{name}\",") };
        text.field(
            &field,
            format_args!(
                "{name}keys={},bytes={},hits={},misses={},expired={},evicted={}",
                size.keys, size.bytes, events.hits, events.misses, events.expired, events.evicted
            ),
        );
    }
}
