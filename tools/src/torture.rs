//! `firn torture`: the command line around the crate `firn-torture`, which knows nothing of Firn.

use crate::{Outcome, ToolError};
use firn_torture::{Ended, Failure, TortureArgs};
use signal_hook::consts::{SIGHUP, SIGINT};
use std::io::Write;

pub(crate) const EXAMPLES: &str = "Examples:
  firn torture --server 'firn-server --port {port} --dir {dir} --appendfsync {policy}' --policy always,everysec,no
  firn torture --server 'redis-server --port {port} --dir {dir} --appendonly yes --appendfsync {policy}' --faults all --html report.html
  firn torture --server '...' --server '...' --cycles 200 --seed 7         compares two servers
  firn torture --list-faults                                               what there is, and what this machine can do

The server is told to listen on {port} and to keep its data in {dir}; {policy} is --policy's value, in Redis' words. It is started and killed many
times, on folders of the tool's own. Power cuts and failing disks need root and /dev/fuse (or loop devices and mkfs.ext4 or mkfs.xfs).
A seed fixes what is done, not how the server's and the clients' threads are timed: a replay may need several attempts to show a violation again.

Exit codes: 0 nothing was found, 1 there are violations, 2 the command line is wrong, 3 nothing is proven or the run broke off (a fault cannot be made
here, the server does not start, no write was ever acknowledged), 129, 130 or 143 SIGHUP, SIGINT or SIGTERM ended it. Whatever was seen by then is reported.";

pub(crate) fn run(args: &TortureArgs, out: &mut dyn Write) -> Result<Outcome, ToolError> {
    match firn_torture::run(args, out) {
        Ok(Ended::Fine) => Ok(Outcome::Fine),
        Ok(Ended::Violations) => Ok(Outcome::Damage),
        Ok(Ended::Signal(SIGHUP)) => Ok(Outcome::HungUp),
        Ok(Ended::Signal(SIGINT)) => Ok(Outcome::Interrupted),
        Ok(Ended::Signal(_)) => Ok(Outcome::Terminated),
        Err(Failure::Usage(why)) => Err(ToolError::Usage(why)),
        Err(Failure::Broken(why)) => Err(ToolError::Unreadable(why)),
    }
}
