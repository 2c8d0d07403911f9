//! Planted bugs: each is a mistake that has cost some store its users' data, and each must be caught. That is what proves that the
//! other tests here would see such a mistake.

use crate::faults::failed_flush_then_restart_then_power_cut;
use crate::judge::{Depth, Tally, plant};
use crate::power::run;
use crate::workload::Plan;
use crate::{counted, say};
use firn_engine::planted::Bug;
use firn_engine::store::SyncPolicy;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Looks for a bug until it is found; gives how many states that took, and what was seen.
fn hunt(bug: Bug) -> Option<(u64, String)> {
    // Few outcomes of each moment, so that many kinds of moments are seen.
    let depth = Depth { cuts: 8, inside_one_in: 41, cuts_inside: 1 };
    let tally = Tally::default();
    plant(Some(bug));
    let mut found = None;
    for seed in 0..40 {
        let look = || -> Result<(), String> {
            if bug == Bug::RetrySync {
                return failed_flush_then_restart_then_power_cut(seed, Some(bug), &tally).map(drop);
            }
            for policy in [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::Never] {
                let various = Plan::various(seed);
                // Nobody writes during a flush in most runs: there this one cannot be seen.
                let meanwhile = various.meanwhile || bug == Bug::FlushCountsLater;
                let plan = Plan { wide: false, meanwhile, ..various };
                run(&plan, policy, Some(bug), depth, &tally).map_err(|finding| finding.text)?;
            }
            Ok(())
        };
        // The model's own assertions (a change without a record) are findings as well.
        let looked = catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(text.unwrap_or_else(|| "a panic".to_owned()))
        });
        if let Err(text) = looked {
            found = Some((tally.states(), text));
            break;
        }
    }
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_caught() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let hunted: Vec<_> = Bug::ALL.into_iter().map(|bug| (bug, hunt_and_tell(bug))).collect();
    std::panic::set_hook(hook);
    counted(hunted.iter().filter(|(_, found)| *found).count() as u64, "planted bugs caught");
    assert!(hunted.iter().all(|(_, found)| *found), "a planted bug was not caught: {hunted:?}");
}

fn hunt_and_tell(bug: Bug) -> bool {
    let found = hunt(bug);
    match &found {
        Some((states, text)) => {
            let line = text.replace("\n", " ");
            let line: String = line.chars().rev().take(160).collect::<Vec<_>>().into_iter().rev().collect();
            say(&format!("planted {bug:?}: caught after {states} states: ...{line}"));
        }
        None => say(&format!("planted {bug:?}: NOT CAUGHT")),
    }
    found.is_some()
}
