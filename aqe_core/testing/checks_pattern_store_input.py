"""Checks of pattern stores, part 3: bad input gets the documented error in the words of `aqe_core.validate`."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import CapabilityError, DimensionError, InputError
from aqe_core.testing.checks_pattern_store import filled, metrics, one_metric, snapshot
from aqe_core.testing.expect import raises, raises_alike, require
from aqe_core.testing.kit import Context, check
from aqe_core.validate import as_k, as_keys, as_queries, as_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

BAD_KEYS: dict[str, Any] = {
    "negative": [3, -1],
    "too large": [2**64 - 1],
    "far too large": [2**64],
    "float": [1.5, 2.0],
    "whole float": np.array([1.0, 2.0]),
    "boolean": [True, False],
    "boolean array": np.array([True, False]),
    "text": ["a", "b"],
    "nothing": [None],
    "two axes": np.array([[1, 2]], np.uint64),
}
"""What is no key, by what is wrong with it."""

BAD_K: tuple[Any, ...] = (0, -1, 2.5, "3", None)


def bad_rows(dim: int, *, cosine: bool) -> dict[str, Any]:
    """Return pairs of rows that no store of ``dim`` dimensions takes, by what is wrong with them."""
    good = [1.0] * dim
    rows: dict[str, Any] = {
        "too long": np.ones((2, dim + 1), np.float32),
        "too short": [[1.0] * (dim - 1)] * 2,
        "no columns": np.empty((2, 0), np.float32),
        "ragged": [good, good[:-1]],
        "three axes": np.ones((1, 2, dim), np.float32),
        "text": [["x"] * dim] * 2,
        "nothing": None,
        "complex": np.ones((2, dim), np.complex64),
        "NaN": np.array([good, [*good[:-1], np.nan]], np.float32),
        "infinite": np.array([good, [-np.inf, *good[1:]]], np.float32),
        "beyond float32": np.array([good, [1e300, *good[1:]]]),
    }
    if cosine:
        rows["all zeros"] = np.array([good, [0.0] * dim], np.float32)
    return rows


def refuses(store: Any, reference: Callable[[], object], call: Callable[[], object], what: str) -> None:
    """Require the validator's error, and a store that is as it was."""
    before = snapshot(store)
    raises_alike(reference, call, what)
    require(snapshot(store) == before, f"{what} raised, but changed the store")


@check("pattern_store")
def check_bad_keys(kit: Context) -> None:
    """Keys that are negative, too large, not integers or not in one row are refused by add and remove.

    If this fails, look at aqe_core.validate.as_keys: call it first, or say the same.
    """
    store, *_ = filled(kit)
    for name, keys in BAD_KEYS.items():
        rows = np.ones((np.size(keys), 8), np.float32)
        refuses(store, partial(as_keys, keys), partial(store.add, keys, rows), f"add with {name} keys")
        if kit.capabilities.mutable:
            refuses(store, partial(as_keys, keys), partial(store.remove, keys), f"remove of {name} keys")


@check("pattern_store")
def check_one_bad_key_stores_nothing(kit: Context) -> None:
    """When the last of many keys or rows is bad, none of them is stored or removed.

    If this fails, look at checks inside the loop that writes: check everything, then write.
    """
    store, keys, rows = filled(kit)
    late = [*range(1000, 1019), -1]
    refuses(store, partial(as_keys, late), partial(store.add, late, rows), "add with one bad key at the end")
    broken = rows.copy()
    broken[-1, -1] = np.nan
    fresh = keys + np.uint64(1000)
    reference = as_vectors_call(broken, store)
    refuses(store, reference, partial(store.add, fresh, broken), "add with one bad row at the end")
    refuses(store, reference, partial(store.add, keys, broken), "replacing with one bad row at the end")
    if kit.capabilities.mutable:
        gone = [*keys.tolist(), -1]
        refuses(store, partial(as_keys, gone), partial(store.remove, gone), "remove with one bad key at the end")


@check("pattern_store")
def check_bad_vectors(kit: Context) -> None:
    """Rows of another length, ragged, not numbers, not finite, or all zeros under cosine are refused.

    If this fails, look at aqe_core.validate.as_vectors: call it first, or say the same.
    """
    for metric in metrics(kit):
        store, *_ = filled(kit, metric=metric)
        for name, rows in bad_rows(8, cosine=metric == "cosine").items():
            refuses(store, as_vectors_call(rows, store), partial(store.add, [1, 2], rows), f"add of {name} rows")


