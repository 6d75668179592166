//! Work beside the calls, while rows come and go under its hands.

use std::sync::atomic::{AtomicUsize, Ordering};

use aqe_memory::random::Random;
use aqe_memory::store::NO_KEY;
use aqe_memory::{Index, Keep, Level, Metric, Options, Store};

const DIM: usize = 24;

fn rows(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n * DIM)
        .map(|_| random.below(1 << 16) as f32 / 32_768.0 - 1.0)
        .collect()
}

/// One of what users do: all rows go, the last ones, some are replaced, more come.
fn change(store: &Store, keys: std::ops::Range<u64>, random: &mut Random, turn: u64) {
    let all: Vec<u64> = keys.collect();
    let n = all.len();
    match random.below(6) {
        0 => drop(store.remove(&all)),
        1 => drop(store.remove(&all[n - n / 4..])),
        2 => drop(store.remove(&all[..n - n / 8])),
        3 => {
            let start = random.below(n - 64);
            store.add(&all[start..start + 64], &rows(64, turn));
        }
        _ => store.add(&all, &rows(n, turn)),
    }
}

/// How often: what goes wrong between two threads does so rarely.
fn rounds() -> u64 {
    std::env::var("AQE_ROUNDS").map_or(2, |rounds| rounds.parse().expect("a number of rounds"))
}

/// Save a store and load it again, as often as asked.
fn save(store: &Store, times: usize) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("aqe-beside-{}-{number}", std::process::id()));
    for _ in 0..times {
        store.save(&path).expect("a file can be written");
        let other = Store::new(store.options().clone());
        other.load(&path).expect("what was saved can be loaded");
        let keys = other.keys();
        assert_eq!(keys.len(), other.len());
        assert_eq!(found(&other, keys.len() + 1), keys);
    }
    std::fs::remove_file(path).expect("it was written");
}

/// All keys that an exact search for some row finds, ascending.
fn found(store: &Store, k: usize) -> Vec<u64> {
    let (mut keys, mut scores) = (vec![0; k], vec![0.0; k]);
    let query = &rows(1, 98);
    store.search(query, k, None, true, None, (&mut keys, &mut scores));
    keys.retain(|&key| key != NO_KEY);
    keys.sort_unstable();
    keys
}

#[test]
fn rows_may_come_and_go_while_the_store_works() {
    for index in [Index::Lists, Index::Hnsw, Index::Auto] {
        for seed in 0..rounds() {
            let store = Store::new(Options {
                dim: DIM,
                metric: [Metric::Cosine, Metric::L2, Metric::Dot][seed as usize % 3],
                index,
                keep: Keep::Planes,
                recall: 0.9,
                seed,
                threads: 2,
                background: true,
                level: Level::best(),
            });
            let size = if index == Index::Auto { 5000 } else { 900 };
            std::thread::scope(|scope| {
                for writer in 0..2 {
                    let store = &store;
                    scope.spawn(move || {
                        let mut random = Random::new(10 * seed + writer);
                        let first = writer * size;
                        for turn in 0..40 {
                            change(store, first..first + size, &mut random, turn);
                            std::thread::sleep(std::time::Duration::from_micros(
                                random.below(4000) as u64,
                            ));
                        }
                    });
                }
                scope.spawn(|| save(&store, 5));
                scope.spawn(|| {
                    let (mut keys, mut scores) = ([0; 10], [0.0; 10]);
                    for query in rows(200, 99).chunks_exact(DIM) {
                        store.search(query, 10, None, false, None, (&mut keys, &mut scores));
                        let found = keys.iter().filter(|&&key| key != NO_KEY).count();
                        let mut distinct = keys[..found].to_vec();
                        distinct.sort_unstable();
                        distinct.dedup();
                        assert_eq!(distinct.len(), found);
                    }
                });
            });
            store.optimize();
            let keys = store.keys();
            assert_eq!(keys.len(), store.len());
            assert_eq!(found(&store, keys.len() + 1), keys);
        }
    }
}
