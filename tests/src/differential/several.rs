//! Steps of several commands: transactions, whose queued commands are judged one by one, and values that go from one key to another by
//! DUMP and RESTORE, each server's payload to that server.

use super::compare::Differences;
use super::generate::show;
use super::target::Target;
use crate::client::frame_len;
use std::io;

/// What a target answered in the course of a step, and the events of all of it.
type Heard = (Vec<Vec<u8>>, Vec<u8>);

/// The replies of two targets that are not the same, for people to read.
type Unlike = (String, String);

/// Runs MULTI, the commands and EXEC; the replies of all of them. `None` from a target that has no transactions.
pub(super) fn run_transaction(target: &mut dyn Target, commands: &[Vec<Vec<u8>>]) -> io::Result<Option<Heard>> {
    if !target.begin_transaction(commands)? {
        return Ok(None);
    }
    let replies = (0..commands.len() + 2).map(|_| target.receive_plain()).collect::<io::Result<_>>()?;
    target.end_transaction()?;
    Ok(Some((replies, target.events()?)))
}

/// Judges what Firn and Valkey answered to a transaction.
pub(super) fn judge_transaction(
    differences: &mut Differences,
    commands: &[Vec<Vec<u8>>],
    firn: &Heard,
    valkey: &Heard,
) -> Option<Unlike> {
    let unlike =
        |firn: &[u8], valkey: &[u8]| Some((firn.escape_ascii().to_string(), valkey.escape_ascii().to_string()));
    let exec = commands.len() + 1;
    for (at, (ours, theirs)) in firn.0.iter().zip(&valkey.0).enumerate().take(exec) {
        let accepted = match at.checked_sub(1) {
            Some(command) => differences.accept(&commands[command], theirs, ours),
            None => ours == theirs,
        };
        if !accepted {
            return unlike(ours, theirs);
        }
    }
    let (ours, theirs) = (&firn.0[exec], &valkey.0[exec]);
    let queued = (0..commands.len()).filter(|at| firn.0[at + 1] == b"+QUEUED\r\n");
    let judged = match (parts(ours), parts(theirs)) {
        (Some(ours), Some(theirs)) if ours.len() == theirs.len() => {
            let mut pairs = ours.into_iter().zip(theirs).zip(queued);
            pairs.all(|((ours, theirs), at)| differences.accept(&commands[at], theirs, ours))
        }
        _ => ours == theirs,
    };
    if !judged {
        return unlike(ours, theirs);
    }
    let listed = |command: &Vec<Vec<u8>>| differences.accept_events(command, &valkey.1, &firn.1);
    if firn.1 == valkey.1 || commands.iter().any(listed) { None } else { unlike(&firn.1, &valkey.1) }
}

/// The replies within an array; `None` if it is none.
fn parts(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let head = reply.strip_prefix(b"*")?.iter().position(|byte| *byte == b'\n')? + 2;
    let mut at = head;
    let mut parts = Vec::new();
    while at < reply.len() {
        let end = frame_len(reply, at).ok()??;
        parts.push(&reply[at..end]);
        at = end;
    }
    (!reply.starts_with(b"*-")).then_some(parts)
}

/// Restores what DUMP answers for the first word, under the second, with the other words behind the payload (but for the third, the time to
/// live, before it). The replies are a mark of whether there was something, and RESTORE's.
pub(super) fn move_value(target: &mut dyn Target, words: &[Vec<u8>]) -> io::Result<Heard> {
    let call = |target: &mut dyn Target, words: Vec<Vec<u8>>| {
        target.send(&[words])?;
        Ok::<_, io::Error>((target.receive()?, target.events()?))
    };
    let (dumped, mut events) = call(target, vec![b"DUMP".to_vec(), words[0].clone()])?;
    let payload = dumped.strip_prefix(b"$").and_then(|rest| {
        let start = rest.iter().position(|byte| *byte == b'\n')? + 1;
        rest.get(start..rest.len() - 2).filter(|payload| !payload.is_empty())
    });
    let Some(payload) = payload else { return Ok((vec![dumped], events)) };
    let mut restore = vec![b"RESTORE".to_vec(), words[1].clone(), words[2].clone(), payload.to_vec()];
    restore.extend_from_slice(&words[3..]);
    let (reply, more) = call(target, restore)?;
    events.extend(more);
    Ok((vec![b"a payload".to_vec(), reply], events))
}

/// The commands of a transaction as people read them.
pub(super) fn show_transaction(commands: &[Vec<Vec<u8>>]) -> String {
    let shown: Vec<_> = commands.iter().map(|words| show(words)).collect();
    format!("MULTI; {}; EXEC", shown.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_taken_apart_into_its_replies() {
        let reply = b"*3\r\n+OK\r\n*2\r\n:1\r\n$1\r\na\r\n_\r\n";
        let expected: [&[u8]; 3] = [b"+OK\r\n", b"*2\r\n:1\r\n$1\r\na\r\n", b"_\r\n"];
        assert_eq!(parts(reply).unwrap(), expected);
        assert_eq!(parts(b"*0\r\n").unwrap(), [b""; 0]);
        assert_eq!((parts(b"*-1\r\n"), parts(b"-EXECABORT x\r\n"), parts(b"_\r\n")), (None, None, None));
    }

    #[test]
    fn a_transaction_is_judged_command_by_command() {
        let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let commands = [words("GET a"), words("SET"), words("TTL a")];
        let heard = |exec: &[u8]| {
            let replies = [b"+OK\r\n".as_slice(), b"+QUEUED\r\n", b"-ERR\r\n", b"+QUEUED\r\n", exec];
            (replies.iter().map(|reply| reply.to_vec()).collect::<Vec<_>>(), Vec::new())
        };
        let judge = |firn: &[u8], valkey: &[u8]| {
            judge_transaction(&mut Differences::default(), &commands, &heard(firn), &heard(valkey)).is_none()
        };
        assert!(judge(b"*2\r\n+x\r\n:100\r\n", b"*2\r\n+x\r\n:99\r\n"), "times to live may differ a little");
        assert!(!judge(b"*2\r\n+x\r\n:100\r\n", b"*2\r\n+y\r\n:100\r\n"));
        assert!(!judge(b"*-1\r\n", b"*0\r\n"));
        assert!(judge(b"-EXECABORT\r\n", b"-EXECABORT\r\n"));
    }
}
