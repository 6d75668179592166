//! The kernels for aarch64, whose processors all have NEON.

use std::arch::aarch64::*;

use super::{BLOCK, Codes, Lookup, RUN, Survivors, TABLE, scan_by};

/// Two vectors of bytes of a slice.
///
/// # Safety
/// 32 bytes from `at` on are within the slice.
#[target_feature(enable = "neon")]
unsafe fn bytes(slice: &[u8], at: usize) -> [uint8x16_t; 2] {
    debug_assert!(at + 32 <= slice.len());
    // SAFETY: as the caller says.
    unsafe {
        [
            vld1q_u8(slice.as_ptr().add(at)),
            vld1q_u8(slice.as_ptr().add(at + 16)),
        ]
    }
}

/// The sums of each of `N` blocks side by side: of the even bytes, then of the odd ones, as vectors of eight lanes.
#[target_feature(enable = "neon")]
fn pair_sums<const N: usize>(codes: &[u8], table: &[u8]) -> [[uint16x8_t; 4]; N] {
    let lines = 2 * table.len() / TABLE;
    assert_eq!(codes.len(), lines * N * BLOCK);
    assert_eq!(lines % RUN, 0);
    let (low, byte) = (vdupq_n_u8(15), vdupq_n_u16(255));
    let mut sums = [[vdupq_n_u16(0); 4]; N];
    for first in (0..lines).step_by(RUN) {
        let mut sum = [[vdupq_n_u8(0); 2]; N];
        for line in first..first + RUN {
            // SAFETY: `line` is below `lines`: 16 bytes from two places of 128 for each two lines.
            let (lower, upper) = unsafe {
                let entries = table.as_ptr().add(line / 2 * TABLE + line % 2 * BLOCK);
                (vld1q_u8(entries), vld1q_u8(entries.add(64)))
            };
            for (i, sum) in sum.iter_mut().enumerate() {
                // SAFETY: 32 bytes of codes for each line and block, by the length checked above.
                let code = unsafe { bytes(codes, (line * N + i) * BLOCK) };
                for (sum, code) in sum.iter_mut().zip(code) {
                    *sum = vaddq_u8(*sum, vqtbl1q_u8(lower, vandq_u8(code, low)));
                    *sum = vaddq_u8(*sum, vqtbl1q_u8(upper, vshrq_n_u8::<4>(code)));
                }
            }
        }
        for (sums, sum) in sums.iter_mut().zip(sum) {
            for (half, sum) in sum.into_iter().enumerate() {
                let pairs = vreinterpretq_u16_u8(sum);
                sums[half] = vaddq_u16(sums[half], vandq_u16(pairs, byte));
                sums[2 + half] = vaddq_u16(sums[2 + half], vshrq_n_u16::<8>(pairs));
            }
        }
    }
    sums
}

/// # Safety
/// Needs NEON.
#[target_feature(enable = "neon")]
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
#[target_feature(enable = "neon")]
fn collect(
    sums: [uint16x8_t; 4],
    factors: &[f32; 2 * BLOCK],
    rows: &[u32; BLOCK],
    query: &Lookup,
    base: f32,
    threshold: f32,
    out: &mut Survivors,
) {
    let (step, shift) = (vdupq_n_f32(query.step), vdupq_n_f32(query.shift));
    let (base, least) = (vdupq_n_f32(base), vdupq_n_f32(threshold));
    let (slopes, offsets) = factors.split_at(BLOCK);
    for (eight, sums) in sums.into_iter().enumerate() {
        let halves = [vmovl_u16(vget_low_u16(sums)), vmovl_high_u16(sums)];
        for (half, sums) in halves.into_iter().enumerate() {
            let at = 8 * eight + 4 * half;
            // SAFETY: 4 lanes from `at`, of 32 slopes and offsets.
            let (slope, offset) = unsafe {
                (
                    vld1q_f32(slopes.as_ptr().add(at)),
                    vld1q_f32(offsets.as_ptr().add(at)),
                )
            };
            // Multiplied, then added: fused it would be rounded once less than elsewhere.
            let dot = vaddq_f32(vmulq_f32(vcvtq_f32_u32(sums), step), shift);
            let estimate = vaddq_f32(vmulq_f32(slope, dot), vaddq_f32(offset, base));
            if vmaxvq_u32(vcgtq_f32(estimate, least)) == 0 {
                continue;
            }
            let mut values = [0f32; 4];
            // SAFETY: four floats into an array of four.
            unsafe { vst1q_f32(values.as_mut_ptr(), estimate) };
            for (&value, &row) in values.iter().zip(&rows[at..at + 4]) {
                if value > threshold {
                    out.push(value, row);
                }
            }
        }
    }
}

