//! The judge on recorded histories: what it must accept, and every kind of wrong that it must see.

use super::*;
use crate::model::Held;

const READ: (u64, u64) = (1_000_000, 1_000_001);

/// A crash from 10 to 20 ms, and a history of changes sent and acknowledged at these ms.
fn history(times: &[(Change, u64, Option<u64>)]) -> (History, Crash) {
    let zero = Instant::now();
    let at = |ms| zero + Duration::from_millis(ms);
    let sent = times.iter().enumerate().map(|(number, (change, sent, acknowledged))| Sent {
        change: change.clone(),
        number: number as u64 + 1,
        sent_at: at(*sent),
        acknowledged_at: acknowledged.map(at),
    });
    (
        History { sent: sent.collect(), ..History::default() },
        Crash { began: at(10), ended: at(20), sharp: true, refusing: None },
    )
}

fn shown(state: &State) -> Observed {
    Observed { keys: state.keys.clone(), read: READ, log: state.log, invented: Vec::new() }
}

/// What a server shows after the first `length` of the changes.
fn after(history: &History, length: usize) -> State {
    let mut state = State::new();
    history.sent[..length].iter().for_each(|sent| _ = state.apply(&sent.change, 0, sent.number));
    state
}

fn explain(history: &History, crash: &Crash, floor: usize, seen: &Observed) -> Result<Verdict, Box<Violation>> {
    Case { client: 0, base: &State::new(), history, crash, floor, cycle: 0 }.explain(seen)
}

fn plain() -> (History, Crash) {
    let pair = Change::Transaction(vec![set(3), Change::AddMember { key: 28 }]);
    history(&[
        (set(0), 1, Some(2)),
        (set(1), 1, Some(3)),
        (pair, 3, Some(4)),
        (Change::Delete { key: 0 }, 4, Some(5)),
        (set(1), 5, Some(9)),
        (Change::Append { key: 1 }, 9, None),
    ])
}

#[test]
fn every_prefix_at_or_above_the_floor_is_accepted_and_told() {
    let (history, crash) = plain();
    for length in 0..=history.sent.len() {
        let seen = shown(&after(&history, length));
        assert_eq!(explain(&history, &crash, 0, &seen).unwrap().prefix, (length, length));
        match explain(&history, &crash, 5, &seen) {
            Ok(verdict) => assert!(length >= 5 && verdict.prefix.0 == length),
            Err(violation) => {
                assert!(length < 5 && violation.wrong == Wrong::Lost, "{}", violation.text);
                assert!(violation.events.iter().any(|event| !event.there && event.acknowledged_us.is_some()));
            }
        }
    }
}

#[test]
fn each_kind_of_wrong_state_is_named() {
    let (history, crash) = plain();
    let all = after(&history, 6);
    let text = |value: &[u8]| Some(Entry { value: Held::Text(value.to_vec()), deadline: None });
    let wrong = |change: fn(&mut State, &State)| {
        let mut state = all.clone();
        change(&mut state, &after(&plain().0, 2));
        explain(&history, &crash, 5, &shown(&state)).unwrap_err().wrong
    };
    assert_eq!(wrong(|state, _| state.keys[3] = None), Wrong::Torn, "half of the transaction");
    assert_eq!(wrong(|state, before| state.keys[0].clone_from(&before.keys[0])), Wrong::CameBack);
    let without_transaction = |state: &mut State, _: &State| (state.keys[3], state.keys[28]) = (None, None);
    assert_eq!(wrong(without_transaction), Wrong::NotAPrefix, "one command in the middle is missing");
    let mut state = all.clone();
    state.keys[1] = text(b"0:999:");
    assert_eq!(explain(&history, &crash, 5, &shown(&state)).unwrap_err().wrong, Wrong::FalseValue);
    let mut seen = shown(&all);
    seen.invented.push("x".into());
    assert_eq!(explain(&history, &crash, 0, &seen).unwrap_err().wrong, Wrong::Invented);
    // A record applied twice: the value is there twice.
    let mut state = all.clone();
    state.apply(&Change::Append { key: 1 }, 0, 6);
    assert_eq!(explain(&history, &crash, 5, &shown(&state)).unwrap_err().wrong, Wrong::FalseValue);
}

