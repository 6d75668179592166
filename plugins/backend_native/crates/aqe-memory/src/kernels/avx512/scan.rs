//! The scan of pairs of blocks, whose lines of 64 bytes fill a register.

use std::arch::x86_64::*;

use super::super::{BLOCK, Codes, Lookup, RUN, Survivors, TABLE};

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn scan(
    lists: [&Codes; 2],
    query: &Lookup,
    base: f32,
    threshold: f32,
    first: usize,
    out: &mut Survivors,
) -> usize {
    assert_eq!(query.table.len(), query.bytes / 2 * TABLE);
    assert_eq!(query.bytes % (2 * RUN), 0);
    // SAFETY: `scan_pairs` has checked the blocks; there is a table for all lines, a multiple of `2 * RUN`.
    let sums = |pair: Pair, ahead: Pair| unsafe {
        if pair.blocks == 2 {
            sums::<1>(pair, query.table, ahead)
        } else {
            sums::<2>(pair, query.table, ahead)
        }
    };
    scan_pairs(lists, query, base, threshold, first, out, sums)
}

/// Sums of the 16 even bytes and the 16 odd ones of a block, as 16-bit integers.
pub type Sums = [__m256i; 2];

/// Scan by what gives the sums of a pair of blocks, and asks for the one ahead meanwhile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn scan_pairs(
    [list, next]: [&Codes; 2],
    query: &Lookup,
    base: f32,
    threshold: f32,
    first: usize,
    out: &mut Survivors,
    sums: impl Fn(Pair, Pair) -> [Sums; 2],
) -> usize {
    let (width, blocks) = (query.width(), list.blocks());
    assert!(list.codes.len() >= blocks * width && first.is_multiple_of(2));
    assert!(list.factors.len() >= blocks * 2 * BLOCK && list.rows.len() >= blocks * BLOCK);
    assert_eq!(out.estimates.len(), out.rows.len());
    let scale = Scale {
        step: _mm512_set1_ps(query.step),
        shift: _mm512_set1_ps(query.shift),
        base: _mm512_set1_ps(base),
        least: _mm512_set1_ps(threshold),
    };
    let mut number = first;
    while number < blocks {
        if out.is_full() {
            return number;
        }
        let pair = Pair::of(list, number, width);
        let ahead = if number + 2 < blocks {
            Pair::of(list, number + 2, width)
        } else {
            Pair::of(next, 0, width)
        };
        ahead.fetch_factors();
        let [one, two] = sums(pair, ahead);
        // SAFETY: all blocks below `blocks` are within the list, by the lengths checked above; there is room for two.
        unsafe {
            collect(pair.factors, pair.rows, one, &scale, out);
            if pair.blocks == 2 {
                let (factors, rows) = (pair.factors.add(2 * BLOCK), pair.rows.add(BLOCK));
                collect(factors, rows, two, &scale, out);
            }
        }
        number += 2;
    }
    blocks
}

/// Where two blocks side by side stand, or one that is left over. Checked once for a list, not for each pair.
#[derive(Clone, Copy)]
pub struct Pair {
    /// Lines of 64 bytes for two blocks, of 32 for one.
    pub codes: *const u8,
    factors: *const f32,
    rows: *const u32,
    /// None, one or two.
    pub blocks: usize,
}

impl Pair {
    /// By the number of the first block, which is even and may be beyond the end.
    #[inline(always)]
    fn of(list: &Codes, number: usize, width: usize) -> Pair {
        Pair {
            codes: list.codes.as_ptr().wrapping_add(number * width),
            factors: list.factors.as_ptr().wrapping_add(number * 2 * BLOCK),
            rows: list.rows.as_ptr().wrapping_add(number * BLOCK),
            blocks: list.blocks().saturating_sub(number).min(2),
        }
    }

    /// Ask for what stands beside the codes.
    #[inline(always)]
    fn fetch_factors(self) {
        for block in 0..self.blocks {
            let factors = self.factors.wrapping_add(block * 2 * BLOCK);
            let rows = self.rows.wrapping_add(block * BLOCK);
            for at in (0..2 * BLOCK).step_by(16) {
                // SAFETY: prefetching has no effect but on caches.
                unsafe { _mm_prefetch(factors.wrapping_add(at).cast(), _MM_HINT_T0) };
            }
            for at in (0..BLOCK).step_by(16) {
                // SAFETY: as above.
                unsafe { _mm_prefetch(rows.wrapping_add(at).cast(), _MM_HINT_T0) };
            }
        }
    }

    /// Ask for codes, as many as are added up meanwhile, from the line `first` on: two blocks have 64 bytes for each of the
    /// `lines`, and one block for every second one.
    #[inline(always)]
    pub fn fetch_codes(self, first: usize, count: usize, lines: usize) {
        if 2 * first < self.blocks * lines {
            for line in first..first + count {
                let at = self.codes.wrapping_add(2 * BLOCK * line);
                // SAFETY: as above.
                unsafe { _mm_prefetch(at.cast(), _MM_HINT_T0) };
            }
        }
    }
}

