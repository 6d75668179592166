"""Checks of pattern stores, part 1: what is stored, replaced, removed."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.pattern_store import NO_KEY, Hits, PatternStore
from aqe_core.errors import CapabilityError
from aqe_core.testing.data import clustered_vectors, scattered_keys, variants
from aqe_core.testing.expect import close, equal, raises, require, run_threads, same_array, unchanged
from aqe_core.testing.kit import Context, check
from aqe_core.testing.oracles import exact_scores, score_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIMS = (8, 33)
"""A multiple of every SIMD width in use, and a number that leaves a rest."""


def metrics(kit: Context) -> list[str]:
    """Return the declared metrics, in a fixed order."""
    return sorted(kit.capabilities.metrics)


def one_metric(kit: Context) -> str:
    """Return the metric for checks that need any."""
    return metrics(kit)[0]


def filled(
    kit: Context, n: int = 20, *, dim: int = 8, metric: str = ""
) -> tuple[Any, NDArray[np.uint64], NDArray[np.float32]]:
    """Return a store of n rows with its ascending keys 10, 20, ... and rows."""
    keys = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(10)
    rows = clustered_vectors(n, dim, seed=n)
    store = kit.make(dim=dim, metric=metric or one_metric(kit))
    store.add(keys, rows)
    return store, keys, rows


def snapshot(store: Any) -> tuple[bytes, ...]:
    """Return the observable state of a store of 8 dimensions: its keys, and answers to fixed questions, as bytes."""
    hits = store.search(clustered_vectors(3, 8, seed=99), k=len(store) + 1)
    return store.keys().tobytes(), hits.keys.tobytes(), hits.scores.tobytes()


@check("pattern_store")
def check_protocol(kit: Context) -> None:
    """A fresh store fulfils the protocol, is empty, and says what it was made for.

    If this fails, look at the constructor and at the names and signatures in aqe_core.contracts.pattern_store.
    """
    for metric in metrics(kit):
        store = kit.make(dim=8, metric=metric)
        require(isinstance(store, PatternStore), f"{type(store).__name__} lacks a method of PatternStore")
        equal((store.dim, store.metric, len(store)), (8, metric, 0), "(dim, metric, len) of a fresh store")
        same_array(store.keys(), np.empty(0, np.uint64), "keys() of a fresh store")


@check("pattern_store")
def check_empty_store(kit: Context) -> None:
    """An empty store answers with `NO_KEY` and -inf, and removes nothing.

    If this fails, look at the search before the first add: allocate the padded answer first.
    """
    store = kit.make(dim=8, metric=one_metric(kit))
    hits = store.search(np.ones(8, np.float32), k=3)
    same_array(hits.keys, np.full(3, NO_KEY, np.uint64), "keys found in an empty store")
    same_array(hits.scores, np.full(3, -np.inf, np.float32), "scores found in an empty store")
    if kit.capabilities.mutable:
        equal(store.remove(np.array([5], np.uint64)), 0, "keys removed from an empty store")


@check("pattern_store")
def check_two_stores_are_apart(kit: Context) -> None:
    """What one store holds, another does not see.

    If this fails, look at class attributes or module globals that hold rows.
    """
    filled(kit)
    equal(len(kit.make(dim=8, metric=one_metric(kit))), 0, "len of a second store")


@check("pattern_store")
def check_add_and_keys(kit: Context) -> None:
    """Keys given in any order, also 0 and 2**64 - 2, are counted and listed in ascending order.

    If this fails, look at how keys are held: they are unsigned 64-bit, and neither float64 nor int64 holds them all.
    """
    keys = scattered_keys(50, seed=1)
    store = kit.make(dim=8, metric=one_metric(kit))
    rows = clustered_vectors(50, 8, seed=1)
    store.add(keys[:30], rows[:30])
    store.add(keys[30:], rows[30:])
    equal(len(store), 50, "len after adding 50 keys in two calls")
    same_array(store.keys(), np.sort(keys), "keys()")
    largest = int(np.argmax(keys))
    found = store.search(rows[largest], k=1) if kit.capabilities.exact else None
    if found is not None and store.metric != "dot":
        equal(int(found.keys[0]), 2**64 - 2, "nearest key of its own row")


@check("pattern_store")
def check_add_nothing(kit: Context) -> None:
    """Adding or removing no rows is allowed and changes nothing.

    If this fails, look at reductions over empty arrays, and at reshape(-1, dim) of them.
    """
    store, *_ = filled(kit)
    before = snapshot(store)
    store.add(np.empty(0, np.uint64), np.empty((0, 8), np.float32))
    store.add([], [])
    if kit.capabilities.mutable:
        equal(store.remove(np.empty(0, np.uint64)), 0, "keys removed by remove([])")
    require(snapshot(store) == before, "adding nothing changed the store")


@check("pattern_store", needs="mutable")
def check_duplicates_in_one_add(kit: Context) -> None:
    """Of equal keys in one call the last row counts, and the key is stored once.

    If this fails, look at the order in which rows of one call are written.
    """
    for metric in metrics(kit):
        rows = clustered_vectors(4, 8, seed=2)
        store = kit.make(dim=8, metric=metric)
        store.add(np.array([7, 3, 7, 7], np.uint64), rows)
        same_array(store.keys(), np.array([3, 7], np.uint64), "keys() after adding 7, 3, 7, 7")
        same_scores(store, rows[3], {3: rows[1], 7: rows[3]}, "rows after adding 7, 3, 7, 7")


@check("pattern_store", needs="mutable")
def check_replace(kit: Context) -> None:
    """A key that is there already gets the new vector, and only that key.

    If this fails, look at caches of norms or of squared lengths that are not renewed with the row.
    """
    for metric in metrics(kit):
        store, keys, rows = filled(kit, metric=metric)
        rows[4] = 3.0 * clustered_vectors(1, 8, seed=77)[0]
        store.add(keys[4:5], rows[4:5])
        equal(len(store), len(keys), "len after replacing a key")
        same_scores(store, rows[4], dict(zip(keys.tolist(), rows, strict=True)), "rows after replacing a key")


@check("pattern_store", needs="mutable")
def check_remove(kit: Context) -> None:
    """Removed keys are gone, the others stay as they are, and the call counts what was there.

    If this fails, look at what moves into the gap: its key and its row must move together.
    """
    for metric in metrics(kit):
        store, keys, rows = filled(kit, metric=metric)
        count = store.remove(np.array([10, 200, 90, 11, 90], np.uint64))
        equal((count, type(count)), (3, int), "answer of remove (10, 200, 90 stored; 11 not; 90 twice)")
        left = {int(k): row for k, row in zip(keys, rows, strict=True) if k not in (10, 90, 200)}
        equal(len(store), len(left), "len after remove")
        same_array(store.keys(), np.array(sorted(left), np.uint64), "keys() after remove")
        same_scores(store, rows[0], left, "rows after remove")
        equal(store.remove(keys), len(left), "keys removed at last")
        equal(len(store), 0, "len after removing all")


@check("pattern_store", needs="mutable")
def check_remove_and_add_again(kit: Context) -> None:
    """A removed key can come back with another row.

    If this fails, look at tombstones: they must be lifted when the key is added again.
    """
    store, keys, rows = filled(kit)
    store.remove(keys[:10])
    rows[:10] = clustered_vectors(10, 8, seed=5)
    store.add(keys[:10], rows[:10])
    same_array(store.keys(), keys, "keys() after remove and add")
    same_scores(store, rows[3], dict(zip(keys.tolist(), rows, strict=True)), "rows after remove and add")


@check("pattern_store", needs="not mutable")
def check_immutable_refuses(kit: Context) -> None:
    """A store that is not mutable refuses to remove and to replace, also within one call, and changes nothing.

    If this fails, look at add() of known or equal keys and remove(): they must raise before they write.
    """
    store, keys, rows = filled(kit)
    before = snapshot(store)
    raises(CapabilityError, partial(store.remove, keys[:1]), "remove of a store that is not mutable")
    for names in ([1, int(keys[3])], [1, 1]):
        raises(CapabilityError, partial(store.add, names, rows[:2]), f"add of {names} to a store that is not mutable")
    require(snapshot(store) == before, "a refused call changed the store")


@check("pattern_store")
def check_memory_layouts(kit: Context) -> None:
    """Arrays may be non-contiguous or read-only; they are never changed.

    If this fails, look at native code that assumes C order, and at in-place normalization.
    """
    for metric in metrics(kit):
        rows, keys = clustered_vectors(12, 8, seed=3), np.arange(12, dtype=np.uint64)
        wanted = kit.make(dim=8, metric=metric)
        wanted.add(keys, rows)
        answer = wanted.search(rows[:5], k=12)
        for name, given in variants(rows).items():
            store = kit.make(dim=8, metric=metric)
            named = variants(keys)[name]
            with unchanged(given, named):
                store.add(named, given)
                hits = store.search(given[:5], k=12)
            same_hits(hits, answer, f"hits with {name} arrays")


@check("pattern_store")
def check_other_dtypes(kit: Context) -> None:
    """Numbers of another type, and lists, mean the same as float32 and uint64.

    If this fails, look at the conversion of the arguments: cast to float32 and uint64 before use.
    """
    rows = np.round(4.0 * clustered_vectors(6, 8, seed=4)) + 0.5  # exact in float16
    whole = np.round(rows).astype(np.int32)
    keys = np.arange(6, dtype=np.uint64)
    for base, others in (
        (rows, (rows.astype(np.float64), rows.astype(np.float16), rows.tolist())),
        (whole, (whole, whole.astype(np.int8))),
    ):
        plain = np.asarray(base, np.float32)
        reference = kit.make(dim=8, metric=one_metric(kit))
        reference.add(keys, plain)
        wanted = reference.search(plain, k=6)
        for given in others:
            for names in (keys, keys.astype(np.int64), keys.astype(np.uint8), keys.tolist()):
                store = kit.make(dim=8, metric=one_metric(kit))
                with unchanged(given, names):
                    store.add(names, given)
                    hits = store.search(given, k=6)
                kinds = [getattr(one, "dtype", "list") for one in (given, names)]
                same_hits(hits, wanted, f"hits with rows as {kinds[0]} under keys as {kinds[1]}")


@check("pattern_store")
def check_no_aliasing(kit: Context) -> None:
    """Changing an argument or an answer afterwards does not change the store.

    If this fails, look at asarray without a copy in add(), and at keys() or search() returning an inner buffer.
    """
    keys, rows = np.arange(10, 20, dtype=np.uint64), clustered_vectors(10, 8, seed=6)
    store = kit.make(dim=8, metric=one_metric(kit))
    store.add(keys, rows)
    before = snapshot(store)
    rows[:], keys[:] = -1.0, 0
    require(snapshot(store) == before, "changing the added arrays changed the store")
    listed, hits = store.keys(), store.search(rows[0], k=5)
    for array in (listed, hits.keys, hits.scores):
        if array.flags.writeable:
            array[:] = 1
    require(snapshot(store) == before, "changing keys() or the hits changed the store")


@check("pattern_store", needs=("mutable", "exact"))
def check_random_history(kit: Context) -> None:
    """After any mixture of adding, replacing and removing the store equals a dictionary with the same history.

    If this fails, look at growth of buffers, reuse of freed places, and lengths kept beside the data.
    """
    for metric in metrics(kit):
        rng = np.random.default_rng(7)
        store, model = kit.make(dim=8, metric=metric), dict[int, Any]()
        for step in range(60):
            keys = rng.integers(0, 60, size=int(rng.integers(1, 12))).astype(np.uint64)
            if rng.random() < 0.4:
                equal(store.remove(keys), len(model.keys() & {*keys.tolist()}), f"answer of remove in step {step}")
                for key in keys.tolist():
                    model.pop(key, None)
            else:
                rows = rng.standard_normal((len(keys), 8)).astype(np.float32)
                store.add(keys, rows)
                model.update(zip(keys.tolist(), rows, strict=True))
            same_array(store.keys(), np.array(sorted(model), np.uint64), f"keys() after step {step}")
            query = rng.standard_normal(8).astype(np.float32)
            same_scores(store, query, model, f"rows after step {step}")


@check("pattern_store")
def check_growth(kit: Context) -> None:
    """Three hundred rows added one at a time are all there.

    If this fails, look at where the buffer grows.
    """
    store, rows = kit.make(dim=8, metric=one_metric(kit)), clustered_vectors(300, 8, seed=8)
    for key, row in enumerate(rows):
        store.add(np.array([key], np.uint64), row[None, :])
    same_array(store.keys(), np.arange(300, dtype=np.uint64), "keys() after 300 single adds")
    if kit.capabilities.exact:
        same_scores(store, rows[150], dict(enumerate(rows)), "rows after 300 single adds")


@check("pattern_store", needs="thread_safe")
def check_threads(kit: Context) -> None:
    """Searches in several threads beside one writer give the answers they give alone.

    If this fails, look at scratch buffers shared between calls, and at rows that move while they are read.
    """
    store, _, rows = filled(kit, 200)
    queries = rows[:2]
    wanted = [store.search(query, k=3).keys.tolist() for query in queries]
    # What is written meanwhile points away from both queries and is never among their nearest.
    units = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    far = np.repeat(-units.sum(axis=0, keepdims=True), 50, axis=0)
    failures: list[str] = []
    stop = threading.Event()

    def write() -> None:
        for turn in range(200):
            if stop.is_set():
                break
            keys = np.arange(turn * 50, turn * 50 + 50, dtype=np.uint64) + np.uint64(10_000)
            store.add(keys, far)
            if kit.capabilities.mutable:
                store.remove(keys)

    def read(i: int) -> None:
        for _ in range(60):
            found = store.search(queries[i], k=3).keys.tolist()
            if len({*found}) != 3 or (kit.capabilities.exact and found != wanted[i]):
                failures.append(f"query {i} finds {found}, alone {wanted[i]}")
                return

    run_threads([write], [partial(read, i) for i in (0, 1, 0, 1)], stop, failures)
    require(not failures, "; ".join(failures[:3]))


def same_hits(hits: Any, wanted: Any, what: str) -> None:
    """Require the same keys with the same scores; the order of nearly equal scores may differ."""
    order, wanted_order = np.argsort(hits.keys, axis=-1), np.argsort(wanted.keys, axis=-1)
    keys = np.take_along_axis(hits.keys, order, axis=-1)
    same_array(keys, np.take_along_axis(wanted.keys, wanted_order, axis=-1), f"keys among {what}")
    scores = np.take_along_axis(wanted.scores, wanted_order, axis=-1)
    scale = np.abs(scores[np.isfinite(scores)]).max(initial=1.0)
    close(np.take_along_axis(hits.scores, order, axis=-1), scores, 1e-5 * scale, f"scores among {what}")


def same_scores(store: Any, query: NDArray[np.float32], rows: dict[int, Any], what: str) -> None:
    """Require that the store holds exactly these rows, by the scores of one query over all of them."""
    hits = store.search(query, k=len(rows) + 1)
    require(isinstance(hits, Hits), f"search returns a {type(hits).__name__}, expected Hits")
    found = [int(key) for key in hits.keys if key != NO_KEY]
    equal(sorted(found), sorted(rows), f"keys among {what}")
    if found:
        matrix = np.stack([rows[key] for key in found])
        wanted = exact_scores(query, matrix, store.metric)[0]
        close(
            hits.scores[: len(found)],
            wanted,
            1e-5 * score_scale(query, matrix, store.metric)[0],
            f"scores among {what}",
        )