/// Add the products of 16 unsigned bytes below 128 and 16 signed ones.
#[target_feature(enable = "neon")]
fn add_products(sums: int32x4_t, small: uint8x16_t, signed: int8x16_t) -> int32x4_t {
    let small = vreinterpretq_s8_u8(small);
    let low = vmull_s8(vget_low_s8(small), vget_low_s8(signed));
    vpadalq_s16(vpadalq_s16(sums, low), vmull_high_s8(small, signed))
}

/// # Safety
/// Needs NEON.
#[target_feature(enable = "neon")]
pub fn dot4(plane: &[u8], query: &[i8]) -> i32 {
    assert_eq!(plane.len() * 2, query.len());
    assert_eq!(plane.len() % 64, 0);
    let low = vdupq_n_u8(15);
    let mut sums = vdupq_n_s32(0);
    for part in 0..plane.len() / 16 {
        let q = 128 * (part / 4) + 16 * (part % 4);
        // SAFETY: 16 bytes from 16 part, and 16 queries from q and q + 64 <= 128 (part / 4) + 112, are within.
        let (bytes, first, second) = unsafe {
            (
                vld1q_u8(plane.as_ptr().add(16 * part)),
                vld1q_s8(query.as_ptr().add(q)),
                vld1q_s8(query.as_ptr().add(q + 64)),
            )
        };
        sums = add_products(sums, vandq_u8(bytes, low), first);
        sums = add_products(sums, vshrq_n_u8::<4>(bytes), second);
    }
    vaddvq_s32(sums)
}

#[target_feature(enable = "neon")]
fn dot2(plane: &[u8], query: &[i8]) -> i32 {
    assert_eq!(plane.len() * 4, query.len());
    assert_eq!(plane.len() % 32, 0);
    let low = vdupq_n_u8(3);
    let mut sums = vdupq_n_s32(0);
    for part in 0..plane.len() / 16 {
        let q = 128 * (part / 2) + 16 * (part % 2);
        // SAFETY: 16 bytes from 16 part, and 16 queries from q + 96 <= 128 (part / 2) + 112 and before, are within.
        let (bytes, [q0, q1, q2, q3]) = unsafe {
            let start = query.as_ptr().add(q);
            (
                vld1q_u8(plane.as_ptr().add(16 * part)),
                [0, 32, 64, 96].map(|at| vld1q_s8(start.add(at))),
            )
        };
        sums = add_products(sums, vandq_u8(bytes, low), q0);
        sums = add_products(sums, vandq_u8(vshrq_n_u8::<2>(bytes), low), q1);
        sums = add_products(sums, vandq_u8(vshrq_n_u8::<4>(bytes), low), q2);
        sums = add_products(sums, vshrq_n_u8::<6>(bytes), q3);
    }
    vaddvq_s32(sums)
}

/// # Safety
/// Needs NEON.
#[target_feature(enable = "neon")]
pub fn dot10(a: &[u8], b: &[u8], c: &[u8], query: [&[i8]; 2]) -> [i32; 2] {
    let [first, second] = query;
    [
        64 * dot4(a, first) + 4 * dot4(b, first) + dot2(c, first),
        64 * dot4(a, second) + 4 * dot4(b, second) + dot2(c, second),
    ]
}

/// # Safety
/// Needs NEON.
#[target_feature(enable = "neon")]
pub fn dots(left: &[u8], rows: &[i8], out: &mut [i32]) {
    let width = left.len();
    assert_eq!(width % 16, 0);
    assert!(rows.len() >= width * out.len());
    for (i, value) in out.iter_mut().enumerate() {
        let mut sums = [vdupq_n_s32(0); 2];
        for part in (0..width).step_by(16) {
            // SAFETY: 16 bytes from `part` of `left`, and of row i, are within.
            let (a, b) = unsafe {
                (
                    vld1q_u8(left.as_ptr().add(part)),
                    vld1q_s8(rows.as_ptr().add(i * width + part)),
                )
            };
            let wide = [vmovl_u8(vget_low_u8(a)), vmovl_high_u8(a)];
            let signed = [vmovl_s8(vget_low_s8(b)), vmovl_high_s8(b)];
            for (a, b) in wide.into_iter().zip(signed) {
                let a = vreinterpretq_s16_u16(a);
                sums[0] = vmlal_s16(sums[0], vget_low_s16(a), vget_low_s16(b));
                sums[1] = vmlal_high_s16(sums[1], a, b);
            }
        }
        *value = vaddvq_s32(vaddq_s32(sums[0], sums[1]));
    }
}
