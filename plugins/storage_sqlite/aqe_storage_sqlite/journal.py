"""What happened to which pattern, numbered, so that engines can catch up instead of starting over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aqe_core.contracts.storage import Changes
from aqe_storage_sqlite import checksums, namespaces
from aqe_storage_sqlite.encoding import reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import apsw
    from numpy.typing import NDArray

__all__ = ["append", "changes_since", "last_seq"]

KEPT = 200_000
"""How many of the newest numbers are kept, up to a 256th more, and the whole of the entry that is reached.

An engine further behind rebuilds."""


def append(
    connection: apsw.Connection, namespace: int, *, written: Sequence[int] = (), removed: Sequence[int] = ()
) -> None:
    """Note the ascending keys of patterns that were written and removed, and forget the oldest entries now and then.

    Consecutive keys make one entry; each takes a number all the same.
    """
    if not (written or removed):
        return
    before = newest = last_seq(connection)
    rows = []
    for kind, keys in ((1, written), (0, removed)):
        for first, count in _runs(keys):
            newest += count
            rows.append((newest, namespace, kind, first, count, checksums.of_entry(namespace, kind, first, count)))
    connection.executemany(
        "INSERT INTO journal (seq, namespace, written, key, count, crc32) VALUES (?, ?, ?, ?, ?, ?)", rows
    )
    if before // max(1, KEPT // 256) < newest // max(1, KEPT // 256):
        connection.execute("DELETE FROM journal WHERE seq <= ?", (newest - KEPT,))


def _runs(keys: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first key and the length of each run of consecutive ones, of ascending keys."""
    if keys and keys[-1] - keys[0] == len(keys) - 1:
        yield keys[0], len(keys)
        return
    start = 0
    for stop in range(1, len(keys) + 1):
        if stop == len(keys) or keys[stop] != keys[stop - 1] + 1:
            yield keys[start], stop - start
            start = stop


def last_seq(connection: apsw.Connection) -> int:
    """Return the newest number ever given."""
    return connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'journal'").get or 0


def changes_since(connection: apsw.Connection, namespace: str, seq: int) -> Changes | None:
    """Return the last change of each key after ``seq``; None where that is gone or damaged, or ``seq`` ahead of us."""
    last = last_seq(connection)
    oldest = connection.execute("SELECT seq - count FROM journal ORDER BY seq LIMIT 1").get
    reaches_back_to = last if oldest is None else oldest
    if not reaches_back_to <= seq <= last:
        return None
    number = namespaces.number_of(connection, namespace)
    with reading("the journal"):
        entries = np.fromiter(
            connection.execute(
                "SELECT seq, key, count, written, coalesce(crc32, -1) FROM journal "
                "WHERE seq > ? AND namespace = ? ORDER BY seq DESC",
                (seq, number),
            ),
            _ENTRY,
        )
    if not _are_sound(entries, number, last - reaches_back_to):
        return None
    keys, written = _expanded(entries, seq)
    keys, newest = np.unique(keys, return_index=True)  # ascending; the first of each, which is its newest
    written = written[newest]
    return Changes(last, keys[written].astype(np.uint64), keys[~written].astype(np.uint64))


_ENTRY = np.dtype([("seq", "i8"), ("key", "i8"), ("count", "i8"), ("written", "?"), ("crc32", "i8")])


def _are_sound(entries: NDArray[np.void], namespace: int, most: int) -> bool:
    """Say whether the entries for several keys are undamaged: they tell how much memory is needed."""
    if (entries["count"] < 1).any() or entries["count"].sum(dtype=np.float64) > most:
        return False
    return all(
        checksums.of_entry(namespace, int(written), key, count) == crc32
        for _, key, count, written, crc32 in entries[entries["count"] > 1].tolist()
    )


def _expanded(entries: NDArray[np.void], seq: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return each key after a number, and whether it was written; of an entry without their order."""
    before = np.maximum(seq - (entries["seq"] - entries["count"]), 0)  # of an entry that the number falls into
    counts = entries["count"] - before
    ends = np.cumsum(counts)
    within = np.arange(ends[-1] if ends.size else 0) - np.repeat(ends - counts, counts)
    return np.repeat(entries["key"] + before, counts) + within, np.repeat(entries["written"], counts)
