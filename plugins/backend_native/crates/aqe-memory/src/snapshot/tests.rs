//! Snapshots: what comes back, and what is refused. Forged files must not make a store that fails.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::{Error, PAGE, reseal};
use crate::random::Random;
use crate::{Index, Keep, Level, Metric, Options, Store};

/// A file name of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("aqe-snapshot-{}-{number}", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn options(dim: usize, metric: Metric, keep: Keep, index: Index) -> Options {
    Options {
        dim,
        metric,
        index,
        keep,
        recall: 0.9,
        seed: 3,
        threads: 1,
        background: false,
        level: Level::best(),
    }
}

fn rows(n: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n * dim)
        .map(|_| random.below(2001) as f32 / 1000.0 - 1.0 + 1e-4)
        .collect()
}

fn filled(options: Options, n: usize) -> Store {
    let store = Store::new(options.clone());
    let keys: Vec<u64> = (0..n as u64).map(|i| 7 * i + 1).collect();
    store.add(&keys, &rows(n, options.dim, 1));
    store
}

type Answers = Vec<(Vec<u64>, Vec<u32>)>;

/// Answers to fixed questions, by their bits.
fn answers(store: &Store) -> Answers {
    let dim = store.options().dim;
    let k = store.len().min(10);
    let mut found = Vec::new();
    if k == 0 {
        return found;
    }
    for query in rows(5, dim, 99).chunks_exact(dim) {
        for exact in [false, true] {
            let (mut keys, mut scores) = (vec![0; k], vec![0.0; k]);
            store.search(query, k, None, exact, None, (&mut keys, &mut scores));
            found.push((keys, scores.into_iter().map(f32::to_bits).collect()));
        }
    }
    found
}

fn all_of(store: &Store) -> (Vec<u64>, Answers) {
    (store.keys(), answers(store))
}

#[test]
fn a_store_comes_back_as_it_was_and_goes_on() {
    for (metric, keep, index, dim, n) in [
        (Metric::Cosine, Keep::Planes, Index::Auto, 20, 0),
        (Metric::Cosine, Keep::Planes, Index::Auto, 20, 1),
        (Metric::L2, Keep::Float16, Index::Auto, 130, 300),
        (Metric::Dot, Keep::Planes, Index::Flat, 128, 1500),
        (Metric::Cosine, Keep::Planes, Index::Lists, 130, 1500),
        (Metric::L2, Keep::Planes, Index::Lists, 128, 1500),
        (Metric::Cosine, Keep::Float16, Index::Lists, 128, 1200),
        (Metric::L2, Keep::Float32, Index::Lists, 33, 1200),
        (Metric::Cosine, Keep::Planes, Index::Hnsw, 12, 3000),
        (Metric::L2, Keep::Float32, Index::Hnsw, 8, 1500),
    ] {
        let case = format!("{metric:?} {keep:?} {index:?} {dim} {n}");
        let options = options(dim, metric, keep, index);
        let store = filled(options.clone(), n);
        let gone: Vec<u64> = (0..n as u64 / 3).map(|i| 21 * i + 1).collect();
        assert_eq!(store.remove(&gone), gone.len());
        let file = Scratch::new();
        let name = store.save(&file.0).unwrap();
        let other = filled(options.clone(), 40);
        assert_eq!(other.load(&file.0).unwrap(), name, "{case}");
        assert!(all_of(&other) == all_of(&store), "{case}");
        let stats = [&store, &other].map(|each| {
            let stats = each.stats();
            (
                stats.rows,
                stats.tail,
                stats.lists,
                stats.graph,
                stats.probes,
                stats.refine,
            )
        });
        assert_eq!(stats[0], stats[1], "{case}");
        assert_eq!(stats[0].3 > 0, index == Index::Hnsw, "{case}");
        // What is done next has the same effect on both.
        let more = rows(50, dim, 5);
        let keys: Vec<u64> = (0..50).map(|i| 14 * i + 1).collect();
        for each in [&store, &other] {
            each.add(&keys, &more);
            assert_eq!(each.remove(&keys[..20]), 20, "{case}");
            each.optimize();
        }
        assert!(store.keys() == other.keys(), "{case}");
        let exact = |store: &Store| {
            answers(store)
                .into_iter()
                .skip(1)
                .step_by(2)
                .collect::<Vec<_>>()
        };
        assert!(exact(&store) == exact(&other), "{case}");
    }
}

#[test]
fn a_store_that_all_rows_left_while_it_was_measured_comes_back() {
    let options = options(24, Metric::Cosine, Keep::Planes, Index::Lists);
    let store = filled(options.clone(), 2000);
    store.remove(&store.keys());
    store.shared.tune();
    let scratch = Scratch::new();
    let name = store.save(&scratch.0).unwrap();
    let other = Store::new(options);
    assert_eq!(other.load(&scratch.0).unwrap(), name);
    assert!(other.is_empty());
}

#[test]
fn equal_content_has_equal_names() {
    let options = options(32, Metric::Cosine, Keep::Planes, Index::Auto);
    let (one, two) = (Scratch::new(), Scratch::new());
    let store = filled(options.clone(), 30);
    assert_eq!(store.save(&one.0).unwrap(), store.save(&two.0).unwrap());
    store.add(&[1], &rows(1, 32, 8));
    assert_ne!(
        store.save(&one.0).unwrap(),
        filled(options, 30).save(&two.0).unwrap()
    );
}

