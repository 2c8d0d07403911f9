//! XCLAIM and XAUTOCLAIM: pending entries change hands.
//!
//! Both look first and decide about every entry, then change the group, then reply and leave their effects.

use super::super::{Args, Arity, Call, Command, CommandError, Flags, Group, Keys, Reply, Spec};
use super::{claims_len, elapsed, id, interval_start, no_group, reply_entry, text};
use crate::engine::EventClass;
use crate::key::Key;
use crate::number::parse_integer;
use crate::value::stream::{self, Id, Pending};
use crate::value::{Shaping, Stream};
use std::collections::HashMap;

/// What is to happen to the pending entries of one command.
#[derive(Default)]
struct Plan {
    /// In order: what is assigned as it stands here, or, with `gone`, is no longer pending because its entry was deleted.
    steps: Vec<Step>,
    /// Bytes of the names of those whom the gone ones belong to.
    owners_len: usize,
}

impl Plan {
    /// What is no longer pending with its owner.
    fn remove(&mut self, pending: Pending, group: &stream::Group) {
        self.owners_len += group.numbered(pending.consumer).name().len();
        self.steps.push(Step { pending, gone: true });
    }
}

struct Step {
    pending: Pending,
    gone: bool,
}

/// Who claims.
struct Claimant<'a> {
    key: Key<'a>,
    group: &'a [u8],
    consumer: &'a [u8],
}

impl<'a> Claimant<'a> {
    fn of(call: &Call<'_>, args: &Args<'a>) -> Claimant<'a> {
        Claimant { key: call.key(args, 1), group: args.get(2), consumer: args.get(3) }
    }

    fn find<'s>(&self, stream: Option<&'s Stream>) -> Result<(&'s Stream, &'s stream::Group), CommandError> {
        let found = stream.and_then(|stream| Some((stream, stream.group(self.group)?)));
        found.ok_or_else(|| no_group(self.key.bytes, self.group, ""))
    }
}

/// Carries a plan out. `last_id` is the group's new last ID, if that is to rise.
///
/// # Errors
/// The effects would not fit into a record.
fn carry_out(
    call: &mut Call<'_>,
    who: &Claimant<'_>,
    plan: &mut Plan,
    last_id: Option<Id>,
) -> Result<(), CommandError> {
    let now_ms = call.engine.now_ms;
    let Claimant { key, group: name, consumer } = *who;
    let owners_len = plan.owners_len;
    call.engine.admits(claims_len(key, name, consumer, plan.steps.len()).saturating_add(owners_len))?;
    let edit = |stream: &mut Stream, _: &Shaping| {
        stream.edit_group(name, |group| {
            if let Some(last_id) = last_id {
                group.set_position(last_id, group.entries_read());
            }
            let (number, created) = group.consumer_or_new(consumer, now_ms);
            let mut claimed = false;
            for step in &mut plan.steps {
                if step.gone {
                    group.acknowledge(step.pending.id);
                } else {
                    step.pending.consumer = number;
                    group.assign(step.pending);
                    claimed = true;
                }
            }
            group.saw(number, now_ms, claimed);
            // Owners of what is gone are named in effects.
            let owner = |step: &Step| group.numbered(step.pending.consumer).name().to_vec();
            let owners: Vec<Vec<u8>> = plan.steps.iter().filter(|step| step.gone).map(owner).collect();
            (created, claimed, owners, group.last_id(), group.entries_read())
        })
    };
    let Some((created, claimed, owners, last, entries_read)) = call.edit_stream(key, edit).result else {
        return Ok(());
    };
    if created {
        call.event(EventClass::Stream, "xgroup-createconsumer", key.bytes);
        if !claimed {
            call.consumer_effect(key, name, consumer);
        }
    }
    let mut owners = owners.iter();
    for step in &plan.steps {
        let owner = if step.gone { owners.next().map_or(consumer, Vec::as_slice) } else { consumer };
        call.claim_effect(key, name, owner, &step.pending, last);
    }
    if plan.steps.is_empty() && last_id.is_some() {
        call.position_effect(key, name, last, entries_read);
    }
    if created || !plan.steps.is_empty() || last_id.is_some() {
        call.touched(key);
    }
    Ok(())
}

