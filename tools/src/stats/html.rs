//! The page of `firn stats --html`: one file, no scripts, no fonts or images from elsewhere; light or dark as the reader's system is.

use super::{Count, Stats, TTLS};
use crate::choice::when;
use crate::dataset::StateInfo;
use crate::text;
use std::fmt::Write;

/// Colours of types and of the map's branches, readable on both grounds.
const COLOURS: [&str; 10] =
    ["#4c8dd6", "#e0873e", "#4fa36c", "#b565c9", "#d9576b", "#3aa6a6", "#c2a02f", "#7a78d8", "#8d6e5a", "#6d8a99"];

const STYLE: &str = "
:root{color-scheme:light dark;--ground:#f6f8fa;--card:#fff;--ink:#1b2733;--soft:#64748b;--line:#e3e8ee;--bar:#4c8dd6;--faint:#eef2f6}
@media(prefers-color-scheme:dark){:root{--ground:#11171d;--card:#1a222b;--ink:#e6edf3;--soft:#8b9bab;--line:#2b3641;--bar:#5b9be0;--faint:#232d37}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
main{max-width:1120px;margin:0 auto;padding:40px 24px 64px}header{margin-bottom:28px}h1{font-size:26px;font-weight:650;margin:0 0 4px;letter-spacing:-.01em;overflow-wrap:anywhere}
.sub{color:var(--soft)}.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:14px;margin-bottom:14px}
.card,section{background:var(--card);border:1px solid var(--line);border-radius:12px}.card{padding:16px 18px}.card b{display:block;font-size:25px;font-weight:650;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:13px}section{padding:20px 22px;margin-top:14px}h2{font-size:16px;font-weight:650;margin:0 0 2px}section>p{margin:0 0 14px;color:var(--soft);font-size:13.5px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:14px}.two section{margin-top:0}.two{margin-top:14px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th{font-size:12px;font-weight:500;color:var(--soft);text-align:right;padding:0 0 6px 14px}
td{padding:5px 0 5px 14px;text-align:right;border-top:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left;padding-left:0;white-space:normal;overflow-wrap:anywhere}
td.b{width:34%;min-width:90px}td.b i{display:block;height:12px;border-radius:3px;background:var(--bar);min-width:1px}
code{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}.dot{display:inline-block;width:9px;height:9px;border-radius:3px;margin-right:8px}
.strip{display:flex;height:26px;border-radius:7px;overflow:hidden;margin:2px 0 14px;background:var(--faint)}.strip i{display:block;height:100%;border-right:1px solid var(--card)}.strip i:last-child{border:0}
svg{display:block;width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--soft)}.map rect{stroke:var(--card);stroke-width:1.5}.map text{fill:#fff;font-weight:500;pointer-events:none}
.map .small{font-weight:400;opacity:.85;font-size:11px}footer{margin-top:28px;color:var(--soft);font-size:13px}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 * 100.0 / of as f64 }
}

/// Writes into a string cannot fail.
macro_rules! put {
    ($page:expr, $($what:tt)*) => { let _ = write!($page, $($what)*); };
}

/// The whole page.
pub(super) fn page(path: &str, kind: &str, info: &StateInfo, stats: &Stats) -> String {
    let mut page = String::new();
    let total = stats.total;
    put!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{0} - firn stats</title><style>{STYLE}</style><main><header><h1>{0}</h1><div class=\"sub\">{kind}, as of {1}</div></header>",
        escaped(path),
        escaped(&when(info))
    );
    page.push_str("<div class=\"cards\">");
    let saved = 100.0 - share(stats.compact_bytes, stats.file_bytes);
    let card = |page: &mut String, number: &str, what: &str| {
        put!(page, "<div class=\"card\"><b>{number}</b><span>{what}</span></div>");
    };
    card(&mut page, &text::count(total.keys), if total.keys == 1 { "key" } else { "keys" });
    card(&mut page, &text::size(total.bytes), "in a server's memory");
    card(&mut page, &text::size(total.bytes.checked_div(total.keys).unwrap_or(0)), "a key on average");
    card(&mut page, &format!("{:.0} %", share(total.mortal, total.keys)), "of the keys expire some day");
    card(&mut page, &text::size(stats.file_bytes), "on disk");
    let note = if stats.partial {
        "what was chosen, as a compact store".into()
    } else if saved >= 1.0 {
        format!("as a compact store, about {saved:.0} % less")
    } else {
        "as a compact store: no less".into()
    };
    card(&mut page, &text::size(stats.compact_bytes), &note);
    page.push_str("</div>");

    types(&mut page, stats);
    map(&mut page, stats);
    patterns(&mut page, stats);
    page.push_str("<div class=\"two\">");
    sizes(&mut page, stats);
    let mut ttl = vec![("none", stats.no_ttl)];
    ttl.push(("expired, not yet deleted", stats.expired));
    ttl.extend(stats.ttls.iter().zip(TTLS).map(|(count, (_, name))| (name, *count)));
    bars(&mut page, "Time to live", "How long keys have until they expire.", &ttl);
    page.push_str("</div>");
    let idle: Vec<_> = stats.idle.iter().zip(TTLS).map(|(count, (_, name))| (name, *count)).collect();
    let used = idle.iter().any(|(_, count)| count.keys > 0);
    if used || stats.databases.len() > 1 {
        page.push_str("<div class=\"two\">");
        if used {
            bars(&mut page, "Not used for", "How long ago keys were used last, where the files know.", &idle);
        }
        if stats.databases.len() > 1 {
            let names: Vec<String> = stats.databases.keys().map(|db| format!("database {db}")).collect();
            let rows: Vec<_> = names.iter().map(String::as_str).zip(stats.databases.values().copied()).collect();
            bars(&mut page, "Databases", "Where the keys are.", &rows);
        }
        page.push_str("</div>");
    }
    biggest(&mut page, stats);
    put!(
        page,
        "<footer>Made by firn {} at {}. Memory is what Firn's server takes for the data.</footer></main></html>",
        env!("CARGO_PKG_VERSION"),
        text::time(stats.now_ms)
    );
    page
}