#[test]
fn what_came_back_behind_a_deletion_is_no_half_of_what_was_before_it() {
    let (mut history, crash) = history(&[
        (set(0), 1, Some(2)),
        (set(1), 2, Some(3)),
        (Change::Rename { from: 1, to: 0 }, 3, Some(4)),
        (set(2), 4, Some(5)),
        (Change::Delete { key: 0 }, 5, Some(6)),
    ]);
    let wrong = |history: &History| {
        let length = history.sent.len();
        let mut state = after(history, length);
        state.keys[0].clone_from(&after(history, 1).keys[0]);
        explain(history, &crash, length, &shown(&state)).unwrap_err().wrong
    };
    assert_eq!(wrong(&history), Wrong::CameBack);
    history.sent.pop();
    assert_eq!(wrong(&history), Wrong::Torn, "a RENAME that took its source, and did not give it");
}

#[test]
fn a_key_may_be_gone_from_its_deadline_on_and_not_before() {
    let set = |deadline| Change::Set { key: 16, len: 0, deadline: Some(deadline) };
    for (deadline, may_be_gone, may_be_there) in
        [(READ.0 - 1, true, false), (READ.0, true, true), (READ.1 + 1, false, true)]
    {
        let (history, crash) = history(&[(set(deadline), 1, Some(2))]);
        let there = shown(&after(&history, 1));
        assert_eq!(explain(&history, &crash, 1, &there).is_ok(), may_be_there, "{deadline}");
        let gone = shown(&State::new());
        assert_eq!(explain(&history, &crash, 1, &gone).is_ok(), may_be_gone, "{deadline}");
    }
}

#[test]
fn what_was_acknowledged_before_a_cut_counts_and_after_its_beginning_only_if_it_is_sharp() {
    let times = [(1, Some(2)), (3, Some(9)), (9, Some(10)), (9, Some(25)), (9, None)];
    let changes: Vec<_> =
        times.iter().map(|(sent, acknowledged)| (Change::SharedCount, *sent, *acknowledged)).collect();
    let (history, mut crash) = history(&changes);
    assert_eq!(floor(Contract::All, &history, &crash), 4);
    crash.sharp = false;
    assert_eq!(floor(Contract::All, &history, &crash), 2);
    assert_eq!(floor(Contract::OlderThan(Duration::from_millis(2)), &history, &crash), 1);
    assert_eq!(floor(Contract::Prefix, &history, &crash), 0);
}

#[test]
fn an_acknowledgement_of_what_was_sent_after_a_cut_is_a_lie() {
    let check = |times: &[(Change, u64, Option<u64>)]| {
        let (history, crash) = history(times);
        let case = Case { client: 0, base: &State::new(), history: &history, crash: &crash, floor: 0, cycle: 0 };
        nothing_acknowledged_later(&case)
    };
    assert!(check(&[(set(0), 9, Some(25)), (set(0), 20, Some(26)), (set(0), 21, None)]).is_ok());
    let lie = check(&[(set(0), 9, Some(25)), (set(0), 21, Some(22))]).unwrap_err();
    assert_eq!((lie.wrong, lie.events[1].sent_us), (Wrong::Lie, 11_000));
}

#[test]
fn all_clients_come_back_as_of_one_moment() {
    let (first, crash) = history(&[(set(0), 1, Some(2)), (set(1), 3, Some(4))]);
    let (second, _) = plain();
    // The second client's last command was sent at 9 ms, when both of the first were answered.
    let mut verdicts = vec![
        explain(&first, &crash, 0, &shown(&after(&first, 1))).unwrap(),
        explain(&second, &crash, 0, &shown(&after(&second, 6))).unwrap(),
    ];
    // The two histories were recorded on two clocks that begin together but for the time between the calls.
    let both = [&first, &second];
    assert_eq!(one_moment(&both, &verdicts, 0, 0).unwrap_err().wrong, Wrong::NotAPrefix);
    verdicts[0] = explain(&first, &crash, 0, &shown(&after(&first, 2))).unwrap();
    assert!(one_moment(&both, &verdicts, 0, 0).is_ok());
    assert_eq!(one_moment(&both, &verdicts, 1, 0).unwrap_err().wrong, Wrong::NotAPrefix, "the shared counter");
    verdicts[0].count = (3, 3);
    assert!(one_moment(&both, &verdicts, 2, 0).is_err());
    assert!(one_moment(&both, &verdicts, 2, 1).is_ok(), "one of the increments may be missing");
    assert!(one_moment(&both, &verdicts, 4, 1).is_err());
}

