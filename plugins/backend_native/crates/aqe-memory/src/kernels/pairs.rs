//! Few numbers, compared each with each: as many comparisons as there are pairs, but 16 at once, and no branch that
//! cannot be foretold.

use super::vectorized;
use crate::level::Level;

/// For each value how many come before it in descending order, of equal ones the first one first.
pub fn ranks(level: Level, values: &[f32], out: &mut [u32]) {
    widest!(level, ranks(values, out))
}

/// For each number whether the same one stands before it.
pub fn repeated(level: Level, numbers: &[u32], out: &mut [bool]) {
    widest!(level, repeated(numbers, out))
}

mod portable {
    #[inline(always)]
    fn count<T>(values: &[T], is_one: impl Fn(&&T) -> bool) -> usize {
        values.iter().filter(is_one).count()
    }

    #[inline(always)]
    pub fn ranks(values: &[f32], out: &mut [u32]) {
        assert_eq!(values.len(), out.len());
        for (i, (&value, place)) in values.iter().zip(out).enumerate() {
            let before = count(&values[..i], |&&other| other >= value);
            let after = count(&values[i..], |&&other| other > value);
            *place = (before + after) as u32;
        }
    }

    #[inline(always)]
    pub fn repeated(numbers: &[u32], out: &mut [bool]) {
        assert_eq!(numbers.len(), out.len());
        for (i, (&number, again)) in numbers.iter().zip(out).enumerate() {
            *again = count(&numbers[..i], |&&other| other == number) > 0;
        }
    }
}

// The compiler takes the numbers compared with for lanes, not those that are counted for: as slow as scalars.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    const LANES: usize = 16;

    /// The lanes after one of 16.
    fn after(lane: usize) -> __mmask16 {
        (0xfffe << lane) as __mmask16
    }

    fn first_lanes(n: usize) -> __mmask16 {
        ((1u32 << n.min(LANES)) - 1) as __mmask16
    }

    /// # Safety
    /// Needs the instructions of `Level::Avx512`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
    pub fn ranks(values: &[f32], out: &mut [u32]) {
        assert_eq!(values.len(), out.len());
        let one = _mm512_set1_epi32(1);
        for start in (0..values.len()).step_by(LANES) {
            let lanes = first_lanes(values.len() - start);
            // SAFETY: only lanes within are read.
            let part = unsafe { _mm512_maskz_loadu_ps(lanes, values.as_ptr().add(start)) };
            let mut before = _mm512_setzero_si512();
            let mut count = |mask| before = _mm512_mask_add_epi32(before, mask, before, one);
            let end = values.len().min(start + LANES);
            for &other in &values[..start] {
                count(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(
                    _mm512_set1_ps(other),
                    part,
                ));
            }
            for (lane, &other) in values[start..end].iter().enumerate() {
                let other = _mm512_set1_ps(other);
                let equal = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(other, part) & after(lane);
                count(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(other, part) | equal);
            }
            for &other in &values[end..] {
                count(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(
                    _mm512_set1_ps(other),
                    part,
                ));
            }
            // SAFETY: only lanes within are written.
            unsafe { _mm512_mask_storeu_epi32(out.as_mut_ptr().add(start).cast(), lanes, before) };
        }
    }

    /// # Safety
    /// Needs the instructions of `Level::Avx512`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt")]
    pub fn repeated(numbers: &[u32], out: &mut [bool]) {
        assert_eq!(numbers.len(), out.len());
        for (start, out) in (0..).step_by(LANES).zip(out.chunks_mut(LANES)) {
            let lanes = first_lanes(out.len());
            // SAFETY: only lanes within are read.
            let part =
                unsafe { _mm512_maskz_loadu_epi32(lanes, numbers.as_ptr().add(start).cast()) };
            let mut again = 0;
            for &other in &numbers[..start] {
                again |= _mm512_cmpeq_epi32_mask(_mm512_set1_epi32(other as i32), part);
            }
            for (lane, &other) in numbers[start..start + out.len()].iter().enumerate() {
                let equal = _mm512_cmpeq_epi32_mask(_mm512_set1_epi32(other as i32), part);
                again |= equal & after(lane);
            }
            for (lane, out) in out.iter_mut().enumerate() {
                *out = again >> lane & 1 == 1;
            }
        }
    }
}
