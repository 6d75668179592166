//! Binding of `aqe_learning::softmax`. Plain arguments and all others as in `TabularLearner`.

use std::sync::{Mutex, MutexGuard, TryLockError};

use aqe_learning as core;
use core::Name;
use core::softmax::{Learned, Policy, Rollouts, Rules, Waiting};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyList, PyTuple};

use super::given::{
    self, Batch, Given, Maybe, checked_name, checked_names, plain_key, plain_offered, plain_reward,
};
use super::{refused, to_list};

use crate::arrays::truths;

type Floats<'py> = PyReadonlyArray1<'py, f64>;
type Ints<'py> = PyReadonlyArray1<'py, i64>;
type Waits<'py> = (
    Ints<'py>,
    Ints<'py>,
    Floats<'py>,
    PyReadonlyArray1<'py, bool>,
);

/// Preferences of (state, action) pairs; the part of a tabular policy that is written in Rust.
#[pyclass(subclass, frozen, module = "aqe_backend_native._native")]
pub struct SoftmaxLearner {
    policy: Mutex<Policy>,
}

const POISONED: &str = "no thread panicked while it held the table";

impl SoftmaxLearner {
    /// Use the table; wait for other threads without holding up Python.
    #[inline]
    fn with<R: Send>(&self, py: Python<'_>, use_it: impl FnOnce(&mut Policy) -> R + Send) -> R {
        match self.policy.try_lock() {
            Ok(mut policy) => use_it(&mut policy),
            Err(TryLockError::WouldBlock) => py.detach(|| use_it(&mut self.waited())),
            Err(TryLockError::Poisoned(_)) => panic!("{POISONED}"),
        }
    }

    fn waited(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().expect(POISONED)
    }

    /// Choose among plain actions; `None` if they are not, and nothing was drawn.
    fn choose_plain<'py>(
        &self,
        state: &Bound<'py, PyAny>,
        actions: &Bound<'py, PyAny>,
        explore: bool,
    ) -> Option<Bound<'py, PyAny>> {
        let state_key = plain_key(state)?;
        let offered = plain_offered(actions)?;
        let keys: Vec<_> = offered.iter().map(plain_key).collect::<Option<_>>()?;
        let chosen = self
            .with(state.py(), |policy| {
                policy.choose(state_key, &keys, explore)
            })
            .ok()?;
        Some(offered[chosen].clone())
    }

    /// Preference, visits and last update of a pair, with checked arguments.
    fn pair(
        &self,
        state: &Bound<'_, PyAny>,
        action: &Bound<'_, PyAny>,
    ) -> PyResult<(f64, u64, u64)> {
        let (name, action) = (checked_name(state)?, checked_name(action)?);
        self.with(state.py(), |policy| policy.pair(name.key(), action.key()))
            .map_err(refused)
    }
}

/// Rules from learning_rate, value_learning_rate, discount, epsilon, entropy_coefficient, initial_value; and for PPO
/// gae_lambda, clip, epochs, rollout, normalize_advantage.
fn rules_of(numbers: &[f64]) -> PyResult<Rules> {
    let (common, rollouts) = match *numbers {
        [a, b, c, d, e, f] => ([a, b, c, d, e, f], None),
        [
            a,
            b,
            c,
            d,
            e,
            f,
            gae_lambda,
            clip,
            epochs,
            length,
            normalize,
        ] => {
            let rollouts = Rollouts {
                gae_lambda,
                clip,
                epochs: epochs as usize,
                length: length as usize,
                normalize: normalize != 0.0,
            };
            ([a, b, c, d, e, f], Some(rollouts))
        }
        _ => return Err(PyValueError::new_err("pass six numbers, or eleven")),
    };
    let [
        learning_rate,
        value_learning_rate,
        discount,
        epsilon,
        entropy_coefficient,
        initial_value,
    ] = common;
    Ok(Rules {
        learning_rate,
        value_learning_rate,
        discount,
        epsilon,
        entropy_coefficient,
        initial_value,
        rollouts,
    })
}

fn numbers_of(rules: &Rules) -> Vec<f64> {
    let mut numbers = vec![
        rules.learning_rate,
        rules.value_learning_rate,
        rules.discount,
        rules.epsilon,
        rules.entropy_coefficient,
        rules.initial_value,
    ];
    if let Some(rollouts) = &rules.rollouts {
        numbers.extend([
            rollouts.gae_lambda,
            rollouts.clip,
            rollouts.epochs as f64,
            rollouts.length as f64,
            f64::from(u8::from(rollouts.normalize)),
        ]);
    }
    numbers
}

#[pymethods]
impl SoftmaxLearner {
    /// Make a learner from checked parameters: numbers as `_params` returns them; actions; seed.
    #[new]
    fn new(numbers: Vec<f64>, actions: &Bound<'_, PyAny>, seed: u64) -> PyResult<Self> {
        let policy = Policy::new(rules_of(&numbers)?, &checked_names(actions)?, seed);
        Ok(Self {
            policy: Mutex::new(policy),
        })
    }

