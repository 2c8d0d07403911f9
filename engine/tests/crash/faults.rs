//! The n-th call to the disk fails, for every n and in every way: the contract is kept, the store lives, writes resume.

use crate::judge::{Depth, Judge, Tally};
use crate::workload::{Plan, play, settle};
use crate::world::{Moment, Sink, World};
use crate::{counted, say};
use firn_engine::disk::sim::{CallKind, Effect, Errno, Fault};
use firn_engine::planted::Bug;
use firn_engine::store::{Options, SyncPolicy};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const POLICIES: [SyncPolicy; 3] = [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::Never];
/// Moments judged after a fault are many: few cuts each.
const SHALLOW: Depth = Depth { cuts: 3, inside_one_in: 97, cuts_inside: 1 };

fn no_change(_: &mut Options) {}

/// Plays a plan with a fault, ends the fault, and sees that everything works again. Gives the moments since the fault was met, and
/// whether it was met at all.
fn survive(plan: &Plan, policy: SyncPolicy, fault: Fault) -> Result<(Vec<Moment>, bool), String> {
    let sink: Sink = Arc::new(Mutex::new(Vec::new()));
    let mut world = World::new(policy, Some(sink.clone()), no_change);
    world.tolerant = true;
    world.disk.set_faults([fault]);
    world.open()?;
    play(&mut world, plan);
    let met = world.faults_met() > 0;
    world.disk.set_faults([]);
    // The log tries again after at most ten seconds, a snapshot after at most a minute or so.
    settle(&mut world);
    world.advance(30_000);
    let refused = world.refusals;
    world.run(0, &[b"SET", b"after", b"all"]);
    settle(&mut world);
    let promise = world.promise();
    if world.refusals != refused {
        return Err("writes do not resume after the fault".to_owned());
    }
    if promise.kill != promise.last || (policy != SyncPolicy::Never && promise.power != promise.last) {
        return Err(format!("after the fault not everything holds: {promise:?}"));
    }
    world.step_until_snapshot()?;
    sink.lock().push(world.moment());
    world.close()?;
    sink.lock().push(world.moment());
    let moments = std::mem::take(&mut *sink.lock());
    Ok((moments, met))
}

/// Every call of a plan fails in turn.
fn every_call(plan: &Plan, policy: SyncPolicy, name: &str, tally: &Tally, fault: impl Fn(u64) -> Fault + Sync) -> u64 {
    let next = std::sync::atomic::AtomicU64::new(1);
    let (last, failure) = (Mutex::new(u64::MAX), Mutex::new(None::<String>));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Relaxed);
                    if n > *last.lock() || failure.lock().is_some() {
                        break;
                    }
                    let judged = survive(plan, policy, fault(n)).and_then(|(moments, met)| {
                        if !met {
                            let mut last = last.lock();
                            *last = n.min(*last);
                        }
                        // One moment in forty, others for every n; the last one always.
                        let few: Vec<Moment> =
                            moments.iter().skip((n % 40) as usize).step_by(40).chain(moments.last()).cloned().collect();
                        let judge = Judge { policy, adjust: no_change, bug: None, depth: SHALLOW, tally };
                        few.iter().try_for_each(|moment| {
                            judge
                                .moment(moment)
                                .map_err(|text| format!("life {}, before {}: {text}", moment.life, moment.call))
                        })
                    });
                    if let Err(text) = judged {
                        failure.lock().get_or_insert(format!("{name}, {policy:?}, call {n}, {plan:?}: {text}"));
                    }
                }
            });
        }
    });
    if let Some(text) = failure.into_inner() {
        panic!("{text}");
    }
    last.into_inner()
}

fn every_call_in_every_way(opens: u32) {
    let tally = Tally::default();
    let mut calls = 0;
    let plan = Plan { steps: 45, opens, snapshots: 15, ..Plan::mixed(5) };
    for policy in POLICIES {
        calls += every_call(&plan, policy, "EIO once", &tally, |n| Fault::nth(n, Effect::Error(Errno::IO)));
        calls += every_call(&plan, policy, "ENOSPC once", &tally, |n| Fault::nth(n, Effect::Error(Errno::NOSPC)));
        calls +=
            every_call(&plan, policy, "EIO from then on", &tally, |n| Fault::from_nth(n, Effect::Error(Errno::IO)));
        calls += every_call(&plan, policy, "ENOSPC from then on", &tally, |n| {
            Fault::from_nth(n, Effect::Error(Errno::NOSPC))
        });
        calls += every_call(&plan, policy, "done, but EIO", &tally, |n| Fault::nth(n, Effect::ErrorAfter(Errno::IO)));
        calls += every_call(&plan, policy, "half done and EIO", &tally, |n| {
            Fault::nth(n, Effect::ErrorPartly(Errno::IO, n))
        });
        calls += every_call(&plan, policy, "short once", &tally, |n| Fault::nth(n, Effect::Short(1 + n as usize % 70)));
        calls += every_call(&plan, policy, "short from then on", &tally, |n| Fault::from_nth(n, Effect::Short(13)));
    }
    counted(calls, "failing disk calls");
    counted(tally.states(), "crash states");
    say(&format!("{calls} failing calls, {} states after them", tally.states()));
}

#[test]
fn any_call_may_fail_while_the_store_runs() {
    every_call_in_every_way(0);
}

