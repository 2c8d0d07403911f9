//! CLUSTER, READONLY, READWRITE, ASKING on a server that is no cluster's node: declared, so that clients and ACL rules know them, and
//! answered as Redis answers with `cluster-enabled no`.

use crate::command::{After, ServerCommand};
use firn_engine::command::{Arity, Categories, CommandError, Flags, Group, Spec};

/// What all of them answer, ASKING's and READWRITE's among them.
const DISABLED: &str = "ERR This instance has cluster support disabled";

const ASKS: Flags = Flags::STALE;
const TELLS: Flags = Flags::LOADING.and(Flags::STALE);
const LOOKS: Flags = Flags::ADMIN.and(Flags::STALE);
const CHANGES: Flags = LOOKS.and(Flags::NO_ASYNC_LOADING);

const BASE: Spec = Spec { group: Group::Cluster, since: "3.0.0", ..Spec::BASE };

/// A subcommand of CLUSTER.
const fn sub(name: &'static str, arity: Arity, flags: Flags, summary: &'static str, syntax: &'static str) -> Spec {
    Spec { name, arity, flags, summary, syntax, complexity: "O(N) where N is what it is about", ..BASE }
}

const ONE: Arity = Arity::Exactly(2);
const TWO: Arity = Arity::Exactly(3);

/// `CLUSTER subcommand ...`.
pub(super) static CLUSTER: ServerCommand = ServerCommand {
    spec: Spec {
        name: "CLUSTER",
        arity: Arity::AtLeast(2),
        summary: "Commands about the cluster that a server is a node of.",
        complexity: "Depends on subcommand.",
        subcommands: &[
            sub("ADDSLOTS", Arity::AtLeast(3), CHANGES, "Gives slots to the node.", "slot [slot ...]"),
            Spec {
                since: "7.0.0",
                ..sub(
                    "ADDSLOTSRANGE",
                    Arity::AtLeast(4),
                    CHANGES,
                    "Gives ranges of slots to the node.",
                    "start-slot end-slot [start-slot end-slot ...]",
                )
            },
            sub("BUMPEPOCH", ONE, CHANGES, "Moves the node's epoch on.", ""),
            sub("COUNT-FAILURE-REPORTS", TWO, LOOKS, "Returns how many nodes report another as failed.", "node-id"),
            sub("COUNTKEYSINSLOT", TWO, ASKS, "Returns the number of keys in a slot.", "slot"),
            sub("DELSLOTS", Arity::AtLeast(3), CHANGES, "Takes slots from the node.", "slot [slot ...]"),
            Spec {
                since: "7.0.0",
                ..sub(
                    "DELSLOTSRANGE",
                    Arity::AtLeast(4),
                    CHANGES,
                    "Takes ranges of slots from the node.",
                    "start-slot end-slot [start-slot end-slot ...]",
                )
            },
            sub("FAILOVER", Arity::AtLeast(2), CHANGES, "Makes a replica the primary.", "[FORCE | TAKEOVER]"),
            sub("FLUSHSLOTS", ONE, CHANGES, "Takes all slots from the node.", ""),
            sub("FORGET", TWO, CHANGES, "Forgets another node.", "node-id"),
            sub("GETKEYSINSLOT", Arity::Exactly(4), ASKS, "Returns keys of a slot.", "slot count"),
            Spec { since: "5.0.0", ..sub("HELP", ONE, TELLS, "Returns what the subcommands do.", "") },
            sub("INFO", ONE, TELLS, "Returns the cluster's state.", ""),
            sub("KEYSLOT", TWO, ASKS, "Returns the slot of a key.", "key"),
            Spec { since: "7.0.0", ..sub("LINKS", ONE, ASKS, "Returns the connections to other nodes.", "") },
            sub("MEET", Arity::AtLeast(4), CHANGES, "Joins another node's cluster.", "ip port [cluster-bus-port]"),
            sub("MYID", ONE, TELLS, "Returns the node's id.", ""),
            Spec { since: "7.2.0", ..sub("MYSHARDID", ONE, TELLS, "Returns the id of the node's shard.", "") },
            sub("NODES", ONE, TELLS, "Returns the nodes, as the node sees them.", ""),
            Spec { since: "5.0.0", ..sub("REPLICAS", TWO, LOOKS, "Returns the replicas of a primary.", "node-id") },
            sub("REPLICATE", Arity::AtLeast(3), CHANGES, "Makes the node a replica of another.", "node-id"),
            sub("RESET", Arity::AtLeast(2), LOOKS.and(Flags::NOSCRIPT), "Leaves the cluster.", "[HARD | SOFT]"),
            sub("SAVECONFIG", ONE, CHANGES, "Writes the node's configuration to its file.", ""),
            sub("SET-CONFIG-EPOCH", TWO, CHANGES, "Sets a new node's epoch.", "config-epoch"),
            sub(
                "SETSLOT",
                Arity::AtLeast(4),
                CHANGES,
                "Says where a slot is, or goes to.",
                "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>",
            ),
            Spec { since: "7.0.0", ..sub("SHARDS", ONE, TELLS, "Returns the shards and their nodes.", "") },
            sub("SLAVES", TWO, LOOKS, "Returns the replicas of a primary: the old name of REPLICAS.", "node-id"),
            sub("SLOTS", ONE, TELLS, "Returns ranges of slots and their nodes.", ""),
        ],
        ..BASE
    },
    run: |_, _, _| disabled(),
};

/// What is about the connection.
const CONNECTION: Spec = Spec { flags: TELLS.and(Flags::FAST), categories: Categories::CONNECTION, ..BASE };

/// `READONLY`.
pub(super) static READONLY: ServerCommand = ServerCommand {
    spec: Spec { name: "READONLY", summary: "Lets the connection read from a cluster's replica.", ..CONNECTION },
    run: |_, _, _| disabled(),
};

/// `READWRITE`.
pub(super) static READWRITE: ServerCommand = ServerCommand {
    spec: Spec { name: "READWRITE", summary: "Ends what READONLY has begun.", ..CONNECTION },
    run: |_, _, _| disabled(),
};

/// `ASKING`.
pub(super) static ASKING: ServerCommand = ServerCommand {
    spec: Spec {
        name: "ASKING",
        flags: Flags::FAST,
        summary: "Has the next command served for a slot that is being moved here.",
        ..CONNECTION
    },
    run: |_, _, _| disabled(),
};

fn disabled() -> Result<After, CommandError> {
    Err(CommandError::text(DISABLED))
}
