//! The first line of a script or a library: `#!lua flags=no-writes,allow-oom` or `#!lua name=mylib`.

use firn_engine::command::CommandError;
use firn_engine::words;

/// What a script or a function declares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ScriptFlags(u8);

#[allow(missing_docs)] // Redis' names.
impl ScriptFlags {
    pub(super) const NO_WRITES: ScriptFlags = ScriptFlags(1);
    pub(super) const ALLOW_OOM: ScriptFlags = ScriptFlags(2);
    pub(super) const ALLOW_STALE: ScriptFlags = ScriptFlags(4);
    pub(super) const NO_CLUSTER: ScriptFlags = ScriptFlags(8);
    pub(super) const ALLOW_CROSS_SLOT_KEYS: ScriptFlags = ScriptFlags(16);

    /// All flags with their names, in the order in which FUNCTION LIST gives them.
    pub(super) const NAMES: [(ScriptFlags, &'static str); 5] = [
        (ScriptFlags::NO_WRITES, "no-writes"),
        (ScriptFlags::ALLOW_OOM, "allow-oom"),
        (ScriptFlags::ALLOW_STALE, "allow-stale"),
        (ScriptFlags::NO_CLUSTER, "no-cluster"),
        (ScriptFlags::ALLOW_CROSS_SLOT_KEYS, "allow-cross-slot-keys"),
    ];

    /// The flag called `name`.
    pub(super) fn find(name: &[u8]) -> Option<ScriptFlags> {
        Self::NAMES.iter().find(|(_, known)| known.as_bytes() == name).map(|(flag, _)| *flag)
    }

    /// Adds the flags of `other`.
    pub(super) fn add(&mut self, other: ScriptFlags) {
        self.0 |= other.0;
    }

    /// Whether all of `other` is set.
    pub(super) fn has(self, other: ScriptFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a script's first line says: its flags (`None` without such a line), and where the code begins: at the end of that line, so
/// that lines keep their numbers.
pub(super) struct Shebang {
    /// The flags.
    pub(super) flags: Option<ScriptFlags>,
    /// Where the code begins.
    pub(super) code: usize,
}

/// Whether a script says that it only reads.
pub(crate) fn only_reads(source: &[u8]) -> bool {
    of_script(source).is_ok_and(|first| first.flags.is_some_and(|flags| flags.has(ScriptFlags::NO_WRITES)))
}

/// Reads a script's first line.
///
/// # Errors
/// It begins with `#!` and is not understood.
pub(super) fn of_script(source: &[u8]) -> Result<Shebang, CommandError> {
    if !source.starts_with(b"#!") {
        return Ok(Shebang { flags: None, code: 0 });
    }
    let error = |text: &str, what: &[u8]| CommandError::text(format!("ERR {text}{}", String::from_utf8_lossy(what)));
    // As in C, a NUL ends the text.
    let end = memchr::memchr2(b'\n', 0, source).filter(|&end| source[end] == b'\n');
    let Some(end) = end else { return Err(error("Invalid script shebang", b"")) };
    let parts = words::split(&source[..end]).unwrap_or_default();
    let Some((engine, options)) = parts.split_first() else {
        return Err(error("Invalid engine in script shebang", b""));
    };
    if engine != b"#!lua" {
        return Err(error("Unexpected engine in script shebang: ", engine));
    }
    let mut flags = ScriptFlags::default();
    for option in options {
        let Some(list) = option.strip_prefix(b"flags=") else {
            return Err(error("Unknown lua shebang option: ", option));
        };
        if list.is_empty() {
            continue;
        }
        for name in list.split(|&byte| byte == b',') {
            let flag = ScriptFlags::find(name).ok_or_else(|| error("Unexpected flag in script shebang: ", name))?;
            flags.add(flag);
        }
    }
    Ok(Shebang { flags: Some(flags), code: end })
}
