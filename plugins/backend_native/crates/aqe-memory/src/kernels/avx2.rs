//! The kernels for x86-64 with AVX2.

use std::arch::x86_64::*;

use super::{BLOCK, Codes, Lookup, RUN, Survivors, TABLE, scan_by};

/// Sums of the 16 even bytes and the 16 odd ones of each of `N` blocks side by side.
#[target_feature(enable = "avx2")]
fn pair_sums<const N: usize>(codes: &[u8], table: &[u8]) -> [[__m256i; 2]; N] {
    let lines = 2 * table.len() / TABLE;
    assert_eq!(codes.len(), lines * N * BLOCK);
    assert_eq!(lines % RUN, 0);
    let low = _mm256_set1_epi8(15);
    let byte = _mm256_set1_epi16(255);
    let (mut even, mut odd) = ([_mm256_setzero_si256(); N], [_mm256_setzero_si256(); N]);
    for first in (0..lines).step_by(RUN) {
        let mut sum = [_mm256_setzero_si256(); N];
        for line in first..first + RUN {
            // SAFETY: `line` is below `lines`: 32 bytes from two places of 128 for each two lines.
            let (lower, upper) = unsafe {
                let entries = table.as_ptr().add(line / 2 * TABLE + line % 2 * BLOCK);
                (
                    _mm256_loadu_si256(entries.cast()),
                    _mm256_loadu_si256(entries.add(64).cast()),
                )
            };
            for (i, sum) in sum.iter_mut().enumerate() {
                // SAFETY: as many bytes of codes for each line and block, by the length checked above.
                let code = unsafe {
                    _mm256_loadu_si256(codes.as_ptr().add((line * N + i) * BLOCK).cast())
                };
                let lows = _mm256_and_si256(code, low);
                let highs = _mm256_and_si256(_mm256_srli_epi16(code, 4), low);
                *sum = _mm256_add_epi8(*sum, _mm256_shuffle_epi8(lower, lows));
                *sum = _mm256_add_epi8(*sum, _mm256_shuffle_epi8(upper, highs));
            }
        }
        for (i, sum) in sum.into_iter().enumerate() {
            even[i] = _mm256_add_epi16(even[i], _mm256_and_si256(sum, byte));
            odd[i] = _mm256_add_epi16(odd[i], _mm256_srli_epi16(sum, 8));
        }
    }
    std::array::from_fn(|i| [even[i], odd[i]])
}

/// # Safety
/// Needs AVX2.
#[target_feature(enable = "avx2")]
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
            collect(sums, factors, rows, query, base, threshold, out);
        },
    )
}

/// Append the rows of a block whose estimate is above the threshold.
#[target_feature(enable = "avx2")]
fn collect(
    sums: [__m256i; 2],
    factors: &[f32; 2 * BLOCK],
    rows: &[u32; BLOCK],
    query: &Lookup,
    base: f32,
    threshold: f32,
    out: &mut Survivors,
) {
    let (step, shift) = (_mm256_set1_ps(query.step), _mm256_set1_ps(query.shift));
    let (base, least) = (_mm256_set1_ps(base), _mm256_set1_ps(threshold));
    let (slopes, offsets) = factors.split_at(BLOCK);
    let [even, odd] = sums.map(|sums| {
        let upper = _mm256_extracti128_si256(sums, 1);
        [_mm256_castsi256_si128(sums), upper]
    });
    for (part, sum) in [even[0], even[1], odd[0], odd[1]].into_iter().enumerate() {
        // SAFETY: 8 lanes from 8 part, of 32 slopes and offsets.
        let (slope, offset) = unsafe {
            (
                _mm256_loadu_ps(slopes.as_ptr().add(8 * part)),
                _mm256_loadu_ps(offsets.as_ptr().add(8 * part)),
            )
        };
        let dot = _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(sum));
        let dot = _mm256_add_ps(_mm256_mul_ps(dot, step), shift);
        let estimate = _mm256_add_ps(_mm256_mul_ps(slope, dot), _mm256_add_ps(offset, base));
        let mut mask = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(estimate, least));
        if mask != 0 {
            let mut values = [0f32; 8];
            // SAFETY: eight floats into an array of eight.
            unsafe { _mm256_storeu_ps(values.as_mut_ptr(), estimate) };
            while mask != 0 {
                let lane = mask.trailing_zeros() as usize;
                out.push(values[lane], rows[8 * part + lane]);
                mask &= mask - 1;
            }
        }
    }
}

