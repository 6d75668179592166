//! Binding of `aqe-learning`.
//!
//! Plain arguments are handled here. Anything else goes to a method of the Python class that ends in `_with_care`,
//! which checks it with what checks it for every backend, and comes back with plain arguments or raises. So all
//! backends refuse alike.

use aqe_learning as core;
use core::{Learned, Name, Rules, Table};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyList, PyTuple};

mod bandit;
mod direct;
mod given;
mod policy;
mod ranker;
mod recorder;
mod replay;
mod softmax;

use crate::direct::install;
use direct::{Step, Updates, update_given};
use given::{
    Batch, Given, Maybe, checked_name, checked_names, plain_int, plain_key, plain_offered,
    plain_reward, to_python,
};

/// Add what this file binds to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TabularLearner>()?;
    module.add_class::<recorder::Recorder>()?;
    install::<TabularLearner>(module.py())?;
    install::<recorder::Recorder>(module.py())?;
    module.add_class::<bandit::BanditModels>()?;
    module.add_class::<policy::PolicyCore>()?;
    module.add_class::<softmax::SoftmaxLearner>()?;
    module.add_class::<ranker::RankerCore>()?;
    module.add_class::<replay::ReplayRing>()?;
    module.add("SHARDS", core::SHARDS)
}

/// Values of (state, action) pairs; the part of a tabular learner that is written in Rust.
#[pyclass(subclass, frozen, module = "aqe_backend_native._native")]
pub struct TabularLearner {
    learner: core::Learner,
    on_policy: bool,
    follows: bool, // the next action, where given, is looked at
}

impl TabularLearner {
    /// Use the whole table for an instant; wait for other threads without holding up Python.
    #[inline(always)]
    fn with<R: Send>(&self, py: Python<'_>, use_table: impl FnOnce(&mut Table) -> R + Send) -> R {
        match self.learner.try_exclusive() {
            Some(mut table) => use_table(&mut table),
            None => self.in_turn(py, use_table),
        }
    }

    /// Use the table for longer, while others wait for their turn.
    #[cold]
    fn in_turn<R: Send>(
        &self,
        py: Python<'_>,
        use_table: impl FnOnce(&mut Table) -> R + Send,
    ) -> R {
        py.detach(|| use_table(&mut self.learner.exclusive()))
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
            .with(state.py(), |table| table.choose(state_key, &keys, explore))
            .ok()?;
        Some(offered[chosen].clone())
    }
}

impl Updates for TabularLearner {
    #[inline(always)]
    fn update_plain<'py>(
        slf: &Bound<'py, Self>,
        step: &Step<'_, 'py>,
    ) -> Option<Bound<'py, PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        let next = match step.next_action {
            Some(next_action) if this.follows => Some(plain_key(next_action)?),
            _ => None,
        };
        let (reward, done) = (plain_reward(step.reward)?, step.done.plain()?);
        let learned = if let Some(s) = plain_int(step.state)
            && let Some(a) = plain_int(step.action)
            && let Some(t) = plain_int(step.next_state)
        {
            this.with(py, |table| table.update(s, a, reward, t, done, next))
        } else {
            let (s, a) = (plain_key(step.state)?, plain_key(step.action)?);
            let t = plain_key(step.next_state)?;
            this.with(py, |table| table.update(s, a, reward, t, done, next))
        };
        learned.ok()?;
        Some(py.None().into_bound(py))
    }
}

fn refused(_: core::Undeclared) -> PyErr {
    PyValueError::new_err("an action is not declared")
}

fn rules_of(on_policy: bool, numbers: [f64; 4]) -> Rules {
    let [learning_rate, discount, epsilon, initial] = numbers;
    Rules {
        learning_rate,
        discount,
        epsilon,
        initial,
        on_policy,
        declared: 0,
    }
}

#[pymethods]
impl TabularLearner {
    /// Make a learner from checked parameters: learning_rate, discount, epsilon, initial_value; actions; seed.
    #[new]
    fn new(
        kind: [bool; 2],
        numbers: [f64; 4],
        actions: &Bound<'_, PyAny>,
        seed: u64,
    ) -> PyResult<Self> {
        let [on_policy, follows] = kind;
        let table = Table::new(rules_of(on_policy, numbers), &checked_names(actions)?, seed);
        Ok(Self {
            learner: core::Learner::new(table),
            on_policy,
            follows,
        })
    }

    /// Return the number of (state, action) pairs with a value. O(1).
    fn __len__(&self, py: Python<'_>) -> usize {
        self.with(py, Table::known)
    }

    /// Number of updates learned.
    #[getter]
    fn steps(&self, py: Python<'_>) -> u64 {
        self.with(py, Table::steps)
    }

    /// Learn from one transition, as `aqe_core.contracts.Learner.update` says.
    ///
    /// O(1), amortized; O(actions of the next state) where its worth has to be computed anew.
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

