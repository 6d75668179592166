//! Binding of `aqe-text`. Arguments come checked from the Python classes.
//!
//! What a stretch beyond ASCII holds is asked of a Python function, which every method that needs it takes as
//! `beyond_ascii`: str -> iterable of str. All else runs without the interpreter's lock.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, RwLock};

use aqe_text as core;
use core::{Foreign, Piece, Rarity};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

const MAX_TEXT_CHARS: usize = 1 << 18;
const NO_KEY: u64 = u64::MAX;

/// Keys, and a number for each.
type WithKeys<'py, T> = (Bound<'py, PyArray1<u64>>, Bound<'py, PyArray1<T>>);

/// Add what this file binds to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TextIndex>()?;
    module.add_class::<SubtokenTable>()?;
    module.add_class::<SubtokenSums>()?;
    module.add_function(wrap_pyfunction!(subtokens, module)?)?;
    module.add_function(wrap_pyfunction!(terms, module)?)?;
    module.add_function(wrap_pyfunction!(count_subtokens, module)?)
}

// -- texts ------------------------------------------------------------------------------------------------------------

/// The bytes of a text, of as much of it as is read.
pub(crate) fn bytes_of<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    let bytes = match text.to_str() {
        Ok(text) => Cow::Borrowed(text.as_bytes()),
        Err(_) => {
            let arguments = ("utf-8", "surrogatepass");
            let encoded = text.call_method1(intern!(text.py(), "encode"), arguments)?;
            Cow::Owned(encoded.cast::<PyBytes>()?.as_bytes().to_vec())
        }
    };
    let end = end_of_chars(&bytes, MAX_TEXT_CHARS);
    Ok(match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..end]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(end);
            Cow::Owned(bytes)
        }
    })
}

/// Where the first `n` characters end.
fn end_of_chars(bytes: &[u8], n: usize) -> usize {
    if bytes.len() <= n {
        return bytes.len();
    }
    let begins = bytes
        .iter()
        .enumerate()
        .filter(|&(_, byte)| byte & 0xc0 != 0x80);
    begins.map(|(i, _)| i).nth(n).unwrap_or(bytes.len())
}

fn all_bytes<'a>(texts: &'a [Bound<'_, PyString>]) -> PyResult<Vec<Cow<'a, [u8]>>> {
    texts.iter().map(bytes_of).collect()
}

fn to_python<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyString>> {
    match std::str::from_utf8(text) {
        Ok(text) => Ok(PyString::new(py, text)),
        Err(_) => {
            let bytes = PyBytes::new(py, text);
            let decoded = bytes.call_method1(intern!(py, "decode"), ("utf-8", "surrogatepass"))?;
            Ok(decoded.cast_into()?)
        }
    }
}

/// Ask what the stretches beyond ASCII of some texts hold, each once.
pub(crate) fn resolved<'a>(
    texts: impl IntoIterator<Item = &'a Cow<'a, [u8]>>,
    beyond_ascii: &Bound<'_, PyAny>,
) -> PyResult<Foreign> {
    let mut foreign = Foreign::new();
    for text in texts.into_iter().filter(|text| !text.is_ascii()) {
        for piece in core::pieces(text) {
            let Piece::Foreign(stretch) = piece else {
                continue;
            };
            if !foreign.contains_key(stretch) {
                let asked = to_python(beyond_ascii.py(), stretch)?;
                let mut held: Vec<Box<[u8]>> = Vec::new();
                for part in beyond_ascii.call1((asked,))?.try_iter()? {
                    held.push(bytes_of(&part?.cast_into()?)?.into());
                }
                foreign.insert(stretch.into(), held);
            }
        }
    }
    Ok(foreign)
}

/// Return the subtokens of a text, in order.
#[pyfunction]
fn subtokens<'py>(
    text: &Bound<'py, PyString>,
    beyond_ascii: &Bound<'py, PyAny>,
) -> PyResult<Vec<Bound<'py, PyString>>> {
    cut(text, beyond_ascii, |identifier, found| {
        core::subtokens_of(identifier, found)
    })
}

