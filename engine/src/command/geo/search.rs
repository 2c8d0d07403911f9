//! Members by place: GEOSEARCH and GEOSEARCHSTORE, and the older GEORADIUS family.

use super::hash::{Cell, Point};
use super::shape::Shape;
use super::{BASE, parse_point, parse_unit, write_distance, write_point};
use crate::command::error::excerpt;
use crate::command::sorted_sets::ranges::ScoreRange;
use crate::command::sorted_sets::{Pair, effect_zadd, store_result};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Keys, Reply, Spec};
use crate::number::{parse_double, parse_integer};
use crate::value::{SortedSet, SortedSetView};

const COST: &str =
    "O(N+log(M)) where M is the size of the geo set and N the number of its members in the cells around the shape";

/// How a command says what it looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Search,
    SearchStore,
    Radius { may_store: bool },
    RadiusByMember { may_store: bool },
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(self, Form::Radius { may_store: true } | Form::RadiusByMember { may_store: true })
    }
}

const READ: Spec = Spec { flags: Flags::READONLY, keys: Keys::first("RO ACCESS"), complexity: COST, ..BASE };

/// `GEOSEARCH`.
pub(super) static GEOSEARCH: Command = Command {
    spec: Spec {
        name: "GEOSEARCH",
        arity: Arity::AtLeast(5 + 2),
        since: "6.2.0",
        summary: "Returns the members of a geo set that are inside of a circle, a box or a polygon.",
        syntax: "key [FROMMEMBER member | FROMLONLAT longitude latitude] <BYRADIUS radius <M | KM | FT | MI> | \
                 BYBOX width height <M | KM | FT | MI> | \
                 BYPOLYGON num-vertices longitude latitude [longitude latitude ...]> \
                 [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        ..READ
    },
    run: |call, args, reply| search(call, args, Form::Search, reply),
};

/// `GEOSEARCHSTORE`.
pub(super) static GEOSEARCHSTORE: Command = Command {
    spec: Spec {
        name: "GEOSEARCHSTORE",
        arity: Arity::AtLeast(8),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: 2, step: 1, access: "OW UPDATE | RO ACCESS" },
        since: "6.2.0",
        summary: "Stores the members of a geo set that are inside of a circle, a box or a polygon.",
        syntax: "destination source [FROMMEMBER member | FROMLONLAT longitude latitude] \
                 <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI> | \
                 BYPOLYGON num-vertices longitude latitude [longitude latitude ...]> \
                 [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        ..READ
    },
    run: |call, args, reply| search(call, args, Form::SearchStore, reply),
};

/// Finds the key of the GEORADIUS family and the one that it stores under: the last that is named.
fn radius_keys(words: &[&[u8]], options_at: usize, found: &mut Vec<usize>) {
    found.push(1);
    let stores = |word: &[u8]| word.eq_ignore_ascii_case(b"STORE") || word.eq_ignore_ascii_case(b"STOREDIST");
    if let Some(at) = (options_at..words.len().saturating_sub(1)).rev().find(|at| stores(words[*at])) {
        found.push(at + 1);
    }
}

const RADIUS_STORE: Spec = Spec { flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS), ..READ };

/// `GEORADIUS`.
pub(super) static GEORADIUS: Command = Command {
    spec: Spec {
        name: "GEORADIUS",
        arity: Arity::AtLeast(6),
        keys: Keys::Found {
            find: |words, found| radius_keys(words, 5, found),
            legacy: (1, 1, 1),
            access: "RO ACCESS | OW UPDATE",
        },
        since: "3.2.0",
        summary: "Returns or stores the members of a geo set that are inside of a circle.",
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] \
                 [ASC | DESC] [STORE key | STOREDIST key]",
        ..RADIUS_STORE
    },
    run: |call, args, reply| search(call, args, Form::Radius { may_store: true }, reply),
};

/// `GEORADIUSBYMEMBER`.
pub(super) static GEORADIUSBYMEMBER: Command = Command {
    spec: Spec {
        name: "GEORADIUSBYMEMBER",
        arity: Arity::AtLeast(5),
        keys: Keys::Found {
            find: |words, found| radius_keys(words, 4, found),
            legacy: (1, 1, 1),
            access: "RO ACCESS | OW UPDATE",
        },
        since: "3.2.0",
        summary: "Returns or stores the members of a geo set that are inside of a circle around one of them.",
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] \
                 [STORE key | STOREDIST key]",
        ..RADIUS_STORE
    },
    run: |call, args, reply| search(call, args, Form::RadiusByMember { may_store: true }, reply),
};

