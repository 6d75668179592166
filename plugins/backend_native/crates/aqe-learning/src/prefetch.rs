//! Memory asked for before it is needed.

/// Ask for an item of a slice, without waiting for it; one that is not there is nothing.
#[inline(always)]
pub(crate) fn ask<T>(items: &[T], index: usize) {
    prefetch(items.as_ptr().wrapping_add(index));
}

/// Ask for a cache line, without waiting for it.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: it reads nothing into the program and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