#[target_feature(enable = "avx2")]
fn total(sums: __m256i) -> i32 {
    let half = _mm_add_epi32(
        _mm256_castsi256_si128(sums),
        _mm256_extracti128_si256(sums, 1),
    );
    let two = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0b01_00_11_10));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0b10_11_00_01)))
}

/// Add the products of 32 unsigned bytes (at most 15) and 32 signed ones.
#[target_feature(enable = "avx2")]
fn add_products(sums: __m256i, small: __m256i, signed: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(small, signed); // at most 2 x 15 x 128: no saturation
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// # Safety
/// Needs AVX2.
#[target_feature(enable = "avx2")]
pub fn dot4(plane: &[u8], query: &[i8]) -> i32 {
    assert_eq!(plane.len() * 2, query.len());
    assert_eq!(plane.len() % 64, 0);
    let low = _mm256_set1_epi8(15);
    let mut sums = _mm256_setzero_si256();
    for part in 0..plane.len() / 32 {
        let q = 128 * (part / 2) + 32 * (part % 2);
        // SAFETY: 32 bytes from 32 part, and 32 queries from q and q + 64 <= 128 (part / 2) + 96, are within.
        let (bytes, first, second) = unsafe {
            (
                _mm256_loadu_si256(plane.as_ptr().add(32 * part).cast()),
                _mm256_loadu_si256(query.as_ptr().add(q).cast()),
                _mm256_loadu_si256(query.as_ptr().add(q + 64).cast()),
            )
        };
        sums = add_products(sums, _mm256_and_si256(bytes, low), first);
        sums = add_products(
            sums,
            _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low),
            second,
        );
    }
    total(sums)
}

#[target_feature(enable = "avx2")]
fn dot2(plane: &[u8], query: &[i8]) -> i32 {
    assert_eq!(plane.len() * 4, query.len());
    assert_eq!(plane.len() % 32, 0);
    let low = _mm256_set1_epi8(3);
    let mut sums = _mm256_setzero_si256();
    for part in 0..plane.len() / 32 {
        let q = 128 * part;
        // SAFETY: 32 bytes from 32 part of the plane, and 128 queries from 128 part, are within.
        let (bytes, q0, q1, q2, q3) = unsafe {
            let start = query.as_ptr().add(q);
            (
                _mm256_loadu_si256(plane.as_ptr().add(32 * part).cast()),
                _mm256_loadu_si256(start.cast()),
                _mm256_loadu_si256(start.add(32).cast()),
                _mm256_loadu_si256(start.add(64).cast()),
                _mm256_loadu_si256(start.add(96).cast()),
            )
        };
        sums = add_products(sums, _mm256_and_si256(bytes, low), q0);
        sums = add_products(sums, _mm256_and_si256(_mm256_srli_epi16(bytes, 2), low), q1);
        sums = add_products(sums, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low), q2);
        sums = add_products(sums, _mm256_and_si256(_mm256_srli_epi16(bytes, 6), low), q3);
    }
    total(sums)
}

/// # Safety
/// Needs AVX2.
#[target_feature(enable = "avx2")]
pub fn dot10(a: &[u8], b: &[u8], c: &[u8], query: [&[i8]; 2]) -> [i32; 2] {
    [0, 1].map(|i| 64 * dot4(a, query[i]) + 4 * dot4(b, query[i]) + dot2(c, query[i]))
}

/// # Safety
/// Needs AVX2.
#[target_feature(enable = "avx2")]
pub fn dots(left: &[u8], rows: &[i8], out: &mut [i32]) {
    let width = left.len();
    assert_eq!(width % 128, 0);
    assert!(rows.len() >= width * out.len());
    for (i, value) in out.iter_mut().enumerate() {
        let mut sums = _mm256_setzero_si256();
        for part in (0..width).step_by(16) {
            // SAFETY: 16 bytes from `part` of `left`, and of row i, are within.
            let (a, b) = unsafe {
                (
                    _mm_loadu_si128(left.as_ptr().add(part).cast()),
                    _mm_loadu_si128(rows.as_ptr().add(i * width + part).cast()),
                )
            };
            let products = _mm256_madd_epi16(_mm256_cvtepu8_epi16(a), _mm256_cvtepi8_epi16(b));
            sums = _mm256_add_epi32(sums, products);
        }
        *value = total(sums);
    }
}
