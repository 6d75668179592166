//! A method as CPython calls it, with nothing between the call and Rust.
//!
//! PyO3 sorts the arguments of a method, looks whose it is, and counts who is inside: a third of an update of a table;
//! with an account of who borrows an array, a third of a microsecond of a search. So a class gets a second method of the
//! same name, in front of PyO3's, which takes plain arguments that come in order. Everything else, and so every refusal,
//! goes on to PyO3's.

use std::any::Any;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::slice;

use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString, PyTuple};
use pyo3::{Borrowed, PyClass, ffi};

/// A class with a method that CPython calls directly.
pub(crate) trait Direct: PyClass {
    /// The name of the method.
    const METHOD: &'static str;
    /// Where PyO3's method stays.
    const GENERAL: &'static str;
    /// The arguments that may come by position or by name, in order.
    const NAMES: &'static [&'static str];

    /// Do it with plain arguments: the values of the first of `NAMES`. `None` if they are not plain, and nothing was
    /// done.
    fn plain<'py>(
        slf: &Bound<'py, Self>,
        values: &[Borrowed<'_, 'py, PyAny>],
    ) -> Option<Bound<'py, PyAny>>;
}

/// The arguments of a call, as they lie in memory: those by position, then those by name.
struct Call<'a, 'py> {
    values: &'a [Borrowed<'a, 'py, PyAny>],
    by_position: usize,
    names: Option<Borrowed<'a, 'py, PyTuple>>,
}

impl<'a, 'py> Call<'a, 'py> {
    /// Whether the arguments come in this order, named or not.
    #[inline(always)]
    fn in_order(&self, expected: &[&str]) -> bool {
        let same = |(name, expected): (Bound<'_, PyAny>, &&str)| {
            name.cast_exact::<PyString>()
                .is_ok_and(|name| name == **expected)
        };
        let named = |names: Borrowed<'a, 'py, PyTuple>| {
            names
                .iter()
                .zip(expected.iter().skip(self.by_position))
                .all(same)
        };
        self.values.len() <= expected.len() && self.names.is_none_or(named)
    }

    /// Do as PyO3's method does.
    fn generally(&self, slf: &Bound<'py, PyAny>, general: &str) -> PyResult<Bound<'py, PyAny>> {
        let (given, named) = self.values.split_at(self.by_position);
        let keywords = PyDict::new(slf.py());
        let names = self.names.iter().flat_map(|names| names.iter());
        for (name, value) in names.zip(named) {
            keywords.set_item(name, value)?;
        }
        let given = PyTuple::new(slf.py(), given)?;
        slf.getattr(general)?.call(given, Some(&keywords))
    }
}

/// What C is told of a result.
#[cold]
fn told<'py>(result: impl FnOnce() -> PyResult<Bound<'py, PyAny>>) -> *mut ffi::PyObject {
    Python::attach(|py| match result() {
        Ok(told) => told.into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    })
}

fn panicked(payload: &(dyn Any + Send)) -> PyErr {
    let told = payload.downcast_ref::<String>().map(String::as_str);
    let told = told.or(payload.downcast_ref::<&str>().copied());
    PanicException::new_err(told.unwrap_or("panic from Rust code").to_owned())
}

/// The number of an int; `None` if it has more than 64 bits. Without an error that is made and dropped.
#[inline(always)]
pub(crate) fn short_int(number: &Bound<'_, PyInt>) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: it is an int.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &mut overflow) };
    (overflow == 0).then_some(value)
}

/// The method as a `METH_FASTCALL | METH_KEYWORDS`.
///
/// # Safety
///
/// As CPython calls it: the thread is attached, `slf` is an object of the class whose method it is, and at `values`
/// are `n` objects and one more for each of the `names`, a tuple or null; all live until it returns.
unsafe extern "C" fn called<T: Direct>(
    slf: *mut ffi::PyObject,
    values: *const *mut ffi::PyObject,
    n: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the thread is attached.
    let py = unsafe { Python::assume_attached() };
    let run = || {
        // SAFETY: `slf` is an object that lives.
        let object = unsafe { Borrowed::from_ptr(py, slf) };
        // SAFETY: `names` is null or a tuple that lives.
        let names =
            unsafe { Borrowed::from_ptr_or_opt(py, names).map(|names| names.cast_unchecked()) };
        let by_position = n as usize;
        let all = by_position + names.map_or(0, |names: Borrowed<'_, '_, PyTuple>| names.len());
        let call = Call {
            values: match all {
                0 => &[],
                // SAFETY: so many live objects are there, and a `Borrowed` is a pointer to one.
                _ => unsafe { slice::from_raw_parts(values.cast(), all) },
            },
            by_position,
            names,
        };
        // SAFETY: CPython refuses any other object before it calls a method of a class.
        let slf = unsafe { object.cast_unchecked::<T>() };
        let plain = call.in_order(T::NAMES).then(|| T::plain(&slf, call.values));
        match plain.flatten() {
            Some(done) => done.into_ptr(),
            None => told(|| call.generally(&object, T::GENERAL)),
        }
    };
    // No panic goes through C.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| told(|| Err(panicked(&*payload))))
}

/// Put this method in front of PyO3's.
pub(crate) fn install<T: Direct>(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<T>();
    let name = T::METHOD;
    let general = class.getattr(name)?;
    let signature: String = general.getattr("__text_signature__")?.extract()?;
    let about: String = general.getattr("__doc__")?.extract()?;
    let about = CString::new(format!("{name}{signature}\n--\n\n{about}"))?;
    // These live as long as the class, which is as long as the process.
    let method = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: CString::new(name)?.into_raw(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: called::<T>,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: about.into_raw(),
    }));
    // SAFETY: both live as long as the process, and the function is of the kind that the flags say.
    let method = unsafe {
        let made = ffi::PyDescr_NewMethod(class.as_type_ptr(), method);
        Bound::from_owned_ptr_or_err(py, made)?
    };
    class.setattr(T::GENERAL, general)?;
    class.setattr(name, method)
}
