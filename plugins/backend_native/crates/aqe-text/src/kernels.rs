//! The loops over whole rows, compiled for AVX2 and AVX-512 too, where the processor has it. Whole numbers only, or sums
//! that are exact: all forms return the same.

/// Compile a loop once more for each of two sets of instructions, and choose when it is called.
macro_rules! chosen {
    ($(#[$doc:meta])* fn $name:ident, $widest:ident, $wide:ident, $portable:ident
     ($($arg:ident: $kind:ty),*) $(-> $result:ty)?) => {
        $(#[$doc])*
        pub fn $name($($arg: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx512bw") {
                // SAFETY: the processor has the feature.
                return unsafe { $widest($($arg),*) };
            }
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has the feature.
                return unsafe { $wide($($arg),*) };
            }
            $portable($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512bw")]
        fn $widest($($arg: $kind),*) $(-> $result)? {
            $portable($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn $wide($($arg: $kind),*) $(-> $result)? {
            $portable($($arg),*)
        }
    };
}

chosen! {
    /// Add to each sum what four planes have at its place, each times its weight. The sums do not overflow.
    fn add_four, add_four_avx512, add_four_avx2, add_four_portable(
        sums: &mut [u32], planes: [&[u8]; 4], weights: [i16; 4]
    )
}

chosen! {
    /// The same of one plane.
    fn add_plane, add_plane_avx512, add_plane_avx2, add_plane_portable(sums: &mut [u32], plane: &[u8], weight: i16)
}

chosen! {
    /// Write the largest of each `FOLDS` sums, `out.len()` apart.
    fn peaks, peaks_avx512, peaks_avx2, peaks_portable(sums: &[u32], out: &mut [u32])
}

chosen! {
    /// Return how many numbers are not below a bound.
    fn count_from, count_from_avx512, count_from_avx2, count_from_portable(values: &[u32], least: u32) -> usize
}

chosen! {
    /// Add `weight` times a vector to a sum of vectors, of one length.
    fn add_vector, add_vector_avx512, add_vector_avx2, add_vector_portable(sum: &mut [f32], vector: &[i8], weight: f32)
}

chosen! {
    /// Return the sum of squares, exact where they are whole and below 2**53 together.
    fn squares, squares_avx512, squares_avx2, squares_portable(values: &[f32]) -> f64
}

/// Append the places of numbers that are not below a bound, ascending; few are.
///
/// By hand: of the plain loop the compiler makes one that takes five times as long.
pub fn places_from(values: &[u32], least: u32, places: &mut Vec<u32>) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512bw") {
        // SAFETY: the processor has the feature.
        return unsafe { places_from_avx512(values, least, places) };
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the feature.
        return unsafe { places_from_avx2(values, least, places) };
    }
    places_from_portable(values, least, places);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bw")]
fn places_from_avx512(values: &[u32], least: u32, places: &mut Vec<u32>) {
    use std::arch::x86_64::{_mm512_cmpge_epu32_mask, _mm512_loadu_si512, _mm512_set1_epi32};
    let bound = _mm512_set1_epi32(least as i32);
    let (blocks, rest) = values.as_chunks::<64>();
    for (block, start) in blocks.iter().zip((0..).step_by(64)) {
        let bits = block
            .as_chunks::<16>()
            .0
            .iter()
            .rev()
            .fold(0, |bits, part| {
                // SAFETY: a part is 64 bytes.
                let part = unsafe { _mm512_loadu_si512(part.as_ptr().cast()) };
                bits << 16 | u64::from(_mm512_cmpge_epu32_mask(part, bound))
            });
        push_ones(bits, start, places);
    }
    push_places(rest, least, values.len() - rest.len(), places);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn places_from_avx2(values: &[u32], least: u32, places: &mut Vec<u32>) {
    use std::arch::x86_64::{
        _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_loadu_si256, _mm256_max_epu32,
        _mm256_movemask_ps, _mm256_set1_epi32,
    };
    let bound = _mm256_set1_epi32(least as i32);
    let (blocks, rest) = values.as_chunks::<64>();
    for (block, start) in blocks.iter().zip((0..).step_by(64)) {
        let bits = block.as_chunks::<8>().0.iter().rev().fold(0, |bits, part| {
            // SAFETY: a part is 32 bytes.
            let part = unsafe { _mm256_loadu_si256(part.as_ptr().cast()) };
            let from = _mm256_cmpeq_epi32(_mm256_max_epu32(part, bound), part);
            bits << 8 | u64::from(_mm256_movemask_ps(_mm256_castsi256_ps(from)) as u8)
        });
        push_ones(bits, start, places);
    }
    push_places(rest, least, values.len() - rest.len(), places);
}

#[inline(always)]
fn push_ones(mut bits: u64, start: u32, places: &mut Vec<u32>) {
    while bits != 0 {
        places.push(start + bits.trailing_zeros());
        bits &= bits - 1;
    }
}

fn places_from_portable(values: &[u32], least: u32, places: &mut Vec<u32>) {
    push_places(values, least, 0, places);
}

#[inline(always)]
fn push_places(values: &[u32], least: u32, start: usize, places: &mut Vec<u32>) {
    let numbered = values.iter().zip(start as u32..);
    let from = numbered.filter(|&(&value, _)| value >= least);
    places.extend(from.map(|(_, place)| place));
}

/// Ask for the memory of a value.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching has no effect but on caches; SSE is part of x86-64.
        unsafe { _mm_prefetch(std::ptr::from_ref(value).cast(), _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// See [`peaks`].
pub const FOLDS: usize = 16;

#[inline(always)]
fn add_four_portable(sums: &mut [u32], planes: [&[u8]; 4], weights: [i16; 4]) {
    let n = sums.len();
    let [a, b, c, d] = planes.map(|plane| &plane[..n]);
    let [p, q, r, s] = weights.map(i32::from);
    for i in 0..n {
        let (a, b) = (p * i32::from(a[i]), q * i32::from(b[i]));
        let (c, d) = (r * i32::from(c[i]), s * i32::from(d[i]));
        sums[i] = sums[i].wrapping_add(((a + b) + (c + d)) as u32);
    }
}

#[inline(always)]
fn add_plane_portable(sums: &mut [u32], plane: &[u8], weight: i16) {
    for (sum, &upper) in sums.iter_mut().zip(plane) {
        *sum = sum.wrapping_add((i32::from(weight) * i32::from(upper)) as u32);
    }
}

#[inline(always)]
fn peaks_portable(sums: &[u32], out: &mut [u32]) {
    let n = out.len();
    out.copy_from_slice(&sums[..n]);
    for fold in sums[n..].chunks_exact(n.max(1)).take(FOLDS - 1) {
        for (peak, &sum) in out.iter_mut().zip(fold) {
            *peak = (*peak).max(sum);
        }
    }
}

#[inline(always)]
fn count_from_portable(values: &[u32], least: u32) -> usize {
    let above = values.iter().map(|&value| u32::from(value >= least));
    above.sum::<u32>() as usize
}

#[inline(always)]
fn add_vector_portable(sum: &mut [f32], vector: &[i8], weight: f32) {
    for (to, &component) in sum.iter_mut().zip(vector) {
        *to += weight * f32::from(component);
    }
}

#[inline(always)]
fn squares_portable(values: &[f32]) -> f64 {
    let (parts, rest) = values.as_chunks::<16>();
    let square = |x: f32| f64::from(x) * f64::from(x);
    let mut sums = [0.0; 16];
    for part in parts {
        for (sum, &x) in sums.iter_mut().zip(part) {
            *sum += square(x);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&x| square(x)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places(find: impl Fn(&[u32], u32, &mut Vec<u32>), values: &[u32], least: u32) -> Vec<u32> {
        let mut places = Vec::new();
        find(values, least, &mut places);
        places
    }

    proptest! {
        #[test]
        fn all_forms_agree(
            start in prop::collection::vec(0_u32..1 << 20, 0..700),
            planes in prop::collection::vec(prop::collection::vec(any::<u8>(), 700), 4),
            vector in prop::collection::vec(any::<i8>(), 200),
            weights in prop::array::uniform4(0_i16..i16::MAX),
            least in 0_u32..1 << 20,
        ) {
            let four = std::array::from_fn(|i| &planes[i][..]);
            let (mut here, mut there) = (start.clone(), start.clone());
            add_four(&mut here, four, weights);
            add_four_portable(&mut there, four, weights);
            prop_assert_eq!(&here, &there);
            add_plane(&mut here, four[0], weights[1]);
            add_plane_portable(&mut there, four[0], weights[1]);
            prop_assert_eq!(&here, &there);
            for i in 0..start.len() {
                let added: i64 = (0..4).map(|j| i64::from(planes[j][i]) * i64::from(weights[j])).sum();
                let last = i64::from(planes[0][i]) * i64::from(weights[1]);
                prop_assert_eq!(i64::from(here[i]), i64::from(start[i]) + added + last);
            }

            let columns = start.len() / FOLDS;
            let mut found = [vec![0; columns], vec![0; columns]];
            peaks(&start, &mut found[0]);
            peaks_portable(&start, &mut found[1]);
            prop_assert_eq!(&found[0], &found[1]);
            for (column, &most) in found[0].iter().enumerate() {
                let largest = (0..FOLDS).map(|fold| start[column + fold * columns]).max();
                prop_assert_eq!(Some(most), largest);
            }
            let portable = places(places_from_portable, &start, least);
            prop_assert!(portable.iter().all(|&place| start[place as usize] >= least));
            prop_assert_eq!(portable.len(), start.iter().filter(|&&x| x >= least).count());
            prop_assert_eq!(places(places_from, &start, least), &portable[..]);
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has the feature.
                let avx2 = |values: &[u32], least, places: &mut _| unsafe { places_from_avx2(values, least, places) };
                prop_assert_eq!(places(avx2, &start, least), &portable[..]);
            }
            prop_assert_eq!(count_from(&start, least), start.iter().filter(|&&x| x >= least).count());

            let weight = f32::from(weights[2] % 4096);
            let mut sums = [vec![3.0; 200], vec![3.0; 200]];
            add_vector(&mut sums[0], &vector, weight);
            add_vector_portable(&mut sums[1], &vector, weight);
            prop_assert_eq!(&sums[0], &sums[1]);
            let exact: f64 = sums[0].iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            prop_assert_eq!((squares(&sums[0]), squares_portable(&sums[0])), (exact, exact));
        }
    }
}
