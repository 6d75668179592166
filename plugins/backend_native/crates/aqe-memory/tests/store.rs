//! The store against a plain scan in float64, on seeded data.

use std::collections::BTreeMap;

use aqe_memory::random::Random;
use aqe_memory::store::NO_KEY;
use aqe_memory::{BadRow, Index, Keep, Level, Metric, Options, Store};
use proptest::prelude::*;

fn options(dim: usize, metric: Metric) -> Options {
    Options {
        dim,
        metric,
        index: Index::Auto,
        keep: Keep::Planes,
        recall: 0.95,
        seed: 1,
        threads: 2,
        background: false,
        level: Level::best(),
    }
}

fn normal(random: &mut Random) -> f32 {
    (0..12)
        .map(|_| random.below(1 << 20) as f32 / (1 << 20) as f32)
        .sum::<f32>()
        - 6.0
}

/// Rows around cluster centres.
fn clustered(n: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let centres: Vec<f32> = (0..40 * dim).map(|_| normal(&mut random)).collect();
    let mut rows = Vec::with_capacity(n * dim);
    for _ in 0..n {
        let centre = random.below(40) * dim;
        rows.extend((0..dim).map(|i| centres[centre + i] + 0.7 * normal(&mut random)));
    }
    rows
}

fn exact(metric: Metric, query: &[f32], row: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(&x, &y)| f64::from(x) * f64::from(y))
            .sum::<f64>()
    };
    match metric {
        Metric::Dot => dot(query, row),
        Metric::Cosine => dot(query, row) / (dot(query, query) * dot(row, row)).sqrt(),
        Metric::L2 => -query
            .iter()
            .zip(row)
            .map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2))
            .sum::<f64>(),
    }
}

fn find(store: &Store, query: &[f32], k: usize, exact: bool) -> Vec<(u64, f32)> {
    let (mut keys, mut scores) = (vec![0; k], vec![0.0; k]);
    store.search(query, k, None, exact, None, (&mut keys, &mut scores));
    keys.into_iter()
        .zip(scores)
        .filter(|hit| hit.0 != NO_KEY)
        .collect()
}

#[test]
fn scores_of_keys_are_those_of_a_search_among_them() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let store = Store::new(options(40, metric));
        assert!(store.scores(&[3], &[0], || vec![1.0; 40])[0].is_nan());
        let rows = clustered(300, 40, 3);
        let keys: Vec<u64> = (0..300).map(|i| 3 * i).collect();
        store.add(&keys, &rows);
        let among: Vec<u64> = (0..90).rev().collect();
        for query in rows.chunks_exact(40).take(5) {
            // A third are right, for rows are numbered as they come.
            let guesses: Vec<u32> = among.iter().map(|&key| key as u32 / 3).collect();
            let scores = store.scores(&among, &guesses, || query.to_vec());
            let wrong: Vec<u32> = (0..90)
                .map(|i| if i % 2 == 0 { i } else { u32::MAX })
                .collect();
            let found = store.scores(&among, &wrong, || query.to_vec());
            assert!(
                found
                    .iter()
                    .zip(&scores)
                    .all(|(a, b)| a.to_bits() == b.to_bits())
            );
            let (mut keys, mut best) = ([0; 90], [0.0; 90]);
            store.search(query, 90, None, false, Some(&among), (&mut keys, &mut best));
            let place = |key: u64| keys.iter().position(|&other| other == key);
            for (&key, &score) in among.iter().zip(&scores) {
                assert_eq!(
                    place(key).map(|i| best[i]),
                    (!score.is_nan()).then_some(score)
                );
            }
            assert_eq!(scores.iter().filter(|score| !score.is_nan()).count(), 30);
        }
        // What is left of a row that was removed is not taken for it.
        let before = store.scores(&[3, 6], &[1, 2], || vec![1.0; 40]);
        store.remove(&[3]);
        let after = store.scores(&[3, 6], &[1, 2], || vec![1.0; 40]);
        assert!(!before[0].is_nan() && after[0].is_nan());
        assert_eq!(before[1], after[1]);
    }
}

