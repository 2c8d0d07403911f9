//! Power cuts and kills at every call of mixed runs, under each policy.

use crate::judge::{Depth, Finding, Judge, Tally};
use crate::workload::{Plan, play, settle};
use crate::world::{Sink, World};
use crate::{counted, say};
use firn_engine::planted::Bug;
use firn_engine::store::{Options, SyncPolicy};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// Plays a plan on a new store, then judges every moment of it.
pub(crate) fn run(
    plan: &Plan,
    policy: SyncPolicy,
    bug: Option<Bug>,
    depth: Depth,
    tally: &Tally,
) -> Result<(), Finding> {
    let adjust: fn(&mut Options) = |_| {};
    let sink: Sink = Arc::new(Mutex::new(Vec::new()));
    let mut world = World::new(policy, Some(sink.clone()), adjust);
    let fail = |text| Finding { text, after: tally.states() };
    world.open().map_err(fail)?;
    play(&mut world, plan);
    settle(&mut world);
    let quiet = world.promise();
    if quiet.power != quiet.last && policy != SyncPolicy::Never {
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
    let mut seed = 0;
    while tally.states() < goal {
        for policy in [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::Never] {
            let plan = Plan { power_cuts: seed % 2 == 1, ..Plan::mixed(seed) };
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
