"""Vectors, sixteen consecutive keys to a block.

A row per vector would be simpler, but reading one costs as much in Python as copying its bytes; blocks read twice as
fast, need a quarter less space, and their checksums cost less. Sixteen, so that one more vector rewrites little.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from itertools import compress, starmap
from operator import ne
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import CorruptStorageError, DimensionError
from aqe_storage_sqlite import journal, namespaces
from aqe_storage_sqlite.checksums import crc32, together
from aqe_storage_sqlite.encoding import MAX_INTEGER, reading
from aqe_storage_sqlite.memory import made_present

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import apsw
    from numpy.typing import NDArray

__all__ = ["drop", "keys_of", "load", "problem_of", "put"]

BLOCK = 16
_FLOAT = np.dtype("<f4")
_SLOTS = np.arange(BLOCK, dtype=np.int64)
_LOCATED = np.dtype([(name, np.int64) for name in ("row", "number", "slots", "crc32", "size")])
_pack = struct.Struct("<qq").pack

_INSERT = "INSERT INTO vector_blocks (space, block, slots, crc32, data) VALUES (?, ?, ?, ?, ?)"

Blocks = np.ndarray[Any, Any]
"""Of `_LOCATED`: where each block is, and what it says of itself."""
_Located = tuple[int, int, int, int, int]

_RUN = 32
"""Blocks whose checksums are compared at once, where there are many."""
_MANY = 512
"""So many blocks are worth a thread, also where it waits for a core."""


def put(
    connection: apsw.Connection,
    namespace: str,
    keys: NDArray[np.uint64],
    vectors: NDArray[np.float32],
    fingerprint: str,
    unchanged_since: int | None = None,
) -> None:
    """Store vectors, in place of those that other embedders made of the same patterns.

    Of equal keys the last one counts; keys that are no patterns, or written after a journal number, are passed over.
    O(n log N).
    """
    number = namespaces.number_of(connection, namespace)
    distinct, last = _distinct(keys)
    kept = np.isin(distinct, np.array(namespaces.present(connection, number, distinct.tolist()), np.uint64))
    if unchanged_since is not None:
        changes = journal.changes_since(connection, namespace, unchanged_since)
        kept &= False if changes is None else np.isin(distinct, changes.written, invert=True)
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
    with reading(f"the vectors made by {fingerprint!r}"):
        if wanted is None:
            found = connection.execute(f"{sql} ORDER BY block", (space,))
        else:
            # np.unique and np.isin import numpy.ma, which takes longer than the first search.
            wanted = np.sort(wanted[wanted <= MAX_INTEGER])
            numbers = sorted({*(wanted // BLOCK).tolist()})
            found = connection.executemany(f"{sql} AND block = ?", ((space, block) for block in numbers))
        rows, vectors = _read(connection, np.fromiter(found, _LOCATED), dim, fingerprint)
    keys = rows.astype(np.uint64)
    if wanted is not None:
        chosen = wanted.take(wanted.searchsorted(keys), mode="clip") == keys
        keys, vectors = keys[chosen], vectors[chosen]
    if not keys.size:
        vectors = np.empty((0, 0), np.float32)
    return keys, vectors.astype(np.float32, copy=False)


def _read(
    connection: apsw.Connection, blocks: Blocks, dim: int, fingerprint: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read blocks straight into one array, once their sizes are known to be right.

    So nothing is allocated by what a damaged block states.
    """
    numbers, slots, sizes = blocks["number"], blocks["slots"], blocks["size"]
    taken = slots[:, None] >> _SLOTS & 1
    misfits = (slots >> BLOCK != 0) | (sizes != taken.sum(axis=1) * dim * _FLOAT.itemsize)
    if misfits.any():
        first = int(misfits.argmax())
        raise _damaged(int(numbers[first]), fingerprint, _misfit(int(slots[first]), int(sizes[first]), dim))
    rows, columns = np.nonzero(taken)
    values = np.empty((rows.size, dim), _FLOAT)
    if rows.size:
        wrong = _fill(connection, blocks, values.reshape(-1).view(np.uint8).data)
        if wrong is not None:
            raise _damaged(wrong, fingerprint, "the checksum is wrong")
    return numbers[rows] * BLOCK + columns, values