fn types(page: &mut String, stats: &Stats) {
    let of = stats.total.bytes;
    page.push_str("<section><h2>Types</h2><p>What the memory is taken by.</p><div class=\"strip\">");
    let mut kinds: Vec<_> = stats.types.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(count.bytes));
    for (at, (kind, count)) in kinds.iter().enumerate() {
        put!(
            page,
            "<i style=\"width:{:.3}%;background:{}\" title=\"{kind}: {}\"></i>",
            share(count.bytes, of),
            COLOURS[at % COLOURS.len()],
            text::size(count.bytes)
        );
    }
    page.push_str("</div><table><tr><th>type<th>encoding<th>keys<th>elements<th>memory<th>share</tr>");
    for (at, (kind, _)) in kinds.iter().enumerate() {
        for ((_, encoding), count) in stats.encodings.iter().filter(|((of, _), _)| of == *kind) {
            put!(
                page,
                "<tr><td><span class=\"dot\" style=\"background:{}\"></span>{kind}<td>{encoding}<td>{}<td>{}<td>{}<td>{:.1} %</tr>",
                COLOURS[at % COLOURS.len()],
                text::count(count.keys),
                if count.elements > 0 { text::count(count.elements) } else { String::new() },
                text::size(count.bytes),
                share(count.bytes, of)
            );
        }
    }
    page.push_str("</table></section>");
}

fn bars(page: &mut String, name: &str, what: &str, rows: &[(&str, Count)]) {
    let most = rows.iter().map(|(_, count)| count.keys).max().unwrap_or(0);
    put!(page, "<section><h2>{name}</h2><p>{what}</p><table><tr><th><th><th>keys<th>memory</tr>");
    for (name, count) in rows.iter().filter(|(_, count)| count.keys > 0) {
        put!(
            page,
            "<tr><td>{}<td class=\"b\"><i style=\"width:{:.2}%\"></i><td>{}<td>{}</tr>",
            escaped(name),
            share(count.keys, most),
            text::count(count.keys),
            text::size(count.bytes)
        );
    }
    page.push_str("</table></section>");
}

fn patterns(page: &mut String, stats: &Stats) {
    let patterns = stats.top_patterns();
    let most = patterns.first().map_or(0, |(_, count)| count.bytes);
    page.push_str("<section><h2>Patterns of keys</h2><p>Numbers and identifiers in keys are put together as *.</p><table><tr><th>pattern<th><th>keys<th>memory<th>a key<th>share</tr>");
    for (pattern, count) in patterns {
        put!(
            page,
            "<tr><td><code>{}</code><td class=\"b\"><i style=\"width:{:.2}%\"></i><td>{}<td>{}<td>{}<td>{:.1} %</tr>",
            escaped(&super::shown(pattern)),
            share(count.bytes, most),
            text::count(count.keys),
            text::size(count.bytes),
            text::size(count.bytes.checked_div(count.keys).unwrap_or(0)),
            share(count.bytes, stats.total.bytes)
        );
    }
    page.push_str("</table></section>");
}

