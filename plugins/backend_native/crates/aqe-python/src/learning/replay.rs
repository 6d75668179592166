//! Binding of `aqe_learning::replay`.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::slice;
use std::sync::{Mutex, MutexGuard};

use aqe_learning::Pcg64;
use aqe_learning::replay::{AHEAD, Actions, Drawn, Given, Options, Replay, Rows};
use numpy::ndarray::{Array2, Dimension, IntoDimension};
use numpy::{
    Element, IntoPyArray, PyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1,
    PyReadonlyArray2, PyUntypedArrayMethods, ToPyArray,
};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyInt, PyTuple, PyType};

use super::given::Maybe;
use crate::arrays::{by_rows, truths};

type Array1<'py, T> = PyReadonlyArray1<'py, T>;
type Array2In<'py, T> = PyReadonlyArray2<'py, T>;

/// Options in the order of `aqe_backend_numpy.replay._rows.Options`.
type OptionsTuple = (usize, usize, usize, usize, usize, f64, bool, f64, f64, u64);

/// A ring of transitions; the part of a replay that is written in Rust.
#[pyclass(subclass, frozen, module = "aqe_backend_native._native")]
pub struct ReplayRing {
    ring: Mutex<Replay>,
}

/// Actions as they were given.
enum GivenActions<'py> {
    Ints(Array1<'py, i64>),
    Vectors(Array2In<'py, f32>),
}

/// The columns of a batch as they were given: plain, and of lengths that fit.
struct Batch<'py> {
    observations: Array2In<'py, f32>,
    actions: GivenActions<'py>,
    rewards: Array1<'py, f64>,
    next_observations: Array2In<'py, f32>,
    terminated: Vec<bool>,
    ended: Vec<bool>,
}

fn array<'py, T: Element>(object: &Bound<'py, PyAny>) -> Option<Array1<'py, T>> {
    object.cast::<PyArray1<T>>().ok()?.try_readonly().ok()
}

fn flags(object: &Bound<'_, PyAny>) -> Option<Vec<bool>> {
    truths(&array(object)?).ok().map(Cow::into_owned)
}

const SHORT: usize = 1024;
const ASKS: usize = 8; // between which something else is done

/// Numbers of an array that is contiguous.
enum Numbers<'py> {
    Copied(Vec<f32>),
    Borrowed(Array1<'py, f32>),
}

impl<'py> Numbers<'py> {
    /// Short arrays are copied: to keep account of a loan costs more.
    fn of(object: &Bound<'py, PyAny>) -> Option<Self> {
        let array = object.cast::<PyArray1<f32>>().ok()?;
        Some(if array.len() <= SHORT {
            Self::Copied(array.to_vec().ok()?)
        } else {
            Self::Borrowed(array.try_readonly().ok()?)
        })
    }

    fn as_slice(&self) -> Option<&[f32]> {
        match self {
            Self::Copied(numbers) => Some(numbers),
            Self::Borrowed(array) => array.as_slice().ok(),
        }
    }
}

fn matrix<'py>(object: &Bound<'py, PyAny>, shape: [usize; 2]) -> Option<Array2In<'py, f32>> {
    let matrix = object.cast::<PyArray2<f32>>().ok()?.try_readonly().ok()?;
    (matrix.shape() == shape).then_some(matrix)
}

/// Whether all are finite: no exponent is all ones. Without an early exit, so that several are looked at at once.
fn finite(numbers: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    !numbers.iter().fold(false, |odd, number| {
        odd | (number.to_bits() & EXPONENT == EXPONENT)
    })
}

