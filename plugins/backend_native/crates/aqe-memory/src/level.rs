//! Which instructions the kernels use, chosen once at run time.

use std::sync::OnceLock;

/// A set of instructions. All levels compute the same integers and so give the same answers, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Plain Rust, on every processor.
    Portable,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI.
    Avx512,
    /// The same with VBMI.
    Avx512Vbmi,
    /// aarch64 with NEON.
    Neon,
}

impl Level {
    /// The name that `AQE_SIMD` and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Avx512Vbmi => "avx512vbmi",
            Level::Neon => "neon",
        }
    }

    /// Whether this processor can run the level.
    pub fn is_supported(self) -> bool {
        match self {
            Level::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vbmi => {
                Level::Avx512.is_supported() && is_x86_feature_detected!("avx512vbmi")
            }
            #[cfg(target_arch = "aarch64")]
            Level::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[allow(unreachable_patterns, reason = "levels of other processors")]
            _ => false,
        }
    }

    /// Whether the level has AVX-512.
    pub fn has_avx512(self) -> bool {
        matches!(self, Level::Avx512 | Level::Avx512Vbmi)
    }

    /// The levels this processor can run, slowest first.
    pub fn supported() -> Vec<Level> {
        let all = [
            Level::Portable,
            Level::Avx2,
            Level::Avx512,
            Level::Avx512Vbmi,
            Level::Neon,
        ];
        all.into_iter()
            .filter(|level| level.is_supported())
            .collect()
    }

    /// The fastest supported level, or the supported one that the environment variable `AQE_SIMD` names.
    pub fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| {
            let supported = Level::supported();
            let wanted = std::env::var("AQE_SIMD").unwrap_or_default();
            let named = supported.iter().find(|level| level.name() == wanted);
            *named.or(supported.last()).unwrap_or(&Level::Portable)
        })
    }
}