#[test]
fn any_call_may_fail_while_stores_are_closed_killed_and_opened() {
    every_call_in_every_way(12);
}

/// A flush fails, the process dies and comes back, writes are acknowledged, the power fails.
pub(crate) fn failed_flush_then_restart_then_power_cut(
    seed: u64,
    bug: Option<Bug>,
    tally: &Tally,
) -> Result<u64, String> {
    let plan = Plan { opens: 0, steps: 14, ..Plan::mixed(seed) };
    let mut met = 0;
    for n in 1.. {
        let mut hit = false;
        for effect in [Effect::Error(Errno::IO), Effect::ErrorPartly(Errno::IO, n)] {
            for later in [0, 1, 4] {
                let sink: Sink = Arc::new(Mutex::new(Vec::new()));
                let mut world = World::new(SyncPolicy::Always, Some(sink.clone()), no_change);
                world.open()?;
                world.disk.set_faults([Fault::nth(n, effect.clone()).of(CallKind::Sync)]);
                for part in 0..plan.steps {
                    play(&mut world, &Plan { steps: 1, seed: seed ^ u64::from(part) << 32, ..plan });
                    if world.disk.fault_hits() > 0 {
                        hit = true;
                        break;
                    }
                }
                play(&mut world, &Plan { steps: later, seed: seed ^ 99, ..plan });
                world.kill();
                world.open()?;
                sink.lock().clear();
                play(&mut world, &Plan { steps: 8, seed: seed ^ 77, ..plan });
                settle(&mut world);
                sink.lock().push(world.moment());
                let moments = std::mem::take(&mut *sink.lock());
                let judge = Judge { policy: SyncPolicy::Always, adjust: no_change, bug, depth: SHALLOW, tally };
                judge
                    .all(&moments, &format!("flush {n} failed ({effect:?}), restart {later} steps later"))
                    .map_err(|finding| finding.text)?;
                met += 1;
            }
        }
        if !hit {
            break;
        }
    }
    Ok(met)
}

#[test]
fn a_failed_flush_a_restart_and_a_power_cut_lose_nothing_that_was_acknowledged() {
    let tally = Tally::default();
    let runs: u64 = (0..6)
        .map(|seed| {
            failed_flush_then_restart_then_power_cut(seed, None, &tally)
                .unwrap_or_else(|text| panic!("seed {seed}: {text}"))
        })
        .sum();
    counted(tally.states(), "crash states");
    say(&format!("{runs} runs with a failed flush, a restart and power cuts, {} states", tally.states()));
}

#[test]
fn a_disk_that_fills_up_refuses_growth_and_takes_writes_again_when_there_is_room() {
    for policy in POLICIES {
        for capacity in (3000..24_000).step_by(700) {
            let sink: Sink = Arc::new(Mutex::new(Vec::new()));
            let mut world = World::new(policy, Some(sink.clone()), no_change);
            world.disk.set_capacity(Some(capacity));
            world.tolerant = true;
            world.open().unwrap_or_else(|text| panic!("{text}"));
            play(&mut world, &Plan { opens: 0, steps: 120, value_len: 200, ..Plan::mixed(capacity) });
            let fails = |text: String| -> String { format!("{policy:?}, capacity {capacity}: {text}") };
            world.disk.set_capacity(None);
            settle(&mut world);
            world.advance(30_000);
            let refused = world.refusals;
            world.run(0, &[b"SET", b"after", b"all"]);
            settle(&mut world);
            assert_eq!(world.refusals, refused, "{}", fails("writes do not resume".to_owned()));
            let promise = world.promise();
            assert_eq!(promise.kill, promise.last, "{}", fails(format!("{promise:?}")));
            let moments = std::mem::take(&mut *sink.lock());
            let tally = Tally::default();
            let judge = Judge { policy, adjust: no_change, bug: None, depth: SHALLOW, tally: &tally };
            let few: Vec<Moment> = moments.into_iter().step_by(9).collect();
            judge.all(&few, "full disk").unwrap_or_else(|finding| panic!("{}", fails(finding.text)));
        }
    }
}

#[test]
fn found_1_preparing_the_next_segment_ends() {
    let mut world = World::new(SyncPolicy::Always, None, no_change);
    world.open().unwrap();
    // More than half a segment: the next one is prepared.
    world.run(0, &[b"SET", b"k", &[7; 2500]]);
    world.step_log();
    let before = world.disk.calls();
    world.step();
    assert!(world.disk.calls() - before < 50, "{} calls for one step", world.disk.calls() - before);
}

#[test]
fn found_2_a_process_killed_between_a_failed_flush_and_its_rescue_loses_nothing() {
    let mut world = World::new(SyncPolicy::EverySecond, None, no_change);
    world.open().unwrap();
    world.run(0, &[b"SET", b"k", b"v"]);
    world.commit();
    assert_eq!(world.promise().kill, 1, "acknowledged: it was written to the kernel");
    // The flush fails, and the new segment cannot be made.
    world.disk.set_faults([
        Fault::nth(1, Effect::Error(Errno::IO)).of(CallKind::Sync),
        Fault::from_nth(1, Effect::Error(Errno::IO)).of(CallKind::Open),
    ]);
    world.advance(900);
    assert!(world.disk.fault_hits() >= 2);
    world.kill();
    world.open().unwrap();
    assert_eq!(world.store().last_lsn(), 1);
}
