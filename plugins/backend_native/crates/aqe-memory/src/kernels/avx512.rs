//! The kernels for x86-64 with AVX-512 F, BW, VL, DQ and VNNI.

use std::arch::x86_64::*;

use super::{BLOCK, Codes, Lookup, RUN, Survivors, TABLE};

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn scan(
    [list, next]: [&Codes; 2],
    query: &Lookup,
    base: f32,
    threshold: f32,
    first: usize,
    out: &mut Survivors,
) -> usize {
    let (width, blocks) = (query.width(), list.blocks());
    assert!(list.codes.len() >= blocks * width && query.table.len() == width / PAIR * TABLE);
    assert!(list.factors.len() >= blocks * 2 * BLOCK && list.rows.len() >= blocks * BLOCK);
    assert_eq!(width % (PAIR * RUN), 0);
    assert_eq!(out.estimates.len(), out.rows.len());
    let scale = Scale {
        step: _mm512_set1_ps(query.step),
        shift: _mm512_set1_ps(query.shift),
        base: _mm512_set1_ps(base),
        least: _mm512_set1_ps(threshold),
    };
    let place = |number| Place::of(list, number, width);
    let ahead = |number| {
        if number < blocks {
            place(number)
        } else {
            Place::of(next, number - blocks, width)
        }
    };
    let mut number = first;
    while number < blocks {
        if out.is_full() {
            return number;
        }
        // SAFETY: all blocks below `blocks` are within the list, by the lengths checked above; there is room for two.
        unsafe {
            if number + 1 < blocks {
                let (two, fetched) = (
                    [place(number), place(number + 1)],
                    [ahead(number + 2), ahead(number + 3)],
                );
                let sums = block_sums(two, query.table, fetched);
                collect(two[0], sums[0], &scale, out);
                collect(two[1], sums[1], &scale, out);
            } else {
                let one = place(number);
                let [sums] = block_sums([one], query.table, [ahead(number + 1)]);
                collect(one, sums, &scale, out);
            }
        }
        number += 2;
    }
    blocks
}

/// Bytes of a block that are read together: two of the code of each row.
const PAIR: usize = 2 * BLOCK;

/// Where a block stands. Checked once for a list, not for each block.
#[derive(Clone, Copy)]
struct Place {
    codes: *const u8,
    factors: *const f32,
    rows: *const u32,
}