/// Two commands that were answered, and a batch sent at 5 ms whose replies nobody read: a SET, a RENAME of its key, a transaction, and
/// an increment of the shared counter.
fn unread() -> (History, Crash) {
    let pair = Change::Transaction(vec![set(3), Change::AddMember { key: 28 }]);
    history(&[
        (set(0), 1, Some(2)),
        (set(1), 2, Some(3)),
        (set(0), 5, None),
        (Change::Rename { from: 0, to: 2 }, 5, None),
        (pair, 5, None),
        (Change::SharedCount, 5, None),
    ])
}

/// The state after those of the commands whose places are given.
fn after_these(history: &History, places: &[usize]) -> State {
    let mut state = State::new();
    places.iter().for_each(|&at| _ = state.apply(&history.sent[at].change, 0, history.sent[at].number));
    state
}

#[test]
fn a_write_in_flight_may_be_refused_and_those_behind_it_accepted_while_the_disk_is_full() {
    let (history, mut crash) = unread();
    let renamed = shown(&after_these(&history, &[0, 1, 3]));
    // On a sound disk nothing is refused; nor what was sent when there was room again.
    assert!(explain(&history, &crash, 2, &renamed).is_err());
    crash.refusing = Some(history.sent[1].sent_at);
    assert!(explain(&history, &crash, 2, &renamed).is_err());
    crash.refusing = Some(crash.began);
    let verdict = explain(&history, &crash, 2, &renamed).unwrap();
    assert_eq!((verdict.prefix, verdict.refused.as_slice(), verdict.count), ((3, 6), &[2, 4][..], (0, 1)));
    assert_eq!(verdict.state.keys, after_these(&history, &[0, 1, 3]).keys);
    let mut kept = history.sent.clone();
    verdict.keep(&mut kept);
    assert_eq!(kept.iter().map(|sent| sent.number).collect::<Vec<_>>(), [1, 2, 4, 6]);
    // Every combination, and each tells what is there.
    for bits in 0..8_usize {
        let places: Vec<usize> = (0..5).filter(|at| *at < 2 || bits & (1 << (at - 2)) != 0).collect();
        let state = after_these(&history, &places);
        let verdict = explain(&history, &crash, 2, &shown(&state)).unwrap();
        assert_eq!(verdict.state.keys, state.keys, "{places:?}");
        assert_eq!(verdict.prefix, (if bits == 0 { 2 } else { 3 }, 6));
    }
    // Another client was shown the RENAME's result: it must be there.
    assert!(explain(&history, &crash, 4, &renamed).is_ok());
    assert!(explain(&history, &crash, 4, &shown(&after_these(&history, &[0, 1, 2]))).is_err());
}

#[test]
fn refusals_excuse_no_half_of_a_transaction_no_loss_and_no_other_order() {
    let (history, mut crash) = unread();
    crash.refusing = Some(crash.began);
    let verdict = |state: &State| explain(&history, &crash, 2, &shown(state)).map_err(|violation| violation.wrong);
    for places in [&[0, 1, 4][..], &[0, 1, 3, 4], &[0, 1, 2, 3, 4]] {
        let whole = after_these(&history, places);
        assert!(verdict(&whole).is_ok(), "{places:?}");
        for half in [3, 28] {
            let mut state = whole.clone();
            state.keys[half] = None;
            assert!(verdict(&state).is_err(), "{places:?} without key {half}");
        }
    }
    let mut half = after_these(&history, &[0, 1, 2, 3, 4]);
    half.keys[28] = None;
    assert_eq!(verdict(&half).unwrap_err(), Wrong::Torn);
    assert_eq!(verdict(&after_these(&history, &[0])).unwrap_err(), Wrong::Lost);
    assert_eq!(
        verdict(&after_these(&history, &[0, 4])).unwrap_err(),
        Wrong::NotAPrefix,
        "an acknowledged write is missing"
    );
    assert!(verdict(&after_these(&history, &[0, 1, 3, 2, 4])).is_err(), "the RENAME came before the SET");
}

#[test]
fn of_a_whole_batch_of_appends_to_one_key_any_may_be_refused() {
    let appends: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| (Change::Append { key: 0 }, 5, None)).collect();
    let (history, mut crash) = history(&appends);
    crash.refusing = Some(crash.began);
    let places: Vec<usize> = (0..IN_FLIGHT_MAX).filter(|at| at % 3 != 1).collect();
    let verdict = explain(&history, &crash, 0, &shown(&after_these(&history, &places))).unwrap();
    assert_eq!(verdict.refused, [1, 4, 7, 10, 13]);
    let swapped: Vec<usize> = places.iter().rev().copied().collect();
    assert!(explain(&history, &crash, 0, &shown(&after_these(&history, &swapped))).is_err());
}