    /// Learn from `n` transitions in order, as `aqe_core.contracts.Learner.update_batch` says. O(n).
    ///
    /// Contiguous arrays (int64, float64, bool) are the fast way, lists of str or int the next. Other threads run
    /// meanwhile; batches of several threads run at the same time if their states and next states share no shard.
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
        let following = next_actions.filter(|_| this.follows);
        let batch = Batch::plain([states, actions, rewards, next_states], dones, following);
        let learn = |rows: &core::Transitions<'_>| this.learner.update_batch(rows);
        if batch.is_some_and(|batch| batch.teach(slf.py(), learn).is_some()) {
            return Ok(());
        }
        let name = intern!(slf.py(), "_update_batch_with_care");
        slf.call_method1(
            name,
            (states, actions, rewards, next_states, dones, next_actions),
        )?;
        Ok(())
    }

    /// Choose one of the offered actions, epsilon-greedily, as `aqe_core.contracts.Learner.act` says. O(offered).
    ///
    /// With `explore` one number is drawn from the generator, and a second one to choose; without it none.
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
        slf.call_method1(
            intern!(slf.py(), "_act_with_care"),
            (state, actions, explore),
        )
    }

    /// Return the learned value of an action in a state; the initial value if it was never tried. O(1).
    fn value<'py>(
        slf: &Bound<'py, Self>,
        state: &Bound<'py, PyAny>,
        action: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let plain = || {
            let (state, action) = (plain_key(state)?, plain_key(action)?);
            slf.get().with(py, |table| table.value(state, action).ok())
        };
        match plain() {
            Some(value) => Ok(PyFloat::new(py, value).into_any()),
            None => slf.call_method1(intern!(py, "_value_with_care"), (state, action)),
        }
    }

    /// `update` with checked arguments.
    fn _update(
        &self,
        py: Python<'_>,
        names: [Bound<'_, PyAny>; 3],
        reward: f64,
        done: bool,
        next_action: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let [state, action, next_state] = names;
        let (state, action, next_state) = (
            checked_name(&state)?,
            checked_name(&action)?,
            checked_name(&next_state)?,
        );
        let next = next_action.map(checked_name).transpose()?;
        self.with(py, |table| {
            let next = next.as_ref().map(Name::key);
            table.update(
                state.key(),
                action.key(),
                reward,
                next_state.key(),
                done,
                next,
            )
        })
        .map_err(refused)
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
    ) -> PyResult<()> {
        let batch = Batch {
            states: Given::checked(states)?,
            actions: Given::checked(actions)?,
            rewards,
            next_states: Given::checked(next_states)?,
            dones,
            next_actions: next_actions.map(Given::checked).transpose()?,
        };
        let taught = batch.teach(states.py(), |rows| self.learner.update_batch(rows));
        taught.ok_or_else(|| PyValueError::new_err("the columns were not checked"))
    }

    /// `act` with checked arguments: the position of the chosen action.
    fn _choose(
        &self,
        state: &Bound<'_, PyAny>,
        actions: &Bound<'_, PyAny>,
        explore: bool,
    ) -> PyResult<usize> {
        let (state_name, names) = (checked_name(state)?, checked_names(actions)?);
        let keys: Vec<_> = names.iter().map(Name::key).collect();
        self.with(state.py(), |table| {
            table.choose(state_name.key(), &keys, explore)
        })
        .map_err(refused)
    }

    /// `value` with checked arguments.
    fn _value(&self, state: &Bound<'_, PyAny>, action: &Bound<'_, PyAny>) -> PyResult<f64> {
        let (name, action) = (checked_name(state)?, checked_name(action)?);
        self.with(state.py(), |table| table.value(name.key(), action.key()))
            .map_err(refused)
    }

    /// Number of updates of a pair, and number of its last one, with checked arguments.
    fn _visits(&self, state: &Bound<'_, PyAny>, action: &Bound<'_, PyAny>) -> PyResult<(u64, u64)> {
        let (name, action) = (checked_name(state)?, checked_name(action)?);
        self.with(state.py(), |table| table.visits(name.key(), action.key()))
            .map_err(refused)
    }

    /// Change checked rates.
    fn _set_rates(&self, py: Python<'_>, learning_rate: f64, discount: f64, epsilon: f64) {
        self.in_turn(py, |table| {
            table.set_rates(learning_rate, discount, epsilon)
        });
    }

    /// Parameters: learning_rate, discount, epsilon, initial_value; actions (empty: open); seed.
    fn _params<'py>(&self, py: Python<'py>) -> PyResult<([f64; 4], Bound<'py, PyList>, u64)> {
        let (rules, declared, seed) =
            self.with(py, |table| (table.rules(), table.declared(), table.seed()));
        let numbers = [
            rules.learning_rate,
            rules.discount,
            rules.epsilon,
            rules.initial,
        ];
        Ok((numbers, to_list(py, &declared)?, seed))
    }

    /// Everything learned: states, actions; rows, columns, values, visits, last updates; state of the generator.
    fn _learned<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let learned = self.in_turn(py, Table::learned);
        (
            to_list(py, &learned.states)?,
            to_list(py, &learned.actions)?,
            given::to_arrays(py, &learned.pairs),
            learned.generator,
        )
            .into_pyobject(py)
    }

    /// Replace everything by checked parameters and what `_learned` returned.
    fn _resume(
        &self,
        py: Python<'_>,
        params: ([f64; 4], usize, u64),
        names: [Bound<'_, PyAny>; 2],
        pairs: given::Pairs<'_>,
        generator: Vec<u32>,
    ) -> PyResult<()> {
        let learned = Learned {
            states: checked_names(&names[0])?,
            actions: checked_names(&names[1])?,
            pairs: given::from_arrays(&pairs),
            generator,
        };
        let (numbers, declared, seed) = params;
        let table =
            Table::from_learned(rules_of(self.on_policy, numbers), declared, seed, &learned);
        let table =
            table.ok_or_else(|| PyValueError::new_err("this is not the state of a generator"))?;
        self.in_turn(py, |held| *held = table);
        Ok(())
    }

    /// The shard of a state: batches whose states and next states share none run at the same time.
    ///
    /// An int's remainder by `SHARDS`; a text's is some number that holds while the process lives.
    fn shard(&self, state: &Bound<'_, PyAny>) -> PyResult<usize> {
        Ok(core::shard_of(checked_name(state)?.key()))
    }
}

fn to_list<'py>(py: Python<'py>, names: &[Name]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for name in names {
        list.append(to_python(py, name)?)?;
    }
    Ok(list)
}