fn recall(store: &Store, rows: &BTreeMap<u64, Vec<f32>>, queries: &[f32], metric: Metric) -> f64 {
    let dim = store.options().dim;
    let mut hits = 0;
    for query in queries.chunks_exact(dim) {
        let mut scores: Vec<f64> = rows.values().map(|row| exact(metric, query, row)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let found = find(store, query, 10, false);
        assert_eq!(found.len(), 10);
        hits += found
            .iter()
            .filter(|hit| exact(metric, query, &rows[&hit.0]) >= scores[9])
            .count();
    }
    hits as f64 / (10.0 * (queries.len() / dim) as f64)
}

fn filled(options: Options, n: usize) -> (Store, BTreeMap<u64, Vec<f32>>, Vec<f32>) {
    let dim = options.dim;
    let all = clustered(n + 60, dim, 5);
    let (rows, queries) = all.split_at(n * dim);
    let keys: Vec<u64> = (0..n as u64).map(|i| 3 * i + 1).collect();
    let store = Store::new(options);
    store.add(&keys, rows);
    let model = keys
        .into_iter()
        .zip(rows.chunks_exact(dim).map(<[f32]>::to_vec))
        .collect();
    (store, model, queries.to_vec())
}

#[test]
fn recall_is_held_under_every_metric_flat_and_in_lists() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        for (index, n) in [
            (Index::Flat, 3000),
            (Index::Lists, 3000),
            (Index::Auto, 5000),
            (Index::Hnsw, 3000),
        ] {
            let (store, model, queries) = filled(
                Options {
                    index,
                    ..options(160, metric)
                },
                n,
            );
            let stats = store.stats();
            assert!(stats.recall >= 0.95, "{metric:?} {index:?} {stats:?}");
            let in_lists = matches!(index, Index::Lists | Index::Auto);
            assert_eq!(stats.lists > 0, in_lists, "{metric:?} {index:?} {stats:?}");
            let graph = if index == Index::Hnsw { n } else { 0 };
            assert_eq!(stats.graph, graph, "{metric:?} {stats:?}");
            let found = recall(&store, &model, &queries, metric);
            assert!(found >= 0.93, "{metric:?} {index:?} {found} {stats:?}");
        }
    }
}

#[test]
fn scores_are_near_the_exact_ones_and_exact_search_finds_the_best() {
    for (keep, tolerance) in [
        (Keep::Planes, 1e-3),
        (Keep::Float16, 1e-4),
        (Keep::Float32, 1e-5),
    ] {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let (store, model, queries) = filled(
                Options {
                    keep,
                    ..options(160, metric)
                },
                2000,
            );
            for query in queries.chunks_exact(160).take(10) {
                let length = |x: &[f32]| exact(Metric::Dot, x, x).sqrt();
                let mut scores: Vec<f64> = model
                    .values()
                    .map(|row| exact(metric, query, row))
                    .collect();
                scores.sort_by(|a, b| b.total_cmp(a));
                for (place, (key, score)) in find(&store, query, 10, true).into_iter().enumerate() {
                    let row = &model[&key];
                    let scale = match metric {
                        Metric::Cosine => 1.0,
                        Metric::Dot => length(query) * length(row),
                        Metric::L2 => (length(query) + length(row)).powi(2),
                    };
                    let wanted = exact(metric, query, row);
                    assert!(
                        (f64::from(score) - wanted).abs() <= tolerance * scale,
                        "{keep:?} {metric:?}"
                    );
                    assert!(wanted >= scores[place] - 2.0 * tolerance * scale);
                }
            }
        }
    }
}

