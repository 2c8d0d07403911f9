//! The keyspace's hot paths on a million keys of 16 bytes with values of 16 bytes, with the server's allocator.

#![allow(missing_docs)]

#[allow(dead_code, unused_imports)] // The server asks for more than this does, and runs its tests.
#[path = "../../server/src/allocator.rs"]
mod allocator;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use firn_engine::key::{HashSeed, Key};
use firn_engine::keyspace::{Deadline, Keyspace};
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

const SEED: HashSeed = HashSeed([9; 16]);
const KEYS: u64 = 1_000_000;

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key
}

fn filled() -> Keyspace {
    let mut keyspace = Keyspace::new(SEED, 1);
    for number in 0..KEYS {
        keyspace.db_mut(0).set_string(SEED.key(&key(number)), &[7; 16], Deadline::Clear);
    }
    keyspace
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % KEYS
}

fn reads(criterion: &mut Criterion) {
    let keyspace = filled();
    let mut group = criterion.benchmark_group("get");
    for batch in [1u64, 16, 100] {
        group.throughput(Throughput::Elements(batch));
        let mut state = 1;
        group.bench_function(BenchmarkId::new("batch", batch), |bencher| {
            let mut keys = Vec::new();
            let mut positions = Vec::new();
            bencher.iter(|| {
                keys.clear();
                positions.clear();
                keys.extend((0..batch).map(|_| key(next(&mut state))));
                positions.extend(keys.iter().map(|key| (0usize, SEED.position(key))));
                if batch > 1 {
                    keyspace.prefetch(&positions);
                }
                for (bytes, (db, position)) in keys.iter().zip(&positions) {
                    black_box(keyspace.db(*db).get(Key { bytes, position: *position }));
                }
            });
        });
    }
    group.finish();
    criterion.bench_function("scan of 10", |bencher| {
        let mut cursor = 0;
        bencher.iter(|| cursor = keyspace.db(0).scan(cursor, 10, &mut |entry| _ = black_box(entry)));
    });
}

fn writes(criterion: &mut Criterion) {
    let mut keyspace = filled();
    let mut state = 1;
    criterion.bench_function("overwrite", |bencher| {
        bencher.iter(|| {
            let key = key(next(&mut state));
            keyspace.db_mut(0).set_string(SEED.key(&key), &[8; 16], Deadline::Clear);
        });
    });
    criterion.bench_function("delete and insert", |bencher| {
        bencher.iter(|| {
            let key = key(next(&mut state));
            let key = SEED.key(&key);
            keyspace.db_mut(0).remove(key);
            keyspace.db_mut(0).set_string(key, &[8; 16], Deadline::Clear);
        });
    });
    criterion.bench_function("insert 100000 into an empty database", |bencher| {
        bencher.iter_batched(
            || Keyspace::new(SEED, 1),
            |mut keyspace| {
                for number in 0..100_000 {
                    keyspace.db_mut(0).set_string(SEED.key(&key(number)), &[7; 16], Deadline::Clear);
                }
                keyspace
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, reads, writes);
criterion_main!(benches);
