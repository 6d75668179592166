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
            let planes = [&a, &b, &a, &b].map(|plane| &plane[..]);
            let wanted = planes.map(|plane| dot4(level, plane, &q));
            assert_eq!(dot4_of_four(level, planes, &q), wanted, "{level:?}");
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
fn floats_are_counted_alike_at_every_level() {
    let mut random = Random::new(6);
    for n in [0, 1, 15, 16, 63, 64, 65, 200, 384] {
        let values: Vec<f32> = (0..n)
            .map(|_| random.below(200) as f32 / 8.0 - 12.0)
            .collect();
        for level in Level::supported() {
            let least = values.iter().copied().fold(f32::INFINITY, f32::min);
            let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(extent(level, &values), [least, most], "{level:?} {n}");
            for bound in [f32::NEG_INFINITY, -3.5, 0.0, f32::INFINITY] {
                let wanted = values.iter().filter(|&&value| value > bound).count();
                assert_eq!(count_above(level, &values, bound), wanted, "{level:?} {n}");
            }
            if n % 16 == 0 {
                // Eighths below 12: no sum is rounded.
                let sizes = values
                    .chunks_exact(4)
                    .map(|four| four.iter().map(|x| x.abs()).sum());
                let wanted = [sizes.fold(0.0, f32::max), values.iter().sum()];
                assert_eq!(groups(level, &values), wanted, "{level:?} {n}");
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

/// Integers of which four that belong together add up to as much as they may: many small ones, or few large ones.
fn queries(random: &mut Random, width: usize) -> [Vec<i32>; 3] {
    let small = (0..width).map(|_| random.below(15) as i32 - 7).collect();
    let mut large = vec![0; width];
    (large[width - 7], large[5], large[6]) = (-31, 20, -11);
    let most = (0..width).map(|dim| if dim % 4 == 0 { -10 } else { 7 });
    [small, large, most.collect()]
}

#[test]
fn scans_find_what_signs_add_up_to_at_every_level() {
    let mut random = Random::new(2);
    for (width, len) in [
        (128, 5 * BLOCK),
        (128, 3),
        (256, 6 * BLOCK - 1),
        (384, 4 * BLOCK),
        (384, 4 * BLOCK + 17),
        (384, 2 * BLOCK + 16),
        (4096, 4 * BLOCK + 1),
    ] {
        for query in queries(&mut random, width) {
            scan_at_every_level(&mut random, &query, len);
        }
    }
}

/// Scan some blocks, with and without the first two, and compare with sums of what is set.
fn scan_at_every_level(random: &mut Random, query: &[i32], len: usize) {
    let (blocks, width) = (len.div_ceil(BLOCK), query.len());
    let block_bytes = BLOCK * width / 8;
    let codes = bytes(random, blocks * block_bytes, 256);
    let mut factors: Vec<f32> = (0..blocks * 2 * BLOCK)
        .map(|_| random.below(1000) as f32 / 512.0 - 0.9)
        .collect();
    for byte in len..blocks * BLOCK {
        factors[(2 * blocks - 1) * BLOCK + lane_of(byte % BLOCK)] = f32::NEG_INFINITY;
    }
    let rows: Vec<u32> = (17..17 + (blocks * BLOCK) as u32).collect();
    let list = Codes {
        codes: &codes,
        factors: &factors,
        rows: &rows,
        len,
    };
    let (step, base) = (0.013, 0.25);
    let lowest: i32 = query.iter().map(|&value| -value.min(0)).sum();
    let estimate = |slot: usize, shift: f32| {
        let (block, lane) = (slot / BLOCK, slot % BLOCK);
        let (start, stride) = lines_of(block, blocks, block_bytes);
        let is_set =
            |dim: &usize| codes[start + dim / 8 * stride + byte_of(lane)] >> (dim % 8) & 1 == 1;
        let sum: i32 = (0..width).filter(is_set).map(|dim| query[dim]).sum();
        let dot = (sum + lowest) as f32 * step + shift;
        let factors = &factors[block * 2 * BLOCK..];
        factors[lane] * dot + (factors[BLOCK + lane] + base)
    };
    let shift = -0.4 * width as f32;
    for (first, threshold) in [
        (0, f32::NEG_INFINITY),
        (2, f32::NEG_INFINITY),
        (0, 0.0),
        (0, 30.0),
    ] {
        let slots = first.min(blocks) * BLOCK..blocks * BLOCK;
        let wanted: Vec<(u32, f32)> = slots
            .map(|slot| (rows[slot], estimate(slot, shift)))
            .filter(|hit| hit.1 > threshold)
            .collect();
        if threshold < 0.0 {
            assert_eq!(wanted.len(), len.saturating_sub(first * BLOCK));
        }
        for level in Level::supported() {
            let mut table = vec![0; table_bytes(level, width)];
            assert_eq!(tabulate(level, query, &mut table), lowest, "{level:?}");
            let query = Lookup {
                table: &table,
                bytes: width / 8,
                step,
                shift,
            };
            let mut out = Survivors::default();
            out.reset((blocks + 2) * BLOCK);
            let lists = [&list, &Codes::default()];
            let next = scan(level, lists, &query, base, threshold, first, &mut out);
            assert_eq!(next, blocks, "{level:?}");
            let rows = out.rows[..out.len].iter().copied();
            let mut found: Vec<_> = rows.zip(out.estimates.iter().copied()).collect();
            found.sort_by_key(|hit| hit.0);
            assert_eq!(found, wanted, "{level:?} {width} {len}");
        }
    }
}

#[test]
fn a_scan_stops_where_there_is_no_room() {
    let codes = vec![0; 4 * BLOCK * 16];
    let factors = vec![1.0; 4 * 2 * BLOCK];
    let rows = vec![9; 4 * BLOCK];
    let list = Codes {
        codes: &codes,
        factors: &factors,
        rows: &rows,
        len: 4 * BLOCK,
    };
    for level in Level::supported() {
        let mut table = vec![0; table_bytes(level, 128)];
        let lowest = tabulate(level, &[-1; 128], &mut table);
        let query = Lookup {
            table: &table,
            bytes: 16,
            step: 1.0,
            shift: 0.0,
        };
        let mut out = Survivors::default();
        out.reset(2 * BLOCK);
        let next = scan(level, [&list, &list], &query, 0.0, 0.0, 0, &mut out);
        assert_eq!((next, out.len, out.is_full()), (2, 2 * BLOCK, true));
        assert_eq!((out.estimates[0], out.rows[0]), (lowest as f32 + 1.0, 9));
    }
}

#[test]
fn lanes_and_bytes_belong_together() {
    assert!((0..BLOCK).all(|byte| byte_of(lane_of(byte)) == byte));
    assert!((0..BLOCK / 2).all(|byte| lane_of(byte) % 16 < 8));
}

#[test]
fn dots_of_chosen_rows_are_those_of_all() {
    let mut random = Random::new(3);
    let (left, rows) = (bytes(&mut random, 384, 256), signed(&mut random, 9 * 384));
    for level in Level::supported() {
        let mut all = [0; 9];
        dots(level, &left, &rows, &mut all);
        for numbers in [&[][..], &[8], &[3, 0, 7], &[1, 1, 2, 8, 5, 4, 6]] {
            let mut some = vec![0; numbers.len()];
            dots_at(level, &left, &rows, numbers, &mut some);
            let wanted: Vec<i32> = numbers.iter().map(|&i| all[i as usize]).collect();
            assert_eq!(some, wanted, "{level:?}");
        }
    }
}

#[test]
fn floats_are_summed_alike_at_every_level() {
    let mut random = Random::new(4);
    let mut floats = |n: usize| -> Vec<f32> {
        (0..n)
            .map(|_| random.below(2001) as f32 / 1000.0 - 1.0)
            .collect()
    };
    for n in [16, 128, 384, 400] {
        let (mut row, mut centre) = (floats(n), floats(n));
        (row[1], centre[1]) = (0.0, -0.0);
        (row[2], centre[2]) = (0.5, 0.5);
        let mut wanted_signs = vec![0; n / 8];
        let wanted = portable::signs(&row, &centre, &mut wanted_signs).map(|x| sum16(&x).to_bits());
        assert_eq!(
            wanted_signs[0] & 4,
            4,
            "a difference of zero counts as positive"
        );
        let rounded: Vec<f32> = row.iter().map(|x| x * 0.7).collect();
        let mut signs_of_rounded = vec![0; n / 8];
        let sums = portable::signs(&rounded, &centre, &mut signs_of_rounded).map(|x| sum16(&x));
        let difference: Vec<f32> = rounded.iter().zip(&centre).map(|(x, c)| x - c).collect();
        let largest = difference.iter().fold(0f32, |most, x| most.max(x.abs()));
        for level in Level::supported() {
            let (mut scaled, mut centred) = (row.clone(), vec![9.0; n]);
            let mut found_signs = vec![255; n / 8];
            let found = super::centre(
                level,
                &mut scaled,
                0.7,
                &centre,
                &mut centred,
                &mut found_signs,
            );
            assert_eq!((&found[..4], found[4]), (&sums[..], largest), "{level:?}");
            assert_eq!(
                (scaled, centred, &found_signs),
                (rounded.clone(), difference.clone(), &signs_of_rounded),
                "{level:?}"
            );
        }
        for level in Level::supported() {
            let mut found_signs = vec![255; n / 8];
            let found = signs(level, &row, &centre, &mut found_signs).map(f32::to_bits);
            assert_eq!((&found_signs, found), (&wanted_signs, wanted), "{level:?}");
            for less in [0, 1, 7, 15] {
                let (left, right) = (&row[less..], &centre[less..]);
                assert_eq!(
                    dot(level, left, right).to_bits(),
                    dot_f32(left, right).to_bits(),
                    "{level:?}"
                );
            }
        }
    }
}
