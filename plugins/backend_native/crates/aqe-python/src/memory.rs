//! Binding of `aqe-memory`.
//!
//! What arrives as the contract wants it is used as it is. Anything else goes through `aqe_core.validate`, which
//! converts it or raises the error that every backend raises.

mod direct;
mod saved;

use std::num::NonZero;
use std::path::PathBuf;
use std::thread::available_parallelism;

use aqe_memory::kernels::dot;
use aqe_memory::{Index, Keep, Level, Metric, Options, Store};
use numpy::ndarray::{ArrayView1, ArrayView2};
use numpy::{
    PyArray1, PyArray2, PyArrayDyn, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyReadonlyArrayDyn, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use crate::arrays::by_rows;
use crate::direct::install;

/// Add what this file binds to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PatternStore>()?;
    install::<PatternStore>(module.py())?;
    module.add(
        "simd_levels",
        Level::supported()
            .into_iter()
            .map(Level::name)
            .collect::<Vec<_>>(),
    )
}

/// Hits of a search that does not say how many.
const DEFAULT_K: usize = 10;

/// A store of vectors under keys. Made by `aqe_backend_native.store.make_store`, which checks the options.
#[pyclass(frozen, weakref, module = "aqe_backend_native._native")]
pub(crate) struct PatternStore {
    store: Store,
    metric: &'static str,
}

fn chosen<T: Copy>(value: &str, table: &[(&str, T)]) -> PyResult<T> {
    let found = table.iter().find(|entry| entry.0 == value);
    found
        .map(|entry| entry.1)
        .ok_or_else(|| PyValueError::new_err(format!("unknown option {value:?}")))
}

/// A function of `aqe_core.validate`, looked up once.
fn validate<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(MODULE
        .get_or_try_init(py, || {
            py.import("aqe_core.validate")
                .map(|module| module.into_any().unbind())
        })?
        .bind(py))
}

/// `Hits` of keys and scores, made without a call of Python and without a tuple to copy from.
fn made_hits<'py>(
    py: Python<'py>,
    keys: Bound<'py, PyAny>,
    scores: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    static HITS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = HITS.import(py, "aqe_core.contracts.pattern_store", "Hits")?;
    // SAFETY: a named tuple of two fields has room for two, which stays empty until it is filled right here.
    unsafe {
        let made = ffi::PyType_GenericAlloc(class.as_type_ptr(), 2);
        let made = Bound::from_owned_ptr_or_err(py, made)?;
        ffi::PyTuple_SetItem(made.as_ptr(), 0, keys.into_ptr());
        ffi::PyTuple_SetItem(made.as_ptr(), 1, scores.into_ptr());
        Ok(made)
    }
}

/// A number of hits, or what was given in its place.
enum Count<'py> {
    Known(usize),
    Other(Bound<'py, PyAny>),
}

impl<'py> FromPyObject<'_, 'py> for Count<'py> {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(match value.extract::<i32>() {
            Ok(k) if k >= 1 => Count::Known(k as usize),
            _ => Count::Other(value.to_owned()),
        })
    }
}

impl<'py> Count<'py> {
    fn get(self, py: Python<'py>) -> PyResult<usize> {
        match self {
            Count::Known(k) => Ok(k),
            Count::Other(value) => validate(py)?
                .call_method1(intern!(py, "as_k"), (value,))?
                .extract(),
        }
    }
}

/// Keys as `aqe_core.validate.as_keys` returns them.
fn keys_of<'py>(keys: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArray1<'py, u64>> {
    let py = keys.py();
    let array = validate(py)?.call_method1(intern!(py, "as_keys"), (keys,))?;
    array.extract()
}

/// Whether one row can be searched for, or added, as it is: finite, and not zero under cosine.
fn is_good(row: &[f32], options: &Options) -> bool {
    let square = dot(options.level, row, row);
    square.is_finite() && (square > 0.0 || options.metric != Metric::Cosine)
}

#[pymethods]
impl PatternStore {
    #[new]
    #[pyo3(signature = (*, dim, metric, index, keep, recall, seed, threads, background))]
    #[allow(clippy::too_many_arguments, reason = "one for each option, by name")]
    fn new(
        dim: usize,
        metric: &str,
        index: &str,
        keep: &str,
        recall: f64,
        seed: u64,
        threads: usize,
        background: bool,
    ) -> PyResult<PatternStore> {
        let (name, metric) = chosen(
            metric,
            &[
                ("cosine", ("cosine", Metric::Cosine)),
                ("dot", ("dot", Metric::Dot)),
                ("l2", ("l2", Metric::L2)),
            ],
        )?;
        let index = chosen(
            index,
            &[
                ("auto", Index::Auto),
                ("flat", Index::Flat),
                ("lists", Index::Lists),
                ("hnsw", Index::Hnsw),
            ],
        )?;
        let keep = chosen(
            keep,
            &[
                ("planes", Keep::Planes),
                ("float16", Keep::Float16),
                ("float32", Keep::Float32),
            ],
        )?;
        let threads = if threads > 0 {
            threads
        } else {
            available_parallelism().map_or(1, NonZero::get)
        };
        let options = Options {
            dim,
            metric,
            index,
            keep,
            recall,
            seed,
            threads,
            background,
            level: Level::best(),
        };
        Ok(PatternStore {
            store: Store::new(options),
            metric: name,
        })
    }

