//! Binding of the ranker. Arguments come checked from the Python class; tests are numbers here.

use std::collections::VecDeque;

use aqe_learning::ranker as core;
use core::{COLUMNS, Differences, Look, Memory, Row, Run};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::{by_rows, truths};

type Numbers<'py> = PyReadonlyArray1<'py, f64>;
type Integers<'py> = PyReadonlyArray1<'py, i64>;
type Flags<'py> = PyReadonlyArray1<'py, bool>;
type Matrix<'py> = Bound<'py, PyArray2<f64>>;
type Array<'py, T> = Bound<'py, PyArray1<T>>;

/// What `learned` returns: rows, tallies, weights; window, its counts; curvature, pull, squares; cycles, failing ones.
type Learned<'py> = (
    (Matrix<'py>, Matrix<'py>, Array<'py, f64>),
    (Matrix<'py>, Array<'py, i64>),
    (Matrix<'py>, Array<'py, f64>, Array<'py, f64>),
    (u64, u64),
);

/// A ranker, and what it looked at last.
#[pyclass(module = "aqe_backend_native._native")]
pub struct RankerCore {
    ranker: core::Ranker,
    looked: Option<(Look, Vec<usize>)>,
}

fn matrix<'py>(py: Python<'py>, numbers: Vec<f64>, rows: usize, columns: usize) -> Matrix<'py> {
    let matrix = Array2::from_shape_vec((rows, columns), numbers);
    matrix.expect("rows times columns numbers").into_pyarray(py)
}

fn arranged<T: Copy>(values: &[T], canon: &[usize]) -> Vec<T> {
    canon.iter().map(|&i| values[i]).collect()
}

fn not_looked() -> PyErr {
    PyValueError::new_err("look at candidates first")
}

#[pymethods]
impl RankerCore {
    /// Make a ranker that has learned nothing.
    #[new]
    fn new() -> Self {
        Self {
            ranker: core::Ranker::default(),
            looked: None,
        }
    }

    /// Look at candidates: slots (-1: none), their canonical order, durations, and (feature, column) of known context.
    fn look(
        &mut self,
        py: Python<'_>,
        slots: Integers<'_>,
        canon: Integers<'_>,
        duration_s: Numbers<'_>,
        context: Vec<(usize, Numbers<'_>)>,
    ) -> PyResult<()> {
        let canon: Vec<usize> = canon.as_slice()?.iter().map(|&i| i as usize).collect();
        let slots = arranged(slots.as_slice()?, &canon);
        let duration_s = arranged(duration_s.as_slice()?, &canon);
        let mut columns = Vec::with_capacity(context.len());
        for (feature, column) in &context {
            columns.push((*feature, arranged(column.as_slice()?, &canon)));
        }
        let ranker = &self.ranker;
        let look = py.detach(|| ranker.look(&slots, &duration_s, columns));
        self.looked = Some((look, canon));
        Ok(())
    }

    /// Return the order of running of what was looked at, and the chances.
    fn rank<'py>(
        &self,
        py: Python<'py>,
        offset: Numbers<'py>,
        budget_s: f64,
    ) -> PyResult<(Array<'py, i64>, Array<'py, f64>)> {
        let (look, canon) = self.looked.as_ref().ok_or_else(not_looked)?;
        let offset = arranged(offset.as_slice()?, canon);
        let ranker = &self.ranker;
        let (order, chance) = py.detach(|| {
            let (scores, chance) = ranker.scores(look, offset);
            let mut given = vec![[0.0; 3]; canon.len()];
            let found = scores.iter().zip(&chance).zip(look.duration_s());
            for (&i, ((&score, &chance), &seconds)) in canon.iter().zip(found) {
                given[i] = [score, chance, seconds];
            }
            let column = |which: usize| given.iter().map(|row| row[which]).collect::<Vec<_>>();
            let [scores, chance, seconds] = [column(0), column(1), column(2)];
            let order = core::ordered(&scores, &chance, &seconds, budget_s);
            (
                order.into_iter().map(|i| i as i64).collect::<Vec<_>>(),
                chance,
            )
        });
        Ok((order.into_pyarray(py), chance.into_pyarray(py)))
    }