/// What makes estimates of sums.
struct Scale {
    step: __m512,
    shift: __m512,
    base: __m512,
    least: __m512,
}

/// Append the rows of a block whose estimate is above the threshold.
///
/// # Safety
/// There are a block's factors and rows, and 32 places left in `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
unsafe fn collect(
    factors: *const f32,
    rows: *const u32,
    sums: Sums,
    scale: &Scale,
    out: &mut Survivors,
) {
    let mut estimates = [_mm512_setzero_ps(); 2];
    let mut masks = [0; 2];
    for (part, sums) in sums.into_iter().enumerate() {
        // SAFETY: 16 lanes from 16 part, of 32 slopes and 32 offsets.
        let (slope, offset) = unsafe {
            let slopes = factors.add(16 * part);
            (_mm512_loadu_ps(slopes), _mm512_loadu_ps(slopes.add(BLOCK)))
        };
        let dot = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sums));
        let dot = _mm512_add_ps(_mm512_mul_ps(dot, scale.step), scale.shift);
        let offset = _mm512_add_ps(offset, scale.base);
        estimates[part] = _mm512_add_ps(_mm512_mul_ps(slope, dot), offset);
        masks[part] = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(estimates[part], scale.least);
    }
    if masks == [0; 2] {
        return;
    }
    for part in 0..2 {
        // SAFETY: 16 rows from 16 part, of 32; of the 32 places left 16 part at most are taken.
        unsafe {
            let numbers = _mm512_loadu_si512(rows.add(16 * part).cast());
            _mm512_storeu_ps(
                out.estimates.as_mut_ptr().add(out.len),
                _mm512_maskz_compress_ps(masks[part], estimates[part]),
            );
            _mm512_storeu_si512(
                out.rows.as_mut_ptr().add(out.len).cast(),
                _mm512_maskz_compress_epi32(masks[part], numbers),
            );
        }
        out.len += masks[part].count_ones() as usize;
    }
}

/// The sums of two blocks, of all bytes as 16-bit integers (the even byte and 256 times the odd one) and of the odd ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn parted(all: __m512i, odd: __m512i) -> [Sums; 2] {
    let even = _mm512_sub_epi16(all, _mm512_slli_epi16(odd, 8));
    [
        [even, odd].map(|sums| _mm512_castsi512_si256(sums)),
        [even, odd].map(|sums| _mm512_extracti64x4_epi64(sums, 1)),
    ]
}

/// The sums of a pair, of whose lines a register takes one of two blocks (`LINES` is 1) or two of one.
///
/// # Safety
/// There are such blocks, of as many lines as the table has, a multiple of `2 * RUN`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
unsafe fn sums<const LINES: usize>(pair: Pair, table: &[u8], ahead: Pair) -> [Sums; 2] {
    let low = _mm512_set1_epi8(15);
    let (mut all, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    let lines = 2 * table.len() / TABLE;
    for first in (0..lines / LINES).step_by(RUN) {
        ahead.fetch_codes(LINES * first, LINES * RUN, lines);
        let mut sums = _mm512_setzero_si512();
        for i in first..first + RUN {
            // SAFETY: there are so many times 64 bytes of codes, and 128 of the table for each two lines.
            let (code, [lower, upper]) = unsafe {
                let code = _mm512_loadu_si512(pair.codes.add(2 * BLOCK * i).cast());
                let entries = table.as_ptr();
                let entries = if LINES == 1 {
                    let entries = entries.add(i / 2 * TABLE + i % 2 * BLOCK);
                    [0, 64]
                        .map(|at| _mm512_broadcast_i32x4(_mm_loadu_si128(entries.add(at).cast())))
                } else {
                    let entries = entries.add(i * TABLE);
                    [0, 64].map(|at| _mm512_loadu_si512(entries.add(at).cast()))
                };
                (code, entries)
            };
            let lows = _mm512_and_si512(code, low);
            let highs = _mm512_and_si512(_mm512_srli_epi16(code, 4), low);
            sums = _mm512_add_epi8(sums, _mm512_shuffle_epi8(lower, lows));
            sums = _mm512_add_epi8(sums, _mm512_shuffle_epi8(upper, highs));
        }
        all = _mm512_add_epi16(all, sums);
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16(sums, 8));
    }
    let [one, two] = parted(all, odd);
    if LINES == 1 {
        return [one, two];
    }
    // Both halves are of the one block.
    let sums = [0, 1].map(|i| _mm256_add_epi16(one[i], two[i]));
    [sums, sums]
}
