//! The Python face of the native engines, as `aqe_backend_native._native`: one file per crate it binds.

use pyo3::prelude::*;

mod arrays;
mod direct;
mod hybrid;
mod learning;
mod memory;
mod quantize;
mod text;

/// The extension module. Everything in it is wrapped by the Python package, which checks input and documents it.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    memory::register(module)?;
    quantize::register(module)?;
    learning::register(module)?;
    text::register(module)?;
    hybrid::register(module)
}
