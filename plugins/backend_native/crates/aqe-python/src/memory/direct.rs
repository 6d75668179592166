//! `search` for one query as CPython calls it: see [`Direct`].

use std::cell::RefCell;

use numpy::{Element, PyArray1, PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::Borrowed;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::{DEFAULT_K, PatternStore, is_good, made_hits};
use crate::direct::{Direct, short_int};

/// More hits take so long that how they were asked for does not matter.
const MOST: i64 = 1024;

thread_local! {
    /// The query of this thread, as it was when it was checked.
    static QUERY: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Direct for PatternStore {
    const METHOD: &'static str = "search";
    const GENERAL: &'static str = "_search_as_given";
    const NAMES: &'static [&'static str] = &["queries", "k"];

    #[inline(always)]
    fn plain<'py>(
        slf: &Bound<'py, Self>,
        values: &[Borrowed<'_, 'py, PyAny>],
    ) -> Option<Bound<'py, PyAny>> {
        let (query, k) = match values {
            [query] => (query, DEFAULT_K),
            [query, k] => (query, plain_count(k)?),
            _ => return None,
        };
        let (this, py) = (slf.get(), slf.py());
        QUERY.with(|copy| {
            // Making hits may set off the collection of garbage, and whatever is called then may search, too.
            let copy = &mut *copy.try_borrow_mut().ok()?;
            copy_plain(query, this.dim(), copy)?;
            if !is_good(copy, this.store.options()) {
                return None;
            }
            let (keys, scores) = (filled(py, k, u64::MAX), filled(py, k, f32::NEG_INFINITY));
            let width = this.store.len().min(k);
            if width > 0 {
                // SAFETY: both are new, so that nobody else looks at them.
                let out = unsafe {
                    (
                        &mut keys.as_slice_mut().ok()?[..width],
                        &mut scores.as_slice_mut().ok()?[..width],
                    )
                };
                py.detach(|| this.store.search(copy, width, None, false, None, out));
            }
            made_hits(py, keys.into_any(), scores.into_any()).ok()
        })
    }
}

/// A number of hits, if it is a plain one.
#[inline(always)]
fn plain_count(k: &Bound<'_, PyAny>) -> Option<usize> {
    let k = short_int(k.cast_exact::<PyInt>().ok()?)?;
    (1..=MOST).contains(&k).then_some(k as usize)
}

/// Copy a query if it is a contiguous array of float32, of one axis.
#[inline(always)]
fn copy_plain(query: &Bound<'_, PyAny>, dim: usize, copy: &mut Vec<f32>) -> Option<()> {
    let array = query.cast::<PyArrayDyn<f32>>().ok()?;
    if array.ndim() != 1 || array.len() != dim || !array.is_c_contiguous() {
        return None;
    }
    copy.resize(dim, 0.0);
    let bytes = dim * size_of::<f32>();
    // SAFETY: there are so many bytes, aligned or not, and `copy` has room for them.
    unsafe {
        array
            .data()
            .cast::<u8>()
            .copy_to(copy.as_mut_ptr().cast(), bytes)
    };
    Some(())
}

/// A new array full of one value.
#[inline(always)]
fn filled<T: Element + Copy>(py: Python<'_>, n: usize, value: T) -> Bound<'_, PyArray1<T>> {
    // SAFETY: all values are written before any is read, and there are `n`.
    unsafe {
        let array = PyArray1::<T>::new(py, [n], false);
        (0..n).for_each(|i| array.data().add(i).write(value));
        array
    }
}
