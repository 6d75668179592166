//! The kernels in plain Rust: what the other levels must equal, bit for bit.

use super::{BLOCK, Codes, Lookup, RUN, Survivors, TABLE, scan_by};

/// Sums of each of `N` blocks side by side, by lane.
///
/// Without a look-up, which takes one row at a time: the entry of a byte's half is the least entry and, for each bit,
/// what the bit adds where it is set. Sums within a run are those of the entries modulo 256, and so the same.
fn pair_sums<const N: usize>(codes: &[u8], table: &[u8]) -> [[u16; BLOCK]; N] {
    let lines = codes.as_chunks::<BLOCK>().0.as_chunks::<N>().0;
    std::array::from_fn(|block| {
        let mut sums = [0; BLOCK];
        for (run, lines) in lines.chunks_exact(RUN).enumerate() {
            let mut bytes = [0u8; BLOCK];
            for (i, line) in lines.iter().enumerate() {
                let i = RUN * run + i;
                let entries = &table[i / 2 * TABLE + i % 2 * BLOCK..];
                add_line(&line[block], [&entries[..16], &entries[64..80]], &mut bytes);
            }
            let (even, odd) = sums.split_at_mut(BLOCK / 2);
            for (i, (even, odd)) in even.iter_mut().zip(odd).enumerate() {
                let pair = u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]);
                *even += pair & 255;
                *odd += pair >> 8;
            }
        }
        sums
    })
}

/// Add the entries of a byte of each row of a block.
#[inline(always)]
fn add_line(line: &[u8; BLOCK], halves: [&[u8]; 2], bytes: &mut [u8; BLOCK]) {
    let least = halves[0][0].wrapping_add(halves[1][0]);
    let of_bit: [u8; 8] =
        std::array::from_fn(|bit| halves[bit / 4][1 << (bit % 4)].wrapping_sub(halves[bit / 4][0]));
    for (sum, &code) in bytes.iter_mut().zip(line) {
        let mut more = least;
        for (bit, &added) in of_bit.iter().enumerate() {
            let is_set = code & (1 << bit) != 0;
            more = more.wrapping_add(if is_set { added } else { 0 });
        }
        *sum = sum.wrapping_add(more);
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
    lists: [&Codes; 2],
    query: &Lookup,
    base: f32,
    threshold: f32,
    first: usize,
    out: &mut Survivors,
) -> usize {
    let two = |codes: &[u8]| pair_sums::<2>(codes, query.table);
    let one = |codes: &[u8]| pair_sums::<1>(codes, query.table);
    scan_by(
        lists,
        query.width(),
        first,
        out,
        two,
        one,
        |sums, factors, rows, out| {
            collect(&sums, factors, rows, query, base, threshold, out);
        },
    )
}

/// Append the rows of a block whose estimate is above the threshold.
fn collect(
    sums: &[u16; BLOCK],
    factors: &[f32; 2 * BLOCK],
    rows: &[u32; BLOCK],
    query: &Lookup,
    base: f32,
    threshold: f32,
    out: &mut Survivors,
) {
    let mut estimates = [0f32; BLOCK];
    for (lane, estimate) in estimates.iter_mut().enumerate() {
        let dot = f32::from(sums[lane]) * query.step + query.shift;
        *estimate = factors[lane] * dot + (factors[BLOCK + lane] + base);
    }
    for (estimate, &row) in estimates.iter().zip(rows) {
        if *estimate > threshold {
            out.push(*estimate, row);
        }
    }
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

/// See `super::centre`.
#[inline(always)]
pub fn centre(
    row: &mut [f32],
    factor: f32,
    mean: &[f32],
    centred: &mut [f32],
    bytes: &mut [u8],
) -> [f32; 5] {
    let mut largest = [0f32; 16];
    for (row, (mean, centred)) in row
        .chunks_exact_mut(16)
        .zip(mean.chunks_exact(16).zip(centred.chunks_exact_mut(16)))
    {
        for i in 0..16 {
            row[i] *= factor;
            centred[i] = row[i] - mean[i];
            let size = centred[i].abs();
            largest[i] = if size > largest[i] { size } else { largest[i] };
        }
    }
    let [square, size, along, signed] = signs(row, mean, bytes).map(|parts| super::sum16(&parts));
    [square, size, along, signed, super::max16(&largest, 0.0)]
}

/// Products of numbers below 16 and signed bytes that are summed in 16 bits: each is at most 1,920 in magnitude.
const TOGETHER: usize = 16;

/// The sum of sums.
#[inline(always)]
fn total(sums: &[i16]) -> i32 {
    sums.iter().map(|&sum| i32::from(sum)).sum()
}

pub fn dot4(plane: &[u8], query: &[i8]) -> i32 {
    const GROUPS: usize = TOGETHER / 2;
    let parts = plane.chunks(64 * GROUPS).zip(query.chunks(128 * GROUPS));
    let of_part = |(plane, query): (&[u8], &[i8])| {
        let mut sums = [0i16; 64];
        for (bytes, q) in plane.chunks_exact(64).zip(query.chunks_exact(128)) {
            for i in 0..64 {
                sums[i] += i16::from(bytes[i] & 15) * i16::from(q[i])
                    + i16::from(bytes[i] >> 4) * i16::from(q[64 + i]);
            }
        }
        total(&sums)
    };
    parts.map(of_part).sum()
}

pub fn dot2(plane: &[u8], query: &[i8]) -> i32 {
    const GROUPS: usize = TOGETHER / 4;
    let parts = plane.chunks(32 * GROUPS).zip(query.chunks(128 * GROUPS));
    let of_part = |(plane, query): (&[u8], &[i8])| {
        let mut sums = [0i16; 32];
        for (bytes, q) in plane.chunks_exact(32).zip(query.chunks_exact(128)) {
            for part in 0..4 {
                for i in 0..32 {
                    let bits = (bytes[i] >> (2 * part)) & 3;
                    sums[i] += i16::from(bits) * i16::from(q[32 * part + i]);
                }
            }
        }
        total(&sums)
    };
    parts.map(of_part).sum()
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
