//! The scan for x86-64 with AVX-512 VBMI: tables of 64 entries for six dimensions instead of 16 for four.
//!
//! Of three bytes of a code the lower six bits of each are an index, and the upper two of all together a fourth one. The
//! entries are sums of the same integers as those of the other kernels, and so are the estimates.

use std::arch::x86_64::*;

use super::super::{BLOCK, Codes, Lookup, Survivors};
use super::scan::{Pair, Sums, parted, scan_pairs};

/// Lines of codes that four tables answer together. Their entries add up within a byte.
const TRIPLE: usize = 3;

/// Dimensions of three lines.
const DIMS: usize = 8 * TRIPLE;

/// Bytes of four tables.
const TABLES: usize = 4 * 64;

/// The dimensions of each table, of three lines.
const OF: [[u8; 6]; 4] = [
    [0, 1, 2, 3, 4, 5],
    [8, 9, 10, 11, 12, 13],
    [16, 17, 18, 19, 20, 21],
    [6, 7, 14, 15, 22, 23],
];

/// Bytes of the tables for a code of so many dimensions.
pub fn table_bytes(dims: usize) -> usize {
    dims.div_ceil(DIMS) * TABLES
}

/// # Safety
/// Needs the instructions of `Level::Avx512Vbmi`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,popcnt")]
pub fn scan(
    lists: [&Codes; 2],
    query: &Lookup,
    base: f32,
    threshold: f32,
    first: usize,
    out: &mut Survivors,
) -> usize {
    let lines = query.bytes;
    assert_eq!(query.table.len(), table_bytes(8 * lines));
    // SAFETY: `scan_pairs` has checked the blocks; there are tables for all lines.
    let sums = |pair: Pair, ahead: Pair| unsafe {
        if pair.blocks == 2 {
            sums::<{ 2 * BLOCK }>(pair, query.table, lines, ahead)
        } else {
            sums::<BLOCK>(pair, query.table, lines, ahead)
        }
    };
    scan_pairs(lists, query, base, threshold, first, out, sums)
}

/// The sums of a pair whose lines have so many bytes; of one block the second sums mean nothing.
///
/// # Safety
/// The pair has so many lines, and there are tables for them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,popcnt")]
unsafe fn sums<const BYTES: usize>(
    pair: Pair,
    tables: &[u8],
    lines: usize,
    ahead: Pair,
) -> [Sums; 2] {
    let (mut all, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for (triple, tables) in tables.as_chunks::<TABLES>().0.iter().enumerate() {
        let first = TRIPLE * triple;
        ahead.fetch_codes(first, TRIPLE, lines);
        // Where there are no three lines left the first one stands for the others, whose entries are zero.
        let line = |i: usize| if first + i < lines { first + i } else { first };
        // SAFETY: these lines are there.
        let [a, b, c] =
            unsafe { [0, 1, 2].map(|i| load::<BYTES>(pair.codes.add(BYTES * line(i)))) };
        // Two bits of each. What stands above the six bits of an index does not count.
        let ab = _mm512_ternarylogic_epi64::<0b1100_1010>(
            _mm512_set1_epi8(3),
            _mm512_srli_epi16(a, 6),
            _mm512_srli_epi16(b, 4),
        );
        let abc = _mm512_ternarylogic_epi64::<0b1100_1010>(
            _mm512_set1_epi8(15),
            ab,
            _mm512_srli_epi16(c, 2),
        );
        // SAFETY: four times 64 bytes of an array of as many.
        let entry = |i: usize, index| unsafe {
            _mm512_permutexvar_epi8(
                index,
                _mm512_loadu_si512(tables.as_ptr().add(64 * i).cast()),
            )
        };
        let sums = _mm512_add_epi8(
            _mm512_add_epi8(entry(0, a), entry(1, b)),
            _mm512_add_epi8(entry(2, c), entry(3, abc)),
        );
        all = _mm512_add_epi16(all, sums);
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16(sums, 8));
    }
    parted(all, odd)
}

