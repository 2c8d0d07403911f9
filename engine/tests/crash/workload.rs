//! What the stores under test go through: writes of all kinds, deadlines, snapshots, retention, segment changes, opens, crashes.
//! A seed decides everything.

use crate::families;
use crate::world::{START_MS, World};
use firn_engine::disk::chooser::Chooser;
use firn_engine::disk::sim::CrashRules;
use firn_engine::store::{Clock, SyncPolicy};

/// What may happen between commands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Steps to take.
    pub(crate) steps: u32,
    /// One step in so many asks for a snapshot; 0 for none.
    pub(crate) snapshots: u32,
    /// One step in so many closes or kills the store and opens it again; 0 for none.
    pub(crate) opens: u32,
    /// One of the deaths in two is a power cut.
    pub(crate) power_cuts: bool,
    /// Longest value, in bytes.
    pub(crate) value_len: u32,
    /// Others write during flushes.
    pub(crate) meanwhile: bool,
    /// `appendfsync` and `appendonly` are switched at times.
    pub(crate) switches: bool,
    /// The wall clock is set at times, ahead and back.
    pub(crate) jumps: bool,
    /// So many keys that a database has several index segments, and a snapshot several blocks and writes.
    pub(crate) wide: bool,
    /// Half of all commands are on collections.
    pub(crate) collections: bool,
}

/// Keys that a wide plan begins with, in each of two databases.
const WIDE_KEYS: u32 = 700;

impl Plan {
    /// A short run of everything.
    pub(crate) fn mixed(seed: u64) -> Plan {
        Plan { seed, steps: 90, snapshots: 25, opens: 40, power_cuts: false, value_len: 60, ..Plan::NONE }
    }

    /// Every kind of run in turn.
    pub(crate) fn various(seed: u64) -> Plan {
        let (kind, all) = (seed % 8, seed % 8 >= 6);
        Plan {
            power_cuts: seed % 2 == 1,
            meanwhile: kind == 2 || all,
            switches: kind == 3 || all,
            jumps: kind == 4 || all,
            wide: kind == 5 || kind == 7,
            collections: kind == 1 || kind == 6,
            ..Plan::mixed(seed)
        }
    }

    const NONE: Plan = Plan {
        seed: 0,
        steps: 0,
        snapshots: 0,
        opens: 0,
        power_cuts: false,
        value_len: 0,
        meanwhile: false,
        switches: false,
        jumps: false,
        wide: false,
        collections: false,
    };
}

