//! Learning and keeping what was learned from, in one call; states may be dicts, which become keys here.

use std::sync::{Mutex, MutexGuard};

use aqe_learning as core;
use core::{Journal, Key, Name, Transition};
use numpy::{IntoPyArray, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PyString};

use super::direct::{Step, Updates, update_given};
use super::given::{
    Batch, Given, Maybe, checked_name, exactly, plain_int, plain_key, plain_reward,
};
use super::{TabularLearner, refused, to_list};

const LONGEST: usize = 256; // of a key made here; longer ones are made in Python

/// A text in the making.
struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    const EMPTY: Self = Self {
        bytes: [0; LONGEST],
        length: 0,
    };

    #[inline]
    fn push(&mut self, part: &str) -> Option<()> {
        let end = self.length + part.len();
        self.bytes
            .get_mut(self.length..end)?
            .copy_from_slice(part.as_bytes());
        self.length = end;
        Some(())
    }
}

/// A field of an encoding: its name, and the parts of keys that it makes, by code.
struct Field {
    name: Py<PyString>,
    parts: Vec<String>,
    kind: Kind,
}

enum Kind {
    /// Parts by text; any other text has the last of all parts.
    Choice(Vec<(String, String)>),
    /// Ends, width and number of bins; the upper end has a part of its own, equal to the one before.
    Number([f64; 4]),
}

/// What Python tells of a field: name, parts, parts by text (of a choice), ends, width and bins (of a number).
type Told<'py> = (
    Bound<'py, PyString>,
    Vec<String>,
    Option<Vec<(String, String)>>,
    [f64; 4],
);

impl Field {
    /// Add the part of a value; `None` if it is not plain.
    #[inline]
    fn encode(&self, state: &Bound<'_, PyDict>, text: &mut Text) -> Option<()> {
        let value = state.get_item(self.name.bind(state.py())).ok()??;
        let part = match &self.kind {
            Kind::Number([low, high, width, bins]) => {
                let number = match exactly::<PyFloat>(&value) {
                    Some(number) => number.value(),
                    None => exact(plain_int(&value)?)?,
                };
                if !(*low <= number && number <= *high) {
                    return None; // nor is NaN in between
                }
                // The order of operations is that of `aqe_core.encoding`.
                self.parts.get(((number - low) / width * bins) as usize)?
            }
            Kind::Choice(options) => {
                let given = exactly::<PyString>(&value)?.to_str().ok()?;
                let found = options.iter().find(|(option, _)| option == given);
                found.map(|(_, part)| part).or(self.parts.last())?
            }
        };
        text.push(part)
    }
}

/// An integer as a float, if that changes nothing.
fn exact(number: i64) -> Option<f64> {
    (number.unsigned_abs() <= 1 << 53).then_some(number as f64)
}

/// A learner with a journal; the part of a recorder that is written in Rust.
#[pyclass(subclass, frozen, module = "aqe_backend_native._native")]
pub struct Recorder {
    learner: Py<TabularLearner>,
    fields: Vec<Field>, // empty: states are keys
    journal: Mutex<Journal>,
}

impl Recorder {
    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal
            .lock()
            .expect("no thread panicked while it held the journal")
    }

    /// The key of a state: itself, or made from a dict; `None` if it is not plain.
    #[inline]
    fn key<'a>(&self, state: &'a Bound<'_, PyAny>, text: &'a mut Text) -> Option<Key<'a>> {
        if let Some(key) = plain_key(state) {
            return Some(key);
        }
        let state = state.cast_exact::<PyDict>().ok()?;
        if self.fields.is_empty() {
            return None;
        }
        for field in &self.fields {
            field.encode(state, text)?;
        }
        Some(Key::text(&text.bytes[..text.length]))
    }

    /// Learn, and keep what was learned from; return how many are kept.
    #[inline]
    fn learn(&self, py: Python<'_>, step: &Transition<'_>) -> Result<usize, core::Undeclared> {
        let Transition {
            state,
            action,
            reward,
            next_state,
            done,
            next_action,
        } = *step;
        self.learner.get().with(py, |table| {
            table.update(state, action, reward, next_state, done, next_action)
        })?;
        let mut journal = self.journal();
        journal.push(step);
        Ok(journal.len())
    }

    fn learn_all(&self, py: Python<'_>, batch: &Batch<'_>) -> Option<usize> {
        let learner = self.learner.get();
        batch.teach(py, |rows| {
            learner.learner.update_batch(rows)?;
            self.journal().extend(rows);
            Ok(())
        })?;
        Some(self.journal().len())
    }
}

impl Updates for Recorder {
    #[inline(always)]
    fn update_plain<'py>(
        slf: &Bound<'py, Self>,
        step: &Step<'_, 'py>,
    ) -> Option<Bound<'py, PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        let (mut here, mut there) = (Text::EMPTY, Text::EMPTY);
        let next_action = match step.next_action {
            Some(next_action) if this.learner.get().follows => Some(plain_key(next_action)?),
            _ => None,
        };
        let transition = Transition {
            state: this.key(step.state, &mut here)?,
            action: plain_key(step.action)?,
            reward: plain_reward(step.reward)?,
            next_state: this.key(step.next_state, &mut there)?,
            done: step.done.plain()?,
            next_action,
        };
        let kept = this.learn(py, &transition).ok()?;
        Some(kept.into_pyobject(py).ok()?.into_any())
    }
}

