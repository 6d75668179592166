//! A hybrid search in one call: `aqe-text` finds by words and embeds, `aqe-memory` scores the vectors.

use aqe_text::{Fusion, Parts};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::memory::PatternStore;
use crate::text::{SubtokenSums, TextIndex, bytes_of, resolved};

/// Add what this file binds to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(hybrid, module)?)
}

/// Keys, fused scores, scores by words and by vectors: lists, of so few faster to make and to read than arrays.
type Ranked = (Vec<u64>, Vec<f64>, Vec<Option<f64>>, Vec<Option<f64>>);

/// Return the best `k` of the fusion of the best `pool` by words and by vectors; `None` if the store's vectors are of another length than the embedder's.
///
/// `sizes`: `k`, `pool`, and the place in a list whose score counts nothing. `beyond_ascii`: what finds the terms, and the subtokens, of a stretch beyond ASCII. `weights`: of words and vectors.
/// `narrow`: score the vectors of the best by words only, where there are as many as asked for.
#[pyfunction]
fn hybrid(
    query: &Bound<'_, PyString>,
    beyond_ascii: (Bound<'_, PyAny>, Bound<'_, PyAny>),
    engines: (
        PyRef<'_, TextIndex>,
        PyRef<'_, SubtokenSums>,
        PyRef<'_, PatternStore>,
    ),
    sizes: (usize, usize, usize),
    weights: (f64, f64),
    narrow: bool,
) -> PyResult<Option<Ranked>> {
    let (index, sums, store) = (&*engines.0, &*engines.1, &*engines.2);
    if sums.dim != store.dim() {
        return Ok(None);
    }
    let text = bytes_of(query)?;
    let terms = resolved([&text], &beyond_ascii.0)?;
    let subtokens = resolved([&text], &beyond_ascii.1)?;
    let (k, pool, depth) = sizes;
    let fusion = Fusion {
        k,
        lexical_weight: weights.0,
        vector_weight: weights.1,
        depth,
    };
    let fused = query.py().detach(|| {
        let parts = Parts::of(&text, &subtokens, &terms);
        let (words, rows) = index.weighed(|index| index.best(&parts, pool));
        if !narrow || words.len() < pool {
            let vectors = store.nearest(&sums.query(&parts), pool, None);
            return fusion.fuse(&words, &vectors);
        }
        let keys: Vec<u64> = words.iter().map(|hit| hit.0).collect();
        let store = store.store();
        // Index and store number their rows alike as long as both are only added to.
        fusion.fuse_each(&words, &store.scores(&keys, &rows, || sums.query(&parts)))
    });
    Ok(Some((
        fused.keys,
        fused.scores,
        fused.lexical,
        fused.vector,
    )))
}
