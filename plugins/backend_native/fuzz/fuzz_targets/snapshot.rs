//! A snapshot that was changed in some places, with its checksums as they were or made right again: it is refused, or
//! gives a store that works.

#![no_main]

use std::sync::LazyLock;

use aqe_memory::snapshot::reseal;
use aqe_memory::{Index, Keep, Level, Metric, Options, Store};
use libfuzzer_sys::fuzz_target;

const DIM: usize = 130;
const N: u64 = 300;

fn options() -> Options {
    Options {
        dim: DIM,
        metric: Metric::L2,
        index: Index::Lists,
        keep: Keep::Float16,
        recall: 0.9,
        seed: 1,
        threads: 1,
        background: false,
        level: Level::best(),
    }
}

fn rows(n: u64) -> Vec<f32> {
    (0..n as usize * DIM)
        .map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0)
        .collect()
}

static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let store = Store::new(options());
    store.add(&(0..N).collect::<Vec<u64>>(), &rows(N));
    let path = std::env::temp_dir().join(format!("aqe-fuzz-{}", std::process::id()));
    store
        .save(&path)
        .expect("the folder for temporary files can be written");
    std::fs::read(&path).expect("it was just written")
});

fuzz_target!(|data: &[u8]| {
    let [forged, data @ ..] = data else { return };
    let mut bytes = WHOLE.clone();
    for change in data.chunks_exact(5) {
        let place = u32::from_le_bytes([change[0], change[1], change[2], change[3]]) as usize;
        // Small numbers stand for places in the header.
        let place = if place % 2 == 0 {
            place / 2 % 256
        } else {
            place / 2 % bytes.len()
        };
        bytes[place] = change[4];
    }
    let is_whole = bytes == *WHOLE;
    if forged % 2 == 1 {
        reseal(&mut bytes);
    }
    let path = std::env::temp_dir().join(format!("aqe-fuzz-{}", std::process::id()));
    std::fs::write(&path, &bytes).expect("the folder for temporary files can be written");
    let store = Store::new(options());
    let loaded = store.load(&path).is_ok();
    assert!(loaded || !is_whole);
    assert!(
        !loaded || is_whole || forged % 2 == 1,
        "a changed snapshot was taken"
    );
    let k = store.len().min(10);
    if k > 0 {
        let (mut keys, mut scores) = (vec![0; k], vec![0.0; k]);
        store.search(&rows(1), k, None, false, None, (&mut keys, &mut scores));
        store.add(&[1, N + 1], &rows(2));
        let all = store.keys();
        assert_eq!(store.remove(&all), all.len());
    }
});