#[pymethods]
impl Recorder {
    /// Record a learner; the fields of an encoding as `Told` says, or none.
    #[new]
    fn new(learner: Py<TabularLearner>, fields: Vec<Told<'_>>) -> Self {
        let fields = fields
            .into_iter()
            .map(|(name, parts, options, range)| Field {
                name: name.unbind(),
                parts,
                kind: match options {
                    Some(options) => Kind::Choice(options),
                    None => Kind::Number(range),
                },
            });
        Self {
            learner,
            fields: fields.collect(),
            journal: Mutex::default(),
        }
    }

    /// Return the number of transitions kept. O(1).
    fn __len__(&self) -> usize {
        self.journal().len()
    }

    /// Learn from one transition, and keep it, as `aqe_core.contracts.Recorder.update` says.
    #[pyo3(signature = (state, action, reward, next_state, done=Maybe(None), next_action=None),
           text_signature = "($self, state, action, reward, next_state, done=False, next_action=None)")]
    #[allow(clippy::too_many_arguments)] // the contract has them
    fn update<'py>(
        slf: &Bound<'py, Self>,
        state: &Bound<'py, PyAny>,
        action: &Bound<'py, PyAny>,
        reward: &Bound<'py, PyAny>,
        next_state: &Bound<'py, PyAny>,
        done: Maybe<'_, 'py>,
        next_action: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let step = Step {
            state,
            action,
            reward,
            next_state,
            done,
            next_action,
        };
        update_given(slf, &step)
    }

    /// Learn from `n` transitions in order, and keep them, as `aqe_core.contracts.Recorder.update_batch` says. O(n).
    #[pyo3(signature = (states, actions, rewards, next_states, dones=None, next_actions=None))]
    #[allow(clippy::too_many_arguments)] // the contract has them
    fn update_batch<'py>(
        slf: &Bound<'py, Self>,
        states: &Bound<'py, PyAny>,
        actions: &Bound<'py, PyAny>,
        rewards: &Bound<'py, PyAny>,
        next_states: &Bound<'py, PyAny>,
        dones: Option<&Bound<'py, PyAny>>,
        next_actions: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<usize> {
        let this = slf.get();
        let following = next_actions.filter(|_| this.learner.get().follows);
        let batch = Batch::plain([states, actions, rewards, next_states], dones, following);
        if let Some(kept) = batch.and_then(|batch| this.learn_all(slf.py(), &batch)) {
            return Ok(kept);
        }
        slf.call_method1(
            intern!(slf.py(), "_update_batch_with_care"),
            (states, actions, rewards, next_states, dones, next_actions),
        )?
        .extract()
    }

    /// Return names, and columns of the first `n` transitions: positions of states, actions, next states and next
    /// actions among the names (-1: none), rewards, dones.
    fn _first<'py>(
        &self,
        py: Python<'py>,
        n: usize,
    ) -> PyResult<(Bound<'py, PyList>, [Bound<'py, PyAny>; 6])> {
        // Copied before Python can run anything else, which might want the journal.
        let (names, keys, rewards, dones) = {
            let journal = self.journal();
            let (keys, rewards, dones) = journal.first(n);
            let position = |&number: &u32| number as i32 - 1;
            let keys = keys.map(|column| column.iter().map(position).collect::<Vec<_>>());
            let names = journal.names().to_vec();
            (names, keys, rewards.to_vec(), dones.to_vec())
        };
        let [states, actions, next_states, next_actions] =
            keys.map(|column| column.into_pyarray(py).into_any());
        let columns = [
            states,
            actions,
            next_states,
            next_actions,
            rewards.into_pyarray(py).into_any(),
            dones.into_pyarray(py).into_any(),
        ];
        Ok((to_list(py, &names)?, columns))
    }

    /// Keep the first `n` transitions no longer.
    fn drop(&self, n: usize) {
        self.journal().drop_first(n);
    }

    /// `update` with checked arguments.
    fn _update(
        &self,
        py: Python<'_>,
        names: [Bound<'_, PyAny>; 3],
        reward: f64,
        done: bool,
        next_action: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let [state, action, next_state] = names.each_ref().map(checked_name);
        let (state, action, next_state) = (state?, action?, next_state?);
        let next_action = next_action.map(checked_name).transpose()?;
        let step = Transition {
            state: state.key(),
            action: action.key(),
            reward,
            next_state: next_state.key(),
            done,
            next_action: next_action.as_ref().map(Name::key),
        };
        self.learn(py, &step).map_err(refused)
    }

    /// `update_batch` with checked columns.
    #[pyo3(signature = (states, actions, rewards, next_states, dones, next_actions))]
    #[allow(clippy::too_many_arguments)] // the contract has them
    fn _update_batch<'py>(
        &self,
        states: &Bound<'py, PyAny>,
        actions: &Bound<'py, PyAny>,
        rewards: PyReadonlyArray1<'py, f64>,
        next_states: &Bound<'py, PyAny>,
        dones: Option<PyReadonlyArray1<'py, bool>>,
        next_actions: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<usize> {
        let batch = Batch {
            states: Given::checked(states)?,
            actions: Given::checked(actions)?,
            rewards,
            next_states: Given::checked(next_states)?,
            dones,
            next_actions: next_actions.map(Given::checked).transpose()?,
        };
        let kept = self.learn_all(states.py(), &batch);
        kept.ok_or_else(|| PyValueError::new_err("the columns were not checked"))
    }
}
