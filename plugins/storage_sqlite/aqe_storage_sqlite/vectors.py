"""Vectors, sixteen consecutive keys to a block.

A row per vector would be simpler, but reading one costs as much in Python as copying its bytes; blocks read twice as
fast, need a quarter less space, and their checksums cost less. Sixteen, so that one more vector rewrites little.
"""

from __future__ import annotations

import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from aqe_core.errors import CorruptStorageError, DimensionError
from aqe_storage_sqlite import namespaces
from aqe_storage_sqlite.encoding import MAX_INTEGER, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import apsw
    from numpy.typing import NDArray

__all__ = ["drop", "keys_of", "load", "problem_of", "put"]

BLOCK = 16
_FLOAT = np.dtype("<f4")
_SLOTS = np.arange(BLOCK, dtype=np.int64)
_AT_ONCE = 64
"""Blocks that are read before their checksums are compared."""
_WORTH_A_THREAD = 512
"""Blocks from which on starting a thread for the checksums pays."""

_INSERT = "INSERT INTO vector_blocks (space, block, slots, crc32, data) VALUES (?, ?, ?, ?, ?)"

T = TypeVar("T")
U = TypeVar("U")


def put(
    connection: apsw.Connection,
    namespace: str,
    keys: NDArray[np.uint64],
    vectors: NDArray[np.float32],
    fingerprint: str,
) -> None:
    """Store vectors, in place of those that other embedders made of the same patterns.

    Of equal keys the last one counts; keys that are no patterns are passed over. O(n log N).
    """
    number = namespaces.number_of(connection, namespace)
    distinct, last = _distinct(keys)
    kept = np.isin(distinct, np.array(namespaces.present(connection, number, distinct.tolist()), np.uint64))
    if not kept.any():
        return
    ascending = distinct[kept].astype(np.int64)
    rows = vectors if ascending.size == keys.size and last is None else vectors[kept if last is None else last[kept]]
    dim = rows.shape[1]
    connection.execute(
        "INSERT INTO vector_spaces (namespace, fingerprint, dim) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (number, fingerprint, dim),
    )
    space, stored_dim = connection.execute(
        "SELECT id, dim FROM vector_spaces WHERE namespace = ? AND fingerprint = ?", (number, fingerprint)
    ).get
    if stored_dim != dim:
        raise DimensionError(
            f"the vectors have {dim} dimensions, but those stored for {fingerprint!r} have {stored_dim}.",
            fix="give another embedder another fingerprint.",
        )
    drop(connection, number, ascending, but=space)
    parts = dict(_by_block(ascending))
    stored: Any = connection.executemany(
        "SELECT block FROM vector_blocks WHERE space = ? AND block = ?", [(space, block) for block in parts]
    ).fetchall()
    for (block,) in stored:
        part = parts.pop(block)
        _merge(connection, space, dim, block, ascending[part] % BLOCK, rows[part])
    connection.executemany(_INSERT, _new(space, parts, ascending, rows))


def _distinct(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64] | None]:
    """Return ascending keys, each once, and where each stands last; None where all stand there as they are."""
    if (keys[1:] > keys[:-1]).all():
        return keys, None
    distinct, from_end = np.unique(keys[::-1], return_index=True)
    return distinct, keys.size - 1 - from_end