    /// Number of dimensions.
    #[getter]
    pub(crate) fn dim(&self) -> usize {
        self.store.options().dim
    }

    /// ``cosine``, ``dot`` or ``l2``.
    #[getter]
    fn metric(&self) -> &'static str {
        self.metric
    }

    fn __len__(&self) -> usize {
        self.store.len()
    }

    fn __repr__(&self) -> String {
        format!("PatternStore(dim={}, metric='{}')", self.dim(), self.metric)
    }

    /// Return the stored keys in ascending order, as a copy, shape (n,).
    fn keys<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u64>> {
        PyArray1::from_vec(py, py.detach(|| self.store.keys()))
    }

    /// Store vectors under keys; a key that is there already gets the new vector.
    ///
    /// Other Python threads run meanwhile. If one of them writes to the arrays, a row is stored as it was at some moment,
    /// or part of it at one and part at another.
    fn add(&self, keys: &Bound<'_, PyAny>, vectors: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = keys.py();
        let keys = keys_of(keys)?;
        let check = PyDict::new(py);
        check.set_item(intern!(py, "check"), false)?;
        let arguments = (vectors, keys.len(), self.dim(), self.metric);
        let module = validate(py)?;
        let matrix = module.call_method(intern!(py, "as_vectors"), arguments, Some(&check))?;
        if !self.append(&keys, &matrix.extract()?)? {
            // What others write to is judged and added as it is now.
            let matrix = matrix.call_method0(intern!(py, "copy"))?;
            let arguments = (&matrix, self.metric, "vectors");
            module.call_method1(intern!(py, "refuse_bad_rows"), arguments)?;
            self.append(&keys, &matrix.extract()?)?;
        }
        py.detach(|| self.store.settle());
        Ok(())
    }

    /// Remove keys; unknown ones are passed over. Return how many distinct ones were there.
    fn remove(&self, py: Python<'_>, keys: &Bound<'_, PyAny>) -> PyResult<usize> {
        let keys = keys_of(keys)?.as_slice()?.to_vec();
        Ok(py.detach(|| self.store.remove(&keys)))
    }

    /// Find the ``k`` nearest rows of each query.
    ///
    /// Parameters
    /// ----------
    /// queries : array of float32, shape (dim,) or (m, dim)
    /// k : int
    /// among : array of uint64, shape (a,), optional
    ///     Only these keys may be returned; each of them is scored.
    /// ef : int, optional
    ///     Rows to refine, instead of what the store measured to suffice; lists are scanned in proportion.
    /// exact : bool
    ///     Score every row.
    #[pyo3(signature = (queries, k=Count::Known(DEFAULT_K), *, among=None, ef=None, exact=false))]
    fn search<'py>(
        &self,
        queries: &Bound<'py, PyAny>,
        k: Count<'py>,
        among: Option<&Bound<'py, PyAny>>,
        ef: Option<Count<'py>>,
        exact: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = queries.py();
        let array = self.queries_of(queries)?;
        let k = k.get(py)?;
        let ef = ef.map(|ef| ef.get(py)).transpose()?;
        let single = array.ndim() == 1;
        let among = among
            .map(|keys| PyResult::Ok(keys_of(keys)?.as_slice()?.to_vec()))
            .transpose()?;
        let values = array.as_slice()?;
        let m = if single { 1 } else { array.shape()[0] };
        // Not more than the rows there are is asked for, however large k is.
        let width = self.store.len().min(k);
        let (mut found, mut scores) = (
            vec![u64::MAX; m * width],
            vec![f32::NEG_INFINITY; m * width],
        );
        if width > 0 && m > 0 {
            py.detach(|| {
                self.store.search(
                    values,
                    width,
                    ef,
                    exact,
                    among.as_deref(),
                    (&mut found, &mut scores),
                );
            });
        }
        if single && width == k {
            let keys = PyArray1::from_slice(py, &found).into_any();
            return made_hits(py, keys, PyArray1::from_slice(py, &scores).into_any());
        }
        padded(py, &found, &scores, (m, width, k), single)
    }

    /// Finish the work that is done beside the calls: learn lists, merge new rows into them, measure recall.
    fn optimize(&self, py: Python<'_>) {
        py.detach(|| self.store.optimize());
    }

    /// Finish the work that is done beside the calls, and write all to a file, atomically: a crash leaves the old file
    /// or the new one. While it writes, changes wait, and searches may wait for changes.
    ///
    /// Parameters
    /// ----------
    /// path : path
    ///
    /// Returns
    /// -------
    /// str
    ///     A name of the content; equal contents have equal names.
    ///
    /// Raises
    /// ------
    /// ReadOnlyError
    ///     The file cannot be written.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<String> {
        saved::save(py, &self.store, &path)
    }

    /// Replace all that the store holds by what a file holds; its checksums are compared, and nothing in it is trusted.
    ///
    /// Parameters
    /// ----------
    /// path : path
    ///     Written by ``save`` of a store that was made with the same options.
    ///
    /// Returns
    /// -------
    /// str
    ///     The name of the content, as ``save`` returned it.
    ///
    /// Raises
    /// ------
    /// InputError
    ///     The file is absent, damaged, or of a store that was made otherwise; nothing was changed.
    fn load(&self, py: Python<'_>, path: PathBuf) -> PyResult<String> {
        saved::load(py, &self.store, &path)
    }

    /// Return what the store can tell about itself, as a dict.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.store.stats());
        let out = PyDict::new(py);
        out.set_item("rows", stats.rows)?;
        out.set_item("tail", stats.tail)?;
        out.set_item("lists", stats.lists)?;
        out.set_item("graph", stats.graph)?;
        out.set_item("probes", stats.probes)?;
        out.set_item("refine", stats.refine)?;
        out.set_item(
            "recall",
            if stats.recall.is_nan() {
                None
            } else {
                Some(stats.recall)
            },
        )?;
        out.set_item("memory_bytes", stats.bytes)?;
        out.set_item("simd", stats.simd)?;
        out.set_item("working", stats.working)?;
        Ok(out)
    }
}

