//! ACL categories: which ones a command belongs to follows from its flags, its family, and what its declaration adds.

use firn_engine::command::{Categories, Flags, Group, Spec};

/// All categories, in the order COMMAND INFO and ACL CAT list them, with their `@`.
pub(crate) const ALL: [&str; 21] = [
    "@keyspace",
    "@read",
    "@write",
    "@set",
    "@sortedset",
    "@list",
    "@hash",
    "@string",
    "@bitmap",
    "@hyperloglog",
    "@geo",
    "@stream",
    "@pubsub",
    "@admin",
    "@fast",
    "@slow",
    "@blocking",
    "@dangerous",
    "@connection",
    "@transaction",
    "@scripting",
];

/// The categories of a command, in the order of [`ALL`].
pub(crate) fn of(spec: &Spec) -> Vec<&'static str> {
    let family = match spec.group {
        Group::String => Some("@string"),
        Group::Hash => Some("@hash"),
        Group::List => Some("@list"),
        Group::Set => Some("@set"),
        Group::SortedSet => Some("@sortedset"),
        Group::Stream => Some("@stream"),
        Group::Bitmap => Some("@bitmap"),
        Group::Hyperloglog => Some("@hyperloglog"),
        Group::Geo => Some("@geo"),
        Group::Pubsub => Some("@pubsub"),
        Group::Connection => Some("@connection"),
        Group::Transactions => Some("@transaction"),
        Group::Scripting => Some("@scripting"),
        Group::Generic | Group::Server | Group::Cluster => None,
    };
    // As Redis has it: of these containers, and of PUBSUB HELP, only the other subcommands belong to the family.
    let family = match (spec.group, spec.name) {
        (Group::Connection, "CLIENT") | (Group::Pubsub, "PUBSUB" | "HELP") | (Group::Stream, "XGROUP" | "XINFO") => {
            None
        }
        _ => family,
    };
    let flag = |flag: Flags| spec.flags.has(flag);
    let holds = |category: &str| match category {
        "@keyspace" => spec.categories.has(Categories::KEYSPACE),
        "@dangerous" => spec.categories.has(Categories::DANGEROUS) || flag(Flags::ADMIN),
        "@read" => flag(Flags::READONLY) && spec.group != Group::Scripting,
        "@write" => flag(Flags::WRITE),
        "@admin" => flag(Flags::ADMIN) || matches!(spec.name, "LASTSAVE" | "ROLE"),
        "@connection" => {
            family == Some("@connection")
                || spec.categories.has(Categories::CONNECTION)
                || matches!(spec.name, "WAIT" | "WAITAOF")
        }
        "@list" | "@set" | "@sortedset" => family == Some(category) || matches!(spec.name, "SORT" | "SORT_RO"),
        "@fast" => flag(Flags::FAST),
        "@slow" => !flag(Flags::FAST),
        "@blocking" => flag(Flags::BLOCKING),
        "@pubsub" => flag(Flags::PUBSUB) || family == Some("@pubsub"),
        other => family == Some(other),
    };
    ALL.into_iter().filter(|category| holds(category)).collect()
}

/// The categories of a command as bits in the order of [`ALL`].
pub(crate) fn bits(spec: &Spec) -> u32 {
    let of = of(spec);
    (0..ALL.len()).filter(|&at| of.contains(&ALL[at])).fold(0, |bits, at| bits | 1 << at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_engine::command::{Arity, Keys};

    fn spec(flags: Flags, group: Group, categories: Categories) -> Spec {
        Spec {
            name: "X",
            arity: Arity::Exactly(1),
            flags,
            keys: Keys::None,
            group,
            categories,
            since: "1.0.0",
            summary: "",
            complexity: "",
            syntax: "",
            subcommands: &[],
        }
    }

    #[test]
    fn categories_follow_from_flags_and_family() {
        assert_eq!(
            of(&spec(Flags::READONLY.and(Flags::FAST), Group::String, Categories::NONE)),
            ["@read", "@string", "@fast"]
        );
        assert_eq!(of(&spec(Flags::WRITE, Group::Generic, Categories::KEYSPACE)), ["@keyspace", "@write", "@slow"]);
        assert_eq!(of(&spec(Flags::ADMIN, Group::Server, Categories::NONE)), ["@admin", "@slow", "@dangerous"]);
        assert_eq!(of(&spec(Flags::READONLY, Group::Scripting, Categories::NONE)), ["@slow", "@scripting"]);
        assert_eq!(
            of(&spec(Flags::BLOCKING, Group::Connection, Categories::DANGEROUS)),
            ["@slow", "@blocking", "@dangerous", "@connection"]
        );
    }
}