    /// Return the number of (state, action) pairs with a preference. O(states).
    fn __len__(&self, py: Python<'_>) -> usize {
        self.with(py, |policy| policy.known())
    }

    /// Number of updates.
    #[getter]
    fn steps(&self, py: Python<'_>) -> u64 {
        self.with(py, |policy| policy.steps())
    }

    /// Learn from one transition, as `aqe_core.contracts.Learner.update` says. O(actions of the state).
    ///
    /// The next action is not looked at.
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
    ) -> PyResult<()> {
        let plain = || {
            let (reward, done) = (plain_reward(reward)?, done.plain()?);
            let (s, a, t) = (
                plain_key(state)?,
                plain_key(action)?,
                plain_key(next_state)?,
            );
            slf.get()
                .with(slf.py(), |policy| policy.update(s, a, reward, t, done).ok())
        };
        if plain().is_some() {
            return Ok(());
        }
        let name = intern!(slf.py(), "_update_with_care");
        let done = done.or_false(slf.py());
        slf.call_method1(name, (state, action, reward, next_state, done, next_action))?;
        Ok(())
    }

    /// Learn from `n` transitions in order, as `aqe_core.contracts.Learner.update_batch` says. Other threads run
    /// meanwhile. Next actions are not looked at.
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
    ) -> PyResult<()> {
        let this = slf.get();
        let batch = Batch::plain([states, actions, rewards, next_states], dones, None);
        let learn = |rows: &core::Transitions<'_>| this.waited().update_batch(rows);
        if batch.is_some_and(|batch| batch.teach(slf.py(), learn).is_some()) {
            return Ok(());
        }
        slf.call_method1(
            intern!(slf.py(), "_update_batch_with_care"),
            (states, actions, rewards, next_states, dones, next_actions),
        )?;
        Ok(())
    }

    /// Choose one of the offered actions, as `aqe_core.contracts.Learner.act` says. O(offered).
    ///
    /// With `explore` two numbers are drawn from the generator; without it none.
    #[pyo3(signature = (state, actions, *, explore=Maybe(None)), text_signature = "($self, state, actions, *, explore=True)")]
    fn act<'py>(
        slf: &Bound<'py, Self>,
        state: &Bound<'py, PyAny>,
        actions: &Bound<'py, PyAny>,
        explore: Maybe<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let explore = explore.0.map_or(Ok(true), |explore| explore.is_truthy())?;
        if let Some(chosen) = slf.get().choose_plain(state, actions, explore) {
            return Ok(chosen);
        }
        let name = intern!(slf.py(), "_act_with_care");
        slf.call_method1(name, (state, actions, explore))
    }

    /// Return the preference of an action in a state, 0 if it was never tried. O(actions of the state).
    fn value<'py>(
        slf: &Bound<'py, Self>,
        state: &Bound<'py, PyAny>,
        action: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let plain = || {
            let (state, action) = (plain_key(state)?, plain_key(action)?);
            let pair = slf.get().with(py, |policy| policy.pair(state, action).ok());
            pair.map(|(value, ..)| value)
        };
        match plain() {
            Some(value) => Ok(PyFloat::new(py, value).into_any()),
            None => slf.call_method1(intern!(py, "_value_with_care"), (state, action)),
        }
    }

    /// Learn from what was collected so far and forget it.
    fn _train(&self, py: Python<'_>) {
        py.detach(|| self.waited().train());
    }

    /// `update` with checked arguments.
    fn _update(
        &self,
        py: Python<'_>,
        names: [Bound<'_, PyAny>; 3],
        reward: f64,
        done: bool,
        _next_action: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let [state, action, next_state] = names.each_ref().map(checked_name);
        let (state, action, next_state) = (state?, action?, next_state?);
        self.with(py, |policy| {
            policy.update(state.key(), action.key(), reward, next_state.key(), done)
        })
        .map_err(refused)
    }

    /// `update_batch` with checked columns.
    #[pyo3(signature = (states, actions, rewards, next_states, dones, _next_actions))]
    #[allow(clippy::too_many_arguments)] // the contract has them
    fn _update_batch<'py>(
        &self,
        states: &Bound<'py, PyAny>,
        actions: &Bound<'py, PyAny>,
        rewards: Floats<'py>,
        next_states: &Bound<'py, PyAny>,
        dones: Option<PyReadonlyArray1<'py, bool>>,
        _next_actions: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let batch = Batch {
            states: Given::checked(states)?,
            actions: Given::checked(actions)?,
            rewards,
            next_states: Given::checked(next_states)?,
            dones,
            next_actions: None,
        };
        let taught = batch.teach(states.py(), |rows| self.waited().update_batch(rows));
        taught.ok_or_else(|| PyValueError::new_err("the columns were not checked"))
    }

    /// `act` with checked arguments: the position of the chosen action.
    fn _choose(
        &self,
        state: &Bound<'_, PyAny>,
        actions: &Bound<'_, PyAny>,
        explore: bool,
    ) -> PyResult<usize> {
        let (name, names) = (checked_name(state)?, checked_names(actions)?);
        let keys: Vec<_> = names.iter().map(Name::key).collect();
        self.with(state.py(), |policy| {
            policy.choose(name.key(), &keys, explore)
        })
        .map_err(refused)
    }

    /// The softmax over offered actions, with checked arguments.
    fn _shares<'py>(
        &self,
        state: &Bound<'py, PyAny>,
        actions: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let (name, names) = (checked_name(state)?, checked_names(actions)?);
        let keys: Vec<_> = names.iter().map(Name::key).collect();
        let shares = self.with(state.py(), |policy| policy.shares(name.key(), &keys));
        Ok(shares.map_err(refused)?.into_pyarray(state.py()))
    }

    /// `value` with checked arguments.
    fn _value(&self, state: &Bound<'_, PyAny>, action: &Bound<'_, PyAny>) -> PyResult<f64> {
        self.pair(state, action).map(|(value, ..)| value)
    }

    /// Number of updates of a pair, and number of its last one, with checked arguments.
    fn _visits(&self, state: &Bound<'_, PyAny>, action: &Bound<'_, PyAny>) -> PyResult<(u64, u64)> {
        self.pair(state, action)
            .map(|(_, visits, last)| (visits, last))
    }

    /// The value of a state, with a checked argument.
    fn _state_value(&self, state: &Bound<'_, PyAny>) -> PyResult<f64> {
        let name = checked_name(state)?;
        Ok(self.with(state.py(), |policy| policy.worth(name.key())))
    }

    /// Follow checked numbers, as `_params` returns them.
    fn _set_numbers(&self, py: Python<'_>, numbers: Vec<f64>) -> PyResult<()> {
        let rules = rules_of(&numbers)?;
        self.with(py, |policy| policy.set_rules(rules));
        Ok(())
    }

    /// Parameters: numbers (see `rules_of`), actions (empty: open), seed.
    fn _params<'py>(&self, py: Python<'py>) -> PyResult<(Vec<f64>, Bound<'py, PyList>, u64)> {
        let (rules, declared, seed) = self.with(py, |policy| {
            (policy.rules(), policy.declared().to_vec(), policy.seed())
        });
        Ok((numbers_of(&rules), to_list(py, &declared)?, seed))
    }

    /// Everything learned: states, actions, next states that wait; rows, columns, values, visits and last updates of
    /// pairs; values of states; of what waits rows, columns, rewards, dones; state of the generator.
    fn _learned<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let learned = self.with(py, |policy| policy.learned());
        let waiting = &learned.waiting;
        let after: Vec<_> = waiting.iter().map(|step| step.next_state.clone()).collect();
        let names = [
            to_list(py, &learned.states)?,
            to_list(py, &learned.actions)?,
            to_list(py, &after)?,
        ];
        let table = (
            given::to_arrays(py, &learned.pairs),
            learned.worths.into_pyarray(py),
        );
        let waits = (
            PyArray1::from_iter(py, waiting.iter().map(|step| step.state as i64)),
            PyArray1::from_iter(py, waiting.iter().map(|step| step.action as i64)),
            PyArray1::from_iter(py, waiting.iter().map(|step| step.reward)),
            PyArray1::from_iter(py, waiting.iter().map(|step| step.done)),
        );
        (names, table, waits, learned.generator).into_pyobject(py)
    }

    /// Replace everything by checked parameters and what `_learned` returned.
    fn _resume(
        &self,
        py: Python<'_>,
        params: (Vec<f64>, usize, u64),
        names: [Bound<'_, PyAny>; 3],
        table: (given::Pairs<'_>, Floats<'_>),
        waits: Waits<'_>,
        generator: Vec<u32>,
    ) -> PyResult<()> {
        let [states, actions, after] = names.each_ref().map(checked_names);
        let (pairs, worths) = &table;
        let (rows, columns, rewards, dones) = &waits;
        let dones = truths(dones)?;
        let places = rows.as_slice()?.iter().zip(columns.as_slice()?);
        let steps = places.zip(rewards.as_slice()?.iter().zip(&*dones));
        let waiting = steps.zip(after?).map(
            |(((&state, &action), (&reward, &done)), next_state)| Waiting {
                state: state as usize,
                action: action as usize,
                reward,
                next_state,
                done,
            },
        );
        let learned = Learned {
            states: states?,
            worths: worths.as_slice()?.to_vec(),
            actions: actions?,
            pairs: given::from_arrays(pairs),
            waiting: waiting.collect(),
            generator,
        };
        let (numbers, declared, seed) = params;
        let policy = Policy::from_learned(rules_of(&numbers)?, declared, seed, &learned);
        let policy = policy.ok_or_else(|| PyValueError::new_err("the state was not checked"))?;
        self.with(py, |held| *held = policy);
        Ok(())
    }
}
