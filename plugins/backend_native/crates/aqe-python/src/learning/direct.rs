//! `update` as CPython calls it, with nothing between the call and the table.
//!
//! PyO3 sorts the arguments of a method, looks whose it is, and counts who is inside: a third of an update. So a class
//! gets a second `update`, in front of PyO3's, which takes plain arguments that come in order. Everything else, and so
//! every refusal, goes on to PyO3's.

use std::any::Any;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::slice;

use pyo3::intern;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString, PyTuple};
use pyo3::{Borrowed, PyClass, ffi};

use super::given::Maybe;

/// Where PyO3's method stays.
const GENERAL: &str = "_update_as_given";
const NAMES: [&str; 6] = [
    "state",
    "action",
    "reward",
    "next_state",
    "done",
    "next_action",
];

/// The arguments of `update`.
pub(super) struct Step<'a, 'py> {
    pub state: &'a Bound<'py, PyAny>,
    pub action: &'a Bound<'py, PyAny>,
    pub reward: &'a Bound<'py, PyAny>,
    pub next_state: &'a Bound<'py, PyAny>,
    pub done: Maybe<'a, 'py>,
    pub next_action: Option<&'a Bound<'py, PyAny>>,
}

/// A class whose `update` learns from one transition.
pub(super) trait Updates: PyClass {
    /// Learn from plain arguments, and say what `update` says; `None` if they are not, and nothing was learned.
    fn update_plain<'py>(slf: &Bound<'py, Self>, step: &Step<'_, 'py>)
    -> Option<Bound<'py, PyAny>>;
}

/// Learn from given arguments, plain or not, and say what `update` says.
pub(super) fn update_given<'py, T: Updates>(
    slf: &Bound<'py, T>,
    step: &Step<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(told) = T::update_plain(slf, step) {
        return Ok(told);
    }
    let Step {
        state,
        action,
        reward,
        next_state,
        next_action,
        ..
    } = *step;
    let done = step.done.or_false(slf.py());
    let name = intern!(slf.py(), "_update_with_care");
    slf.as_any()
        .call_method1(name, (state, action, reward, next_state, done, next_action))
}

/// The arguments of a call, as they lie in memory: those by position, then those by name.
struct Call<'a, 'py> {
    values: &'a [Borrowed<'a, 'py, PyAny>],
    by_position: usize,
    names: Option<Borrowed<'a, 'py, PyTuple>>,
}

impl<'a, 'py> Call<'a, 'py> {
    /// The arguments, if they are as many as there may be, in order, named or not.
    #[inline(always)]
    fn step(&self) -> Option<Step<'_, 'py>> {
        if self.names.is_some_and(|names| !self.in_order(names)) {
            return None;
        }
        let [state, action, reward, next_state, rest @ ..] = self.values else {
            return None;
        };
        let (done, next_action) = match rest {
            [] => (None, None),
            [done] => (Some(*done), None),
            [done, next_action] => (Some(*done), Some(next_action)),
            _ => return None,
        };
        Some(Step {
            state,
            action,
            reward,
            next_state,
            done: Maybe(done),
            next_action: next_action
                .filter(|action| !action.is_none())
                .map(|action| &**action),
        })
    }

    fn in_order(&self, names: Borrowed<'a, 'py, PyTuple>) -> bool {
        let expected = NAMES.iter().skip(self.by_position);
        let same = |(name, expected): (Bound<'_, PyAny>, &&str)| {
            name.cast_exact::<PyString>()
                .is_ok_and(|name| name == **expected)
        };
        names.iter().zip(expected).all(same)
    }

    /// Do as PyO3's method does.
    fn generally(&self, slf: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (given, named) = self.values.split_at(self.by_position);
        let keywords = PyDict::new(slf.py());
        let names = self.names.iter().flat_map(|names| names.iter());
        for (name, value) in names.zip(named) {
            keywords.set_item(name, value)?;
        }
        let given = PyTuple::new(slf.py(), given)?;
        slf.getattr(GENERAL)?.call(given, Some(&keywords))
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
pub(super) fn short_int(number: &Bound<'_, PyInt>) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: it is an int.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &mut overflow) };
    (overflow == 0).then_some(value)
}

/// `update` as a `METH_FASTCALL | METH_KEYWORDS`.
///
/// # Safety
///
/// As CPython calls it: the thread is attached, `slf` is an object of the class whose method it is, and at `values`
/// are `n` objects and one more for each of the `names`, a tuple or null; all live until it returns.
unsafe extern "C" fn update<T: Updates>(
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
        match call.step().and_then(|step| T::update_plain(&slf, &step)) {
            Some(learned) => learned.into_ptr(),
            None => told(|| call.generally(&object)),
        }
    };
    // No panic goes through C.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| told(|| Err(panicked(&*payload))))
}

/// Put this `update` in front of PyO3's.
pub(super) fn install<T: Updates>(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<T>();
    let general = class.getattr("update")?;
    let signature: String = general.getattr("__text_signature__")?.extract()?;
    let about: String = general.getattr("__doc__")?.extract()?;
    let about = CString::new(format!("update{signature}\n--\n\n{about}"))?;
    // As long as the class, which is as long as the process.
    let method = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: c"update".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: update::<T>,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: about.into_raw(),
    }));
    // SAFETY: both live as long as the process, and the function is of the kind that the flags say.
    let method = unsafe {
        let made = ffi::PyDescr_NewMethod(class.as_type_ptr(), method);
        Bound::from_owned_ptr_or_err(py, made)?
    };
    class.setattr(GENERAL, general)?;
    class.setattr("update", method)
}
