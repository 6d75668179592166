//! The loops over whole rows, compiled for AVX2 too where the processor has it. Whole numbers only, or sums that are
//! exact: both forms return the same.

/// Compile a loop twice, and choose when it is called.
macro_rules! chosen {
    ($(#[$doc:meta])* fn $name:ident, $wide:ident, $portable:ident ($($arg:ident: $kind:ty),*)) => {
        $(#[$doc])*
        pub fn $name($($arg: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has the feature.
                return unsafe { $wide($($arg),*) };
            }
            $portable($($arg),*);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn $wide($($arg: $kind),*) {
            $portable($($arg),*);
        }
    };
}

chosen! {
    /// Add `weight` times each impact to the sum at its place. The sums do not overflow.
    fn add_dense, add_dense_avx2, add_dense_portable(sums: &mut [u32], impacts: &[u16], weight: u32)
}

chosen! {
    /// Write the largest of each sixteen sums, `out.len()` apart.
    fn peaks, peaks_avx2, peaks_portable(sums: &[u32], out: &mut [u32])
}

chosen! {
    /// Add `weight` times a vector to a sum of vectors, of one length.
    fn add_vector, add_vector_avx2, add_vector_portable(sum: &mut [f32], vector: &[i8], weight: f32)
}

#[inline(always)]
fn add_dense_portable(sums: &mut [u32], impacts: &[u16], weight: u32) {
    for (sum, &impact) in sums.iter_mut().zip(impacts) {
        *sum = sum.wrapping_add(u32::from(impact) * weight);
    }
}

#[inline(always)]
fn peaks_portable(sums: &[u32], out: &mut [u32]) {
    let n = out.len();
    out.copy_from_slice(&sums[..n]);
    for fold in sums[n..].chunks_exact(n.max(1)).take(15) {
        for (peak, &sum) in out.iter_mut().zip(fold) {
            *peak = (*peak).max(sum);
        }
    }
}

#[inline(always)]
fn add_vector_portable(sum: &mut [f32], vector: &[i8], weight: f32) {
    for (to, &component) in sum.iter_mut().zip(vector) {
        *to += weight * f32::from(component);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_forms_agree(
            start in prop::collection::vec(0_u32..1 << 20, 0..200),
            impacts in prop::collection::vec(any::<u16>(), 200),
            vector in prop::collection::vec(any::<i8>(), 200),
            weight in 0_u32..2816,
        ) {
            let (mut here, mut there) = (start.clone(), start.clone());
            add_dense(&mut here, &impacts, weight);
            add_dense_portable(&mut there, &impacts, weight);
            prop_assert_eq!(&here, &there);

            let mut found = [vec![0; start.len() / 16], vec![0; start.len() / 16]];
            peaks(&here, &mut found[0]);
            peaks_portable(&here, &mut found[1]);
            prop_assert_eq!(&found[0], &found[1]);

            let mut sums = [vec![3.0; 200], vec![3.0; 200]];
            add_vector(&mut sums[0], &vector, weight as f32);
            add_vector_portable(&mut sums[1], &vector, weight as f32);
            prop_assert_eq!(&sums[0], &sums[1]);
        }
    }
}
