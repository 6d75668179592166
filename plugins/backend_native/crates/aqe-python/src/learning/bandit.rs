//! Binding of the linear bandits: plain contexts and actions here, the others in Python.

use aqe_learning as core;
use core::{LinearModels, Prior};
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::given::Maybe;

type Numbers<'py> = Bound<'py, PyArray1<f64>>;

const MAX_REWARD: f64 = 1e100;

/// Models, and what their actions are called.
struct Held {
    models: core::Bandit,
    actions: Py<PyTuple>,
    rows: Py<PyDict>,
    /// How much uncertainty counts; `None` if choices are made otherwise, or drawn.
    alpha: Option<f64>,
}

/// A linear bandit's models and its plain calls; the part that is written in Rust.
#[pyclass(subclass, module = "aqe_backend_native._native")]
pub struct BanditModels {
    held: Option<Held>,
}

impl Held {
    /// The row of an action: an exact str or int that was declared.
    #[inline]
    fn row(&self, action: &Bound<'_, PyAny>) -> Option<usize> {
        if !action.is_exact_instance_of::<PyString>() && !action.is_exact_instance_of::<PyInt>() {
            return None;
        }
        let row = self.rows.bind(action.py()).get_item(action).ok()??;
        row.extract().ok()
    }

    /// Take a plain context: float64, one number per dimension, with a finite sum of squares.
    #[inline]
    fn take(&mut self, context: &Bound<'_, PyAny>) -> Option<()> {
        let array = context.cast::<PyArray1<f64>>().ok()?;
        let Ok(numbers) = array.to_vec() else {
            return self.take_array(&array.try_readonly().ok()?); // its numbers do not lie side by side
        };
        // Copied, as to keep account of a loan costs more.
        let plain = numbers.len() == self.models.dim() && self.models.take(numbers.as_slice());
        plain.then_some(())
    }

    #[inline]
    fn take_array(&mut self, array: &PyReadonlyArray1<'_, f64>) -> Option<()> {
        let plain = match array.as_slice() {
            Ok(numbers) => numbers.len() == self.models.dim() && self.models.take(numbers),
            // Numbers that are not aligned, as those of a field may be, cannot be read in steps of numbers.
            Err(_) if !array.is_aligned() => false,
            Err(_) => array.len() == self.models.dim() && self.models.take(array.as_array()),
        };
        plain.then_some(())
    }

    /// Choose if everything is plain.
    fn choose<'py>(
        &mut self,
        context: &Bound<'py, PyAny>,
        offered: Option<&Bound<'py, PyAny>>,
        explore: bool,
    ) -> Option<Bound<'py, PyAny>> {
        let alpha = if explore { self.alpha? } else { 0.0 };
        let Some(offered) = offered else {
            self.take(context)?;
            let best = self.models.best(0..self.models.actions(), alpha)?;
            return self.actions.bind(context.py()).get_item(best).ok();
        };
        let list = offered.cast_exact::<PyList>().ok()?;
        let rows: Vec<_> = list
            .iter()
            .map(|each| self.row(&each))
            .collect::<Option<_>>()?;
        self.take(context)?;
        list.get_item(self.models.best(rows, alpha)?).ok()
    }
}

fn missing() -> PyErr {
    PyValueError::new_err("the bandit has no models yet, or the context is not one of its own")
}

#[pymethods]
impl BanditModels {
    /// Take any arguments; `_begin` makes the models.
    #[new]
    #[pyo3(signature = (*_arguments, **_named))]
    fn new(_arguments: &Bound<'_, PyTuple>, _named: Option<&Bound<'_, PyDict>>) -> Self {
        Self { held: None }
    }

    /// Make fresh models from checked parameters: (ridge, discount), and alpha where bounds choose and nothing is drawn.
    fn _begin(
        &mut self,
        dim: usize,
        actions: Py<PyTuple>,
        rows: Py<PyDict>,
        prior: (f64, f64),
        alpha: Option<f64>,
        py: Python<'_>,
    ) {
        let (ridge, discount) = prior;
        let models = core::Bandit::new(dim, actions.bind(py).len(), Prior { ridge, discount });
        self.held = Some(Held {
            models,
            actions,
            rows,
            alpha,
        });
    }