/// Return the terms of a text: of each identifier its subtokens, then its joined pairs.
#[pyfunction]
fn terms<'py>(
    text: &Bound<'py, PyString>,
    beyond_ascii: &Bound<'py, PyAny>,
) -> PyResult<Vec<Bound<'py, PyString>>> {
    cut(text, beyond_ascii, |identifier, found| {
        core::terms_of(identifier, found)
    })
}

fn cut<'py>(
    text: &Bound<'py, PyString>,
    beyond_ascii: &Bound<'py, PyAny>,
    each: impl Fn(&[u8], &mut dyn FnMut(&[u8])),
) -> PyResult<Vec<Bound<'py, PyString>>> {
    let bytes = bytes_of(text)?;
    let foreign = resolved([&bytes], beyond_ascii)?;
    let mut found: Vec<Box<[u8]>> = Vec::new();
    for piece in core::pieces(&bytes) {
        match piece {
            Piece::Identifier(identifier) => each(identifier, &mut |part| found.push(part.into())),
            Piece::Foreign(stretch) => found.extend_from_slice(&foreign[stretch]),
        }
    }
    found
        .iter()
        .map(|part| to_python(text.py(), part))
        .collect()
}

// -- index ------------------------------------------------------------------------------------------------------------

/// Keys, lengths, terms, counts, rows and frequencies of an index, as arrays.
type Arrays<'py> = (
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyBytes>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<u16>>,
);

/// BM25 over terms; the part of the text index that is written in Rust.
///
/// Searches run at the same time; changes wait for their turn.
#[pyclass(frozen, module = "aqe_backend_native._native")]
pub struct TextIndex {
    index: RwLock<core::Index>,
}

impl TextIndex {
    fn reading<R>(&self, read: impl FnOnce(&core::Index) -> R) -> R {
        read(&self.index.read().expect("no change panicked"))
    }

    /// Read an index whose postings are weighed.
    pub(crate) fn weighed<R>(&self, read: impl FnOnce(&core::Index) -> R) -> R {
        let index = self.index.read().expect("no change panicked");
        if index.is_weighed() {
            return read(&index);
        }
        drop(index);
        let mut index = self.index.write().expect("no change panicked");
        index.weigh();
        read(&index)
    }
}

