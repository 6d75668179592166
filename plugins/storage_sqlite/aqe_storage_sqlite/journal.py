"""What happened to which pattern, numbered, so that engines can catch up instead of starting over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aqe_core.contracts.storage import Changes
from aqe_storage_sqlite import checksums
from aqe_storage_sqlite.encoding import reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

__all__ = ["append", "changes_since", "last_seq"]

KEPT = 200_000
"""How many of the newest entries are kept, and up to a 256th more; an engine further behind rebuilds."""


def append(
    connection: apsw.Connection, namespace: int, *, written: Sequence[int] = (), removed: Sequence[int] = ()
) -> None:
    """Note the keys of patterns that were written and removed, and forget the oldest entries now and then."""
    count = len(written) + len(removed)
    if not count:
        return
    connection.executemany(
        "INSERT INTO journal (namespace, written, key, crc32) VALUES (?, ?, ?, ?)",
        [(namespace, 1, key, checksums.of_entry(namespace, 1, key)) for key in written]
        + [(namespace, 0, key, checksums.of_entry(namespace, 0, key)) for key in removed],
    )
    newest = connection.last_insert_rowid()
    if newest % max(1, KEPT // 256) < count:
        connection.execute("DELETE FROM journal WHERE seq <= ?", (newest - KEPT,))


def last_seq(connection: apsw.Connection) -> int:
    """Return the newest number ever given."""
    return connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'journal'").get or 0


def changes_since(connection: apsw.Connection, namespace: str, seq: int) -> Changes | None:
    """Return the last change of each key after ``seq``; None where the entries are gone or ``seq`` is ahead of us."""
    last = last_seq(connection)
    oldest = connection.execute("SELECT min(seq) FROM journal").get
    reaches_back_to = last if oldest is None else oldest - 1
    if not reaches_back_to <= seq <= last:
        return None
    with reading("the journal"):
        entries = np.fromiter(
            connection.execute(
                "SELECT key, written FROM journal WHERE seq > ? AND namespace = "
                "(SELECT id FROM namespaces WHERE name = ?) ORDER BY seq DESC",
                (seq, namespace),
            ),
            [("key", np.int64), ("written", np.bool_)],
        )
    keys, newest = np.unique(entries["key"], return_index=True)  # ascending; the first of each, which is its newest
    written = entries["written"][newest]
    keys = keys.astype(np.uint64)
    return Changes(last, keys[written], keys[~written])