/// Replies with the claimed entries, or with their IDs alone.
fn reply_claimed(
    call: &mut Call<'_>,
    key: Key<'_>,
    plan: &Plan,
    just_id: bool,
    reply: &mut dyn Reply,
) -> Result<(), CommandError> {
    let claimed = || plan.steps.iter().filter(|step| !step.gone).map(|step| step.pending.id);
    reply.array(claimed().count());
    if just_id {
        claimed().for_each(|id| reply.bulk(&id.text()));
    } else if let Some(stream) = call.write_stream(key)? {
        claimed().filter_map(|id| stream.get(id)).for_each(|entry| reply_entry(reply, entry));
    }
    Ok(())
}

/// `XCLAIM`.
pub(super) static XCLAIM: Command = Command {
    spec: Spec {
        name: "XCLAIM",
        arity: Arity::AtLeast(6),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW UPDATE"),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Gives pending entries to another consumer of the group.",
        complexity: "O(log(N)) for each ID, with N being the number of pending entries of the group",
        syntax: "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] \
                 [JUSTID] [LASTID lastid]",
        ..Spec::BASE
    },
    run: xclaim,
};

struct ClaimOptions {
    ids: Vec<Id>,
    /// `None`: now.
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: Id,
}

fn claim_options(args: &Args<'_>, now_ms: u64) -> Result<ClaimOptions, CommandError> {
    let ids: Vec<Id> = args.words()[5..].iter().map_while(|word| Id::parse(word, 0)).collect();
    let mut index = 5 + ids.len();
    let mut options =
        ClaimOptions { ids, delivered_ms: None, deliveries: None, force: false, just_id: false, last_id: Id::MIN };
    while index < args.len() {
        let more = index + 1 < args.len();
        let number = |invalid: &'static str| parse_integer(args.get(index + 1)).ok_or(text(invalid));
        let mut taken = 2;
        if args.is(index, "FORCE") {
            options.force = true;
            taken = 1;
        } else if args.is(index, "JUSTID") {
            options.just_id = true;
            taken = 1;
        } else if more && args.is(index, "IDLE") {
            let idle = number("ERR Invalid IDLE option argument for XCLAIM")?;
            options.delivered_ms = Some((now_ms as i64).wrapping_sub(idle));
        } else if more && args.is(index, "TIME") {
            options.delivered_ms = Some(number("ERR Invalid TIME option argument for XCLAIM")?);
        } else if more && args.is(index, "RETRYCOUNT") {
            options.deliveries = u64::try_from(number("ERR Invalid RETRYCOUNT option argument for XCLAIM")?).ok();
        } else if more && args.is(index, "LASTID") {
            options.last_id = id(args.get(index + 1))?;
        } else {
            let word = super::shown(args.get(index));
            return Err(CommandError::text(format!("ERR Unrecognized XCLAIM option '{word}'")));
        }
        index += taken;
    }
    Ok(options)
}

fn min_idle(args: &Args<'_>, invalid: &'static str) -> Result<i64, CommandError> {
    Ok(parse_integer(args.get(4)).ok_or(text(invalid))?.max(0))
}