def _new(
    space: int, parts: dict[int, slice], ascending: NDArray[np.int64], rows: NDArray[np.float32]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of blocks that are not there yet; nothing is copied."""
    bits = np.int64(1) << ascending % BLOCK
    data = np.ascontiguousarray(rows, _FLOAT).view(np.uint8).data
    for block, part in parts.items():
        slots, own = int(bits[part].sum()), data[part]
        yield space, block, slots, _checksum(block, slots, own), own


def drop(connection: apsw.Connection, number: int, keys: NDArray[np.int64], *, but: int = -1) -> None:
    """Forget the vectors of ascending keys, in all spaces of a namespace but one."""
    if not keys.size:
        return
    spaces: list[Any] = connection.execute(
        "SELECT id, dim FROM vector_spaces WHERE namespace = ? AND id <> ?", (number, but)
    ).fetchall()
    for space, dim in spaces:
        for block, part in _by_block(keys):
            _merge(connection, space, dim, block, keys[part] % BLOCK, None)


def _by_block(ascending: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Yield each block's number and the range of its keys."""
    blocks, starts = np.unique(ascending // BLOCK, return_index=True)
    bounds = [*starts.tolist(), ascending.size]
    for position, block in enumerate(blocks.tolist()):
        yield block, slice(bounds[position], bounds[position + 1])


def _merge(
    connection: apsw.Connection,
    space: int,
    dim: int,
    block: int,
    slots: NDArray[np.int64],
    vectors: NDArray[np.float32] | None,
) -> None:
    """Set, or with None forget, the vectors of some slots of a block.

    A damaged block is taken for empty: its other vectors are embedded anew, which is what repairs it.
    """
    rows = np.zeros((BLOCK, dim), _FLOAT)
    taken = np.zeros(BLOCK, np.bool_)
    old: Any = connection.execute(
        "SELECT slots, crc32, data FROM vector_blocks WHERE space = ? AND block = ?", (space, block)
    ).get
    if old is None and vectors is None:
        return
    if old is not None and not problem_of(block, old[0], old[1], old[2], dim):
        taken = _to_mask(old[0])
        rows[taken] = np.frombuffer(old[2], _FLOAT).reshape(-1, dim)
    taken[slots] = vectors is not None
    if vectors is not None:
        rows[slots] = vectors
    if not taken.any():
        connection.execute("DELETE FROM vector_blocks WHERE space = ? AND block = ?", (space, block))
        return
    bits, data = int((1 << _SLOTS[taken]).sum()), rows[taken].tobytes()
    connection.execute(
        f"{_INSERT} ON CONFLICT DO UPDATE SET slots = excluded.slots, crc32 = excluded.crc32, data = excluded.data",
        (space, block, bits, _checksum(block, bits, data), data),
    )


def load(
    connection: apsw.Connection, namespace: str, fingerprint: str, wanted: NDArray[np.uint64] | None
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return ascending keys and vectors, all or those of the wanted keys that have one.

    Raises
    ------
    CorruptStorageError
        A block's checksum is wrong.
    """
    found = connection.execute(
        "SELECT s.id, s.dim FROM vector_spaces AS s JOIN namespaces AS n ON n.id = s.namespace "
        "WHERE n.name = ? AND s.fingerprint = ?",
        (namespace, fingerprint),
    ).get
    if found is None:
        return np.empty(0, np.uint64), np.empty((0, 0), np.float32)
    space, dim = found
    sql = "SELECT rowid, block, slots, crc32, length(data) FROM vector_blocks WHERE space = ?"
    if wanted is None:
        blocks = connection.execute(f"{sql} ORDER BY block", (space,))
    else:
        wanted = wanted[wanted <= MAX_INTEGER]
        numbers = np.unique(wanted // BLOCK).tolist()
        blocks = connection.executemany(f"{sql} AND block = ?", ((space, block) for block in numbers))
    with reading(f"the vectors made by {fingerprint!r}"):
        keys, vectors = _read(connection, _located(blocks, dim, fingerprint), dim, fingerprint)
    if wanted is not None:
        chosen = np.isin(keys.astype(np.uint64), wanted)
        keys, vectors = keys[chosen], vectors[chosen]
    if not keys.size:
        vectors = np.empty((0, 0), np.float32)
    return keys.astype(np.uint64), vectors.astype(np.float32, copy=False)


class _Block(NamedTuple):
    """Where a block is, and which of the bytes that are read are its own."""

    row: int
    number: int
    slots: int
    crc32: int
    bytes_: slice


def _located(rows: Iterable[tuple[Any, ...]], dim: int, fingerprint: str) -> list[_Block]:
    """Return the blocks, once their sizes are known to be right: nothing is allocated by what a damaged one states."""
    blocks, end = [], 0
    for row, number, slots, crc32, size in rows:
        problem = _misfit(slots, size, dim)
        if problem:
            raise _damaged(number, fingerprint, problem)
        start, end = end, end + size
        blocks.append(_Block(row, number, slots, crc32, slice(start, end)))
    return blocks


def _read(
    connection: apsw.Connection, blocks: list[_Block], dim: int, fingerprint: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read blocks straight into one array, while another thread compares the checksums of what has been read."""
    values = np.empty((blocks[-1].bytes_.stop if blocks else 0) // _FLOAT.itemsize, _FLOAT)
    target = values.view(np.uint8).data
    parts = [blocks[start : start + _AT_ONCE] for start in range(0, len(blocks), _AT_ONCE)]
    for damaged in _beside(parts, partial(_fill, connection, target), partial(_wrong, target)):
        if damaged is not None:
            raise _damaged(damaged.number, fingerprint, "the checksum is wrong")
    masks = np.array([block.slots for block in blocks], np.int64)
    rows, slots = np.nonzero(masks[:, None] >> _SLOTS & 1)
    keys = np.array([block.number for block in blocks], np.int64)[rows] * BLOCK + slots
    return keys, values.reshape(keys.size, dim)


def _beside(parts: list[T], first: Callable[[T], object], then: Callable[[T], U]) -> list[U]:
    """Do ``first`` with each part here, and ``then`` with those that are done on another thread; return what it gave.

    The checksums take a third of the time, and neither they nor SQLite hold the interpreter.
    """
    if len(parts) * _AT_ONCE < _WORTH_A_THREAD:
        return [(first(part), then(part))[1] for part in parts]
    from concurrent.futures import ThreadPoolExecutor  # needed for large loads only

    waiting, done = [], []
    with ThreadPoolExecutor(max_workers=1) as other:
        for part in parts:
            first(part)
            try:
                waiting.append(other.submit(then, part))
            except RuntimeError:  # no more threads, or the interpreter is shutting down
                done.append(then(part))
    return [*(each.result() for each in waiting), *done]


def _fill(connection: apsw.Connection, target: memoryview, blocks: list[_Block]) -> None:
    with connection.blob_open("main", "vector_blocks", "data", blocks[0].row, False) as blob:
        for block in blocks:
            blob.reopen(block.row)
            blob.read_into(target, block.bytes_.start, block.bytes_.stop - block.bytes_.start)


def _wrong(target: memoryview, blocks: list[_Block]) -> _Block | None:
    """Return the first block whose checksum is wrong."""
    for block in blocks:
        if _checksum(block.number, block.slots, target[block.bytes_]) != block.crc32:
            return block
    return None


def _damaged(block: int, fingerprint: str, problem: str) -> CorruptStorageError:
    return CorruptStorageError(
        f"the vectors of the keys {block * BLOCK} to {block * BLOCK + BLOCK - 1} made by {fingerprint!r} "
        f"are damaged: {problem}.",
        fix="embed these patterns again; storing the vectors repairs them.",
    )


def problem_of(block: int, slots: int, crc32: int, data: bytes, dim: int) -> str:
    """Say what is wrong with a block; nothing if it is whole."""
    try:
        if _checksum(block, slots, data) != crc32:
            return "the checksum is wrong"
        return _misfit(slots, len(data), dim)
    except (TypeError, struct.error) as error:  # in a damaged file a value may be of any type
        return f"it cannot be read ({error})"


def _misfit(slots: int, size: int, dim: int) -> str:
    if slots >> BLOCK or size != slots.bit_count() * dim * _FLOAT.itemsize:
        return f"there are {size} bytes for {slots.bit_count()} vectors of {dim} dimensions"
    return ""


def keys_of(block: int, slots: int) -> list[int]:
    """Return the ascending keys of the vectors in a block."""
    return [block * BLOCK + slot for slot in range(BLOCK) if slots >> slot & 1]


def _to_mask(slots: int) -> NDArray[np.bool_]:
    return (slots >> _SLOTS & 1).astype(np.bool_)


def _checksum(block: int, slots: int, data: bytes | memoryview) -> int:
    return zlib.crc32(data, zlib.crc32(struct.pack("<qq", block, slots)))
