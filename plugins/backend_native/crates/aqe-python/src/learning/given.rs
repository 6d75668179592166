//! What the binding of `aqe-learning` takes: names, columns, rewards.

use aqe_learning as core;
use core::{Column, Entry, Key, Name, Transitions};
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{Borrowed, PyTypeInfo};

use crate::arrays::truths;
use crate::direct::short_int;

const MAX_REWARD: f64 = 1e290;

/// An object as one of exactly this type. A cast that fails makes an error, which costs as much as a look at a text.
#[inline(always)]
pub(super) fn exactly<'a, 'py, T: PyTypeInfo>(
    object: &'a Bound<'py, PyAny>,
) -> Option<&'a Bound<'py, T>> {
    if object.is_exact_instance_of::<T>() {
        object.cast_exact().ok()
    } else {
        None
    }
}

/// A plain integer: an exact int of 64 bits.
#[inline(always)]
pub(super) fn plain_int(object: &Bound<'_, PyAny>) -> Option<i64> {
    short_int(exactly::<PyInt>(object)?)
}

/// A plain key: an exact str that is Unicode, or an exact int of 64 bits.
#[inline(always)]
pub(super) fn plain_key<'a>(object: &'a Bound<'_, PyAny>) -> Option<Key<'a>> {
    if let Some(text) = exactly::<PyString>(object) {
        return Some(Key::text(text.to_str().ok()?.as_bytes()));
    }
    plain_int(object).map(Key::Int)
}

/// A key that was checked; texts that are no Unicode are encoded with their lone surrogates.
pub(super) fn checked_name(object: &Bound<'_, PyAny>) -> PyResult<Name> {
    if let Some(key) = plain_key(object) {
        return Ok(Name::from(key));
    }
    let bytes = object.call_method1("encode", ("utf-8", "surrogatepass"))?;
    Ok(Name::Text(bytes.cast::<PyBytes>()?.as_bytes().into()))
}

pub(super) fn checked_names(objects: &Bound<'_, PyAny>) -> PyResult<Vec<Name>> {
    objects
        .try_iter()?
        .map(|object| checked_name(&object?))
        .collect()
}

pub(super) fn to_python<'py>(py: Python<'py>, name: &Name) -> PyResult<Bound<'py, PyAny>> {
    Ok(match name {
        Name::Int(number) => number.into_pyobject(py)?.into_any(),
        Name::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => PyString::new(py, text).into_any(),
            Err(_) => PyBytes::new(py, bytes).call_method1("decode", ("utf-8", "surrogatepass"))?,
        },
    })
}

/// Rows, columns, values, visits and last updates of pairs.
pub(super) type Pairs<'py> = (
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, f64>,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i64>,
);

/// Pairs as [`Pairs`].
pub(super) fn to_arrays<'py>(py: Python<'py>, pairs: &[(usize, Entry)]) -> [Bound<'py, PyAny>; 5] {
    let ints = |of: fn(&(usize, Entry)) -> u64| {
        PyArray1::from_iter(py, pairs.iter().map(|pair| of(pair) as i64)).into_any()
    };
    [
        ints(|&(row, _)| row as u64),
        ints(|(_, entry)| entry.column as u64),
        PyArray1::from_iter(py, pairs.iter().map(|(_, entry)| entry.value)).into_any(),
        ints(|(_, entry)| entry.visits),
        ints(|(_, entry)| entry.last),
    ]
}

/// What `to_arrays` told, checked.
pub(super) fn from_arrays(
    (rows, columns, values, visits, lasts): &Pairs<'_>,
) -> Vec<(usize, Entry)> {
    let places = rows.as_array().into_iter().zip(columns.as_array());
    let counts = visits.as_array().into_iter().zip(lasts.as_array());
    let pairs = places.zip(values.as_array().into_iter().zip(counts));
    pairs
        .map(|((&row, &column), (&value, (&visits, &last)))| {
            let entry = Entry {
                column: column as usize,
                value,
                visits: visits as u64,
                last: last as u64,
            };
            (row as usize, entry)
        })
        .collect()
}

/// A column of keys as it was given.
pub(super) enum Given<'py> {
    Ints(PyReadonlyArray1<'py, i64>),
    List(Vec<Bound<'py, PyAny>>),
    Names(Vec<Name>),
}

/// The same, readable without Python.
enum Keys<'a> {
    Ints(&'a [i64]),
    Keys(Vec<Key<'a>>),
}

impl<'py> Given<'py> {
    pub(super) fn plain(object: &Bound<'py, PyAny>) -> Option<Self> {
        if let Ok(array) = object.cast::<PyArray1<i64>>() {
            return Some(Given::Ints(array.try_readonly().ok()?));
        }
        Some(Given::List(
            object.cast_exact::<PyList>().ok()?.iter().collect(),
        ))
    }

    pub(super) fn checked(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        match Self::plain(object) {
            Some(given) if given.keys().is_some() => Ok(given),
            _ => Ok(Given::Names(checked_names(object)?)),
        }
    }

    fn keys(&self) -> Option<Keys<'_>> {
        Some(match self {
            Given::Ints(array) => Keys::Ints(array.as_slice().ok()?),
            Given::List(list) => Keys::Keys(list.iter().map(plain_key).collect::<Option<_>>()?),
            Given::Names(names) => Keys::Keys(names.iter().map(Name::key).collect()),
        })
    }
}

impl Keys<'_> {
    fn column(&self) -> Column<'_> {
        match self {
            Keys::Ints(keys) => Column::Ints(keys),
            Keys::Keys(keys) => Column::Keys(keys),
        }
    }
}

