//! Binding of the quantizers of `aqe-memory`. `aqe_backend_native.quantization` has checked what arrives.
//!
//! The lock of the interpreter is held, so that nobody can write to the arrays meanwhile.

use aqe_memory::quantize::{PARTS, Quantizer, Scheme};
use aqe_memory::{Level, Metric};
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::by_rows;

/// Add what this file binds to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(quantizer_encode, module)?)?;
    module.add_function(wrap_pyfunction!(quantizer_decode, module)?)?;
    module.add_function(wrap_pyfunction!(quantizer_scores, module)?)
}

/// A quantizer as Python gives it: scheme, dimensions, whether scores are squared distances, what was learned (the
/// mean, or all parts), where groups begin.
#[derive(FromPyObject)]
struct Given<'py>(String, usize, bool, PyReadonlyArray1<'py, f32>, Vec<usize>);

impl Given<'_> {
    fn get(&self) -> PyResult<Quantizer<'_>> {
        let Given(name, dim, l2, learned, bounds) = self;
        let learned = learned.as_slice()?;
        let scheme = match &**name {
            "float16" => Scheme::Float16,
            "int8" => Scheme::Int8 { mean: learned },
            "binary" => Scheme::Binary { mean: learned },
            _ => Scheme::Product {
                parts: learned,
                bounds,
            },
        };
        let ascending = bounds.is_sorted() && bounds.len() > 1 && bounds.last() == Some(dim);
        let fits = match scheme {
            Scheme::Float16 => true,
            Scheme::Int8 { mean } | Scheme::Binary { mean } => mean.len() == *dim,
            Scheme::Product { parts, .. } => {
                parts.len().is_multiple_of(*dim) && parts.len() <= PARTS * dim && ascending
            }
        };
        let metric = if *l2 { Metric::L2 } else { Metric::Dot };
        matched(*dim > 0 && fits)?;
        Ok(Quantizer {
            scheme,
            dim: *dim,
            metric,
            level: Level::best(),
        })
    }
}

fn matched(fits: bool) -> PyResult<()> {
    if fits {
        Ok(())
    } else {
        Err(PyValueError::new_err(
            "the lengths of the arrays do not fit",
        ))
    }
}

/// Write the codes of rows, which are of unit length under cosine; false if one cannot be held.
#[pyfunction]
fn quantizer_encode(
    given: Given<'_>,
    rows: PyReadonlyArray2<'_, f32>,
    mut codes: PyReadwriteArray2<'_, u8>,
) -> PyResult<bool> {
    let quantizer = given.get()?;
    let (rows, codes) = (by_rows(&rows)?, codes.as_slice_mut()?);
    matched(rows.len() / quantizer.dim * quantizer.code_bytes() == codes.len())?;
    Ok(quantizer.encode(rows, codes))
}

/// Write rows near those that were encoded; false if a code is damaged.
#[pyfunction]
fn quantizer_decode(
    given: Given<'_>,
    codes: PyReadonlyArray2<'_, u8>,
    mut rows: PyReadwriteArray2<'_, f32>,
) -> PyResult<bool> {
    let quantizer = given.get()?;
    let (codes, rows) = (by_rows(&codes)?, rows.as_slice_mut()?);
    matched(rows.len() / quantizer.dim * quantizer.code_bytes() == codes.len())?;
    Ok(quantizer.decode(codes, rows))
}

/// Write the scores of codes, a row for each query; false if a code is damaged.
#[pyfunction]
fn quantizer_scores(
    given: Given<'_>,
    queries: PyReadonlyArray2<'_, f32>,
    codes: PyReadonlyArray2<'_, u8>,
    mut out: PyReadwriteArray2<'_, f32>,
) -> PyResult<bool> {
    let quantizer = given.get()?;
    let (queries, codes, out) = (by_rows(&queries)?, by_rows(&codes)?, out.as_slice_mut()?);
    let (m, n) = (
        queries.len() / quantizer.dim,
        codes.len() / quantizer.code_bytes(),
    );
    matched(m * quantizer.dim == queries.len() && m * n == out.len())?;
    Ok(quantizer.scores(queries, codes, out))
}
