//! PFSELFTEST: whether this machine counts as it should. It holds the engine for some tens of milliseconds.

use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Group, Reply, Spec};
use crate::hll::{self, Encoding, Registers};

/// `PFSELFTEST`.
pub(super) static PFSELFTEST: Command = Command {
    spec: Spec {
        name: "PFSELFTEST",
        arity: Arity::Exactly(1),
        flags: Flags::ADMIN,
        group: Group::Hyperloglog,
        since: "2.8.9",
        summary: "Tests HyperLogLogs: registers, both encodings, the error of estimates.",
        complexity: "O(1): a million elements are added",
        ..Spec::BASE
    },
    run: pfselftest,
};

/// The most elements that are added.
const ELEMENTS: u64 = 1_000_000;
/// The standard error of an estimate: 1.04 / sqrt(registers).
const STANDARD_ERROR: f64 = 1.04 / 128.0;

fn pfselftest(call: &mut Call<'_>, _: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let sparse_len_max = call.engine.settings.shaping.hll_sparse_max_bytes;
    let failed = |what: String| CommandError::text(format!("ERR TESTFAILED {what}"));
    let (mut changing, mut dense) = (hll::empty(), hll::empty());
    hll::to_dense(&mut dense)?;
    let seed = call.engine.random();
    let mut checkpoint = 1;
    for number in 1..=ELEMENTS {
        let element = (number ^ seed).to_le_bytes();
        hll::add(&mut changing, [&element[..]], sparse_len_max)?;
        hll::add(&mut dense, [&element[..]], sparse_len_max)?;
        if number != checkpoint {
            continue;
        }
        if number < sparse_len_max as u64 / 2 && hll::encoding(&changing)? != Encoding::Sparse {
            return Err(failed("sparse encoding not used".into()));
        }
        let mut both = [Registers::default(), Registers::default()];
        both[0].merge(&changing)?;
        both[1].merge(&dense)?;
        let estimate = hll::count(&dense)?;
        if both[0] != both[1] || hll::count(&changing)? != estimate || both[0].count() != estimate {
            return Err(failed("dense/sparse disagree".into()));
        }
        // Ten elements collide now and then.
        let error_max = if number == 10 { 1 } else { (STANDARD_ERROR * 6.0 * checkpoint as f64).ceil() as u64 };
        let error = checkpoint.abs_diff(estimate);
        if error > error_max {
            return Err(failed(format!("Too big error. card:{checkpoint} abserr:{error}")));
        }
        checkpoint *= 10;
    }
    reply.ok();
    Ok(())
}