/// `GEORADIUS_RO`.
pub(super) static GEORADIUS_RO: Command = Command {
    spec: Spec {
        name: "GEORADIUS_RO",
        arity: Arity::AtLeast(6),
        since: "3.2.10",
        summary: "Returns the members of a geo set that are inside of a circle.",
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] \
                 [ASC | DESC]",
        ..READ
    },
    run: |call, args, reply| search(call, args, Form::Radius { may_store: false }, reply),
};

/// `GEORADIUSBYMEMBER_RO`.
pub(super) static GEORADIUSBYMEMBER_RO: Command = Command {
    spec: Spec {
        name: "GEORADIUSBYMEMBER_RO",
        arity: Arity::AtLeast(5),
        since: "3.2.10",
        summary: "Returns the members of a geo set that are inside of a circle around one of them.",
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        ..READ
    },
    run: |call, args, reply| search(call, args, Form::RadiusByMember { may_store: false }, reply),
};

/// What a shape is, before the place it lies around is known.
#[derive(Clone, Debug)]
enum By {
    Radius(f64),
    Box { width: f64, height: f64 },
    Polygon(Vec<Point>),
}

/// A parsed search.
#[derive(Debug, Default)]
struct Request {
    /// The place it is around; `None` for polygons, and for a member of a key that does not exist.
    from: Option<Point>,
    by: Option<By>,
    /// Meters in the unit of distances.
    unit: f64,
    /// Highest first, if sorted at all.
    descending: Option<bool>,
    /// 0: all.
    count: usize,
    any: bool,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    /// Index of the key under which the result goes.
    store: Option<usize>,
    store_distance: bool,
}

fn parse_length(word: &[u8], what: &'static str) -> Result<f64, CommandError> {
    parse_double(word).ok_or_else(|| CommandError::text(format!("ERR need numeric {what}")))
}

impl Request {
    fn radius(&mut self, args: &Args<'_>, at: usize) -> Result<(), CommandError> {
        let radius = parse_length(args.get(at), "radius")?;
        if radius < 0.0 {
            return Err(CommandError::text("ERR radius cannot be negative"));
        }
        self.unit = parse_unit(args.get(at + 1))?;
        self.by = Some(By::Radius(radius * self.unit));
        Ok(())
    }

