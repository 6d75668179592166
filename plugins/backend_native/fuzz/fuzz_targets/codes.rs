//! Codes and learned numbers of any bits: a quantizer decodes and scores them or says that they are damaged, and what
//! it decodes it can encode again if it is finite.

#![no_main]

use aqe_memory::quantize::{Quantizer, Scheme};
use aqe_memory::{Level, Metric};
use libfuzzer_sys::fuzz_target;

const DIM: usize = 21;

fuzz_target!(|data: &[u8]| {
    let [kind, data @ ..] = data else { return };
    let numbers: Vec<f32> = data
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
        .collect();
    if numbers.len() < 2 * DIM {
        return;
    }
    let (query, learned) = numbers.split_at(DIM);
    let rows = (learned.len() / DIM).min(256);
    let scheme = match kind % 4 {
        0 => Scheme::Float16,
        1 => Scheme::Int8 { mean: &learned[..DIM] },
        2 => Scheme::Binary { mean: &learned[..DIM] },
        _ => Scheme::Product {
            parts: &learned[..rows * DIM],
            bounds: &[0, 1, 1, 9, 20, DIM],
        },
    };
    let metric = if kind & 4 == 0 { Metric::Dot } else { Metric::L2 };
    let quantizer = Quantizer {
        scheme,
        dim: DIM,
        metric,
        level: Level::best(),
    };
    let bytes = quantizer.code_bytes();
    let count = data.len() / bytes;
    let codes = &data[..count * bytes];
    let (mut decoded, mut scores) = (vec![0f32; count * DIM], vec![0f32; count]);
    let good = quantizer.decode(codes, &mut decoded);
    assert_eq!(quantizer.scores(query, codes, &mut scores), good);
    let mut again = vec![0u8; count * bytes];
    let encoded = quantizer.encode(&decoded, &mut again);
    if good && *kind % 4 == 0 {
        assert!(encoded && again == codes);
    }
});
