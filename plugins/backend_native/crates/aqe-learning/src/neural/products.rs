//! Products of small matrices in float32, samples along the lanes, for each width of vector instructions.
//!
//! A matrix of `m` features and `n` samples lies feature by feature, `n` being a multiple of [`LANES`]. Sums of
//! products are fused and run in the same order at every width, so all give the same bits.

/// Samples are padded to a multiple of this.
pub const LANES: usize = 32;
/// Partial sums of a gradient.
const SUMS: usize = 16;

/// `product` and `gradient` for vectors of `$lanes` numbers, `$rows` of two at a time and `$tile` by `$tile` sums.
macro_rules! products {
    ($name:ident, $about:literal, [$($feature:meta)?], $lanes:literal, $rows:literal, $tile:literal,
     $load:path, $store:path, $splat:path, $fused:path) => {
        #[doc = $about]
        pub mod $name {
            use super::{SUMS, total};

            const LANES: usize = $lanes;

            /// `out[r][s] = start[r] + sum over p of left(p, r) right[p][s]`, where `left(p, r)` is
            /// `left[p * steps[0] + r * steps[1]]`, `out` has `start.len()` features, and `right` has `inner`.
            $(#[$feature])?
            pub fn product(
                left: &[f32],
                steps: [usize; 2],
                inner: usize,
                right: &[f32],
                start: &[f32],
                out: &mut [f32],
                panel: &mut Vec<f32>,
            ) {
                let n = out.len() / start.len();
                let mut row = 0;
                while row < start.len() {
                    let from = [&left[row * steps[1]..], &start[row..]];
                    let to = &mut out[row * n..];
                    row += match start.len() - row {
                        $rows.. => rows::<$rows>(from, steps, inner, right, to, n, panel),
                        2.. => rows::<2>(from, steps, inner, right, to, n, panel),
                        _ => rows::<1>(from, steps, inner, right, to, n, panel),
                    };
                }
            }

            /// The product's first `R` rows; returns their number.
            $(#[$feature])?
            #[inline]
            fn rows<const R: usize>(
                [left, start]: [&[f32]; 2],
                steps: [usize; 2],
                inner: usize,
                right: &[f32],
                out: &mut [f32],
                n: usize,
                panel: &mut Vec<f32>,
            ) -> usize {
                panel.clear();
                for p in 0..inner {
                    panel.extend((0..R).map(|r| left[p * steps[0] + r * steps[1]]));
                }
                for sample in (0..n).step_by(2 * LANES) {
                    let mut sums = [[$splat(0.0); 2]; R];
                    for r in 0..R {
                        sums[r] = [$splat(start[r]); 2];
                    }
                    for (factors, right) in panel.as_chunks::<R>().0.iter().zip(right.chunks_exact(n)) {
                        let halves = right[sample..sample + 2 * LANES].as_chunks::<LANES>().0;
                        let halves = [$load(&halves[0]), $load(&halves[1])];
                        for r in 0..R {
                            let factor = $splat(factors[r]);
                            sums[r][0] = $fused(factor, halves[0], sums[r][0]);
                            sums[r][1] = $fused(factor, halves[1], sums[r][1]);
                        }
                    }
                    for r in 0..R {
                        let to = &mut out[r * n + sample..r * n + sample + 2 * LANES];
                        let to = to.as_chunks_mut::<LANES>().0;
                        $store(&mut to[0], sums[r][0]);
                        $store(&mut to[1], sums[r][1]);
                    }
                }
                R
            }

            /// `out[p][r] = sum over s of left[p][s] right[r][s]`: what a layer's weights get, `left` its inputs.
            $(#[$feature])?
            pub fn gradient(left: &[f32], right: &[f32], n: usize, out: &mut [f32]) {
                let (rows, columns) = (left.len() / n, right.len() / n);
                for p in (0..rows).step_by($tile) {
                    for r in (0..columns).step_by($tile) {
                        let (left, right) = (&left[p * n..], &right[r * n..]);
                        if p + $tile <= rows && r + $tile <= columns {
                            tile::<$tile>(left, right, n, &mut out[p * columns + r..], columns);
                            continue;
                        }
                        for i in 0..$tile.min(rows - p) {
                            for j in 0..$tile.min(columns - r) {
                                let to = &mut out[(p + i) * columns + r + j..];
                                tile::<1>(&left[i * n..], &right[j * n..], n, to, columns);
                            }
                        }
                    }
                }
            }

            /// `T` by `T` sums of products over all samples.
            $(#[$feature])?
            #[inline]
            fn tile<const T: usize>(left: &[f32], right: &[f32], n: usize, out: &mut [f32], stride: usize) {
                const PARTS: usize = SUMS / LANES;
                let mut sums = [[[$splat(0.0); PARTS]; T]; T];
                let left: [_; T] = std::array::from_fn(|i| left[i * n..(i + 1) * n].as_chunks::<LANES>().0);
                let right: [_; T] = std::array::from_fn(|i| right[i * n..(i + 1) * n].as_chunks::<LANES>().0);
                for chunk in 0..n / SUMS {
                    for part in 0..PARTS {
                        let at = chunk * PARTS + part;
                        let mut rights = [$splat(0.0); T];
                        for j in 0..T {
                            rights[j] = $load(&right[j][at]);
                        }
                        for i in 0..T {
                            let left = $load(&left[i][at]);
                            for j in 0..T {
                                sums[i][j][part] = $fused(left, rights[j], sums[i][j][part]);
                            }
                        }
                    }
                }
                for i in 0..T {
                    for j in 0..T {
                        let mut lanes = [0.0; SUMS];
                        for (lanes, sums) in lanes.as_chunks_mut().0.iter_mut().zip(&sums[i][j]) {
                            $store(lanes, *sums);
                        }
                        out[i * stride + j] = total(lanes);
                    }
                }
            }
        }
    };
}

products!(
    portable,
    "For any processor.",
    [],
    16,
    4,
    2,
    super::plain::load,
    super::plain::store,
    super::plain::splat,
    super::plain::fused
);
#[cfg(all(target_arch = "x86_64", not(miri)))]
products!(
    avx2,
    "For AVX2 with fused products.",
    [target_feature(enable = "avx2,fma")],
    8,
    4,
    2,
    super::x86::load_8,
    super::x86::store_8,
    std::arch::x86_64::_mm256_set1_ps,
    std::arch::x86_64::_mm256_fmadd_ps
);
#[cfg(all(target_arch = "x86_64", not(miri)))]
products!(
    avx512,
    "For AVX-512.",
    [target_feature(enable = "avx512f")],
    16,
    8,
    4,
    super::x86::load_16,
    super::x86::store_16,
    std::arch::x86_64::_mm512_set1_ps,
    std::arch::x86_64::_mm512_fmadd_ps
);

/// Vectors as arrays.
mod plain {
    type Lanes = [f32; 16];

    #[inline(always)]
    pub fn load(from: &Lanes) -> Lanes {
        *from
    }

    #[inline(always)]
    pub fn store(to: &mut Lanes, values: Lanes) {
        *to = values;
    }

    #[inline(always)]
    pub fn splat(value: f32) -> Lanes {
        [value; 16]
    }

    #[inline(always)]
    pub fn fused(left: Lanes, right: Lanes, sum: Lanes) -> Lanes {
        std::array::from_fn(|i| left[i].mul_add(right[i], sum[i]))
    }
}

/// Vectors of the processor, moved from and to arrays.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_loadu_ps, _mm256_storeu_ps, _mm512_loadu_ps, _mm512_storeu_ps,
    };

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn load_16(from: &[f32; 16]) -> __m512 {
        // SAFETY: the array has the 16 numbers that are read, at any alignment.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn store_16(to: &mut [f32; 16], values: __m512) {
        // SAFETY: the array has room for the 16 numbers that are written, at any alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), values) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn load_8(from: &[f32; 8]) -> __m256 {
        // SAFETY: the array has the 8 numbers that are read, at any alignment.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn store_8(to: &mut [f32; 8], values: __m256) {
        // SAFETY: the array has room for the 8 numbers that are written, at any alignment.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), values) }
    }
}

/// The sum of lanes, by halves.
#[inline(always)]
pub(super) fn total(lanes: [f32; SUMS]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Call the widest form of a function that the processor has.
macro_rules! widest {
    ($name:ident($($argument:expr),*)) => {{
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has what the function is compiled for.
                return unsafe { avx512::$name($($argument),*) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor has what the function is compiled for.
                return unsafe { avx2::$name($($argument),*) };
            }
        }
        portable::$name($($argument),*)
    }};
}

/// As [`portable::product`].
pub fn product(
    left: &[f32],
    steps: [usize; 2],
    inner: usize,
    right: &[f32],
    start: &[f32],
    out: &mut [f32],
    panel: &mut Vec<f32>,
) {
    widest!(product(left, steps, inner, right, start, out, panel))
}

/// As [`portable::gradient`].
pub fn gradient(left: &[f32], right: &[f32], n: usize, out: &mut [f32]) {
    widest!(gradient(left, right, n, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..n).map(|_| next()).collect()
    }

    type Product = fn(&[f32], [usize; 2], usize, &[f32], &[f32], &mut [f32], &mut Vec<f32>);
    type Gradient = fn(&[f32], &[f32], usize, &mut [f32]);

    /// All forms that this processor has, the portable one first.
    fn forms() -> Vec<(Product, Gradient)> {
        let mut forms: Vec<(Product, Gradient)> =
            vec![(portable::product, portable::gradient), (product, gradient)];
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            forms.push((
                // SAFETY: the processor has what the functions are compiled for.
                |a, b, c, d, e, f, g| unsafe { avx2::product(a, b, c, d, e, f, g) },
                // SAFETY: as above.
                |a, b, c, d| unsafe { avx2::gradient(a, b, c, d) },
            ));
        }
        forms
    }

    #[test]
    fn products_are_those_of_the_definition_and_the_same_at_any_width() {
        for (inner, rows, n) in [
            (4, 64, 64),
            (64, 2, 32),
            (64, 1, 32),
            (5, 7, 96),
            (3, 11, 32),
        ] {
            let (left, right, start) = (
                numbers(inner * rows, 1),
                numbers(inner * n, 2),
                numbers(rows, 3),
            );
            for steps in [[rows, 1], [1, inner]] {
                let found = forms().into_iter().map(|(product, _)| {
                    let mut out = vec![0.0; rows * n];
                    product(&left, steps, inner, &right, &start, &mut out, &mut vec![]);
                    out
                });
                let found: Vec<_> = found.collect();
                assert!(found.iter().all(|other| *other == found[0]));
                for (at, found) in found[0].iter().enumerate() {
                    let (r, s) = (at / n, at % n);
                    let each = |p: usize| left[p * steps[0] + r * steps[1]] * right[p * n + s];
                    assert!((found - start[r] - (0..inner).map(each).sum::<f32>()).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn gradients_are_those_of_the_definition_and_the_same_at_any_width() {
        for (inputs, outputs, n) in [
            (4, 64, 64),
            (64, 2, 32),
            (5, 7, 96),
            (1, 1, 32),
            (9, 6, 256),
        ] {
            let (left, right) = (numbers(inputs * n, 1), numbers(outputs * n, 2));
            let found = forms().into_iter().map(|(_, gradient)| {
                let mut out = vec![0.0; inputs * outputs];
                gradient(&left, &right, n, &mut out);
                out
            });
            let found: Vec<_> = found.collect();
            assert!(found.iter().all(|other| *other == found[0]));
            for (at, found) in found[0].iter().enumerate() {
                let (p, r) = (at / outputs, at % outputs);
                let wanted: f32 = (0..n).map(|s| left[p * n + s] * right[r * n + s]).sum();
                assert!((found - wanted).abs() < 1e-4);
            }
        }
    }
}