#[test]
fn every_level_gives_the_same_bits() {
    for index in [Index::Flat, Index::Lists, Index::Hnsw] {
        let answers: Vec<_> = Level::supported()
            .into_iter()
            .map(|level| {
                let (store, _, queries) = filled(
                    Options {
                        level,
                        index,
                        ..options(160, Metric::Cosine)
                    },
                    2500,
                );
                let hits: Vec<_> = queries
                    .chunks_exact(160)
                    .map(|q| {
                        find(&store, q, 10, false)
                            .into_iter()
                            .map(|(key, score)| (key, score.to_bits()))
                            .collect::<Vec<_>>()
                    })
                    .collect();
                (store.stats().probes, store.stats().refine, hits)
            })
            .collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
}

#[test]
fn gaussian_rows_are_searched_without_lists() {
    let mut random = Random::new(9);
    let rows: Vec<f32> = (0..6060 * 128).map(|_| normal(&mut random)).collect();
    let keys: Vec<u64> = (0..6000).collect();
    let store = Store::new(options(128, Metric::Cosine));
    store.add(&keys, &rows[..6000 * 128]);
    assert!(store.stats().lists <= 1);
    let model = keys
        .into_iter()
        .zip(rows.chunks_exact(128).map(<[f32]>::to_vec))
        .collect();
    let found = recall(&store, &model, &rows[6000 * 128..], Metric::Cosine);
    assert!(found >= 0.93, "{found} {:?}", store.stats());
}

#[test]
fn space_of_removed_rows_is_used_again() {
    let (store, mut model, queries) = filled(options(160, Metric::Cosine), 5000);
    let fresh = store.stats().bytes;
    let rows: Vec<f32> = model.values().flatten().copied().collect();
    let keys: Vec<u64> = model.keys().copied().collect();
    for turn in 0..10 {
        // The first half goes and comes back under new keys, the second is replaced.
        let names: Vec<u64> = keys
            .iter()
            .map(|key| {
                if key % 2 == 0 {
                    key + 100_000 * turn
                } else {
                    *key
                }
            })
            .collect();
        let gone: Vec<u64> = store
            .keys()
            .into_iter()
            .filter(|key| key % 2 == 0)
            .collect();
        assert_eq!(store.remove(&gone), gone.len());
        store.add(&names, &rows);
        model = names
            .into_iter()
            .zip(rows.chunks_exact(160).map(<[f32]>::to_vec))
            .collect();
    }
    store.optimize();
    assert_eq!(store.keys(), model.keys().copied().collect::<Vec<_>>());
    assert!(
        store.stats().bytes as f64 <= 1.3 * fresh as f64,
        "{fresh} {:?}",
        store.stats()
    );
    let found = recall(&store, &model, &queries, Metric::Cosine);
    assert!(found >= 0.93, "{found}");
}

#[test]
fn many_equal_rows_are_no_trouble() {
    let row: Vec<f32> = (0..128).map(|i| (i % 7) as f32 + 1.0).collect();
    let rows: Vec<f32> = row.iter().copied().cycle().take(128 * 5000).collect();
    let store = Store::new(options(128, Metric::L2));
    store.add(&(0..5000).collect::<Vec<_>>(), &rows);
    let found = find(&store, &row, 10, true);
    assert_eq!(
        found.iter().map(|hit| hit.0).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!(find(&store, &row, 10, false).len(), 10);
    assert_eq!(store.remove(&(0..4990).collect::<Vec<_>>()), 4990);
    assert_eq!(find(&store, &row, 20, false).len(), 10);
}

#[test]
fn searches_beside_a_writer_see_whole_rows() {
    let (store, model, queries) = filled(
        Options {
            background: true,
            ..options(160, Metric::Cosine)
        },
        6000,
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let rows = clustered(500, 160, 77);
            for turn in 0..20 {
                let keys: Vec<u64> = (0..500).map(|i| 1_000_000 + 500 * (turn % 3) + i).collect();
                store.add(&keys, &rows);
                store.remove(&keys[..250]);
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                for query in queries.chunks_exact(160) {
                    let found = find(&store, query, 10, false);
                    assert_eq!(found.len(), 10);
                    for (key, score) in found {
                        if let Some(row) = model.get(&key) {
                            assert!(
                                (f64::from(score) - exact(Metric::Cosine, query, row)).abs() < 1e-3
                            );
                        }
                    }
                }
            });
        }
    });
    store.optimize();
    assert_eq!(store.len(), 6000 + 750);
    assert_eq!(store.stats().tail, 0);
}

/// All keys with the best scores that a store gives to a query, as bits.
fn answers(store: &Store, query: &[f32]) -> Vec<(u64, u32)> {
    let found = find(store, query, store.len(), true);
    found.iter().map(|hit| (hit.0, hit.1.to_bits())).collect()
}