#[pymethods]
impl TextIndex {
    #[new]
    fn new(k1: f64, b: f64, name_weight: u32, function_words: Vec<String>) -> Self {
        let words = function_words
            .into_iter()
            .map(|word| word.into_bytes().into());
        let rules = core::Rules { k1, b, name_weight };
        Self {
            index: RwLock::new(core::Index::new(rules, words)),
        }
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.reading(core::Index::len))
    }

    fn keys<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u64>> {
        PyArray1::from_vec(py, py.detach(|| self.reading(core::Index::keys)))
    }

    /// Store documents under distinct keys.
    fn add(
        &self,
        py: Python<'_>,
        keys: Vec<u64>,
        documents: Vec<(Bound<'_, PyString>, Bound<'_, PyString>)>,
        beyond_ascii: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (names, texts): (Vec<_>, Vec<_>) = documents.into_iter().unzip();
        let (names, texts) = (all_bytes(&names)?, all_bytes(&texts)?);
        let foreign = resolved(names.iter().chain(&texts), beyond_ascii)?;
        py.detach(|| {
            let pairs = names
                .iter()
                .zip(&texts)
                .map(|(name, text)| (&name[..], &text[..]));
            let documents: Vec<_> = keys
                .into_iter()
                .zip(pairs)
                .map(|(key, (name, text))| (key, name, text))
                .collect();
            self.index
                .write()
                .expect("no change panicked")
                .add(&documents, &foreign);
        });
        Ok(())
    }

    /// Remove distinct keys; return how many were there.
    fn remove(&self, py: Python<'_>, keys: PyReadonlyArray1<'_, u64>) -> usize {
        let keys = keys.as_array().to_vec();
        py.detach(|| {
            self.index
                .write()
                .expect("no change panicked")
                .remove(&keys)
        })
    }

    /// Return keys and scores of the best `k` of each query, one query after the other, filled up.
    #[pyo3(signature = (queries, k, among, beyond_ascii))]
    fn search<'py>(
        &self,
        py: Python<'py>,
        queries: Vec<Bound<'py, PyString>>,
        k: usize,
        among: Option<PyReadonlyArray1<'py, u64>>,
        beyond_ascii: &Bound<'py, PyAny>,
    ) -> PyResult<WithKeys<'py, f32>> {
        let texts = all_bytes(&queries)?;
        let foreign = resolved(&texts, beyond_ascii)?;
        let among = among.map(|keys| keys.as_array().to_vec());
        let mut keys = vec![NO_KEY; texts.len() * k];
        let mut scores = vec![f32::NEG_INFINITY; texts.len() * k];
        py.detach(|| {
            self.weighed(|index| {
                for (i, text) in texts.iter().enumerate() {
                    let query = core::Parts::terms_of(text, &foreign);
                    let hits = index.search(&query, k, among.as_deref());
                    for (place, (key, score)) in hits.into_iter().enumerate() {
                        (keys[i * k + place], scores[i * k + place]) = (key, score);
                    }
                }
            });
        });
        Ok((PyArray1::from_vec(py, keys), PyArray1::from_vec(py, scores)))
    }

    /// Return the terms of a query that some document holds, each with its weight.
    fn weights<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyString>,
        beyond_ascii: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<(Bound<'py, PyString>, f64)>> {
        let text = bytes_of(query)?;
        let foreign = resolved([&text], beyond_ascii)?;
        let found = py.detach(|| {
            self.reading(|index| {
                let weights = index
                    .weights(&core::Parts::terms_of(&text, &foreign))
                    .into_iter();
                weights
                    .map(|(term, weight)| (index.term(term).to_vec(), weight))
                    .collect::<Vec<_>>()
            })
        });
        found
            .into_iter()
            .map(|(term, weight)| Ok((to_python(py, &term)?, weight)))
            .collect()
    }

    /// Return keys, lengths, terms, counts, rows and frequencies.
    fn packed<'py>(&self, py: Python<'py>) -> Arrays<'py> {
        let packed = py.detach(|| self.reading(core::Index::packed));
        (
            PyArray1::from_vec(py, packed.keys),
            PyArray1::from_vec(py, packed.lengths),
            PyBytes::new(py, &packed.terms),
            PyArray1::from_vec(py, packed.counts),
            PyArray1::from_vec(py, packed.rows),
            PyArray1::from_vec(py, packed.tf),
        )
    }

    /// Replace what is stored by what `packed` returned, or what was checked to be like it.
    #[allow(clippy::too_many_arguments)] // one per part
    fn unpack(
        &self,
        py: Python<'_>,
        keys: PyReadonlyArray1<'_, u64>,
        lengths: PyReadonlyArray1<'_, i64>,
        terms: &[u8],
        counts: PyReadonlyArray1<'_, i64>,
        rows: PyReadonlyArray1<'_, i32>,
        tf: PyReadonlyArray1<'_, u16>,
    ) {
        let packed = core::Packed {
            keys: keys.as_array().to_vec(),
            lengths: lengths.as_array().to_vec(),
            terms: terms.to_vec(),
            counts: counts.as_array().to_vec(),
            rows: rows.as_array().to_vec(),
            tf: tf.as_array().to_vec(),
        };
        py.detach(|| {
            self.index
                .write()
                .expect("no change panicked")
                .unpack(&packed)
        });
    }
}

// -- embedder ---------------------------------------------------------------------------------------------------------

/// The shipped subtoken table; embedders share one.
#[pyclass(frozen, module = "aqe_backend_native._native")]
pub struct SubtokenTable {
    table: Arc<core::Shipped>,
}