#[test]
fn a_snapshot_of_another_store_is_refused() {
    let base = options(130, Metric::Cosine, Keep::Planes, Index::Auto);
    let file = Scratch::new();
    filled(base.clone(), 30).save(&file.0).unwrap();
    let others: [(&str, Options); 6] = [
        (
            "dim",
            Options {
                dim: 131,
                ..base.clone()
            },
        ),
        (
            "metric",
            Options {
                metric: Metric::Dot,
                ..base.clone()
            },
        ),
        (
            "keep",
            Options {
                keep: Keep::Float16,
                ..base.clone()
            },
        ),
        (
            "index",
            Options {
                index: Index::Flat,
                ..base.clone()
            },
        ),
        (
            "recall",
            Options {
                recall: 0.95,
                ..base.clone()
            },
        ),
        ("seed", Options { seed: 4, ..base }),
    ];
    for (name, options) in others {
        let store = filled(options, 10);
        let before = all_of(&store);
        match store.load(&file.0) {
            Err(Error::Foreign(what, there, here)) => {
                assert_eq!(what, name);
                assert_ne!(there, here);
            }
            other => panic!("{name}: {other:?}"),
        }
        assert!(all_of(&store) == before);
    }
}

#[test]
fn what_cannot_be_written_leaves_the_old_file() {
    let options = options(8, Metric::Cosine, Keep::Planes, Index::Auto);
    let file = Scratch::new();
    std::fs::create_dir(&file.0).unwrap();
    let store = filled(options, 3);
    assert!(matches!(store.save(&file.0), Err(Error::Io(_)))); // a folder is there
    std::fs::remove_dir(&file.0).unwrap();
    assert!(matches!(store.save(&file.0.join("a")), Err(Error::Io(_))));
    let name = file.0.file_name().unwrap().to_string_lossy().into_owned();
    let left = std::fs::read_dir(file.0.parent().unwrap()).unwrap();
    assert_eq!(
        left.filter(|entry| entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains(&name))
            .count(),
        0
    );
}

fn saved(index: usize) -> (Options, Vec<u8>) {
    let options = match index {
        0 => options(130, Metric::L2, Keep::Float16, Index::Lists),
        1 => options(128, Metric::Cosine, Keep::Planes, Index::Lists),
        2 => options(16, Metric::Dot, Keep::Planes, Index::Flat),
        _ => options(8, Metric::L2, Keep::Planes, Index::Hnsw),
    };
    let store = filled(options.clone(), if index == 2 { 60 } else { 1100 });
    let file = Scratch::new();
    store.save(&file.0).unwrap();
    (options, std::fs::read(&file.0).unwrap())
}

thread_local! {
    static SAVED: [(Options, Vec<u8>); 4] = [saved(0), saved(1), saved(2), saved(3)];
}

fn load(path: &Path, options: &Options, bytes: &[u8]) -> (Store, Result<u64, Error>) {
    std::fs::write(path, bytes).unwrap();
    let store = filled(options.clone(), 5);
    let result = store.load(path);
    (store, result)
}

fn cases() -> u32 {
    let wanted = std::env::var("AQE_MUTATIONS").ok();
    wanted.map_or(300, |n| n.parse().expect("AQE_MUTATIONS is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_snapshot_is_refused(
        which in 0..4usize,
        kind in 0..4,
        places in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..4),
    ) {
        SAVED.with(|saved| {
            let (options, whole) = &saved[which];
            let mut bytes = whole.clone();
            match kind {
                0 => bytes.truncate(places[0].0.index(whole.len())),
                1 => bytes.extend(places.iter().map(|place| place.1)),
                // The header is a small part of the file.
                2 => places.iter().for_each(|(at, bits)| bytes[at.index(PAGE)] ^= bits),
                _ => places.iter().for_each(|(at, bits)| bytes[at.index(whole.len())] ^= bits),
            }
            let file = Scratch::new();
            let (store, result) = load(&file.0, options, &bytes);
            if &bytes == whole {
                assert!(result.is_ok());
            } else {
                assert!(matches!(result, Err(Error::Damaged(_) | Error::Foreign(..))), "{result:?}");
                assert!(all_of(&store) == all_of(&filled(options.clone(), 5)));
            }
        });
    }

    #[test]
    fn a_forged_snapshot_does_not_make_a_store_that_fails(
        which in 0..4usize,
        in_header in any::<bool>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        SAVED.with(|saved| {
            let (options, whole) = &saved[which];
            let mut bytes = whole.clone();
            let range = if in_header { 168 } else { whole.len() };
            for (at, value) in &places {
                bytes[at.index(range)] = *value;
            }
            reseal(&mut bytes);
            let file = Scratch::new();
            let (store, result) = load(&file.0, options, &bytes);
            if result.is_ok() {
                answers(&store);
                let keys = store.keys();
                assert_eq!(store.remove(&keys[..keys.len() / 2]), keys.len() / 2);
                store.add(&keys, &rows(keys.len(), options.dim, 4));
                store.optimize();
                assert_eq!(answers(&store).len(), 10);
                assert_eq!(store.remove(&keys), keys.len());
                assert!(store.is_empty());
            }
        });
    }
}
