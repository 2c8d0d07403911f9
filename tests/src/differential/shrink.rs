//! Makes a failing sequence small: drops runs of steps, then single ones, then shortens words, as long as it still fails.

use super::generate::Step;
use std::io;

/// Plays at most; a sequence that is not small by then is printed as it is.
const PLAYS_MAX: usize = 600;

/// The smallest sequence found that still fails. `fails` plays one from the start.
pub(super) fn shrink(
    mut steps: Vec<Step>,
    fails: &mut dyn FnMut(&[Step]) -> io::Result<bool>,
) -> io::Result<Vec<Step>> {
    let mut plays = 0;
    let mut chunk = steps.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        let mut dropped = false;
        while at < steps.len() && plays < PLAYS_MAX {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            plays += 1;
            if fails(&fewer)? {
                steps = fewer;
                dropped = true;
            } else {
                at += chunk;
            }
        }
        if chunk > 1 || !dropped || plays >= PLAYS_MAX {
            chunk /= 2;
        }
    }
    for at in 0..steps.len() {
        if let Step::Transaction(commands) = &steps[at] {
            for command in (0..commands.len()).rev() {
                let mut fewer = steps.clone();
                let Step::Transaction(commands) = &mut fewer[at] else { break };
                if plays >= PLAYS_MAX {
                    break;
                }
                commands.remove(command);
                plays += 1;
                if fails(&fewer)? {
                    steps = fewer;
                }
            }
        }
        let words = steps[at].words().len();
        // Not the first: a name that no command has would fail in another way.
        for word in 1..words {
            let mut simpler = steps.clone();
            let (Step::Run(words) | Step::Walk(words) | Step::Move(words)) = &mut simpler[at] else { break };
            // Numbers stay: a smaller one could make a deadline that passes while we look.
            if words[word].len() <= 1 || plays >= PLAYS_MAX || words[word].iter().all(u8::is_ascii_digit) {
                continue;
            }
            words[word] = b"x".to_vec();
            plays += 1;
            if fails(&simpler)? {
                steps = simpler;
            }
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Step {
        Step::Run(words.iter().map(|word| word.as_bytes().to_vec()).collect())
    }

    #[test]
    fn what_is_not_needed_goes() {
        let mut steps = vec![run(&["GET", "long-key"]); 40];
        steps[7] = run(&["SET", "key", "value"]);
        steps[30] = run(&["DEL", "key"]);
        // Fails while a SET comes before a DEL of the same key.
        let mut fails = |steps: &[Step]| {
            let find = |name: &[u8]| steps.iter().position(|step| matches!(step, Step::Run(words) if words[0] == name));
            Ok(matches!((find(b"SET"), find(b"DEL")), (Some(set), Some(del)) if set < del))
        };
        let smallest = shrink(steps, &mut fails).unwrap();
        assert_eq!(smallest, [run(&["SET", "x", "x"]), run(&["DEL", "x"])]);
    }
}
