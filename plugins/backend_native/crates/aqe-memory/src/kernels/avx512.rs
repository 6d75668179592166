//! The kernels for x86-64 with AVX-512 F, BW, VL, DQ and VNNI.

use std::arch::x86_64::*;

use super::{BLOCK, Block, Codes, Lookup, RUN, Survivors, prefetch_factors};

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
    let width = query.width();
    let (step, shift) = (_mm512_set1_ps(query.step), _mm512_set1_ps(query.shift));
    let (base, least) = (_mm512_set1_ps(base), _mm512_set1_ps(threshold));
    for number in first..list.blocks() {
        if out.is_full() {
            return number;
        }
        let (block, ahead) = (list.block(number, width), list.ahead(next, number, width));
        let (even, odd) = if block.half {
            let (even, odd) = half_sums(block.codes, query.table, &ahead);
            (_mm512_zextsi256_si512(even), _mm512_zextsi256_si512(odd))
        } else {
            block_sums(block.codes, query.table, &ahead)
        };
        let mut estimates = [_mm512_setzero_ps(); 4];
        let mut masks = [0; 4];
        for (part, sums) in [
            _mm512_castsi512_si256(even),
            _mm512_extracti64x4_epi64(even, 1),
            _mm512_castsi512_si256(odd),
            _mm512_extracti64x4_epi64(odd, 1),
        ]
        .into_iter()
        .enumerate()
        {
            // SAFETY: 16 lanes from 16 part, of 64 slopes and 64 offsets.
            let (slope, offset) = unsafe {
                let slopes = block.factors.as_ptr().add(16 * part);
                (_mm512_loadu_ps(slopes), _mm512_loadu_ps(slopes.add(BLOCK)))
            };
            let dot = _mm512_add_ps(
                _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sums)), step),
                shift,
            );
            estimates[part] = _mm512_add_ps(_mm512_mul_ps(slope, dot), _mm512_add_ps(offset, base));
            masks[part] = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(estimates[part], least);
        }
        if masks == [0; 4] {
            continue;
        }
        for part in 0..4 {
            let (values, rows) = out.room();
            // SAFETY: `room` returns 64 places at least, checked here; 16 rows from 16 part, of 64.
            unsafe {
                _mm512_storeu_ps(
                    values[..16].as_mut_ptr(),
                    _mm512_maskz_compress_ps(masks[part], estimates[part]),
                );
                let numbers = _mm512_loadu_si512(block.rows.as_ptr().add(16 * part).cast());
                _mm512_storeu_si512(
                    rows[..16].as_mut_ptr().cast(),
                    _mm512_maskz_compress_epi32(masks[part], numbers),
                );
            }
            out.len += masks[part].count_ones() as usize;
        }
    }
    list.blocks()
}

/// Sums of the 32 even bytes and the 32 odd ones, as 16-bit integers. The block ahead is fetched meanwhile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
fn block_sums(codes: &[u8], table: &[u8], ahead: &Block) -> (__m512i, __m512i) {
    assert_eq!(codes.len() * 32, table.len() * BLOCK);
    assert_eq!(codes.len() % (BLOCK * RUN), 0);
    assert_eq!(codes.len(), ahead.codes.len());
    prefetch_factors(ahead);
    let low = _mm512_set1_epi8(15);
    let (mut all, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for run in 0..codes.len() / (BLOCK * RUN) {
        let mut sum = _mm512_setzero_si512();
        for i in 0..RUN {
            let pair = run * RUN + i;
            // SAFETY: `pair` is below codes.len() / 64 = table.len() / 32, checked above.
            let (code, first, second) = unsafe {
                _mm_prefetch(ahead.codes.as_ptr().add(pair * BLOCK).cast(), _MM_HINT_T0);
                (
                    _mm512_loadu_si512(codes.as_ptr().add(pair * BLOCK).cast()),
                    _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().add(32 * pair).cast())),
                    _mm512_broadcast_i32x4(_mm_loadu_si128(
                        table.as_ptr().add(32 * pair + 16).cast(),
                    )),
                )
            };
            let lows = _mm512_and_si512(code, low);
            let highs = _mm512_and_si512(_mm512_srli_epi16(code, 4), low);
            sum = _mm512_add_epi8(sum, _mm512_shuffle_epi8(first, lows));
            sum = _mm512_add_epi8(sum, _mm512_shuffle_epi8(second, highs));
        }
        // As 16-bit integers: the even byte and 256 times the odd one, which is taken off at the end.
        all = _mm512_add_epi16(all, sum);
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16(sum, 8));
    }
    (_mm512_sub_epi16(all, _mm512_slli_epi16(odd, 8)), odd)
}

