"""The state of the text index: its vocabulary and postings as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy._postings import Segment
from aqe_backend_numpy._terms import VERSION
from aqe_core.contracts.pattern_store import NO_KEY
from aqe_core.errors import InputError
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["fingerprint_of", "read_state", "write_state"]

_KIND = "text-index/postings/1"
_DTYPES = {"keys": "u8", "lengths": "i8", "counts": "i8", "rows": "i4", "tf": "u2", "terms": "u1"}


def fingerprint_of(k1: float, b: float, name_weight: int) -> str:
    """Return ``bm25/1/<k1>/<b>/<name_weight>/<version of the terms>``."""
    return f"bm25/1/{k1!r}/{b!r}/{name_weight}/{VERSION}"


def write_state(
    fingerprint: str, terms: list[str], keys: NDArray[np.uint64], lengths: NDArray[np.int64], base: Segment
) -> EngineState:
    """Return the state: keys ascending, and of each term how many postings it has, then all rows and frequencies."""
    counts = np.zeros(len(terms), np.int64)
    counts[base.terms] = np.diff(base.starts)
    text = "\n".join(terms).encode("utf-8", "surrogatepass")
    arrays: dict[str, Any] = {"keys": keys, "lengths": lengths, "counts": counts, "rows": base.rows, "tf": base.tf}
    arrays["terms"] = np.frombuffer(text, np.uint8)
    copies = {name: np.array(array) for name, array in arrays.items()}
    return EngineState(kind=_KIND, manifest={"fingerprint": fingerprint}, arrays=copies)


def read_state(
    state: EngineState, fingerprint: str
) -> tuple[dict[str, int], NDArray[np.uint64], NDArray[np.int64], Segment]:
    """Return vocabulary, keys, lengths and postings after checking everything that a search relies on.

    Raises
    ------
    InputError
    """
    if state.kind != _KIND or state.manifest.get("fingerprint") != fingerprint:
        made = state.manifest.get("fingerprint", "")
        raise _refusal(f"it is {state.kind!r} {made!r:.80}, expected {_KIND!r} {fingerprint!r}")
    arrays = state.arrays
    for name, dtype in _DTYPES.items():
        array = arrays.get(name)
        if not isinstance(array, np.ndarray) or array.dtype != np.dtype(dtype) or array.ndim != 1:
            raise _refusal(f"its {name} are no array of {dtype} with one axis")
    try:
        text = arrays["terms"].tobytes().decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise _refusal("its terms are no text") from None
    terms = text.split("\n") if text else []
    vocabulary = dict(zip(terms, range(len(terms)), strict=True))
    keys, lengths, counts, rows, tf = (arrays[name].copy() for name in ("keys", "lengths", "counts", "rows", "tf"))
    _verify(len(vocabulary) == len(terms) == counts.size, "its terms and counts differ in number, or a term is twice")
    _verify(bool((keys[1:] > keys[:-1]).all()) and (not keys.size or keys[-1] != NO_KEY), "its keys do not ascend")
    _verify(lengths.size == keys.size and bool((lengths >= 0).all()), "its lengths are not those of its keys")
    _verify(bool((counts >= 0).all()) and int(counts.sum()) == rows.size == tf.size, "its counts do not add up")
    _verify(not rows.size or (int(rows.min()) >= 0 and int(rows.max()) < keys.size), "a row has no key")
    used = np.flatnonzero(counts).astype(np.int32)
    starts = np.append(0, np.cumsum(counts[used]))
    rises = np.append(True, rows[1:] > rows[:-1])[: rows.size]
    rises[starts[:-1]] = True
    _verify(bool(rises.all()) and bool(tf.all()), "the rows of a term do not ascend, or one has no frequency")
    return vocabulary, keys, lengths, Segment(0, keys.size, used, starts, rows, tf)


def _verify(holds: bool, complaint: str) -> None:
    if not holds:
        raise _refusal(complaint)


def _refusal(complaint: str) -> InputError:
    return InputError(
        f"this is not the state of such a text index: {complaint}.",
        fix="import what export_state of an index with the same options returned, or add the documents.",
    )