/// Plays a plan to its end. The store must be open and is open afterwards.
pub(crate) fn play(world: &mut World, plan: &Plan) {
    let mut chooser = Chooser::seeded(plan.seed);
    if plan.wide {
        for db in 0..2 {
            let names: Vec<_> = (0..WIDE_KEYS).map(wide_key).collect();
            let value = [b'v'; 150];
            let pairs = names.iter().flat_map(|name| [&name[..], &value]);
            let words: Vec<&[u8]> = std::iter::once(&b"MSET"[..]).chain(pairs).collect();
            world.run(db, &words);
        }
        if plan.collections {
            for words in families::wide() {
                world.run(0, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
        }
        world.commit();
    }
    for _ in 0..plan.steps {
        step(world, plan, &mut chooser);
    }
}

fn step(world: &mut World, plan: &Plan, chooser: &mut Chooser) {
    if plan.opens > 0 && chooser.once_in(plan.opens) {
        let deaths = if plan.power_cuts { 4 } else { 3 };
        match chooser.choose(deaths) {
            0 => world.close().expect("nothing fails here"),
            1 | 2 => world.kill(),
            _ => {
                let mut outcome = Chooser::seeded(u64::from(chooser.choose(u32::MAX)));
                world.power_cut(&mut outcome, &CrashRules { scatter: true, garbage: true, ..CrashRules::default() });
            }
        }
        world.open().unwrap_or_else(|error| panic!("plan {plan:?}: {error}"));
    }
    if plan.switches && chooser.once_in(15) {
        let policies = [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::Never];
        match chooser.choose(5) {
            policy @ 0..=2 => world.set_policy(policies[policy as usize]),
            _ => {
                let on = !world.is_logged();
                world.set_log(on).expect("nothing fails here");
            }
        }
    }
    if plan.jumps && chooser.once_in(12) {
        let now = world.clock.unix_ms();
        // A little back and ahead, as NTP does; and what an operator's mistake does.
        let jumps = [now - 700, now + 3000, now - 3_600_000, now + 30 * 3_600_000, START_MS];
        world.clock.set_unix(jumps[chooser.choose(5) as usize]);
    }
    if plan.snapshots > 0 && chooser.once_in(plan.snapshots) {
        world.store().request_snapshot();
    }
    match chooser.choose(20) {
        0..=12 => {
            // A batch: several commands, then one commit.
            for _ in 0..=chooser.choose(3) {
                command(world, plan, chooser);
            }
            if chooser.choose(8) > 0 {
                world.commit();
            }
            if chooser.choose(3) > 0 {
                world.step_log();
            }
        }
        13 => {
            world.step_log();
        }
        14..=16 => {
            world.step_snapshot();
        }
        17 | 18 => {
            let ms = u64::from(chooser.choose(120));
            world.advance(ms);
        }
        _ => {
            let ms = [150, 900, 2500][chooser.choose(3) as usize];
            world.advance(ms);
        }
    }
}

/// One command or transaction.
pub(crate) fn command(world: &mut World, plan: &Plan, chooser: &mut Chooser) {
    command_words(plan, chooser, |commands| world.transaction(commands));
}

/// The words of one command or transaction, and their databases.
pub(crate) fn command_words(plan: &Plan, chooser: &mut Chooser, mut act: impl FnMut(&[(usize, &[&[u8]])])) {
    let db = if chooser.once_in(5) { chooser.choose(3) as usize } else { 0 };
    // Half of all are commands on collections; some of those come several at once.
    if plan.collections && chooser.once_in(2) {
        let count = if chooser.once_in(8) { 2 + chooser.choose(4) } else { 1 };
        let commands: Vec<_> = (0..count).map(|_| families::words(chooser)).collect();
        let commands: Vec<Vec<&[u8]>> =
            commands.iter().map(|words| words.iter().map(Vec::as_slice).collect()).collect();
        return act(&commands.iter().map(|words| (db, &words[..])).collect::<Vec<_>>());
    }
    let key = key(plan, chooser);
    let value = value(chooser, plan.value_len);
    let number = chooser.choose(1000).to_string();
    match chooser.choose(18) {
        0..=3 => act(&[(db, &[b"SET", &key, &value])]),
        4 => act(&[(db, &[b"SET", &key, &value, b"PX", (1 + chooser.choose(1500)).to_string().as_bytes()])]),
        5 | 6 => act(&[(db, &[b"APPEND", &key, &value[..value.len().min(9)]])]),
        7 => act(&[(db, &[b"INCRBY", b"counter", number.as_bytes()])]),
        8 => act(&[(db, &[b"DEL", &key])]),
        9 => act(&[(db, &[b"PEXPIRE", &key, (1 + chooser.choose(2000)).to_string().as_bytes()])]),
        10 => act(&[(db, &[b"PERSIST", &key])]),
        11 => {
            let other = self::key(plan, chooser);
            act(&[(db, &[b"MSET", &key, &value, &other, number.as_bytes()])]);
        }
        12 => {
            let other = self::key(plan, chooser);
            act(&[(db, &[b"RENAME", &key, &other])]);
        }
        13 => act(&[(db, &[b"SETRANGE", &key, b"5", &value[..value.len().min(9)]])]),
        14 | 15 => act(&[
            (db, &[b"SET", &key, &value]),
            (0, &[b"APPEND", b"journal", number.as_bytes()]),
            (2, &[b"INCRBY", b"transactions", b"1"]),
        ]),
        16 if chooser.once_in(6) => act(&[(db, &[b"FLUSHDB"])]),
        17 if chooser.once_in(4) => act(&[(0, &[b"SWAPDB", b"1", b"2"])]),
        _ => act(&[(db, &[b"GET", &key])]),
    }
}

fn wide_key(number: u32) -> Vec<u8> {
    format!("wide-{number}").into_bytes()
}

fn key(plan: &Plan, chooser: &mut Chooser) -> Vec<u8> {
    if plan.wide && chooser.once_in(2) {
        return wide_key(chooser.choose(WIDE_KEYS));
    }
    format!("key-{}", chooser.choose(12)).into_bytes()
}

/// Some compress well, some not at all, some are empty, some hold what looks like our own magic numbers.
fn value(chooser: &mut Chooser, longest: u32) -> Vec<u8> {
    let len = chooser.choose(longest + 1) as usize;
    match chooser.choose(4) {
        0 => vec![b'a' + (len % 26) as u8; len],
        1 => b"FRM1FIRNSEG1\0BLK1".iter().copied().cycle().take(len).collect(),
        _ => (0..len).map(|_| chooser.choose(256) as u8).collect(),
    }
}

/// Lets everything come to rest: snapshots end, all is flushed, the marker is written.
pub(crate) fn settle(world: &mut World) {
    for _ in 0..400 {
        world.commit();
        if !world.step() {
            break;
        }
    }
    world.advance(1500);
}