impl<'py> Batch<'py> {
    fn plain(
        options: &Options,
        [
            observations,
            actions,
            rewards,
            next_observations,
            terminated,
        ]: [&Bound<'py, PyAny>; 5],
        truncated: Option<&Bound<'py, PyAny>>,
    ) -> Option<Self> {
        let (rewards, terminated) = (array::<f64>(rewards)?, flags(terminated)?);
        let n = rewards.len();
        let shape = [n, options.observation_dim];
        let actions = match options.action_dim {
            0 => GivenActions::Ints(array(actions).filter(|actions| actions.len() == n)?),
            dim => GivenActions::Vectors(matrix(actions, [n, dim])?),
        };
        let mut ended = terminated.clone();
        if let Some(truncated) = truncated {
            let truncated = flags(truncated).filter(|truncated| truncated.len() == n)?;
            for (ended, truncated) in ended.iter_mut().zip(truncated) {
                *ended |= truncated;
            }
        }
        (ended.len() == n).then_some(Self {
            observations: matrix(observations, shape)?,
            actions,
            rewards,
            next_observations: matrix(next_observations, shape)?,
            terminated,
            ended,
        })
    }

    fn rows(&self) -> Option<Given<'_>> {
        let rows = Rows {
            observations: by_rows(&self.observations).ok()?,
            actions: match &self.actions {
                GivenActions::Ints(actions) => Actions::Ints(actions.as_slice().ok()?),
                GivenActions::Vectors(actions) => Actions::Vectors(by_rows(actions).ok()?),
            },
            rewards: self.rewards.as_slice().ok()?,
            next_observations: by_rows(&self.next_observations).ok()?,
            terminated: &self.terminated[..],
            ended: &self.ended,
        };
        let vectors = match rows.actions {
            Actions::Ints(_) => true,
            Actions::Vectors(actions) => finite(actions),
        };
        let rewards = rows
            .rewards
            .iter()
            .fold(0.0, |doubt, reward| doubt + reward * 0.0)
            == 0.0;
        (finite(rows.observations) && finite(rows.next_observations) && rewards && vectors)
            .then_some(rows)
    }
}

/// A matrix of rows of this length.
fn as_matrix<'py>(py: Python<'py>, numbers: Vec<f32>, n: usize, width: usize) -> Bound<'py, PyAny> {
    let matrix = Array2::from_shape_vec((n, width), numbers).expect("n rows of that length");
    // To hand over a vector costs more than to copy a short one.
    if matrix.len() <= SHORT {
        return matrix.to_pyarray(py).into_any();
    }
    matrix.into_pyarray(py).into_any()
}

fn actions_array<'py>(
    py: Python<'py>,
    actions: Actions<Vec<i64>, Vec<f32>>,
    n: usize,
    width: usize,
) -> Bound<'py, PyAny> {
    match actions {
        Actions::Ints(actions) => PyArray1::from_slice(py, &actions).into_any(),
        Actions::Vectors(actions) => as_matrix(py, actions, n, width),
    }
}

/// An array that nobody else has yet, to be written.
struct Fresh<'py, T, D>(Bound<'py, PyArray<T, D>>);

impl<'py, T: Element + Copy, D: Dimension> Fresh<'py, T, D> {
    fn new(py: Python<'py>, dims: impl IntoDimension<Dim = D>) -> Self {
        // SAFETY: nobody looks at its items before `written`.
        Self(unsafe { PyArray::new(py, dims, false) })
    }

    fn items(&mut self) -> &mut [MaybeUninit<T>] {
        // SAFETY: a new array is contiguous, nobody else has it, and it is borrowed whole.
        unsafe { slice::from_raw_parts_mut(self.0.data().cast(), self.0.len()) }
    }

    /// The array.
    ///
    /// # Safety
    ///
    /// All its items were written.
    unsafe fn written(self) -> Bound<'py, PyAny> {
        self.0.into_any()
    }
}

/// Refuse what would exhaust memory, as NumPy does.
fn afford(options: &Options, rows: usize) -> PyResult<()> {
    if Replay::affordable(options, rows) {
        return Ok(());
    }
    Err(PyMemoryError::new_err(format!(
        "there is no memory for {rows} rows"
    )))
}

/// Make `aqe_core.contracts.replay.Transitions`, a named tuple, of its eight fields: as its own `__new__` does, but
/// that is written in Python.
fn transitions<'py>(py: Python<'py>, fields: Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static NEW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CLASS.import(py, "aqe_core.contracts.replay", "Transitions")?;
    let new = NEW.get_or_try_init(py, || {
        let made: PyResult<_> = py.get_type::<PyTuple>().getattr("__new__");
        made.map(Bound::unbind)
    })?;
    new.bind(py).call1((class, fields))
}

impl ReplayRing {
    fn options(&self) -> Options {
        self.ring().options().clone()
    }

