//! The kernels for x86-64 with AVX-512 F, BW, VL, DQ and VNNI.

mod scan;
pub mod vbmi;

use std::arch::x86_64::*;

use super::TABLE;

pub use scan::scan;

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