/// A line of 32 or 64 bytes.
///
/// # Safety
/// There are so many bytes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load<const BYTES: usize>(line: *const u8) -> __m512i {
    // SAFETY: as the caller says.
    unsafe {
        if BYTES == 64 {
            _mm512_loadu_si512(line.cast())
        } else {
            _mm512_castsi256_si512(_mm256_loadu_si256(line.cast()))
        }
    }
}

/// For each of three bits of eight halves of an index, the place of what it adds where it is set, or not, among 32
/// positive parts and 32 negative ones.
const PARTS: [[u8; 64]; 3] = {
    let mut places = [[0; 64]; 3];
    let mut at = 0;
    while at < 3 * 64 {
        let (bit, lane) = (at / 64, at % 64);
        let (half, number) = (lane / 8, lane % 8);
        let dim = OF[half / 2][half % 2 * 3 + bit];
        places[bit][lane] = if number >> bit & 1 == 1 {
            dim
        } else {
            32 + dim
        };
        at += 1;
    }
    places
};

/// For each table, the place of what the lower and the upper half of an index add, among eight entries for each half.
const HALVES: [[[u8; 64]; 2]; 4] = {
    let mut places = [[[0; 64]; 2]; 4];
    let mut at = 0;
    while at < 4 * 64 {
        let (table, index) = (at / 64, at % 64);
        places[table][0][index] = (16 * table + index % 8) as u8;
        places[table][1][index] = (16 * table + 8 + index / 8) as u8;
        at += 1;
    }
    places
};

/// Fill the tables for a query of integers, as `kernels::tabulate` says.
///
/// # Safety
/// Needs the instructions of `Level::Avx512Vbmi`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,popcnt")]
pub fn tabulate(query: &[i32], tables: &mut [u8]) -> i32 {
    assert_eq!(tables.len(), table_bytes(query.len()));
    // SAFETY: 64 bytes of an array of as many.
    let vector = |bytes: &[u8; 64]| unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    let parts = PARTS.each_ref().map(vector);
    let halves = HALVES.each_ref().map(|two| two.each_ref().map(vector));
    let zero = _mm256_setzero_si256();
    let mut lowest = _mm256_setzero_si256();
    let tables = tables.as_chunks_mut::<TABLES>().0;
    for (query, tables) in query.chunks(DIMS).zip(tables) {
        let some = |from: usize| {
            let count = query.len().saturating_sub(from).min(16);
            // SAFETY: of 16 numbers from `from` on only those that are there are read.
            let numbers = unsafe {
                _mm512_maskz_loadu_epi32(
                    ((1u32 << count) - 1) as u16,
                    query.as_ptr().wrapping_add(from),
                )
            };
            _mm512_cvtepi32_epi8(numbers)
        };
        let values = _mm256_inserti128_si256(_mm256_castsi128_si256(some(0)), some(16), 1);
        let positive = _mm256_max_epi8(values, zero);
        let negative = _mm256_max_epi8(_mm256_sub_epi8(zero, values), zero);
        lowest = _mm256_dpbusd_epi32(lowest, negative, _mm256_set1_epi8(1));
        let both = _mm512_inserti64x4(_mm512_castsi256_si512(positive), negative, 1);
        // An index adds the positive part of what is set and the negative one of what is not: its sum less the least.
        let [one, two, three] = parts.map(|places| _mm512_permutexvar_epi8(places, both));
        let eights = _mm512_add_epi8(_mm512_add_epi8(one, two), three);
        for (table, [lower, upper]) in tables.as_chunks_mut::<64>().0.iter_mut().zip(halves) {
            let entries = _mm512_add_epi8(
                _mm512_permutexvar_epi8(lower, eights),
                _mm512_permutexvar_epi8(upper, eights),
            );
            // SAFETY: 64 bytes into an array of as many.
            unsafe { _mm512_storeu_si512(table.as_mut_ptr().cast(), entries) };
        }
    }
    let four = _mm_add_epi32(
        _mm256_castsi256_si128(lowest),
        _mm256_extracti128_si256(lowest, 1),
    );
    let two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0b01_00_11_10));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0b10_11_00_01)))
}