#[pymethods]
impl SubtokenTable {
    #[new]
    fn new(
        subtokens: Vec<Bound<'_, PyString>>,
        df: Vec<u32>,
        n_documents: u64,
        vectors: PyReadonlyArray2<'_, i8>,
    ) -> PyResult<Self> {
        let subtokens = all_bytes(&subtokens)?.into_iter().map(Into::into).collect();
        let vectors = vectors.as_array().iter().copied().collect();
        let table = core::Shipped::new(subtokens, df, n_documents, vectors);
        let table = table.ok_or_else(|| PyValueError::new_err("the table is not of one length"))?;
        Ok(Self {
            table: Arc::new(table),
        })
    }
}

/// Sums of subtoken vectors; the part of the lexical embedder that is written in Rust. Calls take turns.
#[pyclass(frozen, module = "aqe_backend_native._native")]
pub struct SubtokenSums {
    pub(crate) dim: usize,
    sums: Mutex<core::Sums>,
}

#[pymethods]
impl SubtokenSums {
    /// Make an embedder for a fitted collection: how many documents, and keys and frequencies of subtokens.
    #[new]
    fn new(
        options: (usize, f64, bool),
        n_documents: u64,
        keys: PyReadonlyArray1<'_, u64>,
        df: PyReadonlyArray1<'_, u32>,
        table: &SubtokenTable,
    ) -> Self {
        let (dim, name_weight, learned) = options;
        let (keys, df) = (keys.as_array(), df.as_array());
        let rarity = Rarity::new(
            n_documents,
            keys.into_iter().copied().zip(df.into_iter().copied()),
        );
        let table = Arc::clone(&table.table);
        let sums = core::Sums::new(dim, name_weight, learned, rarity, table);
        Self {
            dim,
            sums: Mutex::new(sums),
        }
    }

    /// Return the unit vectors of documents, shape (n, dim).
    fn embed<'py>(
        &self,
        py: Python<'py>,
        documents: Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>,
        beyond_ascii: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (names, texts): (Vec<_>, Vec<_>) = documents.into_iter().unzip();
        let (names, texts) = (all_bytes(&names)?, all_bytes(&texts)?);
        let foreign = resolved(names.iter().chain(&texts), beyond_ascii)?;
        let out = py.detach(|| {
            let mut out = vec![0.0; texts.len() * self.dim];
            let mut sums = self.sums.lock().expect("no call panicked");
            for ((name, text), row) in names.iter().zip(&texts).zip(out.chunks_mut(self.dim)) {
                sums.embed(name, text, &foreign, row);
            }
            out
        });
        PyArray1::from_vec(py, out).reshape([texts.len(), self.dim])
    }
}

impl SubtokenSums {
    /// The unit vector of a query: of a document without a name.
    pub(crate) fn query(&self, parts: &core::Parts) -> Vec<f32> {
        let mut out = vec![0.0; self.dim];
        let mut sums = self.sums.lock().expect("no call panicked");
        sums.embed_parts(parts, &mut out);
        out
    }
}

/// Return in how many documents each subtoken occurs, as the fitted collection holds it: keys, and frequencies.
#[pyfunction]
fn count_subtokens<'py>(
    py: Python<'py>,
    documents: Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>,
    beyond_ascii: &Bound<'py, PyAny>,
) -> PyResult<WithKeys<'py, u32>> {
    let (names, texts): (Vec<_>, Vec<_>) = documents.into_iter().unzip();
    let (names, texts) = (all_bytes(&names)?, all_bytes(&texts)?);
    let foreign = resolved(names.iter().chain(&texts), beyond_ascii)?;
    let counted = py.detach(|| {
        let pairs = names
            .iter()
            .zip(&texts)
            .map(|(name, text)| (&name[..], &text[..]));
        core::count(&pairs.collect::<Vec<_>>(), &foreign)
    });
    let (keys, df): (Vec<_>, Vec<_>) = counted.into_iter().unzip();
    Ok((PyArray1::from_vec(py, keys), PyArray1::from_vec(py, df)))
}