impl Place {
    /// Of a block by its number, which may be beyond the end.
    #[inline(always)]
    fn of(list: &Codes, number: usize, width: usize) -> Place {
        Place {
            codes: list.codes.as_ptr().wrapping_add(number * width),
            factors: list.factors.as_ptr().wrapping_add(number * 2 * BLOCK),
            rows: list.rows.as_ptr().wrapping_add(number * BLOCK),
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
/// There is a block at the place, and there are 32 places left in `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
unsafe fn collect(block: Place, sums: [__m256i; 2], scale: &Scale, out: &mut Survivors) {
    let mut estimates = [_mm512_setzero_ps(); 2];
    let mut masks = [0; 2];
    for (part, sums) in sums.into_iter().enumerate() {
        // SAFETY: 16 lanes from 16 part, of 32 slopes and 32 offsets.
        let (slope, offset) = unsafe {
            let slopes = block.factors.add(16 * part);
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
            let numbers = _mm512_loadu_si512(block.rows.add(16 * part).cast());
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

/// Sums of the 16 even bytes and the 16 odd ones of each block, as 16-bit integers. As many blocks ahead are fetched
/// meanwhile.
///
/// # Safety
/// There are blocks at the places, of as many pairs as the table has, a multiple of `RUN`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
unsafe fn block_sums<const N: usize>(
    blocks: [Place; N],
    table: &[u8],
    ahead: [Place; N],
) -> [[__m256i; 2]; N] {
    for block in ahead {
        for line in 0..2 * BLOCK / 16 {
            _mm_prefetch(block.factors.wrapping_add(16 * line).cast(), _MM_HINT_T0);
        }
        for line in 0..BLOCK / 16 {
            _mm_prefetch(block.rows.wrapping_add(16 * line).cast(), _MM_HINT_T0);
        }
    }
    let low = _mm512_set1_epi8(15);
    let (mut all, mut odd) = ([_mm512_setzero_si512(); N], [_mm512_setzero_si512(); N]);
    for run in 0..table.len() / (RUN * TABLE) {
        let mut sums = [_mm512_setzero_si512(); N];
        for pair in run * RUN..(run + 1) * RUN {
            // SAFETY: `pair` is below table.len() / 128.
            let (first, second) = unsafe {
                (
                    _mm512_loadu_si512(table.as_ptr().add(TABLE * pair).cast()),
                    _mm512_loadu_si512(table.as_ptr().add(TABLE * pair + 64).cast()),
                )
            };
            for i in 0..N {
                // SAFETY: a block has so many pairs.
                let code = unsafe {
                    _mm_prefetch(ahead[i].codes.wrapping_add(pair * PAIR).cast(), _MM_HINT_T0);
                    _mm512_loadu_si512(blocks[i].codes.add(pair * PAIR).cast())
                };
                let lows = _mm512_and_si512(code, low);
                let highs = _mm512_and_si512(_mm512_srli_epi16(code, 4), low);
                sums[i] = _mm512_add_epi8(sums[i], _mm512_shuffle_epi8(first, lows));
                sums[i] = _mm512_add_epi8(sums[i], _mm512_shuffle_epi8(second, highs));
            }
        }
        // As 16-bit integers: the even byte and 256 times the odd one, which is taken off at the end.
        for i in 0..N {
            all[i] = _mm512_add_epi16(all[i], sums[i]);
            odd[i] = _mm512_add_epi16(odd[i], _mm512_srli_epi16(sums[i], 8));
        }
    }
    std::array::from_fn(|i| {
        let even = _mm512_sub_epi16(all[i], _mm512_slli_epi16(odd[i], 8));
        [even, odd[i]].map(|sums| {
            let upper = _mm512_extracti64x4_epi64(sums, 1);
            _mm256_add_epi16(_mm512_castsi512_si256(sums), upper)
        })
    })
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn tabulate(query: &[i32], table: &mut [u8]) -> i32 {
    // Of the entries of a group those in which the first, second, third or fourth sign is set.
    const SET: [u64; 4] = [
        0xaaaa_aaaa_aaaa_aaaa,
        0xcccc_cccc_cccc_cccc,
        0xf0f0_f0f0_f0f0_f0f0,
        0xff00_ff00_ff00_ff00,
    ];
    assert_eq!(query.len() * TABLE, table.len() * 16);
    assert_eq!(query.len() % 16, 0);
    // The first byte of the first and the third group, and of the second and the fourth.
    let groups = [[0, 8], [4, 12]].map(|[one, two]| {
        let (one, two) = (_mm256_set1_epi8(one), _mm256_set1_epi8(two));
        _mm512_inserti64x4(_mm512_castsi256_si512(one), two, 1)
    });
    let mut lowest = _mm_setzero_si128();
    for part in 0..query.len() / 16 {
        // SAFETY: 16 numbers from 16 part are within.
        let values = unsafe { _mm512_loadu_si512(query.as_ptr().add(16 * part).cast()) };
        let bytes = _mm512_cvtepi32_epi8(values);
        let negative = _mm_sub_epi8(
            _mm_setzero_si128(),
            _mm_min_epi8(bytes, _mm_setzero_si128()),
        );
        let least = _mm_dpbusd_epi32(_mm_setzero_si128(), negative, _mm_set1_epi8(1));
        lowest = _mm_add_epi32(lowest, least);
        let (values, least) = (_mm512_broadcast_i32x4(bytes), _mm512_broadcast_i32x4(least));
        for (half, &group) in groups.iter().enumerate() {
            let mut entries = _mm512_shuffle_epi8(least, group);
            for (i, set) in SET.into_iter().enumerate() {
                let place = _mm512_add_epi8(group, _mm512_set1_epi8(i as i8));
                let value = _mm512_shuffle_epi8(values, place);
                entries = _mm512_mask_add_epi8(entries, set, entries, value);
            }
            // SAFETY: 64 bytes from 128 part + 64 half are within, by the lengths above.
            unsafe {
                let out = table.as_mut_ptr().add(TABLE * part + 64 * half);
                _mm512_storeu_si512(out.cast(), entries);
            }
        }
    }
    let two = _mm_add_epi32(lowest, _mm_shuffle_epi32(lowest, 0b01_00_11_10));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0b10_11_00_01)))
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn dot4(plane: &[u8], query: &[i8]) -> i32 {
    let [sum] = dot4_sums([plane], query);
    _mm512_reduce_add_epi32(sum)
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn dot4_of_four(planes: [&[u8]; 4], query: &[i8]) -> [i32; 4] {
    totals(dot4_sums(planes, query))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
fn dot4_sums<const N: usize>(planes: [&[u8]; N], query: &[i8]) -> [__m512i; N] {
    let width = query.len();
    assert!(width.is_multiple_of(128) && planes.iter().all(|plane| plane.len() == width / 2));
    let low = _mm512_set1_epi8(15);
    let mut sums = [[_mm512_setzero_si512(); 2]; N];
    for part in 0..width / 128 {
        // SAFETY: 128 queries from 128 part are within.
        let (first, second) = unsafe {
            let start = query.as_ptr().add(128 * part);
            (
                _mm512_loadu_si512(start.cast()),
                _mm512_loadu_si512(start.add(64).cast()),
            )
        };
        for (sums, plane) in sums.iter_mut().zip(planes) {
            // SAFETY: 64 bytes from 64 part are within each plane.
            let bytes = unsafe { _mm512_loadu_si512(plane.as_ptr().add(64 * part).cast()) };
            let (lows, highs) = (
                _mm512_and_si512(bytes, low),
                _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low),
            );
            sums[0] = _mm512_dpbusd_epi32(sums[0], lows, first);
            sums[1] = _mm512_dpbusd_epi32(sums[1], highs, second);
        }
    }
    sums.map(|[one, two]| _mm512_add_epi32(one, two))
}

/// The sum of the 16 numbers of each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
fn totals([a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
    let pairs = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (one, two) = (pairs(a, b), pairs(c, d));
    let all = _mm512_add_epi32(
        _mm512_unpacklo_epi64(one, two),
        _mm512_unpackhi_epi64(one, two),
    );
    let upper = _mm512_extracti64x4_epi64(all, 1);
    let half = _mm256_add_epi32(_mm512_castsi512_si256(all), upper);
    let sums = _mm_add_epi32(
        _mm256_castsi256_si128(half),
        _mm256_extracti128_si256(half, 1),
    );
    let mut out = [0; 4];
    // SAFETY: four numbers into four places.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sums) };
    out
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn dot10(a: &[u8], b: &[u8], c: &[u8], query: [&[i8]; 2]) -> [i32; 2] {
    assert_eq!((a.len() * 2, a.len() * 2), (query[0].len(), query[1].len()));
    assert_eq!((b.len(), c.len() * 2), (a.len(), a.len()));
    assert_eq!(a.len() % 64, 0);
    let (low, high, two) = (
        _mm512_set1_epi8(15),
        _mm512_set1_epi8(-16),
        _mm512_set1_epi8(3),
    );
    let counts = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    let (mut top, mut rest) = ([_mm512_setzero_si512(); 2], [_mm512_setzero_si512(); 2]);
    for part in 0..a.len() / 64 {
        // SAFETY: 64 bytes of a and b, 32 of c from their part are within, by the lengths above.
        let (a, b, c) = unsafe {
            (
                _mm512_loadu_si512(a.as_ptr().add(64 * part).cast()),
                _mm512_loadu_si512(b.as_ptr().add(64 * part).cast()),
                _mm512_broadcast_i64x4(_mm256_loadu_si256(c.as_ptr().add(32 * part).cast())),
            )
        };
        let lows = _mm512_or_si512(
            _mm512_and_si512(_mm512_slli_epi16(a, 4), high),
            _mm512_and_si512(b, low),
        );
        let highs = _mm512_or_si512(
            _mm512_and_si512(a, high),
            _mm512_and_si512(_mm512_srli_epi16(b, 4), low),
        );
        let c = _mm512_srlv_epi16(c, counts);
        let (c_lows, c_highs) = (
            _mm512_and_si512(c, two),
            _mm512_and_si512(_mm512_srli_epi16(c, 4), two),
        );
        for i in 0..2 {
            // SAFETY: 128 numbers of each query from 128 part are within, by the lengths above.
            let (first, second) = unsafe {
                let start = query[i].as_ptr().add(128 * part);
                (
                    _mm512_loadu_si512(start.cast()),
                    _mm512_loadu_si512(start.add(64).cast()),
                )
            };
            top[i] = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(top[i], lows, first), highs, second);
            rest[i] =
                _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(rest[i], c_lows, first), c_highs, second);
        }
    }
    [0, 1].map(|i| _mm512_reduce_add_epi32(_mm512_add_epi32(_mm512_slli_epi32(top[i], 2), rest[i])))
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn dots(left: &[u8], rows: &[i8], out: &mut [i32]) {
    let width = left.len();
    assert_eq!(width % 128, 0);
    assert!(rows.len() >= width * out.len());
    for (four, values) in out.chunks_mut(4).enumerate() {
        let mut sums = [_mm512_setzero_si512(); 4];
        for part in (0..width).step_by(64) {
            // SAFETY: 64 bytes from `part` are within `left`.
            let a = unsafe { _mm512_loadu_si512(left.as_ptr().add(part).cast()) };
            for (i, sum) in sums.iter_mut().enumerate().take(values.len()) {
                // SAFETY: row 4 four + i is within `rows`, as `out` has a place for it.
                let b = unsafe {
                    _mm512_loadu_si512(rows.as_ptr().add((4 * four + i) * width + part).cast())
                };
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        values.copy_from_slice(&totals(sums)[..values.len()]);
    }
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn dots_at(left: &[u8], rows: &[i8], numbers: &[u32], out: &mut [i32]) {
    let width = left.len();
    assert_eq!(width % 128, 0);
    for (numbers, values) in numbers.chunks(4).zip(out.chunks_mut(4)) {
        // Of less than four the first one fills the places.
        let rows: [&[i8]; 4] = std::array::from_fn(|i| {
            let number = *numbers.get(i).unwrap_or(&numbers[0]) as usize;
            &rows[number * width..][..width]
        });
        let mut sums = [_mm512_setzero_si512(); 4];
        for part in (0..width).step_by(64) {
            // SAFETY: 64 bytes from `part` are within `left` and within each row.
            unsafe {
                let a = _mm512_loadu_si512(left.as_ptr().add(part).cast());
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let b = _mm512_loadu_si512(row.as_ptr().add(part).cast());
                    *sum = _mm512_dpbusd_epi32(*sum, a, b);
                }
            }
        }
        values.copy_from_slice(&totals(sums)[..values.len()]);
    }
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn groups(values: &[f32]) -> [[f32; 16]; 2] {
    assert_eq!(values.len() % 16, 0);
    let (mut sizes, mut sums) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    for part in (0..values.len()).step_by(16) {
        // SAFETY: 16 floats from `part` are within.
        let value = unsafe { _mm512_loadu_ps(values.as_ptr().add(part)) };
        sums = _mm512_add_ps(sums, value);
        let size = _mm512_abs_ps(value);
        let two = _mm512_add_ps(size, _mm512_permute_ps(size, 0b10_11_00_01));
        let four = _mm512_add_ps(two, _mm512_permute_ps(two, 0b01_00_11_10));
        sizes = _mm512_max_ps(sizes, four);
    }
    let mut parts = [[0f32; 16]; 2];
    // SAFETY: twice 16 floats into arrays of 16.
    unsafe {
        _mm512_storeu_ps(parts[0].as_mut_ptr(), sizes);
        _mm512_storeu_ps(parts[1].as_mut_ptr(), sums);
    }
    parts
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn extent(values: &[f32]) -> [f32; 2] {
    let (mut low, mut high) = (
        _mm512_set1_ps(f32::INFINITY),
        _mm512_set1_ps(f32::NEG_INFINITY),
    );
    for part in (0..values.len()).step_by(16) {
        let lanes = ((1u32 << (values.len() - part).min(16)) - 1) as __mmask16;
        // SAFETY: only lanes within are read.
        let value = unsafe { _mm512_maskz_loadu_ps(lanes, values.as_ptr().add(part)) };
        low = _mm512_mask_min_ps(low, lanes, low, value);
        high = _mm512_mask_max_ps(high, lanes, high, value);
    }
    [_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high)]
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn count_above(values: &[f32], bound: f32) -> usize {
    let bound = _mm512_set1_ps(bound);
    let (parts, rest) = values.as_chunks::<64>();
    let mut count = 0u32;
    for part in parts {
        let mask = |i: usize| {
            // SAFETY: 16 floats from 16 i, of 64.
            let value = unsafe { _mm512_loadu_ps(part.as_ptr().add(16 * i)) };
            u64::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(value, bound)) << (16 * i)
        };
        let masks: u64 = mask(0) | mask(1) | mask(2) | mask(3);
        count += masks.count_ones();
    }
    for part in (0..rest.len()).step_by(16) {
        let lanes = ((1u32 << (rest.len() - part).min(16)) - 1) as __mmask16;
        // SAFETY: only lanes within are read.
        let value = unsafe { _mm512_maskz_loadu_ps(lanes, rest.as_ptr().add(part)) };
        count += _mm512_mask_cmp_ps_mask::<_CMP_GT_OQ>(lanes, value, bound).count_ones();
    }
    count as usize
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn compress(values: &mut [f32], others: &mut [u32], bound: f32) -> usize {
    assert_eq!(values.len(), others.len());
    let least = _mm512_set1_ps(bound);
    let mut len = 0;
    for part in (0..values.len()).step_by(16) {
        let lanes = ((1u32 << (values.len() - part).min(16)) - 1) as __mmask16;
        // SAFETY: only the lanes within both slices are read; what is written ends at or before what was read.
        unsafe {
            let value = _mm512_maskz_loadu_ps(lanes, values.as_ptr().add(part));
            let other = _mm512_maskz_loadu_epi32(lanes, others.as_ptr().add(part).cast());
            let kept = _mm512_mask_cmp_ps_mask::<_CMP_GT_OQ>(lanes, value, least);
            let count = kept.count_ones();
            let front = ((1u32 << count) - 1) as __mmask16;
            let value = _mm512_maskz_compress_ps(kept, value);
            _mm512_mask_storeu_ps(values.as_mut_ptr().add(len), front, value);
            let other = _mm512_maskz_compress_epi32(kept, other);
            _mm512_mask_storeu_epi32(others.as_mut_ptr().add(len).cast(), front, other);
            len += count as usize;
        }
    }
    len
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn signs(row: &[f32], centre: &[f32], signs: &mut [u8]) -> [[f32; 16]; 4] {
    let n = row.len();
    assert_eq!((centre.len(), signs.len()), (n, n / 8));
    assert_eq!(n % 16, 0);
    let zero = _mm512_setzero_ps();
    let [mut square, mut size, mut along, mut signed] = [zero; 4];
    for part in 0..n / 16 {
        // SAFETY: 16 floats from 16 part are within both.
        let (x, c) = unsafe {
            (
                _mm512_loadu_ps(row.as_ptr().add(16 * part)),
                _mm512_loadu_ps(centre.as_ptr().add(16 * part)),
            )
        };
        let r = _mm512_sub_ps(x, c);
        square = _mm512_add_ps(square, _mm512_mul_ps(r, r));
        size = _mm512_add_ps(size, _mm512_abs_ps(r));
        along = _mm512_add_ps(along, _mm512_mul_ps(r, c));
        let bits = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(r, zero);
        let flipped = _mm512_xor_ps(c, _mm512_set1_ps(-0.0));
        signed = _mm512_add_ps(signed, _mm512_mask_blend_ps(bits, flipped, c));
        signs[2 * part..2 * part + 2].copy_from_slice(&bits.to_le_bytes());
    }
    [square, size, along, signed].map(|sums| {
        let mut parts = [0f32; 16];
        // SAFETY: 16 floats into an array of 16.
        unsafe { _mm512_storeu_ps(parts.as_mut_ptr(), sums) };
        parts
    })
}

/// A dot product in 32 partial sums, folded to 16: two additions are on their way at once.
///
/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn dot(left: &[f32], right: &[f32]) -> [f32; 16] {
    let n = left.len();
    assert_eq!(n, right.len());
    let mut sums = [_mm512_setzero_ps(); 2];
    let whole = n - n % 32;
    for part in (0..whole).step_by(32) {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: 32 floats from `part` on are within both.
            let (x, y) = unsafe {
                (
                    _mm512_loadu_ps(left.as_ptr().add(part + 16 * i)),
                    _mm512_loadu_ps(right.as_ptr().add(part + 16 * i)),
                )
            };
            *sum = _mm512_add_ps(*sum, _mm512_mul_ps(x, y));
        }
    }
    for (sum, part) in sums.iter_mut().zip((whole..n).step_by(16)) {
        let lanes = ((1u32 << (n - part).min(16)) - 1) as __mmask16;
        // SAFETY: only lanes below n are read.
        let (x, y) = unsafe {
            (
                _mm512_maskz_loadu_ps(lanes, left.as_ptr().add(part)),
                _mm512_maskz_loadu_ps(lanes, right.as_ptr().add(part)),
            )
        };
        *sum = _mm512_mask_add_ps(*sum, lanes, *sum, _mm512_mul_ps(x, y));
    }
    let sums = _mm512_add_ps(sums[0], sums[1]);
    let mut parts = [0f32; 16];
    // SAFETY: 16 floats into an array of 16.
    unsafe { _mm512_storeu_ps(parts.as_mut_ptr(), sums) };
    parts
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn products(lefts: [&[u8]; 4], panel: &[i8], out: [&mut [i32]; 4]) {
    let width = lefts[0].len();
    assert!(lefts.iter().all(|left| left.len() == width) && width.is_multiple_of(4));
    assert_eq!(panel.len(), 32 * width);
    assert!(out.iter().all(|out| out.len() == 32));
    let mut sums = [[_mm512_setzero_si512(); 2]; 4];
    for four in 0..width / 4 {
        // SAFETY: 128 bytes from 128 four are within the panel, and 4 from 4 four within each left side.
        unsafe {
            let right = panel.as_ptr().add(128 * four);
            let first = _mm512_loadu_si512(right.cast());
            let second = _mm512_loadu_si512(right.add(64).cast());
            for (sum, left) in sums.iter_mut().zip(lefts) {
                let bytes: i32 = left.as_ptr().add(4 * four).cast::<i32>().read_unaligned();
                let left = _mm512_set1_epi32(bytes);
                sum[0] = _mm512_dpbusd_epi32(sum[0], left, first);
                sum[1] = _mm512_dpbusd_epi32(sum[1], left, second);
            }
        }
    }
    for (out, sum) in out.into_iter().zip(sums) {
        // SAFETY: twice 16 numbers into 32 places.
        unsafe {
            _mm512_storeu_si512(out.as_mut_ptr().cast(), sum[0]);
            _mm512_storeu_si512(out.as_mut_ptr().add(16).cast(), sum[1]);
        }
    }
}

/// See `super::centre`: the four sums and the largest, in 16 parts each.
///
/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn centre(
    row: &mut [f32],
    factor: f32,
    mean: &[f32],
    centred: &mut [f32],
    signs: &mut [u8],
) -> [f32; 5] {
    let n = row.len();
    assert_eq!((mean.len(), centred.len(), signs.len()), (n, n, n / 8));
    assert_eq!(n % 16, 0);
    let (zero, factor) = (_mm512_setzero_ps(), _mm512_set1_ps(factor));
    let [mut square, mut size, mut along, mut signed, mut largest] = [zero; 5];
    for part in 0..n / 16 {
        // SAFETY: 16 floats from 16 part are within all three.
        let (c, r) = unsafe {
            let x = _mm512_mul_ps(_mm512_loadu_ps(row.as_ptr().add(16 * part)), factor);
            let c = _mm512_loadu_ps(mean.as_ptr().add(16 * part));
            let r = _mm512_sub_ps(x, c);
            _mm512_storeu_ps(row.as_mut_ptr().add(16 * part), x);
            _mm512_storeu_ps(centred.as_mut_ptr().add(16 * part), r);
            (c, r)
        };
        let length = _mm512_abs_ps(r);
        square = _mm512_add_ps(square, _mm512_mul_ps(r, r));
        size = _mm512_add_ps(size, length);
        along = _mm512_add_ps(along, _mm512_mul_ps(r, c));
        largest = _mm512_max_ps(largest, length);
        let bits = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(r, zero);
        let flipped = _mm512_xor_ps(c, _mm512_set1_ps(-0.0));
        signed = _mm512_add_ps(signed, _mm512_mask_blend_ps(bits, flipped, c));
        signs[2 * part..2 * part + 2].copy_from_slice(&bits.to_le_bytes());
    }
    let [square, size, along, signed] = [square, size, along, signed].map(|sums| pairwise(sums));
    [square, size, along, signed, _mm512_reduce_max_ps(largest)]
}

/// The sum of 16 numbers in the order of `super::sum16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
fn pairwise(sums: __m512) -> f32 {
    let eight = _mm256_add_ps(
        _mm512_castps512_ps256(sums),
        _mm512_extractf32x8_ps::<1>(sums),
    );
    let four = _mm_add_ps(
        _mm256_castps256_ps128(eight),
        _mm256_extractf128_ps::<1>(eight),
    );
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}