def _fill(connection: apsw.Connection, blocks: Blocks, target: memoryview) -> int | None:
    """Read the data of the blocks, one after the other; return the number of the first whose checksum is wrong.

    Of many blocks a run's sum is compared with what those of its blocks make together, which finds what comparing each
    of them finds: with sums for each block the two threads would wait for the interpreter most of the time.
    """
    located = blocks.tolist()
    runs = [located[start : start + _RUN] for start in range(0, len(located), _RUN)]
    parts = _read_runs(connection, runs, target)
    doubtful: Iterable[tuple[list[_Located], memoryview]] = zip(runs, parts, strict=True)
    if len(located) >= _MANY and not (blocks["crc32"] >> 32).any():  # what is no CRC-32 fits nothing
        taken, sums = _summed(parts, target)
        doubtful = compress(zip(runs, taken, strict=True), map(ne, map(_sum_of, runs), sums))
    return next((wrong for wrong in starmap(_first_wrong, doubtful) if wrong is not None), None)


def _read_runs(connection: apsw.Connection, runs: list[list[_Located]], target: memoryview) -> Iterator[memoryview]:
    """Yield the data of each run as it is read."""
    stop = 0
    with connection.blob_open("main", "vector_blocks", "data", runs[0][0][0], False) as blob:
        reopen, read_into = blob.reopen, blob.read_into
        for run in runs:
            start = stop
            for row, _, _, _, size in run:
                reopen(row)
                read_into(target, stop, size)
                stop += size
            yield target[start:stop]


def _summed(parts: Iterator[memoryview], target: memoryview) -> tuple[list[memoryview], list[int]]:
    """Return the parts and their sums, which are taken on another thread while the next ones are made.

    While there is none to take, that thread makes the memory present which the parts are about to fill.
    """
    taken: list[memoryview] = []
    sums: list[int] = []
    waiting: SimpleQueue[memoryview | None] = SimpleQueue()

    def sum_up() -> None:
        pieces = made_present(target)
        while True:
            while waiting.empty() and next(pieces, 0):
                pass
            part = waiting.get()
            if part is None:
                return
            sums.append(crc32(part))

    beside = Thread(target=sum_up, name="aqe-checksums", daemon=True)
    try:
        with suppress(RuntimeError):  # no more threads, or the interpreter is shutting down
            beside.start()
        for part in parts:
            waiting.put(part)
            taken.append(part)
    finally:
        waiting.put(None)
    if beside.ident is not None:
        beside.join()
    sums += map(crc32, taken[len(sums) :])  # what it has not taken, as when there was none
    return taken, sums


def _sum_of(run: list[_Located]) -> int:
    """Return what the checksums of blocks, each begun with its head, say of their data together."""
    return together((crc32(_pack(block, slots)), expected, size) for _, block, slots, expected, size in run)


def _first_wrong(run: list[_Located], data: memoryview) -> int | None:
    stop = 0
    for _, block, slots, expected, size in run:
        start, stop = stop, stop + size
        if _checksum(block, slots, data[start:stop]) != expected:
            return block
    return None


def _damaged(block: int, fingerprint: str, problem: str) -> CorruptStorageError:
    return CorruptStorageError(
        f"the vectors of the keys {block * BLOCK} to {block * BLOCK + BLOCK - 1} made by {fingerprint!r} "
        f"are damaged: {problem}.",
        fix="embed these patterns again; storing the vectors repairs them.",
    )


def problem_of(block: int, slots: int, expected: int, data: bytes, dim: int) -> str:
    """Say what is wrong with a block; nothing if it is whole."""
    try:
        if _checksum(block, slots, data) != expected:
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
    return crc32(data, crc32(_pack(block, slots)))