fn xclaim(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let (who, now_ms) = (Claimant::of(call, args), call.engine.now_ms);
    let exists = call.write_stream(who.key)?.is_some();
    call.looked_up(who.key, exists);
    let (stream, group) = who.find(call.write_stream(who.key)?)?;
    let min_idle_ms = min_idle(args, "ERR Invalid min-idle-time argument for XCLAIM")?;
    let options = claim_options(args, now_ms)?;
    // As in Redis a negative time, or one still to come, counts as now: the client's clock and ours may differ.
    let delivered_ms = options.delivered_ms.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms <= now_ms);
    let delivered_ms = delivered_ms.unwrap_or(now_ms);
    let mut plan = Plan::default();
    // An ID may be named twice: what the first did counts for the second.
    let mut named: HashMap<Id, Option<Pending>> = HashMap::new();
    for &id in &options.ids {
        let old = named.get(&id).copied().unwrap_or_else(|| group.pending(id));
        if stream.get(id).is_none() {
            if let Some(pending) = old {
                plan.remove(pending, group);
                named.insert(id, None);
            }
            continue;
        }
        let (deliveries, owned) = match old {
            Some(old) => (old.deliveries, true),
            None if options.force => (1, false),
            None => continue,
        };
        if let Some(old) = old
            && owned
            && min_idle_ms > 0
            && elapsed(now_ms, old.delivered_ms) < min_idle_ms
        {
            continue;
        }
        let deliveries = match options.deliveries {
            Some(count) => count,
            None if options.just_id => deliveries,
            None => deliveries.saturating_add(1),
        };
        let pending = Pending { id, delivered_ms, deliveries, consumer: stream::ConsumerNumber::default() };
        plan.steps.push(Step { pending, gone: false });
        named.insert(id, Some(pending));
    }
    let last_id = (options.last_id > group.last_id()).then_some(options.last_id);
    carry_out(call, &who, &mut plan, last_id)?;
    reply_claimed(call, who.key, &plan, options.just_id, reply)
}

/// `XAUTOCLAIM`.
pub(super) static XAUTOCLAIM: Command = Command {
    spec: Spec {
        name: "XAUTOCLAIM",
        arity: Arity::AtLeast(6),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::first("RW DELETE"),
        group: Group::Stream,
        since: "6.2.0",
        summary: "Gives a consumer what has been pending for long with any consumer of the group.",
        complexity: "O(N) with N being COUNT",
        syntax: "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        ..Spec::BASE
    },
    run: xautoclaim,
};

/// COUNT of XAUTOCLAIM if it is not given.
const AUTOCLAIM_COUNT: u64 = 100;
/// Pending entries that are looked at for each one that may be claimed.
const AUTOCLAIM_LOOKS: u64 = 10;
/// COUNT at most: Redis' bound, so that the looks and a list of as many IDs can be counted.
const AUTOCLAIM_COUNT_MAX: i64 = i64::MAX / 16;

fn xautoclaim(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let exists = call.write(key).is_some();
    call.looked_up(key, exists);
    let min_idle_ms = min_idle(args, "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
    let start = interval_start(args.get(5))?;
    let (mut count, mut just_id) = (AUTOCLAIM_COUNT, false);
    let mut index = 6;
    while index < args.len() {
        if args.is(index, "COUNT") && index + 1 < args.len() {
            let given = parse_integer(args.get(index + 1)).filter(|count| (1..=AUTOCLAIM_COUNT_MAX).contains(count));
            count = given.ok_or(text("ERR COUNT must be > 0"))? as u64;
            index += 1;
        } else if args.is(index, "JUSTID") {
            just_id = true;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    let (who, now_ms) = (Claimant::of(call, args), call.engine.now_ms);
    let (stream, group) = who.find(call.write_stream(who.key)?)?;
    let mut plan = Plan::default();
    let mut looks = count * AUTOCLAIM_LOOKS;
    let mut waiting = group.pending_from(start);
    while looks > 0 && count > 0 {
        let Some(old) = waiting.next() else { break };
        looks -= 1;
        if stream.get(old.id).is_none() {
            plan.remove(*old, group);
            count -= 1;
        } else if min_idle_ms == 0 || elapsed(now_ms, old.delivered_ms) >= min_idle_ms {
            let deliveries = old.deliveries.saturating_add(u64::from(!just_id));
            plan.steps.push(Step { pending: Pending { delivered_ms: now_ms, deliveries, ..*old }, gone: false });
            count -= 1;
        }
    }
    let cursor = waiting.next().map_or(Id::MIN, |pending| pending.id);
    drop(waiting);
    carry_out(call, &who, &mut plan, None)?;
    reply.array(3);
    reply.bulk(&cursor.text());
    reply_claimed(call, who.key, &plan, just_id, reply)?;
    let gone = || plan.steps.iter().filter(|step| step.gone);
    reply.array(gone().count());
    gone().for_each(|step| reply.bulk(&step.pending.id.text()));
    Ok(())
}
