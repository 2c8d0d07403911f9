//! Makes a store's first snapshot of imported files.

use super::{Import, ImportError, ImportReport, Importer};
use crate::disk::Disk;
use crate::engine::Engine;
use crate::eviction::{Order, Policy};
use crate::format::{FileHeader, FileKind};
use crate::keyspace::Keyspace;
use crate::log::Effects;
use crate::log::segment::Identity;
use crate::snapshot::index::AuxPair;
use crate::snapshot::writer::{SnapshotRun, Step};
use crate::store::Options;
use crate::value::Shaping;
use std::sync::Arc;

/// The whole import is one change: the first.
const LSN: u64 = 1;
/// The first open's.
const EPOCH: u64 = 1;

/// Imports what `from` finds into the folder of a store that is not there yet; `None` if there is nothing to import.
///
/// # Errors
/// [`ImportError`]; then the folder still holds nothing of a store.
pub(crate) fn import(
    disk: &Arc<dyn Disk>,
    identity: Identity,
    options: &Options,
    from: &dyn Import,
) -> Result<Option<ImportReport>, ImportError> {
    let mut engine = Engine::new(Keyspace::new(identity.hash_seed, options.databases), Effects::new(LSN), 1);
    engine.settings.shaping = Shaping { seed: identity.hash_seed, ..options.shaping.clone() };
    let order = if options.import_lfu { Order::Lfu } else { Order::None };
    engine.settings.memory.policy = Policy { order, volatile: false };
    let created_ms = options.clock.unix_ms();
    engine.now_ms = created_ms;
    let mut importer = Importer::new(&mut engine, options.progress);
    let Some(source) = from.run(&mut importer)? else { return Ok(None) };
    let report = importer.finish(source);
    let header = FileHeader {
        kind: FileKind::Snapshot,
        flags: 0,
        store: identity.store,
        hash_seed: identity.hash_seed,
        number: LSN,
        epoch: EPOCH,
        created_ms,
        durable: LSN,
    };
    let aux = vec![
        AuxPair::text("firn-version", env!("CARGO_PKG_VERSION")),
        AuxPair::text("databases", options.databases),
        AuxPair::text("imported-from", &report.source),
    ];
    let keyspace = &mut engine.keyspace;
    let mut run = SnapshotRun::begin(keyspace, 1, Arc::clone(disk), header, aux, options.pace);
    loop {
        run.collect(keyspace, LSN);
        if let Step::Done(_) = run.write()? {
            return Ok(Some(report));
        }
        if let (Some(progress), (done, of)) = (options.progress, run.progress()) {
            progress("writing the first snapshot", done, of);
        }
    }
}
