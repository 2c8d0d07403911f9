//! Libraries of functions through power cuts and kills: they come back as the log and the snapshots have them, with the keys of the same
//! moment.

use crate::judge::{Depth, Judge, Tally};
use crate::workload::settle;
use crate::world::{Sink, World};
use crate::{counted, say};
use firn_engine::store::SyncPolicy;
use parking_lot::Mutex;
use std::sync::Arc;

const LOAD: [&[u8]; 3] = [b"FUNCTION", b"LOAD", b"REPLACE"];

fn load(world: &mut World, source: &[u8]) {
    world.run(0, &[LOAD[0], LOAD[1], LOAD[2], source]);
}

#[test]
fn libraries_are_as_durable_as_keys() {
    let tally = Tally::default();
    for policy in [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::Never] {
        let sink: Sink = Arc::new(Mutex::new(Vec::new()));
        let mut world = World::new(policy, Some(sink.clone()), |_| {});
        world.open().expect("new");
        for round in 0..3u8 {
            load(&mut world, format!("#!lua name=one\n-- {round}").as_bytes());
            world.run(1, &[b"SET", b"key", &[b'0' + round]]);
            world.commit();
            world.step_log();
            // Of a snapshot, its first moment counts, whatever is changed while it is written.
            world.store().request_snapshot();
            world.step_snapshot();
            let long = [&b"#!lua name=two\n"[..], &vec![b'0' + round; 700]].concat();
            world.transaction(&[
                (0, &[LOAD[0], LOAD[1], LOAD[2], &long]),
                (0, &[b"SET", b"with", b"two"]),
                (0, &[b"FUNCTION", b"DELETE", b"one"]),
            ]);
            world.commit();
            world.step_until_snapshot().expect("written");
            if round == 1 {
                world.run(0, &[b"FUNCTION", b"FLUSH"]);
                world.kill();
                world.open().expect("opened");
            }
            world.advance(2500);
        }
        settle(&mut world);
        sink.lock().push(world.moment());
        world.close().expect("closed");
        sink.lock().push(world.moment());
        let moments = std::mem::take(&mut *sink.lock());
        let depth = Depth { cuts: 20, inside_one_in: 41, cuts_inside: 2 };
        let judge = Judge { policy, adjust: |_| {}, bug: None, depth, tally: &tally };
        if let Err(finding) = judge.all(&moments, &format!("{policy:?}")) {
            panic!("{}", finding.text);
        }
    }
    counted(tally.states(), "states with libraries");
    say(&format!("{} states with libraries of functions", tally.states()));
}
