//! Loops compiled for wider vector instructions too, chosen when running.

/// A function that is compiled for AVX-512 and AVX2 besides, and runs as the widest that the processor has.
///
/// All do the same operations in the same order, so they give the same bits: nothing is fused unless written so, and
/// sums run in as many lanes as the source says. The second name is that of the function as written, which tests compare with.
macro_rules! wide {
    ($(#[$about:meta])* $visible:vis fn $name:ident / $portable:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        /// As written, for any processor.
        #[inline(always)]
        #[allow(clippy::too_many_arguments)] // as many as the loop needs
        fn $portable($($argument: $type),*) $(-> $result)? $body

        $(#[$about])*
        #[allow(clippy::too_many_arguments)] // as many as the loop needs
        $visible fn $name($($argument: $type),*) $(-> $result)? {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($argument: $type),*) $(-> $result)? {
                    $portable($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) $(-> $result)? {
                    $portable($($argument),*)
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has what the function is compiled for.
                    return unsafe { avx512($($argument),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has what the function is compiled for.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $portable($($argument),*)
        }
    };
}

pub(crate) use wide;