@check("pattern_store")
def check_zero_rows(kit: Context) -> None:
    """Rows of zeros are stored under dot and l2, where they mean something.

    If this fails, look at a test for zero rows that does not ask for the metric.
    """
    for metric in metrics(kit):
        if metric == "cosine":
            continue
        store = kit.make(dim=8, metric=metric)
        store.add([5], np.zeros((1, 8), np.float32))
        hits = store.search(np.zeros(8, np.float32), k=1)
        require((int(hits.keys[0]), float(hits.scores[0])) == (5, 0.0), f"zeros by {metric} find {hits}")


@check("pattern_store")
def check_mismatched_lengths(kit: Context) -> None:
    """As many rows as keys are needed.

    If this fails, look at zip() or broadcasting, which hide the difference.
    """
    store, *_ = filled(kit)
    for n_keys, n_rows in ((2, 3), (3, 2), (0, 1), (2, 1), (1, 0), (3, 0)):
        keys, rows = list(range(n_keys)), np.ones((n_rows, 8), np.float32)
        refuses(
            store,
            partial(as_vectors, rows, n_keys, 8, store.metric),
            partial(store.add, keys, rows),
            f"add of {n_rows} rows under {n_keys} keys",
        )


@check("pattern_store")
def check_bad_queries(kit: Context) -> None:
    """Queries of another length, ragged, not finite, or all zeros under cosine are refused, by an empty store too.

    If this fails, look at aqe_core.validate.as_queries, and at early returns that come before it.
    """
    for metric in metrics(kit):
        for store in (kit.make(dim=8, metric=metric), filled(kit, metric=metric)[0]):
            bad = bad_rows(8, cosine=metric == "cosine")
            bad |= {
                "one too short": [1.0] * 7,
                "one with NaN": [np.nan, *[0.0] * 7],
                "one with infinity": [np.inf, *[0.0] * 7],
                "no numbers": [],
                "no rows of the wrong length": np.empty((0, 9), np.float32),
            }
            for name, queries in bad.items():
                refuses(
                    store,
                    partial(as_queries, queries, 8, store.metric),
                    partial(store.search, queries, k=2),
                    f"search for {name}",
                )


@check("pattern_store")
def check_bad_k(kit: Context) -> None:
    """A k below 1 or not an integer is refused, by an empty store too.

    If this fails, look at aqe_core.validate.as_k, and at int(k), which takes "3" and 2.5.
    """
    query = np.ones(8, np.float32)
    for store in (kit.make(dim=8, metric=one_metric(kit)), filled(kit)[0]):
        for k in BAD_K:
            refuses(store, partial(as_k, k), partial(store.search, query, k=k), f"search with k={k!r}")


@check("pattern_store", needs="filtered")
def check_bad_among(kit: Context) -> None:
    """What is no key is refused in ``among`` too.

    If this fails, look at aqe_core.validate.as_keys: ``among`` goes through it like any keys.
    """
    store, _, rows = filled(kit)
    for name, keys in BAD_KEYS.items():
        refuses(
            store, partial(as_keys, keys), partial(store.search, rows[0], k=2, among=keys), f"among with {name} keys"
        )


@check("pattern_store")
def check_bad_construction(kit: Context) -> None:
    """A store of too few or too many dimensions, or of an unknown or undeclared metric, cannot be made.

    If this fails, look at aqe_core.validate.as_dim and as_metric: call them in the constructor.
    """
    metric = one_metric(kit)
    for dim in (0, -3, 2.5, "8", None, kit.capabilities.max_dim + 1):
        raises(DimensionError, partial(kit.make, dim=dim, metric=metric), f"make(dim={dim!r})")
    for unknown in ("manhattan", "COSINE", None):
        raises(InputError, partial(kit.make, dim=8, metric=unknown), f"make(metric={unknown!r})")
    for absent in {"cosine", "dot", "l2"} - {*metrics(kit)}:
        raises(CapabilityError, partial(kit.make, dim=8, metric=absent), f"make(metric={absent!r})")


def as_vectors_call(rows: Any, store: Any) -> Callable[[], object]:
    """Return the validator's call for rows given to add() under keys of their own."""
    n = len(rows) if isinstance(rows, np.ndarray) and rows.ndim == 2 else 2
    return partial(as_vectors, rows, n, 8, store.metric)