fn biggest(page: &mut String, stats: &Stats) {
    page.push_str("<section><h2>Biggest keys</h2><p>The ones to look at first.</p><table><tr><th>key<th>database<th>type<th>elements<th>memory</tr>");
    for big in stats.biggest() {
        put!(
            page,
            "<tr><td><code>{}</code><td>{}<td>{}<td>{}<td>{}</tr>",
            escaped(&text::word(&big.key, false)),
            big.db,
            big.kind,
            big.elements.map_or(String::new(), text::count),
            text::size(big.bytes)
        );
    }
    page.push_str("</table></section>");
}

/// Sizes of keys as columns, one for each power of two.
fn sizes(page: &mut String, stats: &Stats) {
    const HEIGHT: f64 = 170.0;
    let used: Vec<usize> = (0..48).filter(|at| stats.sizes[*at].keys > 0).collect();
    page.push_str("<section><h2>Sizes</h2><p>How many keys take how much memory.</p>");
    if let (Some(first), Some(last)) = (used.first(), used.last()) {
        let most = stats.sizes.iter().map(|count| count.keys).max().unwrap_or(1) as f64;
        let width = 460.0 / (last - first + 1) as f64;
        page.push_str("<svg viewBox=\"0 0 480 228\" role=\"img\">");
        for at in *first..=*last {
            let count = stats.sizes[at];
            let height = if count.keys == 0 { 0.0 } else { (count.keys as f64 / most * HEIGHT).max(1.5) };
            let x = 10.0 + (at - first) as f64 * width;
            put!(
                page,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"2.5\" fill=\"var(--bar)\"><title>below {}: {}, {}</title></rect>",
                x + width * 0.08,
                190.0 - height,
                width * 0.84,
                text::size(1 << at),
                text::counted(count.keys, "key", "keys"),
                text::size(count.bytes)
            );
            if (at - first) % ((last - first) / 8 + 1) == 0 {
                put!(
                    page,
                    "<text x=\"{:.1}\" y=\"208\" text-anchor=\"middle\">{}</text>",
                    x + width / 2.0,
                    text::size(1 << at)
                );
            }
        }
        page.push_str("<line x1=\"10\" x2=\"470\" y1=\"190.5\" y2=\"190.5\" stroke=\"var(--line)\"/><text x=\"240\" y=\"225\" text-anchor=\"middle\">a key takes less than</text></svg>");
    }
    page.push_str("</section>");
}

