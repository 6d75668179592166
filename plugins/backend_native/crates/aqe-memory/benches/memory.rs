//! `cargo bench -p aqe-memory`

use std::hint::black_box;

use aqe_memory::random::Random;
use aqe_memory::{Index, Keep, Level, Metric, Options, Store};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const DIM: usize = 384;
const N: usize = 12_000;

fn options() -> Options {
    Options {
        dim: DIM,
        metric: Metric::Cosine,
        index: Index::Auto,
        keep: Keep::Planes,
        recall: 0.95,
        seed: 0,
        threads: 1,
        background: false,
        level: Level::best(),
    }
}

/// Rows around centres.
fn rows(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut uniform = move || random.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0;
    let centres: Vec<f32> = (0..64 * DIM).map(|_| uniform()).collect();
    (0..n)
        .flat_map(|i| (0..DIM).map(move |j| (i % 64 * DIM + j, i)))
        .map(|(place, _)| centres[place] + 0.7 * uniform())
        .collect()
}

fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store, 12,000 x 384");
    group.sample_size(20);
    let vectors = rows(N, 1);
    let keys: Vec<u64> = (0..N as u64).collect();
    let store = Store::new(options());
    store.add(&keys, &vectors);
    store.optimize();
    let (mut found, mut scores) = ([0; 10], [0.0; 10]);
    for (name, exact) in [("search", false), ("search every row", true)] {
        let mut queries = vectors.chunks_exact(DIM).cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let query = black_box(queries.next().expect("they begin anew"));
                store.search(query, 10, None, exact, None, (&mut found, &mut scores));
            });
        });
    }
    group.throughput(Throughput::Elements(1000));
    group.bench_function("add 1,000", |bencher| {
        bencher.iter_batched(
            || Store::new(options()),
            |store| store.add(&keys[..1000], &vectors[..1000 * DIM]),
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(N as u64));
    let path = std::env::temp_dir().join(format!("aqe-bench-{}", std::process::id()));
    group.bench_function("save", |bencher| {
        bencher.iter(|| store.save(&path).expect("the folder can be written"));
    });
    group.bench_function("load", |bencher| {
        bencher.iter_batched(
            || Store::new(options()),
            |store| store.load(&path).map(|_| store).expect("it was just saved"),
            BatchSize::LargeInput,
        );
    });
    let _ = std::fs::remove_file(&path); // a leftover is no failure of the benchmark
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