    fn ring(&self) -> MutexGuard<'_, Replay> {
        // Held only within one call, under the interpreter's lock, and by nobody who makes objects meanwhile that may set
        // off the collection of garbage: whatever is called then may want the ring.
        self.ring
            .lock()
            .expect("no thread panicked while it held the ring")
    }

    /// Keep one plain transition; `None` if it is not, and nothing was kept.
    #[inline]
    fn add_plain(
        &self,
        [observation, action, reward, next_observation, terminated]: [&Bound<'_, PyAny>; 5],
        truncated: &Maybe<'_, '_>,
    ) -> Option<()> {
        let (before, after) = (Numbers::of(observation)?, Numbers::of(next_observation)?);
        let (before, after) = (before.as_slice()?, after.as_slice()?);
        let action = [action.cast_exact::<PyInt>().ok()?.extract().ok()?];
        let reward = [reward.cast_exact::<PyFloat>().ok()?.value()];
        let terminated = [terminated.cast_exact::<PyBool>().ok()?.is_true()];
        let ended = [terminated[0] | truncated.plain()?];
        let mut ring = self.ring();
        let dim = ring.options().observation_dim;
        if ring.options().action_dim > 0
            || before.len() != dim
            || after.len() != dim
            || !reward[0].is_finite()
            || !(finite(before) && finite(after))
        {
            return None;
        }
        ring.add(&Rows {
            observations: before,
            actions: Actions::Ints(&action),
            rewards: &reward,
            next_observations: after,
            terminated: &terminated,
            ended: &ended,
        });
        Some(())
    }

    fn set_errors(&self, indices: &Bound<'_, PyAny>, errors: &Bound<'_, PyAny>) -> Option<()> {
        let (indices, errors) = (array::<i64>(indices)?, array::<f64>(errors)?);
        let (indices, errors) = (indices.as_slice().ok()?, errors.as_slice().ok()?);
        let mut ring = self.ring();
        let inside = indices
            .iter()
            .all(|&index| 0 <= index && (index as usize) < ring.len());
        let fits =
            indices.len() == errors.len() && inside && errors.iter().all(|error| error.is_finite());
        if !fits || !ring.options().prioritized {
            return None;
        }
        ring.set_errors(indices, errors);
        Some(())
    }
}

#[pymethods]
impl ReplayRing {
    /// Make an empty ring from checked options and the words of a generator.
    #[new]
    fn new(options: OptionsTuple, generator: [u64; 4]) -> PyResult<Self> {
        let options = options_of(options);
        afford(&options, options.capacity)?;
        let ring = Mutex::new(Replay::new(options, Pcg64::new(generator)));
        Ok(Self { ring })
    }

    /// Return the number of transitions kept. O(1).
    fn __len__(&self) -> usize {
        self.ring().len()
    }

    /// Largest number of transitions kept.
    #[getter]
    fn capacity(&self) -> usize {
        self.ring().options().capacity
    }