/// One rectangle of the map.
struct Tile {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Divides `room` among weights that fall, in rows of about square tiles (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000).
fn squarified(weights: &[f64], room: &Tile) -> Vec<Tile> {
    let mut tiles = Vec::with_capacity(weights.len());
    let (mut x, mut y, mut width, mut height) = (room.x, room.y, room.width, room.height);
    let sum: f64 = weights.iter().sum();
    let scale = if sum > 0.0 { width * height / sum } else { 0.0 };
    let mut at = 0;
    while at < weights.len() && width > 0.0 && height > 0.0 {
        let side = width.min(height);
        let worst = |row: &[f64]| {
            let area: f64 = row.iter().sum::<f64>() * scale;
            let (most, least) = (row[0] * scale, row[row.len() - 1] * scale);
            (side * side * most / (area * area)).max(area * area / (side * side * least.max(1e-9)))
        };
        let mut end = at + 1;
        while end < weights.len() && worst(&weights[at..=end]) <= worst(&weights[at..end]) {
            end += 1;
        }
        let area: f64 = weights[at..end].iter().sum::<f64>() * scale;
        let thick = area / side;
        let mut along = 0.0;
        for weight in &weights[at..end] {
            let long = weight * scale / thick;
            tiles.push(if width >= height {
                Tile { x, y: y + along, width: thick, height: long }
            } else {
                Tile { x: x + along, y, width: long, height: thick }
            });
            along += long;
        }
        if width >= height {
            (x, width) = (x + thick, width - thick);
        } else {
            (y, height) = (y + thick, height - thick);
        }
        at = end;
    }
    tiles
}

/// Where the memory is: branches of the prefix tree as areas.
fn map(page: &mut String, stats: &Stats) {
    const BRANCHES: usize = 24;
    const LEAVES: usize = 40;
    let mut tree = stats.tree();
    if tree.len() < 2 && tree.first().is_none_or(|branch| branch.2.len() < 2) {
        return;
    }
    if tree.len() > BRANCHES {
        let rest = tree.split_off(BRANCHES);
        let mut sum = Count::default();
        for (_, count, _) in &rest {
            sum.keys += count.keys;
            sum.bytes += count.bytes;
        }
        tree.push((format!("{} more", rest.len()), sum, vec![(String::new(), sum)]));
        tree.sort_by_key(|(_, count, _)| std::cmp::Reverse(count.bytes));
    }
    page.push_str("<section><h2>Where the memory is</h2><p>Areas are prefixes of keys, divided by what follows them.</p><svg class=\"map\" viewBox=\"0 0 1072 430\" role=\"img\">");
    let weights: Vec<f64> = tree.iter().map(|(_, count, _)| count.bytes.max(1) as f64).collect();
    let room = Tile { x: 0.0, y: 0.0, width: 1072.0, height: 430.0 };
    for (at, ((name, count, leaves), tile)) in tree.iter().zip(squarified(&weights, &room)).enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let shown = &leaves[..leaves.len().min(LEAVES)];
        let mut leaf_weights: Vec<f64> = shown.iter().map(|(_, count)| count.bytes.max(1) as f64).collect();
        let left = count.bytes as f64 - leaf_weights.iter().sum::<f64>();
        if left > 1.0 {
            leaf_weights.push(left);
            leaf_weights.sort_by(|one, other| other.total_cmp(one));
        }
        for (leaf, area) in squarified(&leaf_weights, &tile).iter().enumerate() {
            let (rest, leaf_count) = shown.get(leaf).map_or(("...", *count), |(rest, count)| (rest.as_str(), *count));
            put!(
                page,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\" fill-opacity=\"{:.2}\"><title>{}{}{}: {}, {}</title></rect>",
                area.x,
                area.y,
                area.width.max(0.0),
                area.height.max(0.0),
                (1.0 - leaf as f64 * 0.035).max(0.62),
                escaped(name),
                if rest.is_empty() { "" } else { ":" },
                escaped(rest),
                text::counted(leaf_count.keys, "key", "keys"),
                text::size(leaf_count.bytes)
            );
        }
        for (leaf, area) in squarified(&leaf_weights, &tile).iter().enumerate().skip(1) {
            let Some((rest, _)) = shown.get(leaf) else { break };
            let fits = rest.chars().count() as f64 * 6.6 + 14.0 < area.width && area.height > 22.0;
            if fits && !rest.is_empty() {
                put!(
                    page,
                    "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    area.x + 8.0,
                    area.y + 17.0,
                    escaped(rest)
                );
            }
        }
        let room = (tile.width / 8.2) as usize;
        let label = if name.is_empty() { "(empty)" } else { name };
        if room >= 4 && tile.height > 20.0 {
            let label: String = if label.chars().count() > room {
                label.chars().take(room.saturating_sub(1)).chain(['…']).collect()
            } else {
                label.to_owned()
            };
            put!(page, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", tile.x + 8.0, tile.y + 18.0, escaped(&label));
            if tile.height > 38.0 && tile.width > 64.0 {
                put!(
                    page,
                    "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    tile.x + 8.0,
                    tile.y + 34.0,
                    text::size(count.bytes)
                );
            }
        }
    }
    page.push_str("</svg></section>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fill_their_room_by_weight() {
        let room = Tile { x: 0.0, y: 0.0, width: 600.0, height: 400.0 };
        let tiles = squarified(&[6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0], &room);
        let area: f64 = tiles.iter().map(|tile| tile.width * tile.height).sum();
        assert!((area - 240_000.0).abs() < 1.0, "{area}");
        assert!((tiles[0].width * tiles[0].height - 60_000.0).abs() < 1.0);
        assert!(tiles.iter().all(|tile| tile.x >= -0.01 && tile.x + tile.width <= 600.01));
        assert!(tiles.iter().all(|tile| tile.y >= -0.01 && tile.y + tile.height <= 400.01));
    }
}
