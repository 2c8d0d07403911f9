//! Power cuts and kills at every call of mixed runs, under each policy.

use crate::judge::{Depth, Finding, Judge, Tally};
use crate::workload::{Plan, play, settle};
use crate::world::{Sink, World};
use crate::{counted, say};
use firn_engine::disk::Disk;
use firn_engine::disk::sim::CallKind;
use firn_engine::planted::Bug;
use firn_engine::snapshot::block::BlockKind;
use firn_engine::snapshot::reader::SnapshotReader;
use firn_engine::snapshot::writer::Pace;
use firn_engine::store::{Options, SyncPolicy};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// Snapshots in pieces as small as can be.
const TINY: Pace = Pace { slice_len: 1, buffer_max: 2000, write_len: 300, sync_len: 700, part_len: 100 };

/// Plays a plan on a new store, then judges every moment of it.
pub(crate) fn run(
    plan: &Plan,
    policy: SyncPolicy,
    bug: Option<Bug>,
    depth: Depth,
    tally: &Tally,
) -> Result<(), Finding> {
    let adjust: fn(&mut Options) = if plan.wide { |options| options.pace = TINY } else { |_| {} };
    let sink: Sink = Arc::new(Mutex::new(Vec::new()));
    let mut world = World::new(policy, Some(sink.clone()), adjust);
    let fail = |text| Finding { text, after: tally.states() };
    if plan.meanwhile {
        world.work_meanwhile(*plan);
    }
    world.open().map_err(fail)?;
    play(&mut world, plan);
    world.work_alone();
    world.set_log(true).map_err(fail)?;
    settle(&mut world);
    // A key that dies in the last moment makes a record of its own.
    for _ in 0..4 {
        if world.promise().power == world.promise().last {
            break;
        }
        world.advance(1500);
    }
    let quiet = world.promise();
    if quiet.power != quiet.last && world.policy != SyncPolicy::Never {
        return Err(fail(format!("{plan:?}: at rest only LSN {} of {} is durable", quiet.power, quiet.last)));
    }
    sink.lock().push(world.moment());
    world.close().map_err(fail)?;
    sink.lock().push(world.moment());
    let moments = std::mem::take(&mut *sink.lock());
    Judge { policy, adjust, bug, depth, tally }.all(&moments, &format!("{plan:?}"))
}

#[test]
fn every_crash_leaves_a_prefix_that_holds_all_promises() {
    let goal: u64 = std::env::var("FIRN_CRASH_STATES").map_or(1_000_000, |text| text.parse().expect("a number"));
    let began = Instant::now();
    let tally = Tally::default();
    let depth = Depth { cuts: 150, inside_one_in: 41, cuts_inside: 3 };
    // Other kinds of runs than the plain one: each at least once, with fewer outcomes of each moment.
    let shallow = Depth { cuts: 20, inside_one_in: 97, cuts_inside: 1 };
    let mut seed = 0;
    while tally.states() < goal || seed < 8 {
        for policy in [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::Never] {
            let plan = Plan::various(seed);
            let depth = if seed % 8 < 2 { depth } else { shallow };
            if let Err(finding) = run(&plan, policy, None, depth, &tally) {
                panic!("after {} states: {}", finding.after, finding.text);
            }
        }
        seed += 1;
    }
    let (load, seconds) = (std::sync::atomic::Ordering::Relaxed, began.elapsed().as_secs_f64());
    counted(tally.states(), "crash states");
    say(&format!(
        "{} states in {seconds:.0} s ({:.0} a second): {} crashes at {} moments ({} of them with every outcome), {} inside recoveries, {} right after them",
        tally.states(),
        tally.states() as f64 / seconds,
        tally.crashes.load(load),
        tally.moments.load(load),
        tally.enumerated.load(load),
        tally.inside.load(load),
        tally.again.load(load),
    ));
}

/// Kills whenever the folder is about to be flushed (a snapshot has its name, which is not durable), and cuts the power at
/// every call of the recovery that follows.
fn killed_before_a_folder_s_flush(seed: u64, tally: &Tally) -> Result<(), Finding> {
    let (policy, adjust): (_, fn(&mut Options)) = (SyncPolicy::Never, |_| {});
    let plan = Plan { opens: 0, snapshots: 8, collections: false, ..Plan::mixed(seed) };
    let sink: Sink = Arc::new(Mutex::new(Vec::new()));
    let mut world = World::new(policy, Some(sink.clone()), adjust);
    world.open().map_err(|text| Finding { text, after: 0 })?;
    play(&mut world, &plan);
    let mut moments = std::mem::take(&mut *sink.lock());
    moments.retain(|moment| moment.call.kind == CallKind::SyncDir);
    let depth = Depth { cuts: 1, inside_one_in: 1, cuts_inside: 30 };
    Judge { policy, adjust, bug: None, depth, tally }.all(&moments, &format!("{plan:?}"))
}

#[test]
fn a_recovery_after_a_kill_does_not_stand_on_names_that_a_power_cut_takes_back() {
    let tally = Tally::default();
    for seed in 0..2 {
        if let Err(finding) = killed_before_a_folder_s_flush(seed, &tally) {
            panic!("after {} states: {}", finding.after, finding.text);
        }
    }
    counted(tally.states(), "crash states");
}

#[test]
fn a_wide_plan_makes_snapshots_of_several_blocks() {
    let plan = Plan { wide: true, opens: 0, steps: 0, ..Plan::mixed(3) };
    let mut world = World::new(SyncPolicy::Always, None, |options| options.pace = TINY);
    world.open().unwrap();
    play(&mut world, &plan);
    world.step_until_snapshot().unwrap();
    let names = world.disk.list().unwrap();
    let newest = names.iter().rfind(|entry| entry.name.ends_with(".snap")).expect("a snapshot");
    let reader = SnapshotReader::open(&world.disk, &newest.name, None).unwrap();
    for db in 0..2 {
        let blocks =
            reader.rows().iter().filter(|row| row.info.kind == BlockKind::Entries && row.info.db == db).count();
        assert!(blocks >= 2, "database {db} has {blocks} blocks");
    }
}
