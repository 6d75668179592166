"""Checks of pattern stores, part 5: the quantizers that a backend offers beside its store."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.quantizer import Quantizer
from aqe_core.errors import DimensionError, InputError, NonFiniteError
from aqe_core.testing.checks_learner import through_json
from aqe_core.testing.checks_pattern_store import metrics
from aqe_core.testing.data import clustered_vectors
from aqe_core.testing.expect import close, equal, raises, require, same_array, unchanged
from aqe_core.testing.kit import Context, check
from aqe_core.testing.oracles import exact_scores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_DIM = 20
_ERROR = {"float16": 1e-3, "int8": 0.02}
"""How far a score may be off, in parts of the largest; of the coarse schemes only the order is looked at."""


def quantizers(kit: Context) -> Iterator[tuple[str, str, Any, NDArray[np.float32]]]:
    """Yield scheme, metric, a trained quantizer, and the rows that it was trained on."""
    for scheme in sorted(kit.capabilities.quantizers):
        for metric in metrics(kit):
            rows = clustered_vectors(300, _DIM, seed=7)
            quantizer = kit.make(scheme=scheme, dim=_DIM, metric=metric)
            quantizer.train(rows)
            yield scheme, metric, quantizer, rows


@check("pattern_store", needs="quantizers")
def check_quantizer_codes(kit: Context) -> None:
    """Codes are rows of `code_bytes` bytes, a function of the vector alone, and fewer than the vector has.

    If this fails, look at factors that are computed over a batch instead of over a row.
    """
    for scheme, metric, quantizer, rows in quantizers(kit):
        who = f"{scheme} quantizer ({metric})"
        require(isinstance(quantizer, Quantizer), f"{type(quantizer).__name__} is not a Quantizer")
        equal((quantizer.scheme, quantizer.dim, quantizer.metric), (scheme, _DIM, metric), who)
        require(quantizer.trained, f"the {who} is not trained after train()")
        with unchanged(rows):
            codes = quantizer.encode(rows)
        equal((codes.dtype, codes.shape), (np.dtype(np.uint8), (300, quantizer.code_bytes)), f"codes of the {who}")
        require(quantizer.code_bytes < 4 * _DIM, f"a code of the {who} is as long as the vector")
        same_array(quantizer.encode(rows[7]), codes[7:8], f"the code of one row by the {who}")
        same_array(quantizer.encode(rows[::-1]), codes[::-1], f"codes of rows in reverse by the {who}")
        equal(quantizer.encode(np.empty((0, _DIM))).shape, (0, quantizer.code_bytes), f"codes of no rows by the {who}")


@check("pattern_store", needs="quantizers")
def check_quantizer_decodes(kit: Context) -> None:
    """Decoded vectors are nearer to the originals than the mean of all is.

    If this fails, look at the scale of a row, and at the order of bits within a byte.
    """
    for scheme, metric, quantizer, rows in quantizers(kit):
        wanted = rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else rows
        decoded = quantizer.decode(quantizer.encode(rows))
        equal((decoded.dtype, decoded.shape), (np.dtype(np.float32), rows.shape), "dtype and shape of decoded rows")
        error, spread = np.square(decoded - wanted).sum(), np.square(wanted - wanted.mean(axis=0)).sum()
        limit = 1e-3 if scheme in _ERROR else 0.6
        require(
            error < limit * spread, f"the {scheme} quantizer ({metric}) keeps {1 - error / spread:.3f} of the spread"
        )


@check("pattern_store", needs="quantizers")
def check_quantizer_scores(kit: Context) -> None:
    """Scores from codes order rows as the exact scores do, as nearly as the scheme allows, alone and in a batch.

    If this fails, look at the terms of the metric that the codes do not hold: mean, squares of query and row.
    """
    for scheme, metric, quantizer, rows in quantizers(kit):
        queries = clustered_vectors(12, _DIM, seed=8)
        codes = quantizer.encode(rows)
        scores = quantizer.scores(queries, codes)
        who = f"scores by the {scheme} quantizer ({metric})"
        equal((scores.dtype, scores.shape), (np.dtype(np.float32), (12, 300)), f"dtype and shape of {who}")
        exact = exact_scores(queries, rows, metric)
        size = np.abs(exact).max()
        close(quantizer.scores(queries[3], codes), scores[3], 1e-5 * size, f"{who} of one query")
        close(quantizer.scores(queries, codes[5:9]), scores[:, 5:9], 1e-5 * size, f"{who} of a few codes")
        if scheme in _ERROR:
            close(scores, exact, _ERROR[scheme] * size, who)
        likeness = float(np.corrcoef(scores.ravel(), exact.ravel())[0, 1])
        least = 0.999 if scheme in _ERROR else 0.6
        require(likeness > least, f"{who} are like the exact ones by {likeness:.3f} only")


@check("pattern_store", needs="quantizers")
def check_quantizer_state(kit: Context) -> None:
    """What was learned goes through states and files, is the same for the same training, and of no other quantizer.

    If this fails, look at arrays that a state shares with the quantizer, and at what makes two quantizers different.
    """
    with tempfile.TemporaryDirectory() as folder:
        for scheme, metric, quantizer, rows in quantizers(kit):
            codes = quantizer.encode(rows)
            make = partial(kit.make, scheme=scheme, metric=metric)
            again = make(dim=_DIM)
            again.train(rows)
            same_array(again.encode(rows), codes, f"codes of {scheme} after the same training")
            state = through_json(quantizer.export_state())
            other = make(dim=_DIM)
            other.import_state(state)
            for array in state.arrays.values():
                array[...] = 0
            same_array(other.encode(rows), codes, f"codes of {scheme} after import_state")
            quantizer.save(Path(folder) / "state")
            loaded = make(dim=_DIM)
            loaded.load(Path(folder) / "state")
            same_array(loaded.encode(rows), codes, f"codes of {scheme} after load")
            wrong = make(dim=_DIM + 1)
            raises(InputError, partial(wrong.import_state, quantizer.export_state()), "a state of another dim")
            before = quantizer.encode(rows)
            same_array(before, codes, f"codes of {scheme} after its state was changed")


@check("pattern_store", needs="quantizers")
def check_quantizer_refuses(kit: Context) -> None:
    """Bad vectors and codes are refused with one typed error, and so is encoding before training.

    If this fails, look at the input of each call: shapes, numbers that are not finite, codes of another length.
    """
    for scheme, _, quantizer, rows in quantizers(kit):
        codes = quantizer.encode(rows[:3])
        bad = rows[:2].copy()
        bad[1, 3] = np.nan
        for call in (quantizer.train, quantizer.encode, partial(quantizer.scores, codes=codes)):
            raises(NonFiniteError, partial(call, bad), f"a row with NaN given to {scheme}")
            raises(DimensionError, partial(call, rows[:, :-1]), f"short rows given to {scheme}")
        for wrong in (codes[:, :-1], codes.astype(np.int64), codes[0]):
            raises(DimensionError, partial(quantizer.decode, wrong), f"codes of another form given to {scheme}")
            raises(DimensionError, partial(quantizer.scores, rows[0], wrong), f"the same for scores of {scheme}")
        raises(InputError, partial(quantizer.train, np.empty((0, _DIM))), f"training {scheme} with nothing")
        same_array(quantizer.encode(rows[:3]), codes, f"codes of {scheme} after refused calls")
        fresh = kit.make(scheme=scheme, dim=_DIM, metric=metrics(kit)[0])
        if not fresh.trained:
            raises(InputError, partial(fresh.encode, rows), f"encoding by {scheme} before training")
            raises(InputError, partial(fresh.decode, codes), f"decoding by {scheme} before training")
