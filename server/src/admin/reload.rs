//! DEBUG RELOAD and LOADAOF: what is on the disk replaces what is in memory, as the next start would find it.

use super::configuration;
use super::persistence::blocking;
use crate::command::{After, ServerCall};
use firn_engine::command::CommandError;
use std::thread::sleep;
use std::time::Duration;

/// How often a reload waits for a snapshot that somebody else has begun.
const TRIES: u32 = 1000;

/// `DEBUG RELOAD [NOSAVE]`.
pub(super) fn reload(call: &mut ServerCall<'_, '_>, options: &[&[u8]]) -> Result<After, CommandError> {
    let mut save = true;
    for option in options {
        match option.to_ascii_lowercase().as_slice() {
            b"nosave" => save = false,
            b"noflush" | b"merge" => {
                return Err(CommandError::text(
                    "ERR DEBUG RELOAD NOFLUSH and MERGE are refused: there is no RDB file to merge; the store is read as a whole",
                ));
            }
            _ => {
                return Err(CommandError::text(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    Ok(from_disk(call, save))
}

/// `DEBUG LOADAOF`.
pub(super) fn load_log(call: &mut ServerCall<'_, '_>) -> After {
    from_disk(call, false)
}

fn from_disk(call: &mut ServerCall<'_, '_>, save: bool) -> After {
    // Without a log, what no snapshot holds would be lost.
    let save = save || !configuration(call).bool("appendonly");
    let server = call.server.clone();
    let store = server.store;
    blocking(move || {
        if save {
            let ticket = store.request_snapshot();
            store.wait_snapshot(ticket)?;
        }
        let mut tries = 0;
        loop {
            match store.reload() {
                Ok(keys) => {
                    crate::log::warning(format_args!("{keys} keys reloaded by DEBUG"));
                    crate::scripting::load_libraries(&server);
                    return Ok(());
                }
                Err(_) if store.snapshot_info().running && tries < TRIES => {
                    tries += 1;
                    sleep(Duration::from_millis(10));
                }
                Err(reason) => return Err(format!("Error trying to load the store: {reason}")),
            }
        }
    })
}