    /// Number of updates.
    #[getter]
    fn steps(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.models.steps())
    }

    /// Choose an action, as `aqe_core.contracts.Bandit.act` says. O(actions * dim**2).
    #[pyo3(signature = (context, actions=None, *, explore=Maybe(None)),
           text_signature = "($self, context, actions=None, *, explore=True)")]
    fn act<'py>(
        slf: &Bound<'py, Self>,
        context: &Bound<'py, PyAny>,
        actions: Option<&Bound<'py, PyAny>>,
        explore: Maybe<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let explore = explore.0.map_or(Ok(true), |explore| explore.is_truthy())?;
        let chosen = {
            let mut this = slf.borrow_mut();
            let held = this.held.as_mut().ok_or_else(missing)?;
            held.choose(context, actions, explore)
        };
        match chosen {
            Some(chosen) => Ok(chosen),
            None => slf.call_method1(
                intern!(slf.py(), "_act_with_care"),
                (context, actions, explore),
            ),
        }
    }

    /// Learn what an action earned in a context, as `aqe_core.contracts.Bandit.update` says. O(dim**2).
    fn update<'py>(
        slf: &Bound<'py, Self>,
        context: &Bound<'py, PyAny>,
        action: &Bound<'py, PyAny>,
        reward: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let plain = || {
            let mut this = slf.borrow_mut();
            let held = this.held.as_mut()?;
            let reward = reward.cast_exact::<PyFloat>().ok()?.value();
            let row = held.row(action)?;
            if reward.is_nan() || reward.abs() > MAX_REWARD {
                return None;
            }
            held.take(context)?;
            held.models.learn(row, reward);
            Some(())
        };
        if plain().is_none() {
            let name = intern!(slf.py(), "_update_with_care");
            slf.call_method1(name, (context, action, reward))?;
        }
        Ok(())
    }

    /// Expected rewards and their variances of all actions in a checked context.
    fn _moments<'py>(
        &mut self,
        py: Python<'py>,
        context: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<(Numbers<'py>, Numbers<'py>)> {
        let held = self.held.as_mut().ok_or_else(missing)?;
        held.take_array(&context).ok_or_else(missing)?;
        let models = &held.models;
        let (means, variances): (Vec<_>, Vec<_>) =
            (0..models.actions()).map(|row| models.moments(row)).unzip();
        Ok((
            PyArray1::from_vec(py, means),
            PyArray1::from_vec(py, variances),
        ))
    }

    /// Learn from checked contexts, shape (n, dim), rows of actions and rewards, in order.
    fn _learn_all(
        &mut self,
        contexts: PyReadonlyArray2<'_, f64>,
        rows: Vec<usize>,
        rewards: Vec<f64>,
    ) -> PyResult<()> {
        let held = self.held.as_mut().ok_or_else(missing)?;
        let contexts = contexts.as_array();
        let (n, dim) = contexts.dim();
        let actions = held.models.actions();
        if dim != held.models.dim() || n != rows.len() || n != rewards.len() {
            return Err(missing());
        }
        if rows.iter().any(|&row| row >= actions) {
            return Err(missing());
        }
        for ((context, row), reward) in contexts.outer_iter().zip(rows).zip(rewards) {
            held.models.take(context);
            held.models.learn(row, reward);
        }
        Ok(())
    }

    /// Number of updates of each action.
    fn _counts(&self) -> Vec<u64> {
        let models = self.held.as_ref().map(|held| &held.models);
        models.map_or(Vec::new(), |models| {
            (0..models.actions())
                .map(|row| models.visits(row))
                .collect()
        })
    }

    /// Means, covariances, last updates and visits, each as one run of numbers.
    #[allow(clippy::type_complexity)] // four arrays
    fn _parts<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(
        Numbers<'py>,
        Numbers<'py>,
        Bound<'py, PyArray1<i64>>,
        Bound<'py, PyArray1<i64>>,
    )> {
        let learned = self.held.as_ref().ok_or_else(missing)?.models.learned();
        let counts = |numbers: Vec<u64>| {
            PyArray1::from_iter(py, numbers.into_iter().map(|number| number as i64))
        };
        Ok((
            PyArray1::from_vec(py, learned.theta),
            PyArray1::from_vec(py, learned.covariance),
            counts(learned.updated),
            counts(learned.visits),
        ))
    }

    /// Replace what was learned by checked numbers.
    fn _restore(
        &mut self,
        steps: u64,
        theta: Vec<f64>,
        covariance: Vec<f64>,
        updated: Vec<u64>,
        visits: Vec<u64>,
    ) -> PyResult<()> {
        let held = self.held.as_mut().ok_or_else(missing)?;
        let learned = LinearModels {
            theta,
            covariance,
            updated,
            visits,
            steps,
        };
        if held.models.resume(&learned) {
            return Ok(());
        }
        Err(PyValueError::new_err("the models have other shapes"))
    }
}