/// The columns of a batch as they were given.
pub(super) struct Batch<'py> {
    pub states: Given<'py>,
    pub actions: Given<'py>,
    pub rewards: PyReadonlyArray1<'py, f64>,
    pub next_states: Given<'py>,
    pub dones: Option<PyReadonlyArray1<'py, bool>>,
    pub next_actions: Option<Given<'py>>,
}

impl<'py> Batch<'py> {
    /// The columns of a batch if they are plain; next actions are looked at where an algorithm follows them.
    pub(super) fn plain(
        [states, actions, rewards, next_states]: [&Bound<'py, PyAny>; 4],
        dones: Option<&Bound<'py, PyAny>>,
        next_actions: Option<&Bound<'py, PyAny>>,
    ) -> Option<Self> {
        Some(Self {
            states: Given::plain(states)?,
            actions: Given::plain(actions)?,
            rewards: rewards.cast::<PyArray1<f64>>().ok()?.try_readonly().ok()?,
            next_states: Given::plain(next_states)?,
            dones: match dones {
                Some(dones) => Some(dones.cast::<PyArray1<bool>>().ok()?.try_readonly().ok()?),
                None => None,
            },
            next_actions: match next_actions {
                Some(next_actions) => Some(Given::plain(next_actions)?),
                None => None,
            },
        })
    }

    /// Learn from it without holding up Python; `None` if it is not plain or not allowed, and nothing was learned.
    pub(super) fn teach(
        &self,
        py: Python<'_>,
        learn: impl FnOnce(&Transitions<'_>) -> Result<(), core::Undeclared> + Send,
    ) -> Option<()> {
        let (states, actions, next_states) = (
            self.states.keys()?,
            self.actions.keys()?,
            self.next_states.keys()?,
        );
        let next_actions = match &self.next_actions {
            Some(next_actions) => Some(next_actions.keys()?),
            None => None,
        };
        let dones = match &self.dones {
            Some(dones) => Some(truths(dones).ok()?),
            None => None,
        };
        let dones = dones.as_deref();
        let rewards = self.rewards.as_slice().ok()?;
        let transitions = Transitions {
            states: states.column(),
            actions: actions.column(),
            rewards,
            next_states: next_states.column(),
            dones,
            next_actions: next_actions.as_ref().map(Keys::column),
        };
        let lengths = [
            Some(transitions.states.len()),
            Some(transitions.actions.len()),
            Some(transitions.next_states.len()),
            transitions.next_actions.map(|column| column.len()),
            dones.map(<[bool]>::len),
        ];
        if lengths
            .into_iter()
            .flatten()
            .any(|length| length != rewards.len())
        {
            return None;
        }
        py.detach(|| {
            // Without an early exit, so that the processor looks at several at once.
            let bounded = rewards.iter().fold(true, |bounded, reward| {
                bounded & (reward.abs() <= MAX_REWARD)
            });
            bounded.then(|| learn(&transitions).ok())?
        })
    }
}

/// An argument that may be absent; `None` is a value like any other.
pub(super) struct Maybe<'a, 'py>(pub Option<Borrowed<'a, 'py, PyAny>>);

impl<'a, 'py> FromPyObject<'a, 'py> for Maybe<'a, 'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(Some(object)))
    }
}

impl<'py> Maybe<'_, 'py> {
    /// A bool, if it is one.
    #[inline]
    pub(super) fn plain(&self) -> Option<bool> {
        let Some(object) = self.0 else {
            return Some(false);
        };
        Some(object.cast_exact::<PyBool>().ok()?.is_true())
    }

    pub(super) fn or_false(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self.0 {
            Some(object) => object.to_owned(),
            None => PyBool::new(py, false).to_owned().into_any(),
        }
    }
}

/// Offered actions, a list or a tuple; `None` if they are neither, or none.
pub(super) fn plain_offered<'py>(actions: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    let offered: Vec<_> = match actions.cast_exact::<PyList>() {
        Ok(list) => list.iter().collect(),
        Err(_) => actions.cast_exact::<PyTuple>().ok()?.iter().collect(),
    };
    (!offered.is_empty()).then_some(offered)
}

/// A reward that needs no care.
#[inline]
pub(super) fn plain_reward(reward: &Bound<'_, PyAny>) -> Option<f64> {
    let value = match exactly::<PyFloat>(reward) {
        Some(number) => number.value(),
        None => exactly::<PyInt>(reward)?.extract().ok()?,
    };
    (value.abs() <= MAX_REWARD).then_some(value)
}
