use super::*;
use crate::random::Random;

fn bytes(random: &mut Random, n: usize, below: usize) -> Vec<u8> {
    (0..n).map(|_| random.below(below) as u8).collect()
}

fn signed(random: &mut Random, n: usize) -> Vec<i8> {
    (0..n).map(|_| random.bits() as u8 as i8).collect()
}

fn plain(a: &[u16], q: &[i8]) -> i32 {
    a.iter()
        .zip(q)
        .map(|(&x, &y)| i32::from(x) * i32::from(y))
        .sum()
}

#[test]
fn dots_are_equal_at_every_level() {
    let mut random = Random::new(1);
    for width in [128, 256, 384, 4096] {
        let (a, b, c) = (
            bytes(&mut random, width / 2, 256),
            bytes(&mut random, width / 2, 256),
            bytes(&mut random, width / 4, 256),
        );
        let (q, other) = (signed(&mut random, width), signed(&mut random, width));
        let rest: Vec<u8> = b.iter().chain(&c).copied().collect();
        let mut w = vec![0; width];
        crate::planes::integers(&a, &rest, &mut w);
        let high: Vec<u16> = w.iter().map(|x| x >> 6).collect();
        let left = bytes(&mut random, width, 256);
        let rows = signed(&mut random, 7 * width);
        let wide: Vec<u16> = left.iter().map(|&x| u16::from(x)).collect();
        for level in Level::supported() {
            assert_eq!(dot4(level, &a, &q), plain(&high, &q), "{level:?}");
            assert_eq!(
                dot10(level, &a, &b, &c, [&q, &other]),
                [plain(&w, &q), plain(&w, &other)],
                "{level:?}"
            );
            let mut out = [0; 7];
            dots(level, &left, &rows, &mut out);
            for (row, value) in rows.chunks_exact(width).zip(out) {
                assert_eq!(value, plain(&wide, row), "{level:?}");
            }
        }
    }
}

#[test]
fn dots_do_not_saturate() {
    let (full, least) = (vec![255u8; 4096], vec![-128i8; 4096]);
    for level in Level::supported() {
        assert_eq!(
            dot10(
                level,
                &full[..2048],
                &full[..2048],
                &full[..1024],
                [&least; 2]
            ),
            [-128 * 1023 * 4096; 2]
        );
        let mut out = [0];
        dots(level, &full, &least, &mut out);
        assert_eq!(out[0], -128 * 255 * 4096);
    }
}

#[test]
fn scans_are_equal_at_every_level() {
    let mut random = Random::new(2);
    for width in [128, 384, 4096] {
        let blocks = 5;
        let codes = bytes(&mut random, blocks * BLOCK * width / 8, 256);
        let table = bytes(&mut random, 4 * width, MAX_ENTRY as usize + 1);
        let mut factors: Vec<f32> = (0..blocks * 2 * BLOCK)
            .map(|_| random.below(1000) as f32 / 512.0 - 0.9)
            .collect();
        factors[BLOCK + 3] = f32::NEG_INFINITY;
        let list = Codes {
            codes: &codes,
            factors: &factors,
            table: &table,
            step: 0.013,
            shift: -0.4 * width as f32,
            start: 17,
        };
        for threshold in [f32::NEG_INFINITY, 0.0, 30.0] {
            let mut wanted: Option<(Vec<f32>, Vec<u32>)> = None;
            for level in Level::supported() {
                let mut out = Survivors::default();
                out.reset(blocks * BLOCK);
                assert_eq!(scan(level, &list, 0.25, threshold, 1, &mut out), blocks);
                let mut found: Vec<(u32, f32)> = out.slots[..out.len]
                    .iter()
                    .copied()
                    .zip(out.estimates.iter().copied())
                    .collect();
                found.sort_by_key(|hit| hit.0);
                let found = (
                    found.iter().map(|hit| hit.1).collect(),
                    found.iter().map(|hit| hit.0).collect(),
                );
                assert_eq!(*wanted.get_or_insert(found.clone()), found, "{level:?}");
            }
        }
    }
}

#[test]
fn a_scan_stops_where_there_is_no_room() {
    let codes = vec![0; 4 * BLOCK * 16];
    let table = vec![1; 512];
    let factors = vec![1.0; 4 * 2 * BLOCK];
    let list = Codes {
        codes: &codes,
        factors: &factors,
        table: &table,
        step: 1.0,
        shift: 0.0,
        start: 0,
    };
    for level in Level::supported() {
        let mut out = Survivors::default();
        out.reset(2 * BLOCK);
        let next = scan(level, &list, 0.0, 0.0, 0, &mut out);
        assert_eq!((next, out.len, out.is_full()), (2, 2 * BLOCK, true));
        assert_eq!(out.estimates[0], 1.0 * 32.0 + 1.0);
    }
}