    fn rectangle(&mut self, args: &Args<'_>, at: usize) -> Result<(), CommandError> {
        let (width, height) = (parse_length(args.get(at), "width")?, parse_length(args.get(at + 1), "height")?);
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::text("ERR height or width cannot be negative"));
        }
        self.unit = parse_unit(args.get(at + 2))?;
        self.by = Some(By::Box { width: width * self.unit, height: height * self.unit });
        Ok(())
    }

    /// Says how many words the polygon at word `at` takes.
    fn polygon(&mut self, args: &Args<'_>, at: usize) -> Result<usize, CommandError> {
        let count = parse_integer(args.get(at))
            .filter(|count| i32::try_from(*count).is_ok())
            .ok_or(CommandError::text("ERR invalid number of vertices"))?;
        let count = usize::try_from(count).unwrap_or(0);
        if count < 3 || (args.len() - at - 1) / 2 < count {
            return Err(CommandError::text("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"));
        }
        let words = &args.words()[at + 1..=at + 2 * count];
        let corners = words.chunks_exact(2).map(|words| parse_point(words[0], words[1])).collect::<Result<_, _>>()?;
        self.unit = 1.0;
        self.by = Some(By::Polygon(corners));
        Ok(1 + 2 * count)
    }

    fn parse(args: &Args<'_>, form: Form, set: Option<SortedSetView<'_>>) -> Result<Request, CommandError> {
        let mut request = Request { unit: 1.0, ..Request::default() };
        // A member of a key that does not exist may be any: the rest is still parsed, to know which empty answer is due.
        let member = |word: &[u8]| match set.map(|set| set.score(word)) {
            None => Ok(None),
            Some(Some(score)) => Ok(Some(Cell::of_score(score).point())),
            Some(None) => Err(CommandError::text(format!("ERR member {} does not exist", excerpt(word)))),
        };
        let (mut from_member, mut from_place) = (false, false);
        let mut at = match form {
            Form::Search => 2,
            Form::SearchStore => {
                request.store = Some(1);
                3
            }
            Form::Radius { .. } => {
                request.from = Some(parse_point(args.get(2), args.get(3))?);
                request.radius(args, 4)?;
                6
            }
            Form::RadiusByMember { .. } => {
                if set.is_some() {
                    request.from = member(args.get(2))?;
                    request.radius(args, 3)?;
                }
                5
            }
        };
        let search = form.is_search();
        while at < args.len() {
            let more = args.len() - at - 1;
            let polygon = matches!(request.by, Some(By::Polygon(_)));
            let no_other = |by: fn(&By) -> bool| search && request.by.as_ref().is_none_or(by);
            if args.is(at, "WITHDIST") {
                request.with_distance = true;
            } else if args.is(at, "WITHHASH") {
                request.with_hash = true;
            } else if args.is(at, "WITHCOORD") {
                request.with_place = true;
            } else if args.is(at, "ANY") {
                request.any = true;
            } else if args.is(at, "ASC") {
                request.descending = Some(false);
            } else if args.is(at, "DESC") {
                request.descending = Some(true);
            } else if args.is(at, "COUNT") && more >= 1 {
                let count = args.integer(at + 1)?;
                let count = usize::try_from(count).ok().filter(|count| *count > 0);
                request.count = count.ok_or(CommandError::text("ERR COUNT must be > 0"))?;
                at += 1;
            } else if form.may_store() && more >= 1 && (args.is(at, "STORE") || args.is(at, "STOREDIST")) {
                request.store = Some(at + 1);
                request.store_distance = args.is(at, "STOREDIST");
                at += 1;
            } else if form == Form::SearchStore && args.is(at, "STOREDIST") {
                request.store_distance = true;
            } else if search && args.is(at, "FROMMEMBER") && more >= 1 && !from_place && !polygon {
                request.from = member(args.get(at + 1))?;
                from_member = true;
                at += 1;
            } else if search && args.is(at, "FROMLONLAT") && more >= 2 && !from_member && !polygon {
                request.from = Some(parse_point(args.get(at + 1), args.get(at + 2))?);
                from_place = true;
                at += 2;
            } else if args.is(at, "BYRADIUS") && more >= 2 && no_other(|by| matches!(by, By::Radius(_))) {
                request.radius(args, at + 1)?;
                at += 2;
            } else if args.is(at, "BYBOX") && more >= 3 && no_other(|by| matches!(by, By::Box { .. })) {
                request.rectangle(args, at + 1)?;
                at += 3;
            } else if args.is(at, "BYPOLYGON")
                && more >= 2
                && !(from_member || from_place)
                && no_other(|by| matches!(by, By::Polygon(_)))
            {
                at += request.polygon(args, at + 1)?;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        request.check(args, form, from_member || from_place)?;
        Ok(request)
    }

    /// What does not go together.
    fn check(&self, args: &Args<'_>, form: Form, has_from: bool) -> Result<(), CommandError> {
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            let what = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(CommandError::text(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        if form.is_search() && !has_from && !matches!(self.by, Some(By::Polygon(_))) {
            return Err(CommandError::text(format!(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {}",
                excerpt(args.get(0))
            )));
        }
        if form.is_search() && self.by.is_none() {
            return Err(CommandError::text(format!(
                "ERR exactly one of BYRADIUS, BYBOX and BYPOLYGON can be specified for {}",
                excerpt(args.get(0))
            )));
        }
        if self.any && self.count == 0 {
            return Err(CommandError::text("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// The shape, if everything is known.
    fn shape(&mut self) -> Option<Shape> {
        Some(match (self.by.take()?, self.from) {
            (By::Polygon(corners), _) => Shape::polygon(corners),
            (By::Radius(radius), Some(center)) => Shape::Circle { center, radius },
            (By::Box { width, height }, Some(center)) => Shape::Rectangle { center, width, height },
            _ => return None,
        })
    }
}

/// A member that was found.
struct Found {
    place: Point,
    /// Meters from the middle of the shape.
    distance: f64,
    score: f64,
    /// Where the member's bytes are.
    member: std::ops::Range<usize>,
}

/// Members inside of a shape; their bytes in one piece.
#[derive(Default)]
struct Findings {
    bytes: Vec<u8>,
    list: Vec<Found>,
}

impl Findings {
    /// At most `limit`, in the order of cells, then scores.
    fn find(set: SortedSetView<'_>, shape: &Shape, limit: usize) -> Findings {
        let mut findings = Findings::default();
        for cell in shape.cells() {
            if findings.list.len() >= limit {
                break;
            }
            let (low, high) = cell.scores();
            let span = ScoreRange::new(low, high, true).span(set);
            set.each_while(span.start, span.count, false, |member, score| {
                let place = Cell::of_score(score).point();
                if let Some(distance) = shape.distance_inside(place) {
                    let start = findings.bytes.len();
                    findings.bytes.extend_from_slice(member);
                    findings.list.push(Found { place, distance, score, member: start..findings.bytes.len() });
                }
                findings.list.len() < limit
            });
        }
        findings
    }

    fn member(&self, found: &Found) -> &[u8] {
        &self.bytes[found.member.clone()]
    }
}

fn search(call: &mut Call<'_>, args: &Args<'_>, form: Form, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let source = call.key(args, if form == Form::SearchStore { 2 } else { 1 });
    let set = call.read_sorted_set(source)?;
    let mut request = Request::parse(args, form, set)?;
    let mut findings = Findings::default();
    if let (Some(set), Some(shape)) = (set, request.shape()) {
        findings = Findings::find(set, &shape, if request.any { request.count } else { usize::MAX });
    }
    // The first so many of nothing in particular would be of no use: COUNT means the nearest, unless ANY will do.
    let sorted = request.descending.or((request.count != 0 && !request.any).then_some(false));
    match sorted {
        Some(false) => findings.list.sort_by(|one, other| one.distance.total_cmp(&other.distance)),
        Some(true) => findings.list.sort_by(|one, other| other.distance.total_cmp(&one.distance)),
        None => {}
    }
    if request.count != 0 {
        findings.list.truncate(request.count);
    }
    match request.store {
        Some(index) => store(call, args, index, (form, &request), &findings, reply),
        None => {
            write(&request, &findings, reply);
            Ok(())
        }
    }
}

fn write(request: &Request, findings: &Findings, reply: &mut dyn Reply) {
    let extras =
        [request.with_distance, request.with_hash, request.with_place].into_iter().filter(|with| *with).count();
    reply.array(findings.list.len());
    for found in &findings.list {
        if extras > 0 {
            reply.array(extras + 1);
        }
        reply.bulk(findings.member(found));
        if request.with_distance {
            write_distance(found.distance / request.unit, reply);
        }
        if request.with_hash {
            reply.integer(found.score as i64);
        }
        if request.with_place {
            write_point(found.place, reply);
        }
    }
}

/// The effect is what was stored, not the search: another machine's sines may differ in the last bit.
fn store(
    call: &mut Call<'_>,
    args: &Args<'_>,
    index: usize,
    (form, request): (Form, &Request),
    findings: &Findings,
    reply: &mut dyn Reply,
) -> Result<(), CommandError> {
    let score = |found: &Found| if request.store_distance { found.distance / request.unit } else { found.score };
    let mut pairs: Vec<_> =
        findings.list.iter().map(|found| Pair { score: score(found), member: findings.member(found) }).collect();
    pairs.sort_by(|one, other| one.score.total_cmp(&other.score));
    let target = call.key(args, index);
    // A score's digits and what stands around two words.
    let len: usize = pairs.iter().map(|pair| pair.member.len() + 40).sum();
    call.engine.admits(args.record_len_max().saturating_add(len))?;
    let shaping = call.engine.settings.shaping.clone();
    let mut result = SortedSet::default();
    result.expect(pairs.len(), pairs.iter().map(|pair| pair.member.len()).max().unwrap_or(0), &shaping);
    for pair in &pairs {
        result.set(pair.member, pair.score, &shaping);
    }
    let replaces = call.write(target).is_some();
    if store_result(call, target, result, if form.is_search() { "geosearchstore" } else { "georadiusstore" }) {
        if replaces {
            call.effect(&[b"DEL", target.bytes]);
        }
        effect_zadd(call, target, &pairs);
    }
    reply.integer(pairs.len() as i64);
    Ok(())
}