#[test]
fn a_large_batch_is_what_its_rows_are_one_after_the_other() {
    const DIM: usize = 130;
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        for keep in [Keep::Planes, Keep::Float16, Keep::Float32] {
            let rows = clustered(11_000, DIM, 8);
            let mut keys: Vec<u64> = (0..11_000).collect();
            // The same key twice in one batch, within one segment of the tail and beyond it.
            (keys[100], keys[9000]) = (keys[99], keys[98]);
            let of = |threads| {
                let store = Store::new(Options {
                    keep,
                    threads,
                    index: Index::Flat,
                    ..options(DIM, metric)
                });
                store.append(&keys[..5000], &rows[..5000 * DIM]).unwrap();
                store
            };
            let [slices, at_once, alone] = [of(2), of(2), of(1)];
            for part in (5000..11_000).step_by(1000) {
                let vectors = &rows[part * DIM..][..1000 * DIM];
                slices.append(&keys[part..][..1000], vectors).unwrap();
            }
            for store in [&at_once, &alone] {
                store.append(&keys[5000..], &rows[5000 * DIM..]).unwrap();
                assert_eq!(store.len(), 10_998);
                for query in rows.chunks_exact(DIM).step_by(3571) {
                    let wanted = answers(&slices, query);
                    assert_eq!(wanted.len(), 10_998);
                    assert_eq!(answers(store, query), wanted, "{metric:?} {keep:?}");
                }
            }
        }
    }
}

#[test]
fn a_large_batch_replaces_rows_and_takes_the_room_of_those_that_left() {
    const DIM: usize = 128;
    let rows = clustered(18_000, DIM, 8);
    let keys: Vec<u64> = (0..6000).collect();
    let store = Store::new(options(DIM, Metric::Cosine));
    store.add(&keys, &rows[..6000 * DIM]);
    let fresh = store.stats().bytes;
    for turn in 0..6 {
        let rows = &rows[turn % 3 * 6000 * DIM..][..6000 * DIM];
        if turn % 2 == 0 {
            assert_eq!(store.remove(&keys[..5500]), 5500);
        }
        store.add(&keys, rows);
        store.optimize();
        assert_eq!((store.len(), store.stats().tail), (6000, 0));
        assert!(store.stats().bytes < fresh * 13 / 10, "{:?}", store.stats());
        for key in [0, 99, 5999] {
            let query = &rows[key * DIM..][..DIM];
            assert_eq!(find(&store, query, 1, false)[0].0, key as u64);
        }
    }
}

#[test]
fn a_batch_with_a_bad_row_changes_nothing() {
    const DIM: usize = 128;
    for n in [10, 5000] {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let (good, keys) = (clustered(n, DIM, 8), (0..n as u64).collect::<Vec<_>>());
            let store = Store::new(options(DIM, metric));
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut rows = good.clone();
                rows[(n - 1) * DIM + 7] = bad;
                assert_eq!(store.append(&keys, &rows), Err(BadRow));
            }
            let mut rows = good.clone();
            rows[2 * DIM..3 * DIM].fill(0.0);
            let zero = store.append(&keys, &rows);
            if metric == Metric::Cosine {
                assert_eq!((zero, store.len()), (Err(BadRow), 0));
                rows[2 * DIM..3 * DIM].fill(1e-30); // squares vanish in float32, the row does not
                store.append(&keys, &rows).unwrap();
                let found = find(&store, &[1.0; DIM], 1, true)[0];
                assert!(found.0 == 2 && found.1 > 0.999, "{found:?}");
            } else {
                assert_eq!(zero, Ok(()));
            }
            assert_eq!(store.len(), n);
        }
    }
}