/// The same for the first 32 bytes of each line.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
fn half_sums(codes: &[u8], table: &[u8], ahead: &Block) -> (__m256i, __m256i) {
    assert_eq!(codes.len() * 32, table.len() * BLOCK);
    assert_eq!(codes.len() % (BLOCK * RUN), 0);
    assert_eq!(codes.len(), ahead.codes.len());
    prefetch_factors(ahead);
    let low = _mm256_set1_epi8(15);
    let (mut all, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for run in 0..codes.len() / (BLOCK * RUN) {
        let mut sum = _mm256_setzero_si256();
        for i in 0..RUN {
            let pair = run * RUN + i;
            // SAFETY: `pair` is below codes.len() / 64 = table.len() / 32, checked above.
            let (code, first, second) = unsafe {
                _mm_prefetch(ahead.codes.as_ptr().add(pair * BLOCK).cast(), _MM_HINT_T0);
                (
                    _mm256_loadu_si256(codes.as_ptr().add(pair * BLOCK).cast()),
                    _mm256_broadcastsi128_si256(_mm_loadu_si128(
                        table.as_ptr().add(32 * pair).cast(),
                    )),
                    _mm256_broadcastsi128_si256(_mm_loadu_si128(
                        table.as_ptr().add(32 * pair + 16).cast(),
                    )),
                )
            };
            let lows = _mm256_and_si256(code, low);
            let highs = _mm256_and_si256(_mm256_srli_epi16(code, 4), low);
            sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(first, lows));
            sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(second, highs));
        }
        all = _mm256_add_epi16(all, sum);
        odd = _mm256_add_epi16(odd, _mm256_srli_epi16(sum, 8));
    }
    (_mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8)), odd)
}

/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn dot4(plane: &[u8], query: &[i8]) -> i32 {
    assert_eq!(plane.len() * 2, query.len());
    assert_eq!(plane.len() % 64, 0);
    let low = _mm512_set1_epi8(15);
    let (mut one, mut two) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for part in 0..plane.len() / 64 {
        // SAFETY: 64 bytes from 64 part of the plane, and 128 queries from 128 part, are within.
        let (bytes, first, second) = unsafe {
            (
                _mm512_loadu_si512(plane.as_ptr().add(64 * part).cast()),
                _mm512_loadu_si512(query.as_ptr().add(128 * part).cast()),
                _mm512_loadu_si512(query.as_ptr().add(128 * part + 64).cast()),
            )
        };
        one = _mm512_dpbusd_epi32(one, _mm512_and_si512(bytes, low), first);
        two = _mm512_dpbusd_epi32(
            two,
            _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low),
            second,
        );
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(one, two))
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
        for (value, sum) in values.iter_mut().zip(sums) {
            *value = _mm512_reduce_add_epi32(sum);
        }
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
        for (value, sum) in values.iter_mut().zip(sums) {
            *value = _mm512_reduce_add_epi32(sum);
        }
    }
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

/// The 16 partial sums of a dot product.
///
/// # Safety
/// Needs the instructions of `Level::Avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
pub fn dot(left: &[f32], right: &[f32]) -> [f32; 16] {
    let n = left.len();
    assert_eq!(n, right.len());
    let mut sums = _mm512_setzero_ps();
    for part in (0..n).step_by(16) {
        let lanes = ((1u32 << (n - part).min(16)) - 1) as __mmask16;
        // SAFETY: only lanes below n are read.
        let (x, y) = unsafe {
            (
                _mm512_maskz_loadu_ps(lanes, left.as_ptr().add(part)),
                _mm512_maskz_loadu_ps(lanes, right.as_ptr().add(part)),
            )
        };
        sums = _mm512_mask_add_ps(sums, lanes, sums, _mm512_mul_ps(x, y));
    }
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
