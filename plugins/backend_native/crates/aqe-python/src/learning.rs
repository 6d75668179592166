//! Binding of `aqe-learning`.

use pyo3::prelude::*;

/// Add what this file binds to the extension module.
pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
