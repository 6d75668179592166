//! What arrays of NumPy may hold that slices of Rust may not.

use std::borrow::Cow;
use std::slice;

use numpy::ndarray::{Dimension, Ix2};
use numpy::{AsSliceError, Element, PyArrayMethods, PyReadonlyArray, PyUntypedArrayMethods};

/// The items of a matrix, row after row. `as_slice` gives those of a matrix in Fortran's order column after column.
pub(crate) fn by_rows<'a, T: Element>(
    matrix: &'a PyReadonlyArray<'_, T, Ix2>,
) -> Result<&'a [T], AsSliceError> {
    if matrix.is_c_contiguous() {
        matrix.as_slice()
    } else {
        Err(AsSliceError)
    }
}

/// Truth values in C's order. To NumPy every byte but 0 is true, and `view(bool)` gives any; to Rust only 1 is.
pub(crate) fn truths<'a, D: Dimension>(
    array: &'a PyReadonlyArray<'_, bool, D>,
) -> Result<Cow<'a, [bool]>, AsSliceError> {
    if !array.is_c_contiguous() {
        return Err(AsSliceError);
    }
    if array.is_empty() {
        return Ok(Cow::default());
    }
    // SAFETY: so many bytes are there, one after the other, and a byte may be anything.
    let bytes = unsafe { slice::from_raw_parts(array.data().cast::<u8>(), array.len()) };
    // Without an early exit, so that several are looked at at once.
    if bytes.iter().fold(0, |all, byte| all | byte) <= 1 {
        // SAFETY: all are 0 or 1, and nobody may write to an array while it is read without the interpreter's lock.
        let truths = unsafe { slice::from_raw_parts(array.data(), array.len()) };
        return Ok(Cow::Borrowed(truths));
    }
    Ok(bytes.iter().map(|&byte| byte != 0).collect())
}
