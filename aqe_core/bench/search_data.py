"""Vectors for ``aqe bench search``: the workspace's own, those of a file, or made ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aqe_core.errors import InputError, MalformedFileError, NoWorkspaceError
from aqe_core.validate import as_dim

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aqe_core.cli.invocation import Invocation

__all__ = ["ENOUGH", "SIZES", "Data", "load", "made"]

ENOUGH = 1_000
"""A workspace with fewer patterns is not measured on its own."""

SIZES = (2_000, 12_000)
_LARGEST = 1_000_000
_MAX_DIM = 4096
_MADE_DIM = 384
_INNER_DIM = 32
_PER_CLUSTER = 50


class Data(NamedTuple):
    """Rows to store, queries that are not among them, and where they are from."""

    rows: NDArray[np.float32]
    queries: NDArray[np.float32]
    sizes: tuple[int, ...]
    source: str


def load(call: Invocation, file: Path | None, sizes: tuple[int, ...], queries: int) -> Data:
    """Return the vectors of a file, else those of the workspace if it has at least 1,000, else made ones.

    Raises
    ------
    InputError
        There are fewer rows than asked for, or a row is not finite or all zeros.
    MalformedFileError
        The file is no array of vectors.
    """
    largest = max(sizes, default=0)
    if not all(10 <= size <= _LARGEST for size in sizes):
        raise InputError(f"the sizes are {sizes}.", fix=f"choose sizes in 10 .. {_LARGEST:,}.")
    if file is not None:
        return _split(_read(file, largest + queries), sizes, queries, str(file))
    own = _own(call)
    if own is not None and len(own) >= (largest + queries if sizes else ENOUGH):
        return _split(own, sizes, queries, f"{len(own):,} vectors of this workspace")
    few = "" if own is None or not len(own) else f" (the workspace has {len(own):,} vectors, too few)"
    wanted = sizes or SIZES
    return _split(made(max(wanted) + queries), wanted, queries, f"made vectors in clusters{few}")


def made(n: int, dim: int = _MADE_DIM, seed: int = 0) -> NDArray[np.float32]:
    """Return n vectors, shape (n, dim): clusters of about 50 in 32 dimensions, turned into dim ones, with some noise.

    Embedded texts are like that: neighbours are many and near each other, and the dimensions depend on each other.
    """
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(n // _PER_CLUSTER, 1), _INNER_DIM), dtype=np.float32)
    inner = random.standard_normal((n, _INNER_DIM), dtype=np.float32)
    inner += centres[random.integers(len(centres), size=n)]
    rows: NDArray[np.float32] = inner @ random.standard_normal((_INNER_DIM, dim), dtype=np.float32)
    rows += random.standard_normal((n, dim), dtype=np.float32)
    return rows


def _own(call: Invocation) -> NDArray[np.float32] | None:
    """Return the vectors of the workspace's patterns, None if there is no workspace."""
    try:
        with call.open_to_read() as ws:
            if len(ws.patterns) < ENOUGH:
                return None
            _, rows = ws.storage.load_vectors(ws.namespace, ws.patterns.embedder.fingerprint)
    except NoWorkspaceError:
        return None
    return rows[rows.any(axis=1)]  # a text without words has no direction


def _read(file: Path, needed: int) -> NDArray[np.float32]:
    """Return as many rows of a file as can be needed, in random order if there are more."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MalformedFileError(f"{file} is no NumPy array: {error}.", fix="write one with numpy.save.") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise MalformedFileError(f"{file} is an archive.", fix="save one array with numpy.save.")
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise MalformedFileError(
            f"{file} holds {array.dtype}, shape {array.shape}.",
            fix="save one array of numbers, shape (rows, dimensions).",
        )
    as_dim(array.shape[1], _MAX_DIM)
    wanted = min(len(array), max(needed, *SIZES) + 10_000)  # room for queries, whatever the sizes
    chosen = np.sort(np.random.default_rng(0).permutation(len(array))[:wanted])
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused below
        rows = np.asarray(array[chosen]).astype(np.float32)
    bad = ~np.isfinite(rows).all(axis=1) | ~rows.any(axis=1)
    if bad.any():
        row = int(chosen[int(bad.argmax())])
        raise InputError(f"row {row} of {file} is not finite, or all zeros.", fix="leave such rows out.")
    return rows


def _split(rows: NDArray[np.float32], sizes: tuple[int, ...], queries: int, source: str) -> Data:
    """Hold queries out, at most a tenth of all, and choose sizes: the given ones, else those that there is enough for.

    Raises
    ------
    InputError
        There are too few rows.
    """
    queries = min(queries, len(rows) // 10)
    there = len(rows) - queries
    if queries < 1 or there < max(sizes, default=1):
        raise InputError(f"there are {len(rows):,} vectors, too few.", fix="choose smaller --sizes, or other data.")
    mixed = rows[np.random.default_rng(0).permutation(len(rows))]
    chosen = sizes or tuple(size for size in SIZES if size < there) or (there,)
    return Data(np.ascontiguousarray(mixed[queries:]), np.ascontiguousarray(mixed[:queries]), chosen, source)
