//! Binding of the neural policies: parameters lie in arrays of Python's, arguments come checked.

use aqe_learning::neural as core;
use core::{Actions, Batch, Descent, Head, Network, Optimizer, Options};
use numpy::ndarray::Array2;
use numpy::{
    IntoPyArray, PyArray1, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray1,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::{by_rows, truths};

type Floats<'py> = PyReadonlyArray1<'py, f32>;
type Matrix<'py> = PyReadonlyArray2<'py, f32>;
type Masks<'py> = PyReadonlyArray2<'py, bool>;
type Changed<'py> = PyReadwriteArray1<'py, f32>;

/// Actor and critic of one policy, and room to work in.
#[pyclass(module = "aqe_backend_native._native")]
pub struct PolicyCore {
    descent: Descent,
    discrete: bool,
}

impl PolicyCore {
    fn check(&self, parameters: &[f32], rows: &Matrix<'_>) -> PyResult<()> {
        let dim = self.descent.actor.inputs();
        if parameters.len() != self.descent.parameters() || rows.as_array().ncols() != dim {
            return Err(PyValueError::new_err(format!(
                "rows must have {dim} numbers"
            )));
        }
        Ok(())
    }
}

#[pymethods]
impl PolicyCore {
    /// Make networks of these widths.
    #[new]
    fn new(actor: Vec<usize>, critic: Vec<usize>, discrete: bool) -> Self {
        let head = if discrete {
            Head::Categorical
        } else {
            Head::Gaussian
        };
        let descent = Descent::new(Network::new(actor), Network::new(critic), head);
        Self { descent, discrete }
    }

    /// Choose an action per row: the largest of outputs and noise, or the means plus scaled noise.
    fn choose<'py>(
        &mut self,
        py: Python<'py>,
        parameters: Floats<'py>,
        rows: Matrix<'py>,
        masks: Option<Masks<'py>>,
        noise: Option<Matrix<'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let parameters = parameters.as_slice()?;
        self.check(parameters, &rows)?;
        let samples = rows.as_array().nrows();
        let masks = masks.as_ref().map(truths).transpose()?;
        let noise = noise.as_ref().map(by_rows).transpose()?;
        let networks = self.descent.actor.len() + self.descent.critic.len();
        let width = self.descent.actor.outputs();
        let (outputs, n) = self
            .descent
            .outputs(parameters, by_rows(&rows)?, masks.as_deref());
        let drawn = |sample: usize, i: usize| noise.map_or(0.0, |noise| noise[sample * width + i]);
        if self.discrete {
            let best = |sample: usize| {
                let mut best = (f32::NEG_INFINITY, 0);
                for i in 0..width {
                    let score = outputs[i * n + sample] + drawn(sample, i);
                    if score > best.0 {
                        best = (score, i as i64);
                    }
                }
                best.1
            };
            return Ok(PyArray1::from_iter(py, (0..samples).map(best)).into_any());
        }
        let deviations: Vec<f32> = parameters[networks..]
            .iter()
            .map(|spread| spread.exp())
            .collect();
        let vectors = Array2::from_shape_fn((samples, width), |(sample, i)| {
            outputs[i * n + sample] + drawn(sample, i) * deviations[i]
        });
        Ok(vectors.into_pyarray(py).into_any())
    }

    /// Return the value of each row.
    fn values<'py>(
        &mut self,
        py: Python<'py>,
        parameters: Floats<'py>,
        rows: Matrix<'py>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let parameters = parameters.as_slice()?;
        self.check(parameters, &rows)?;
        let values = self.descent.values(parameters, by_rows(&rows)?);
        Ok(PyArray1::from_slice(py, values))
    }

    /// Descend once per order, changing parameters and moments; return entropy, divergence and value loss of the last.
    ///
    /// `columns` are rows, weights and targets; `options` are the size of a minibatch, then clip range, weights of
    /// entropy and values, longest gradient, and the rate.
    #[allow(clippy::too_many_arguments)] // one per part
    fn descend(
        &mut self,
        py: Python<'_>,
        state: (Changed<'_>, Changed<'_>, Changed<'_>, u64),
        columns: (Matrix<'_>, Floats<'_>, Floats<'_>),
        actions: &Bound<'_, PyAny>,
        masks: Option<Masks<'_>>,
        orders: PyReadonlyArray2<'_, i64>,
        options: (usize, f32, f32, f32, f32, f64),
    ) -> PyResult<[f64; 3]> {
        let (mut parameters, mut first, mut second, count) = state;
        let (rows, weights, targets) = &columns;
        let numbers = actions
            .cast::<PyArray1<i64>>()
            .ok()
            .map(|numbers| numbers.readonly());
        let vectors: Option<Matrix<'_>> = match numbers {
            Some(_) => None,
            None => Some(actions.extract()?),
        };
        let actions = match (&numbers, &vectors) {
            (Some(numbers), _) => Actions::Numbers(numbers.as_slice()?),
            (_, Some(vectors)) => Actions::Vectors(by_rows(vectors)?),
            _ => return Err(PyValueError::new_err("the actions do not fit")),
        };
        let masks = masks.as_ref().map(truths).transpose()?;
        let batch = Batch {
            rows: by_rows(rows)?,
            actions,
            weights: weights.as_slice()?,
            targets: targets.as_slice()?,
            masks: masks.as_deref(),
        };
        let mut optimizer = Optimizer {
            parameters: parameters.as_slice_mut()?,
            first: first.as_slice_mut()?,
            second: second.as_slice_mut()?,
            count,
        };
        self.check(optimizer.parameters, rows)?;
        let orders = by_rows(&orders)?;
        let (minibatch, clip_range, entropy, value, max_norm, rate) = options;
        let options = Options {
            minibatch,
            clip_range,
            entropy,
            value,
            max_norm,
            rate,
        };
        let descent = &mut self.descent;
        Ok(py.detach(|| descent.descend(&mut optimizer, &batch, orders, &options)))
    }
}
