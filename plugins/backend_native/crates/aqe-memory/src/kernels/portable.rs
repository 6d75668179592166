//! The kernels in plain Rust: what the other levels must equal, bit for bit.

use super::{BLOCK, Codes, Lookup, RUN, Survivors, TABLE};

pub fn block_sums(codes: &[u8], table: &[u8], sums: &mut [u16; BLOCK]) {
    sums.fill(0);
    for (run, lines) in codes.chunks_exact(BLOCK * RUN).enumerate() {
        let mut bytes = [0u8; BLOCK];
        for (i, line) in lines.chunks_exact(BLOCK).enumerate() {
            let i = RUN * run + i;
            let entries = &table[i / 2 * TABLE + i % 2 * BLOCK..];
            for (sum, &code) in bytes.iter_mut().zip(line) {
                *sum += entries[usize::from(code & 15)] + entries[64 + usize::from(code >> 4)];
            }
        }
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += u16::from(bytes[super::byte_of(lane)]);
        }
    }
}

#[inline(always)]
pub fn tabulate(query: &[i32], table: &mut [u8]) -> i32 {
    let mut lowest = 0;
    for (i, half) in table.chunks_exact_mut(TABLE / 2).enumerate() {
        // Two of the four groups of two bytes of codes.
        let start = i / 2 * 16 + i % 2 * 4;
        for (entries, at) in half.chunks_exact_mut(32).zip([start, start + 8]) {
            let v: &[i32; 4] = query[at..at + 4].try_into().expect("four");
            let least: i32 = v.iter().map(|&value| -value.min(0)).sum();
            lowest += least;
            // Eight entries in one integer: each ends between 0 and 31, so that none carries into the next.
            let low = i64::from(least) * 0x0101_0101_0101_0101
                + i64::from(v[0]) * 0x0100_0100_0100_0100
                + i64::from(v[1]) * 0x0101_0000_0101_0000
                + i64::from(v[2]) * 0x0101_0101_0000_0000;
            let high = low + i64::from(v[3]) * 0x0101_0101_0101_0101;
            for (part, eight) in [low, high, low, high]
                .iter()
                .zip(entries.chunks_exact_mut(8))
            {
                eight.copy_from_slice(&part.to_le_bytes());
            }
        }
    }
    lowest
}

pub fn scan(
    [list, _]: [&Codes; 2],
    query: &Lookup,
    base: f32,
    threshold: f32,
    first: usize,
    out: &mut Survivors,
) -> usize {
    let mut sums = [0u16; BLOCK];
    for number in first..list.blocks() {
        if (number - first).is_multiple_of(2) && out.is_full() {
            return number;
        }
        let block = list.block(number, query.width());
        block_sums(block.codes, query.table, &mut sums);
        let (slopes, offsets) = block.factors.split_at(BLOCK);
        for (lane, &sum) in sums.iter().enumerate() {
            let dot = f32::from(sum) * query.step + query.shift;
            let estimate = slopes[lane] * dot + (offsets[lane] + base);
            if estimate > threshold {
                out.push(estimate, block.rows[lane]);
            }
        }
    }
    list.blocks()
}

#[inline(always)]
pub fn groups(values: &[f32]) -> [[f32; 16]; 2] {
    let (mut sizes, mut sums) = ([0f32; 16], [0f32; 16]);
    for part in values.chunks_exact(16) {
        let (mut one, mut two) = ([0f32; 16], [0f32; 16]);
        for i in 0..16 {
            sums[i] += part[i];
            one[i] = part[i].abs();
        }
        for i in 0..16 {
            two[i] = one[i] + one[i ^ 1];
        }
        for i in 0..16 {
            let four = two[i] + two[i ^ 2];
            sizes[i] = if four > sizes[i] { four } else { sizes[i] };
        }
    }
    [sizes, sums]
}

#[inline(always)]
pub fn extent(values: &[f32]) -> [f32; 2] {
    let (mut low, mut high) = ([f32::INFINITY; 16], [f32::NEG_INFINITY; 16]);
    let parts = values.chunks_exact(16);
    for (i, &value) in parts.remainder().iter().enumerate() {
        (low[i], high[i]) = (value, value);
    }
    for part in parts {
        for i in 0..16 {
            low[i] = if part[i] < low[i] { part[i] } else { low[i] };
            high[i] = if part[i] > high[i] { part[i] } else { high[i] };
        }
    }
    [
        -super::max16(&low.map(|x| -x), f32::NEG_INFINITY),
        super::max16(&high, f32::NEG_INFINITY),
    ]
}

#[inline(always)]
pub fn count_above(values: &[f32], bound: f32) -> usize {
    let above = values.iter().map(|&value| u32::from(value > bound));
    above.sum::<u32>() as usize
}

/// See `super::signs`: the four sums, in 16 parts each.
#[inline(always)]
pub fn signs(row: &[f32], centre: &[f32], signs: &mut [u8]) -> [[f32; 16]; 4] {
    let [mut square, mut size, mut along, mut signed] = [[0f32; 16]; 4];
    for (part, (x, c)) in row
        .chunks_exact(16)
        .zip(centre.chunks_exact(16))
        .enumerate()
    {
        let mut r = [0f32; 16];
        for i in 0..16 {
            r[i] = x[i] - c[i];
            square[i] += r[i] * r[i];
            size[i] += r[i].abs();
            along[i] += r[i] * c[i];
            signed[i] += if r[i] >= 0.0 { c[i] } else { -c[i] };
        }
        let mut bits = 0u16;
        for (i, value) in r.iter().enumerate() {
            bits |= u16::from(*value >= 0.0) << i;
        }
        signs[2 * part..2 * part + 2].copy_from_slice(&bits.to_le_bytes());
    }
    [square, size, along, signed]
}

pub fn dot4(plane: &[u8], query: &[i8]) -> i32 {
    let mut total = 0;
    for (bytes, q) in plane.chunks_exact(64).zip(query.chunks_exact(128)) {
        for i in 0..64 {
            total += i32::from(bytes[i] & 15) * i32::from(q[i])
                + i32::from(bytes[i] >> 4) * i32::from(q[64 + i]);
        }
    }
    total
}

pub fn dot2(plane: &[u8], query: &[i8]) -> i32 {
    let mut total = 0;
    for (bytes, q) in plane.chunks_exact(32).zip(query.chunks_exact(128)) {
        for part in 0..4 {
            for i in 0..32 {
                total += i32::from((bytes[i] >> (2 * part)) & 3) * i32::from(q[32 * part + i]);
            }
        }
    }
    total
}

pub fn dot10(a: &[u8], b: &[u8], c: &[u8], query: [&[i8]; 2]) -> [i32; 2] {
    query.map(|query| 64 * dot4(a, query) + 4 * dot4(b, query) + dot2(c, query))
}

pub fn dots(left: &[u8], rows: &[i8], out: &mut [i32]) {
    for (value, row) in out.iter_mut().zip(rows.chunks_exact(left.len())) {
        *value = left
            .iter()
            .zip(row)
            .map(|(&a, &b)| i32::from(a) * i32::from(b))
            .sum();
    }
}

pub fn compress(values: &mut [f32], others: &mut [u32], bound: f32) -> usize {
    let mut len = 0;
    for i in 0..values.len() {
        // Without a branch: which values stay is a matter of chance.
        let (value, other) = (values[i], others[i]);
        values[len] = value;
        others[len] = other;
        len += usize::from(value > bound);
    }
    len
}
