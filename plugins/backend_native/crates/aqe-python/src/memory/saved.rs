//! Stores in files, with the errors of `aqe_core.errors`.

use std::path::Path;

use aqe_memory::Store;
use aqe_memory::snapshot::Error;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Write a store to a file; see `PatternStore.save`.
pub fn save(py: Python<'_>, store: &Store, path: &Path) -> PyResult<String> {
    match py.detach(|| store.save(path)) {
        Ok(name) => Ok(format!("{name:016x}")),
        Err(error) => {
            let message = format!("{} cannot be written ({error}).", path.display());
            Err(made(
                py,
                "ReadOnlyError",
                message,
                "choose a writable place.",
            )?)
        }
    }
}

/// Replace what a store holds by what a file holds; see `PatternStore.load`.
pub fn load(py: Python<'_>, store: &Store, path: &Path) -> PyResult<String> {
    let file = path.display();
    let (class, message, fix) = match py.detach(|| store.load(path)) {
        Ok(name) => return Ok(format!("{name:016x}")),
        Err(Error::Io(error)) => (
            "InputError",
            format!("{file} cannot be read ({error})."),
            "give the path of a saved store.",
        ),
        Err(Error::Foreign(what, there, here)) => (
            if what == "dim" {
                "DimensionError"
            } else {
                "InputError"
            },
            format!("{file} is of a store whose {what} is {there}, but here it is {here}."),
            "make the store as the saved one was, or add the vectors anew.",
        ),
        Err(Error::Damaged(why)) => (
            "InputError",
            format!("{file} is no whole snapshot: {why}."),
            "add the vectors anew and save the store again.",
        ),
    };
    Err(made(py, class, message, fix)?)
}

/// An error of `aqe_core.errors`.
fn made(py: Python<'_>, class: &str, message: String, fix: &str) -> PyResult<PyErr> {
    let fields = PyDict::new(py);
    fields.set_item(intern!(py, "fix"), fix)?;
    let class = py.import("aqe_core.errors")?.getattr(class)?;
    Ok(PyErr::from_value(class.call((message,), Some(&fields))?))
}
