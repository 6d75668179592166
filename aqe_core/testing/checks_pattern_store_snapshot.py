"""Checks of pattern stores, part 4: stores in files."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aqe_core.contracts.pattern_store import SnapshotStore
from aqe_core.errors import DimensionError, InputError, ReadOnlyError
from aqe_core.testing.checks_pattern_store import filled, metrics, one_metric, snapshot
from aqe_core.testing.data import clustered_vectors
from aqe_core.testing.expect import equal, raises, require
from aqe_core.testing.kit import Context, check

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACES = 200


@check("pattern_store", needs="snapshots")
def check_snapshot_comes_back(kit: Context) -> None:
    """A store that is loaded from a file answers as the saved one did, whatever it held before, and goes on.

    If this fails, look at what else a search reads beside keys and rows.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "store"
        for metric in metrics(kit):
            for n in (0, 1, 300):
                store = filled(kit, n, metric=metric)[0] if n else kit.make(dim=8, metric=metric)
                require(isinstance(store, SnapshotStore), f"{type(store).__name__} lacks save or load")
                name = store.save(file)
                other = filled(kit, 20, metric=metric)[0]
                equal(other.load(str(file)), name, "the name that load() returns, to that of save()")
                equal(snapshot(other), snapshot(store), f"what a loaded store of {n} rows answers")
                for each in (store, other):
                    each.add([10, 15], clustered_vectors(2, 8, seed=3))
                equal(snapshot(other), snapshot(store), "what it answers after more rows")


@check("pattern_store", needs="snapshots")
def check_snapshot_names_content(kit: Context) -> None:
    """Snapshots of equal stores have one name, of different stores different ones, and a new one replaces the old.

    If this fails, look at what the name is made of: all of the content, and neither path nor time.
    """
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one", Path(folder) / "two"
        store = filled(kit)[0]
        name = store.save(one)
        equal(store.save(two), name, "the name of the same content in another file")
        store.add([10], clustered_vectors(1, 8, seed=5))
        require(store.save(one) != name, "after a row was replaced the snapshot has the same name")
        other = kit.make(dim=8, metric=store.metric)
        other.load(one)
        equal(snapshot(other), snapshot(store), "what the file holds that was written twice")
        equal(sorted(path.name for path in Path(folder).iterdir()), ["one", "two"], "the files in the folder")
        raises(ReadOnlyError, lambda: store.save(Path(folder) / "absent" / "store"), "saving into an absent folder")


@check("pattern_store", needs="snapshots")
def check_snapshot_of_another_store(kit: Context) -> None:
    """A snapshot of another dimension or metric, and an absent one, are refused; nothing is changed.

    If this fails, look at the order of things: compare dimensions and metric before anything is replaced.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "store"
        store = filled(kit)[0]
        before = snapshot(store)
        raises(InputError, lambda: store.load(file), "loading an absent file")
        filled(kit, dim=9)[0].save(file)
        raises(DimensionError, lambda: store.load(file), "loading a store of 9 dimensions into one of 8")
        for metric in metrics(kit):
            if metric != store.metric:
                filled(kit, metric=metric)[0].save(file)
                raises(InputError, lambda: store.load(file), f"loading a store of {metric} into one of {store.metric}")
        equal(snapshot(store), before, "the store after refused files")


@check("pattern_store", needs="snapshots")
def check_snapshot_damaged(kit: Context) -> None:
    """A file that was cut, lengthened or changed anywhere is refused, or gives what was saved; nothing else.

    If this fails, look at the parts of the file that no checksum covers, and at the order of checking and reading.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "store"
        saved = filled(kit, 300)[0]
        saved.save(file)
        answers = snapshot(saved)
        store = filled(kit)[0]
        before = snapshot(store)
        for what, data in _damaged(file.read_bytes()):
            file.write_bytes(data)
            try:
                store.load(file)
            except InputError:
                equal(snapshot(store), before, f"the store after a refused file, {what}")
            else:
                equal(snapshot(store), answers, f"what was loaded from a file, {what}")
                store = kit.make(dim=8, metric=one_metric(kit))
                store.add(np.arange(1, 21, dtype=np.uint64) * np.uint64(10), clustered_vectors(20, 8, seed=20))


def _damaged(whole: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "of zeros", bytes(len(whole))
    yield "with a byte more", whole + b"\0"
    rng = np.random.default_rng(11)
    for cut in rng.integers(len(whole), size=20).tolist():
        yield f"cut to {cut} bytes", whole[:cut]
    places = np.concatenate((np.arange(_PLACES // 2), rng.integers(len(whole), size=_PLACES // 2)))
    for place in places.tolist():
        if place < len(whole):
            changed = bytearray(whole)
            changed[place] ^= 1 << int(rng.integers(8))
            yield f"with a bit of byte {place} changed", bytes(changed)
