//! What the stores under test go through: writes of all kinds, deadlines, snapshots, retention, segment changes, opens, crashes.
//! A seed decides everything.

use crate::world::World;
use firn_engine::disk::chooser::Chooser;
use firn_engine::disk::sim::CrashRules;

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
}

impl Plan {
    /// A short run of everything.
    pub(crate) fn mixed(seed: u64) -> Plan {
        Plan { seed, steps: 90, snapshots: 25, opens: 40, power_cuts: false, value_len: 60 }
    }
}

/// Plays a plan to its end. The store must be open and is open afterwards.
pub(crate) fn play(world: &mut World, plan: &Plan) {
    let mut chooser = Chooser::seeded(plan.seed);
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
    let db = if chooser.once_in(5) { chooser.choose(3) as usize } else { 0 };
    let key = key(chooser);
    let value = value(chooser, plan.value_len);
    let number = chooser.choose(1000).to_string();
    match chooser.choose(18) {
        0..=3 => world.run(db, &[b"SET", &key, &value]),
        4 => world.run(db, &[b"SET", &key, &value, b"PX", (1 + chooser.choose(1500)).to_string().as_bytes()]),
        5 | 6 => world.run(db, &[b"APPEND", &key, &value[..value.len().min(9)]]),
        7 => world.run(db, &[b"INCRBY", b"counter", number.as_bytes()]),
        8 => world.run(db, &[b"DEL", &key]),
        9 => world.run(db, &[b"PEXPIRE", &key, (1 + chooser.choose(2000)).to_string().as_bytes()]),
        10 => world.run(db, &[b"PERSIST", &key]),
        11 => {
            let other = self::key(chooser);
            world.run(db, &[b"MSET", &key, &value, &other, number.as_bytes()]);
        }
        12 => {
            let other = self::key(chooser);
            world.run(db, &[b"RENAME", &key, &other]);
        }
        13 => world.run(db, &[b"SETRANGE", &key, b"5", &value[..value.len().min(9)]]),
        14 | 15 => world.transaction(&[
            (db, &[b"SET", &key, &value]),
            (0, &[b"APPEND", b"journal", number.as_bytes()]),
            (2, &[b"INCRBY", b"transactions", b"1"]),
        ]),
        16 if chooser.once_in(6) => world.run(db, &[b"FLUSHDB"]),
        17 if chooser.once_in(4) => world.run(0, &[b"SWAPDB", b"1", b"2"]),
        _ => world.run(db, &[b"GET", &key]),
    }
}

fn key(chooser: &mut Chooser) -> Vec<u8> {
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
