//! `cargo bench -p aqe-learning`

use std::hint::black_box;

use aqe_learning::{Column, Key, Learner, Rules, Table, Transitions, Twister};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const N: usize = 100_000;

fn table() -> Table {
    let rules = Rules {
        learning_rate: 0.1,
        discount: 0.95,
        epsilon: 0.1,
        initial: 0.0,
        on_policy: false,
        declared: 0,
    };
    Table::new(rules, &[], 0)
}

/// Columns of random transitions among so many states and ten actions.
fn columns(states: i64) -> [Vec<i64>; 3] {
    let mut random = Twister::new(1);
    let mut column = |n: i64| {
        (0..N)
            .map(|_| (random.random() * n as f64) as i64)
            .collect()
    };
    [column(states), column(10), column(states)]
}

fn tabular(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("q-learning, 10,000 states");
    let [states, actions, next_states] = columns(10_000);
    let rewards = vec![0.5; N];
    group.throughput(Throughput::Elements(N as u64));
    let learner = Learner::new(table());
    let transitions = Transitions {
        states: Column::Ints(&states),
        actions: Column::Ints(&actions),
        rewards: &rewards,
        next_states: Column::Ints(&next_states),
        dones: None,
        next_actions: None,
    };
    group.bench_function("batch", |bencher| {
        bencher.iter(|| learner.update_batch(black_box(&transitions)))
    });
    let mut singles = table();
    group.bench_function("one at a time", |bencher| {
        bencher.iter(|| {
            for ((&state, &action), &next_state) in states.iter().zip(&actions).zip(&next_states) {
                singles
                    .update(state, action, 0.5, next_state, false, None)
                    .unwrap();
            }
        });
    });
    let names: Vec<String> = (0..10_000).map(|state| format!("state {state}")).collect();
    group.bench_function("one at a time, texts", |bencher| {
        let key = |state: i64| Key::text(names[state as usize].as_bytes());
        bencher.iter(|| {
            for ((&state, &action), &next_state) in states.iter().zip(&actions).zip(&next_states) {
                singles
                    .update(
                        key(state),
                        Key::Int(action),
                        0.5,
                        key(next_state),
                        false,
                        None,
                    )
                    .unwrap();
            }
        });
    });
    group.bench_function("first batch", |bencher| {
        let fresh = || Learner::new(table());
        bencher.iter_batched(
            fresh,
            |learner| learner.update_batch(&transitions),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, tabular);
criterion_main!(benches);