impl PatternStore {
    /// Add rows that are checked on the way. False if one is bad.
    fn append(
        &self,
        keys: &PyReadonlyArray1<u64>,
        vectors: &PyReadonlyArray2<f32>,
    ) -> PyResult<bool> {
        let (names, values) = (keys.as_slice()?, by_rows(vectors)?);
        let py = keys.py();
        Ok(py.detach(|| self.store.append(names, values)).is_ok())
    }

    /// The nearest `k` to one vector of the store's length, or those of them that there are.
    pub(crate) fn nearest(
        &self,
        query: &[f32],
        k: usize,
        among: Option<&[u64]>,
    ) -> Vec<(u64, f32)> {
        let width = self.store.len().min(k);
        if width == 0 {
            return Vec::new();
        }
        let (mut keys, mut scores) = (vec![u64::MAX; width], vec![f32::NEG_INFINITY; width]);
        let out = (&mut keys[..], &mut scores[..]);
        self.store.search(query, width, None, false, among, out);
        let hits = keys.into_iter().zip(scores);
        hits.filter(|&(key, _)| key != u64::MAX).collect()
    }

    /// The store itself.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Queries as a contiguous array of one or two axes, checked.
    fn queries_of<'py>(
        &self,
        queries: &Bound<'py, PyAny>,
    ) -> PyResult<PyReadonlyArrayDyn<'py, f32>> {
        let py = queries.py();
        let dim = self.dim();
        if let Ok(array) = queries.cast::<PyArrayDyn<f32>>()
            && array.ndim() == 1
            && array.len() == dim
            && array.is_c_contiguous()
            && array.is_aligned()
        {
            let array = array.readonly();
            if is_good(array.as_slice()?, self.store.options()) {
                return Ok(array);
            }
        }
        let answer =
            validate(py)?.call_method1(intern!(py, "as_queries"), (queries, dim, self.metric))?;
        let (matrix, single): (Bound<'py, PyAny>, bool) = answer.extract()?;
        let array = if single { matrix.get_item(0)? } else { matrix };
        array.extract()
    }
}

/// Hits with places for k rows, of which `width` are known.
fn padded<'py>(
    py: Python<'py>,
    keys: &[u64],
    scores: &[f32],
    (m, width, k): (usize, usize, usize),
    single: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let mut all_keys = vec![u64::MAX; m * k];
    let mut all_scores = vec![f32::NEG_INFINITY; m * k];
    for row in 0..m {
        all_keys[row * k..][..width].copy_from_slice(&keys[row * width..][..width]);
        all_scores[row * k..][..width].copy_from_slice(&scores[row * width..][..width]);
    }
    if single {
        let keys = PyArray1::from_array(py, &ArrayView1::from(&all_keys)).into_any();
        return made_hits(
            py,
            keys,
            PyArray1::from_array(py, &ArrayView1::from(&all_scores)).into_any(),
        );
    }
    let shaped = |error| PyValueError::new_err(format!("{error}"));
    let keys = ArrayView2::from_shape((m, k), &all_keys).map_err(shaped)?;
    let scores = ArrayView2::from_shape((m, k), &all_scores).map_err(shaped)?;
    let keys = PyArray2::from_array(py, &keys).into_any();
    made_hits(py, keys, PyArray2::from_array(py, &scores).into_any())
}
