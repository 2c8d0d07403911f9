//! The format and the estimates against bytes and numbers that redis-server 7.0 and Valkey 9.1 gave, and against plain registers.

use super::*;
use proptest::prelude::*;

fn of(elements: impl IntoIterator<Item = String>, sparse_len_max: usize) -> Vec<u8> {
    let mut bytes = empty();
    for element in elements {
        let raises = raises(&bytes, element.as_bytes()).unwrap();
        assert_eq!(add(&mut bytes, [element.as_bytes()], sparse_len_max), Ok(raises));
    }
    bytes
}

fn registers(bytes: &[u8]) -> Registers {
    let mut registers = Registers::default();
    registers.merge(bytes).unwrap();
    registers
}

#[test]
fn the_empty_one_is_one_run_of_zeros() {
    assert_eq!(empty(), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
    assert_eq!(describe_runs(&empty()).unwrap(), "Z:16384");
    assert_eq!((count(&empty()), cached(&empty())), (Ok(0), Some(0)));
}

/// `PFADD h a b c d e f g`, then GET h of a real server.
#[test]
fn bytes_are_those_of_redis() {
    let bytes = of("abcdefg".chars().map(String::from), 3000);
    assert_eq!(bytes, GOLDEN_SEVEN);
    assert_eq!(count(&bytes), Ok(7));
}

const GOLDEN_SEVEN: &[u8] = include_bytes!("golden-seven.bin");

#[test]
fn a_long_one_becomes_dense_and_keeps_its_registers() {
    let elements = || (0..5000).map(|number| number.to_string());
    let (sparse, dense) = (of(elements(), usize::MAX), of(elements(), 100));
    assert_eq!(encoding(&sparse), Ok(Encoding::Sparse));
    assert_eq!(encoding(&dense), Ok(Encoding::Dense));
    assert_eq!(registers(&sparse), registers(&dense));
    assert_eq!((count(&sparse), registers(&sparse).count()), (count(&dense), count(&dense).unwrap()));
    let mut converted = sparse.clone();
    assert_eq!((to_dense(&mut converted), to_dense(&mut converted)), (Ok(true), Ok(false)));
    assert_eq!(converted, dense);
}

#[test]
fn what_is_no_hyperloglog_is_named() {
    for bytes in [&b""[..], b"HYLL", b"HYLL\x01\0\0\0\0\0\0\0\0\0\0", b"hyll\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff"] {
        assert_eq!(encoding(bytes), Err(BadHll::NotHll));
    }
    let mut unknown = empty();
    unknown[4] = 2;
    assert_eq!(encoding(&unknown), Err(BadHll::NotHll));
    let mut long = of((0..3000).map(|number| number.to_string()), 0);
    long.push(0);
    assert_eq!(encoding(&long), Err(BadHll::NotHll));
}

#[test]
fn runs_that_do_not_make_up_all_registers_are_corrupted() {
    let header = &empty()[..HEADER_LEN];
    let millions = vec![0x7f; 1 << 20];
    for runs in [&b""[..], b"\x7f", b"\x7f\xfe", b"\x7f\xff\x00", b"\x7f\xff\xff", b"\x7f\xff\x7f", &millions] {
        let bytes = [header, runs].concat();
        assert_eq!(count(&bytes), Err(BadHll::Corrupted), "{runs:x?}");
        assert_eq!(Registers::default().merge(&bytes), Err(BadHll::Corrupted));
        let mut same = bytes.clone();
        assert_eq!(to_dense(&mut same), Err(BadHll::Corrupted));
        assert_eq!(same, bytes);
    }
    let mut short = [header, b"\x00".as_slice()].concat();
    let before = short.clone();
    assert_eq!(add(&mut short, [&b"a"[..]], 3000), Err(BadHll::Corrupted));
    assert_eq!(short, before);
}

#[test]
fn a_second_byte_that_is_missing_reads_as_zero_and_is_not_written() {
    let header = &empty()[..HEADER_LEN];
    // Whole; cut with too many registers; cut with as many as there must be.
    let bytes = [header, b"\x7e\xfe\x80\x40\xff"].concat();
    assert_eq!(describe_runs(&bytes).unwrap(), "Z:16127 v:1,1 Z:256");
    let cut = [header, b"\x7e\xfe\x80\x00\x7f"].concat();
    assert_eq!(describe_runs(&cut).unwrap(), "Z:16127 v:1,1 z:1 Z:16129");
    assert_eq!(count(&cut), Err(BadHll::Corrupted));
    let fits = [header, b"\x00\x40\xfc\xfc\x7f"].concat();
    let total = "z:1 Z:253 v:32,1 Z:16129";
    assert_eq!(describe_runs(&fits).unwrap(), total);
    assert!(count(&fits).is_ok());
    let mut same = fits.clone();
    let refused = (0..100).filter(|n: &u32| add(&mut same, [n.to_string().as_bytes()], 3000) == Err(BadHll::Corrupted));
    assert!(refused.count() > 90);
}

#[test]
fn registers_that_no_element_makes_count_as_they_do_in_c() {
    let mut bytes = empty();
    to_dense(&mut bytes).unwrap();
    bytes[HEADER_LEN..].fill(0xff);
    assert_eq!(count(&bytes), Ok(1 << 63));
}

#[test]
fn estimates_are_close() {
    let mut bytes = empty();
    let mut added = 0u64;
    for checkpoint in [1u64, 10, 100, 1000, 10_000, 100_000] {
        while added < checkpoint {
            add(&mut bytes, [&(added ^ 0x5eed_5eed_5eed).to_le_bytes()[..]], 3000).unwrap();
            added += 1;
        }
        let estimate = count(&bytes).unwrap();
        let error = estimate.abs_diff(checkpoint) as f64 / checkpoint as f64;
        assert!(error <= 6.0 * 1.04 / 128.0, "{estimate} for {checkpoint}");
    }
}

proptest! {
    #[test]
    fn a_union_is_the_same_whichever_way_it_is_made(
        one in prop::collection::vec(0u16..2000, 0..300),
        other in prop::collection::vec(0u16..2000, 0..300),
        sparse_len_max in prop::sample::select(vec![0usize, 200, 3000, 100_000]),
    ) {
        let name = |numbers: &[u16]| numbers.iter().map(u16::to_string).collect::<Vec<_>>();
        let (left, right) = (of(name(&one), 100_000), of(name(&other), 100_000));
        let all = of(name(&one).into_iter().chain(name(&other)), 100_000);
        let mut union = registers(&left);
        union.merge(&right).unwrap();
        prop_assert_eq!(&union, &registers(&all));
        let mut stored = left.clone();
        store_union(&mut stored, &union, false, sparse_len_max).unwrap();
        prop_assert_eq!(&registers(&stored), &union);
        prop_assert_eq!(cached(&stored), None);
        // Going on from run to run makes the bytes that beginning at the first run each time would make.
        let mut slow = left.clone();
        let mut fits = true;
        for (register, &value) in union.values().iter().enumerate().filter(|(_, value)| **value > 0) {
            let mut from = Found::START;
            fits &= sparse::raise(&mut slow, &mut from, register, value, sparse_len_max) != Ok(sparse::Raised::NeedsDense);
        }
        prop_assert_eq!(fits, encoding(&stored) == Ok(Encoding::Sparse));
        if fits {
            prop_assert_eq!(&stored[HEADER_LEN..], &slow[HEADER_LEN..]);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(runs: Vec<u8>, element: Vec<u8>, dense: bool) {
        let mut bytes = if dense {
            let mut bytes = runs.repeat(DENSE_LEN / runs.len().max(1) + 1);
            bytes.resize(DENSE_LEN, 0);
            bytes[..5].copy_from_slice(b"HYLL\0");
            bytes
        } else {
            [&empty()[..HEADER_LEN], &runs].concat()
        };
        let _ = (count(&bytes), cached(&bytes), raises(&bytes, &element), describe_runs(&bytes), to_dense(&mut bytes.clone()));
        let mut union = Registers::default();
        if union.merge(&bytes).is_ok() {
            store_union(&mut bytes.clone(), &union, false, 3000).unwrap();
        }
        let before = bytes.clone();
        if add(&mut bytes, [&element[..]], 3000).is_err() {
            prop_assert_eq!(bytes, before);
        }
    }
}

#[test]
fn many_elements_at_once_make_the_bytes_of_one_after_the_other() {
    for sparse_len_max in [100, 3000, 40_000] {
        let elements: Vec<[u8; 8]> = (0..4000u64).map(|n| ((n % 3500) ^ 0x5eed).to_le_bytes()).collect();
        let (mut one_by_one, mut at_once) = (empty(), empty());
        for part in elements.chunks(700) {
            for element in part {
                add(&mut one_by_one, [&element[..]], sparse_len_max).unwrap();
            }
            add(&mut at_once, part.iter().map(|element| &element[..]), sparse_len_max).unwrap();
            assert_eq!(one_by_one, at_once, "{sparse_len_max}");
        }
    }
}
