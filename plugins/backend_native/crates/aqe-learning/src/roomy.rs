//! Long arrays in huge pages, where the system has them.
//!
//! A table of hundreds of megabytes is looked up all over: with pages of 4 KiB most looks miss the processor's list of
//! pages, too.

use std::mem::size_of;

/// From so many bytes on, huge pages are asked for.
const LARGE: usize = 4 << 20;

/// Make room for more items. O(1) amortized over the items.
///
/// A large array moves to fresh memory, which is asked for in huge pages before it is touched.
#[inline]
pub(crate) fn reserve<T>(items: &mut Vec<T>, more: usize) {
    if items.capacity() - items.len() < more {
        grow(items, more);
    }
}

#[cold]
fn grow<T>(items: &mut Vec<T>, more: usize) {
    let capacity = (items.len() + more).max(2 * items.capacity());
    if capacity * size_of::<T>() < LARGE {
        items.reserve(more);
        return;
    }
    let mut grown = Vec::with_capacity(capacity);
    ask_for_huge_pages(&grown);
    grown.append(items);
    *items = grown;
}

/// Ask that the memory of an array be huge pages, those of it that no one has touched yet.
pub(crate) fn ask_for_huge_pages<T>(items: &Vec<T>) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        use std::ffi::{c_int, c_void};
        const PAGE: usize = 4096;
        const MADV_HUGEPAGE: c_int = 14;
        unsafe extern "C" {
            fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
        }
        let bytes = items.capacity() * size_of::<T>();
        let before = items.as_ptr().cast::<u8>().align_offset(PAGE);
        if bytes < LARGE || before >= bytes {
            return;
        }
        let address = items.as_ptr().cast::<u8>().wrapping_add(before);
        // SAFETY: the range lies within one allocation of ours, and the advice changes only by what pages it is backed,
        // never what it holds. Where it is refused (no such pages, other page sizes), nothing changes.
        unsafe {
            madvise(
                address.cast_mut().cast(),
                (bytes - before) / PAGE * PAGE,
                MADV_HUGEPAGE,
            )
        };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = items;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_while_it_grows() {
        let mut items: Vec<u64> = Vec::new();
        let n = if cfg!(miri) { 1 << 20 } else { 3 << 20 } as u64;
        for start in (0..n).step_by(1 << 12) {
            reserve(&mut items, 1 << 12);
            assert!(items.capacity() - items.len() >= 1 << 12);
            items.extend(start..start + (1 << 12));
        }
        assert!(items.iter().copied().eq(0..n));
        assert!(items.capacity() as u64 <= 2 * n);
    }
}