#[test]
fn batches_of_several_threads_are_all_there() {
    const DIM: usize = 128;
    let rows = clustered(20_000, DIM, 8);
    let store = Store::new(Options {
        background: true,
        ..options(DIM, Metric::Cosine)
    });
    std::thread::scope(|scope| {
        for (part, rows) in (0..4u64).zip(rows.chunks(5000 * DIM)) {
            let store = store.clone();
            scope.spawn(move || {
                let keys: Vec<u64> = (5000 * part..5000 * (part + 1)).collect();
                store.add(&keys, rows);
                assert_eq!(store.remove(&keys[..500]), 500);
                store.add(&keys[..500], &rows[..500 * DIM]);
            });
        }
    });
    store.optimize();
    assert_eq!(store.keys(), (0..20_000).collect::<Vec<u64>>());
    for key in (0..20_000).step_by(1999) {
        let found = find(&store, &rows[key * DIM..][..DIM], 1, true)[0];
        assert!(found.0 == key as u64 && found.1 > 0.999, "{found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// After any history the store holds what a map with the same history holds.
    #[test]
    fn equals_a_map(steps in prop::collection::vec((any::<bool>(), prop::collection::vec(0u64..40, 1..12)), 1..30)) {
        let store = Store::new(options(8, Metric::Dot));
        let mut model = BTreeMap::new();
        let mut random = Random::new(4);
        for (adds, keys) in steps {
            if adds {
                let rows: Vec<f32> = (0..8 * keys.len()).map(|_| normal(&mut random)).collect();
                store.add(&keys, &rows);
                model.extend(keys.into_iter().zip(rows.chunks_exact(8).map(<[f32]>::to_vec)));
            } else {
                let before = model.len();
                for key in &keys {
                    model.remove(key);
                }
                prop_assert_eq!(store.remove(&keys), before - model.len());
            }
            prop_assert_eq!(store.keys(), model.keys().copied().collect::<Vec<_>>());
            let query: Vec<f32> = (0..8).map(|_| normal(&mut random)).collect();
            let found = find(&store, &query, 50, false);
            prop_assert_eq!(found.len(), model.len());
            for (key, score) in found {
                prop_assert!((f64::from(score) - exact(Metric::Dot, &query, &model[&key])).abs() < 1e-3);
            }
        }
    }

    /// Planes keep a row to within half a step.
    #[test]
    fn planes_keep_rows(row in prop::collection::vec(-10f32..10.0, 256)) {
        let (mut a, mut rest, mut w) = (vec![0; 128], vec![0; 192], vec![0; 256]);
        let scale = aqe_memory::planes::encode(&row, &mut a, &mut rest);
        aqe_memory::planes::integers(&a, &rest, &mut w);
        for (x, w) in row.iter().zip(w) {
            prop_assert!((x - scale * (f32::from(w) - 512.0)).abs() <= 0.5001 * scale);
        }
    }

    /// The table gives the dot product of query and signs, to within its rounding.
    #[test]
    fn tables_give_dot_products(query in prop::collection::vec(-1f32..1.0, 128), signs in prop::collection::vec(any::<u8>(), 16)) {
        let mut prepared = aqe_memory::query::Query::default();
        prepared.floats.clone_from(&query);
        prepared.prepare(Level::Portable, false);
        let table = prepared.table.get();
        prop_assert!(table.iter().all(|&entry| entry <= 31));
        let sum: u32 = signs.iter().enumerate().map(|(i, &byte)| {
            let entries = &table[i / 2 * 128 + i % 2 * 32..];
            u32::from(entries[usize::from(byte & 15)]) + u32::from(entries[64 + usize::from(byte >> 4)])
        }).sum();
        let wanted: f32 = query.iter().enumerate().map(|(i, x)| if signs[i / 8] >> (i % 8) & 1 == 1 { *x } else { -x }).sum();
        prop_assert!((sum as f32 * prepared.step + prepared.shift - wanted).abs() <= 64.5 * prepared.step);
    }
}

#[test]
fn vectors_of_any_finite_length_are_put_into_lists() {
    for metric in [Metric::Dot, Metric::L2] {
        for size in [1e19, 1e30, 1e38] {
            let options = Options {
                index: Index::Lists,
                ..options(130, metric)
            };
            let rows: Vec<f32> = clustered(1200, 130, 3)
                .iter()
                .map(|x| x / 20.0 * size)
                .collect();
            let store = Store::new(options);
            store.add(&(0..1200).collect::<Vec<u64>>(), &rows);
            store.optimize();
            assert_eq!(find(&store, &rows[..130], 10, false).len(), 10);
            assert_eq!(store.remove(&(0..1200).collect::<Vec<u64>>()), 1200);
        }
    }
}