    /// Return weight times value of each candidate and feature that was looked at, shape (n, f).
    fn shares<'py>(&self, py: Python<'py>) -> PyResult<Matrix<'py>> {
        let (look, canon) = self.looked.as_ref().ok_or_else(not_looked)?;
        let f = self.ranker.weights.len();
        let mut shares = vec![0.0; canon.len() * f];
        look.each(|feature, i, value| {
            shares[canon[i] * f + feature] = value * self.ranker.weights[feature];
        });
        Ok(matrix(py, shares, canon.len(), f))
    }

    /// Make room for more context; what was looked at is forgotten.
    fn meet(&mut self, columns: usize) {
        (0..columns).for_each(|_| self.ranker.meet());
        self.looked = None;
    }

    /// Learn from what was looked at; all slots are numbers of tests now.
    fn observe(
        &mut self,
        py: Python<'_>,
        slots: Integers<'_>,
        failed: Flags<'_>,
        ran: Flags<'_>,
        duration_s: Numbers<'_>,
        options: (f64, u64),
    ) -> PyResult<()> {
        let (failed, ran, duration_s) = (truths(&failed)?, truths(&ran)?, duration_s.as_slice()?);
        let slots = slots.as_slice()?;
        let (look, canon) = self.looked.take().ok_or_else(not_looked)?;
        let slots = arranged(slots, &canon);
        let run = |&i: &usize| Run {
            ran: ran[i],
            failed: failed[i],
            duration_s: duration_s[i],
        };
        let runs: Vec<Run> = canon.iter().map(run).collect();
        let (strength, seed) = options;
        py.detach(|| self.ranker.observe(look, &slots, &runs, strength, seed));
        Ok(())
    }

    /// Return runs, failures, runs since the last failure and mean durations of slots.
    fn history<'py>(
        &self,
        py: Python<'py>,
        slots: Integers<'_>,
    ) -> PyResult<([Array<'py, i64>; 3], Array<'py, f64>)> {
        let (mut counts, mut seconds) = ([const { Vec::new() }; 3], Vec::new());
        for &slot in slots.as_slice()? {
            let (runs, failures, since, duration_s) = self.ranker.history(slot);
            counts[0].push(runs);
            counts[1].push(failures);
            counts[2].push(since);
            seconds.push(duration_s);
        }
        let counts = counts.map(|column| column.into_pyarray(py));
        Ok((counts, seconds.into_pyarray(py)))
    }

    /// Return everything learned.
    fn learned<'py>(&self, py: Python<'py>) -> Learned<'py> {
        let ranker = &self.ranker;
        let memory = &ranker.memory;
        let f = ranker.weights.len();
        let counts: Vec<i64> = memory
            .window
            .iter()
            .map(|kept| kept.pairs() as i64)
            .collect();
        let pairs = counts.iter().sum::<i64>() as usize;
        let mut window = Vec::with_capacity(f * pairs);
        for feature in 0..f {
            memory
                .window
                .iter()
                .for_each(|kept| window.extend_from_slice(kept.row(feature)));
        }
        (
            (
                matrix(py, ranker.rows.concat(), ranker.rows.len(), COLUMNS),
                matrix(py, ranker.tallies.concat(), 4, 2),
                PyArray1::from_slice(py, &ranker.weights),
            ),
            (matrix(py, window, f, pairs), counts.into_pyarray(py)),
            (
                matrix(py, memory.curvature.clone(), f, f),
                PyArray1::from_slice(py, &memory.pull),
                PyArray1::from_slice(py, &memory.squares),
            ),
            (ranker.cycles, memory.cycles),
        )
    }

    /// Replace everything learned by what `learned` returned, checked.
    fn resume(
        &mut self,
        kept: (
            PyReadonlyArray2<'_, f64>,
            PyReadonlyArray2<'_, f64>,
            Numbers<'_>,
        ),
        window: (PyReadonlyArray2<'_, f64>, Vec<usize>),
        older: (PyReadonlyArray2<'_, f64>, Numbers<'_>, Numbers<'_>),
        cycles: (u64, u64),
    ) -> PyResult<()> {
        let (rows, tallies, weights) = (by_rows(&kept.0)?, by_rows(&kept.1)?, kept.2.as_slice()?);
        let (differences, counts) = (window.0.as_array(), window.1);
        let mut start = 0;
        let mut cut = |pairs: usize| {
            start += pairs;
            let first = start - pairs;
            Differences::new(weights.len(), pairs, |feature, pair| {
                differences[[feature, first + pair]]
            })
        };
        let window: VecDeque<Differences> = counts.into_iter().map(&mut cut).collect();
        let mut ranker = core::Ranker {
            rows: rows.as_chunks::<COLUMNS>().0.to_vec() as Vec<Row>,
            weights: weights.to_vec(),
            memory: Memory {
                window,
                curvature: by_rows(&older.0)?.to_vec(),
                pull: older.1.as_slice()?.to_vec(),
                squares: older.2.as_slice()?.to_vec(),
                cycles: cycles.1,
            },
            cycles: cycles.0,
            ..Default::default()
        };
        for (to, from) in ranker.tallies.iter_mut().zip(tallies.as_chunks::<2>().0) {
            *to = *from;
        }
        (self.ranker, self.looked) = (ranker, None);
        Ok(())
    }
}
