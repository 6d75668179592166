//! Rows of any bits as codes and planes: nothing fails, the planes are off by a step at most, and the estimate of a row
//! by its own code is its length where that is finite.

#![no_main]

use aqe_memory::{Level, code};
use aqe_memory::planes::{self, GROUP, ZERO};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut row = [0f32; GROUP];
    for (value, bytes) in row.iter_mut().zip(data.chunks_exact(4)) {
        let given = f32::from_le_bytes(bytes.try_into().expect("four bytes"));
        *value = if given.is_finite() { given } else { 0.0 };
    }
    let (mut a, mut rest) = (vec![0; GROUP / 2], vec![0; GROUP * 3 / 4]);
    let scale = planes::encode(&row, &mut a, &mut rest);
    assert!(scale.is_finite() && scale >= 0.0);
    let mut integers = vec![0u16; GROUP];
    planes::integers(&a, &rest, &mut integers);
    for (&w, x) in integers.iter().zip(row) {
        assert!(w < 1024);
        if scale > 0.0 {
            let back = f64::from(scale) * f64::from(i32::from(w) - ZERO);
            assert!(
                (back - f64::from(x)).abs() <= 0.51 * f64::from(scale) + 1e-6 * f64::from(x.abs())
            );
        }
    }
    let mut signs = vec![0; GROUP / 8];
    let factors = code::encode(Level::best(), &row, &[0.0; GROUP], &mut signs);
    for (i, x) in row.iter().enumerate() {
        assert_eq!(signs[i / 8] >> (i % 8) & 1 == 1, *x >= 0.0);
    }
    let square: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let size: f64 = row.iter().map(|&x| f64::from(x.abs())).sum();
    if square > 1e-30 && square < 1e30 {
        let estimate = f64::from(factors.slope) * size + f64::from(factors.offset);
        assert!((estimate - square).abs() <= 1e-4 * square);
    }
});