    /// Keep one transition, as `aqe_core.contracts.Replay.add` says. O(1).
    #[pyo3(signature = (observation, action, reward, next_observation, terminated, truncated=Maybe(None)),
           text_signature = "($self, observation, action, reward, next_observation, terminated, truncated=False)")]
    #[allow(clippy::too_many_arguments)] // the contract has them
    fn add<'py>(
        slf: &Bound<'py, Self>,
        observation: &Bound<'py, PyAny>,
        action: &Bound<'py, PyAny>,
        reward: &Bound<'py, PyAny>,
        next_observation: &Bound<'py, PyAny>,
        terminated: &Bound<'py, PyAny>,
        truncated: Maybe<'_, 'py>,
    ) -> PyResult<()> {
        let row = [observation, action, reward, next_observation, terminated];
        if slf.get().add_plain(row, &truncated).is_some() {
            return Ok(());
        }
        let truncated = truncated.or_false(slf.py());
        let row = (
            observation,
            action,
            reward,
            next_observation,
            terminated,
            truncated,
        );
        slf.call_method1(intern!(slf.py(), "_add_with_care"), row)?;
        Ok(())
    }

    /// Keep transitions in order, as `aqe_core.contracts.Replay.add_batch` says. O(rows).
    #[pyo3(signature = (observations, actions, rewards, next_observations, terminated, truncated=None))]
    #[allow(clippy::too_many_arguments)] // the contract has them
    fn add_batch<'py>(
        slf: &Bound<'py, Self>,
        observations: &Bound<'py, PyAny>,
        actions: &Bound<'py, PyAny>,
        rewards: &Bound<'py, PyAny>,
        next_observations: &Bound<'py, PyAny>,
        terminated: &Bound<'py, PyAny>,
        truncated: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let columns = [
            observations,
            actions,
            rewards,
            next_observations,
            terminated,
        ];
        let batch = Batch::plain(&slf.get().options(), columns, truncated);
        if let Some(rows) = batch.as_ref().and_then(Batch::rows) {
            slf.get().ring().add(&rows);
            return Ok(());
        }
        let columns = (
            observations,
            actions,
            rewards,
            next_observations,
            terminated,
            truncated,
        );
        slf.call_method1(intern!(slf.py(), "_add_batch_with_care"), columns)?;
        Ok(())
    }

    /// `add_batch` with checked columns.
    #[allow(clippy::too_many_arguments)] // the contract has them
    fn _add_batch<'py>(
        &self,
        observations: &Bound<'py, PyAny>,
        actions: &Bound<'py, PyAny>,
        rewards: &Bound<'py, PyAny>,
        next_observations: &Bound<'py, PyAny>,
        terminated: &Bound<'py, PyAny>,
        ended: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let columns = [
            observations,
            actions,
            rewards,
            next_observations,
            terminated,
        ];
        let batch = Batch::plain(&self.options(), columns, Some(ended));
        let rows = batch.as_ref().and_then(Batch::rows);
        let rows = rows.ok_or_else(|| PyValueError::new_err("the columns were not checked"))?;
        self.ring().add(&rows);
        Ok(())
    }

    /// Draw transitions with replacement, as `aqe_core.contracts.Replay.sample` says.
    ///
    /// O(batch size * n_step), with priorities O(batch size * log len).
    #[pyo3(signature = (batch_size, *, importance_exponent=None))]
    fn sample<'py>(
        slf: &Bound<'py, Self>,
        batch_size: &Bound<'py, PyAny>,
        importance_exponent: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let plain = batch_size
            .cast_exact::<PyInt>()
            .ok()
            .and_then(|m| m.extract::<usize>().ok());
        // An exponent that is given, a huge batch and an empty ring are rare.
        match plain.filter(|m| (1..1 << 30).contains(m)) {
            Some(m) if importance_exponent.is_none() && !this.ring().is_empty() => {
                this._sample(slf.py(), m, None)
            }
            _ => slf.call_method1(
                intern!(slf.py(), "_sample_with_care"),
                (batch_size, importance_exponent),
            ),
        }
    }

    /// `sample` with checked arguments.
    #[pyo3(signature = (m, importance_exponent))]
    fn _sample<'py>(
        &self,
        py: Python<'py>,
        m: usize,
        importance_exponent: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (exponent, dim, action_dim) = {
            let ring = self.ring();
            let options = ring.options();
            afford(options, m)?;
            let exponent = importance_exponent.unwrap_or(options.importance_exponent);
            (exponent, options.observation_dim, options.action_dim)
        };
        let (mut drawn, mut weights) = (vec![0; m], vec![0.0; m]);
        let far = self.ring().draw(&mut drawn, &mut weights);
        // Rows come from far away: new arrays are made meanwhile. Nothing that Python does then can change the ring.
        let first = &drawn[..m.min(AHEAD)];
        let mut parts = first.chunks(first.len().div_ceil(ASKS).max(1));
        let mut ask = || {
            let part = parts.next().unwrap_or_default();
            part.iter().for_each(|&index| far.ask(index));
        };
        ask();
        self.ring().weigh(&drawn, &mut weights, exponent);
        ask();
        let mut observations = Fresh::new(py, [m, dim]);
        ask();
        let mut next_observations = Fresh::new(py, [m, dim]);
        ask();
        let mut actions = match action_dim {
            0 => Actions::Ints(Fresh::new(py, [m])),
            dim => Actions::Vectors(Fresh::new(py, [m, dim])),
        };
        ask();
        let (mut rewards, mut discounts) = (Fresh::new(py, [m]), Fresh::new(py, [m]));
        ask();
        let mut terminated = Fresh::new(py, [m]);
        ask();
        let indices = PyArray1::from_slice(py, &drawn).into_any();
        ask();
        let weights = PyArray1::from_slice(py, &weights).into_any();
        let mut into = Drawn {
            observations: observations.items(),
            actions: match &mut actions {
                Actions::Ints(actions) => Actions::Ints(actions.items()),
                Actions::Vectors(actions) => Actions::Vectors(actions.items()),
            },
            rewards: rewards.items(),
            next_observations: next_observations.items(),
            terminated: terminated.items(),
            discounts: discounts.items(),
        };
        self.ring().copy(&drawn, &mut into);
        // SAFETY: `copy` writes every item, or panics.
        let fields = unsafe {
            [
                indices,
                observations.written(),
                match actions {
                    Actions::Ints(actions) => actions.written(),
                    Actions::Vectors(actions) => actions.written(),
                },
                rewards.written(),
                next_observations.written(),
                terminated.written(),
                discounts.written(),
                weights,
            ]
        };
        transitions(py, PyTuple::new(py, fields)?)
    }

    /// Set the priority of drawn rows, as `aqe_core.contracts.Replay.update_priorities` says. O(rows * log len).
    fn update_priorities(
        slf: &Bound<'_, Self>,
        indices: &Bound<'_, PyAny>,
        errors: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if slf.get().set_errors(indices, errors).is_none() {
            slf.call_method1(
                intern!(slf.py(), "_update_priorities_with_care"),
                (indices, errors),
            )?;
        }
        Ok(())
    }

    /// `update_priorities` with checked columns.
    fn _update_priorities(
        &self,
        indices: &Bound<'_, PyAny>,
        errors: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let set = self.set_errors(indices, errors);
        set.ok_or_else(|| PyValueError::new_err("the columns were not checked"))
    }

    /// The options, in the order in which they were given.
    fn _options(&self) -> OptionsTuple {
        let ring = self.ring();
        let o = ring.options();
        let counts = (
            o.capacity,
            o.observation_dim,
            o.action_dim,
            o.n_envs,
            o.n_step,
        );
        let (capacity, observation_dim, action_dim, n_envs, n_step) = counts;
        let exponents = (o.priority_exponent, o.importance_exponent);
        (
            capacity,
            observation_dim,
            action_dim,
            n_envs,
            n_step,
            o.discount,
            o.prioritized,
            exponents.0,
            exponents.1,
            o.seed,
        )
    }

    /// Everything kept: columns; weights or None; head, highest; words of the generator.
    fn _kept<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let mut ring = self.ring();
        let weights = ring.weights();
        let (n, dim, action_dim) = (
            ring.len(),
            ring.options().observation_dim,
            ring.options().action_dim,
        );
        let rows = ring.rows();
        let place = (ring.head(), ring.highest());
        let words = ring.random().words();
        drop(ring);
        let columns = (
            as_matrix(py, rows.observations, n, dim),
            actions_array(py, rows.actions, n, action_dim),
            PyArray1::from_slice(py, &rows.rewards),
            as_matrix(py, rows.next_observations, n, dim),
            PyArray1::from_slice(py, &rows.terminated),
            PyArray1::from_slice(py, &rows.ended),
        );
        let weights = weights.map(|weights| weights.into_pyarray(py));
        (columns, weights, place, words).into_pyobject(py)
    }

    /// Replace everything by checked options and what `_kept` returned.
    fn _resume<'py>(
        &self,
        options: OptionsTuple,
        columns: [Bound<'py, PyAny>; 6],
        weights: Option<Array1<'py, f64>>,
        place: (usize, f64),
        generator: [u64; 4],
    ) -> PyResult<()> {
        let not_checked = || PyValueError::new_err("the state was not checked");
        let mut ring = Replay::new(options_of(options), Pcg64::new(generator));
        let [
            observations,
            actions,
            rewards,
            next_observations,
            terminated,
            ended,
        ] = &columns;
        let columns = [
            observations,
            actions,
            rewards,
            next_observations,
            terminated,
        ];
        let batch = Batch::plain(ring.options(), columns, Some(ended));
        ring.add(
            &batch
                .as_ref()
                .and_then(Batch::rows)
                .ok_or_else(not_checked)?,
        );
        let weights = match &weights {
            Some(weights) => Some(weights.as_slice()?),
            None => None,
        };
        ring.resume(place.0, place.1, weights);
        *self.ring() = ring;
        Ok(())
    }
}

fn options_of(options: OptionsTuple) -> Options {
    let (capacity, observation_dim, action_dim, n_envs, n_step, ..) = options;
    let (.., discount, prioritized, priority_exponent, importance_exponent, seed) = options;
    Options {
        capacity,
        observation_dim,
        action_dim,
        n_envs,
        n_step,
        discount,
        prioritized,
        priority_exponent,
        importance_exponent,
        seed,
    }
}
