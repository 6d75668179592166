"""Namespaces, and which keys are theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqe_storage_sqlite.encoding import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

__all__ = ["ensure", "number_of", "present"]


def number_of(connection: apsw.Connection, namespace: str) -> int:
    """Return the number of a namespace; -1, which no row refers to, if there is none."""
    number = connection.execute("SELECT id FROM namespaces WHERE name = ?", (namespace,)).get
    return -1 if number is None else int(number)


def ensure(connection: apsw.Connection, namespace: str) -> int:
    """Return the number of a namespace, which is made if there is none."""
    number = number_of(connection, namespace)
    if number < 0:
        connection.execute("INSERT INTO namespaces (name) VALUES (?)", (namespace,))
        number = connection.last_insert_rowid()
    return number


def present(connection: apsw.Connection, number: int, keys: Iterable[int]) -> list[int]:
    """Return those of the keys that are patterns of a namespace, ascending, each once."""
    asked = sorted(set(keys))
    if len(asked) > 1 and asked[-1] - asked[0] == len(asked) - 1 <= MAX_INTEGER - asked[0]:
        # The sign keeps SQLite from looking through all keys of the namespace.
        sql = "SELECT count(*) FROM patterns WHERE key BETWEEN ? AND ? AND +namespace = ?"
        if connection.execute(sql, (asked[0], asked[-1], number)).get == len(asked):
            return asked
    rows = connection.executemany(
        "SELECT key FROM patterns WHERE key = ? AND namespace = ?",
        ((key, number) for key in asked if key <= MAX_INTEGER),
    )
    return [key for (key,) in rows]
