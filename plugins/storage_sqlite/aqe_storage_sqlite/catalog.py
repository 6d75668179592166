"""What a file's schema is made of, and what it should be made of."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from aqe_storage_sqlite import schema

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Table", "build", "names", "objects", "quoted", "reference", "tables"]


class Table(NamedTuple):
    """A table that holds rows of its own: neither virtual, nor a virtual table's shadow, nor SQLite's.

    Attributes
    ----------
    name : str
    columns, types : tuple of str
        In the order in which a record holds them: a table without rowid stores its key first.
    key : tuple of str
        Columns of the primary key.
    has_rowid : bool
    unique : tuple of str
        Columns of the index ``unique_index``, which SQLite makes for the table's first UNIQUE constraint: a second
        copy of them, beside the rowid.
    """

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[str, ...]
    has_rowid: bool
    unique: tuple[str, ...] = ()

    @property
    def unique_index(self) -> str:
        """The name of that index."""
        return f"sqlite_autoindex_{self.name}_1"


def quoted(name: str) -> str:
    """Return a name as SQL takes it, whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def tables(connection: apsw.Connection) -> list[Table]:
    """Return the tables of a file in the order of their making, so that what is referred to comes first."""
    return [_table(connection, name, without_rowid) for name, without_rowid in _listed(connection)]


def names(connection: apsw.Connection) -> list[str]:
    """Return the names of the same tables, for which nothing else has to be looked up."""
    return [name for name, _ in _listed(connection)]


def _listed(connection: apsw.Connection) -> list[Any]:
    return connection.execute(
        "SELECT l.name, l.wr FROM pragma_table_list AS l JOIN main.sqlite_schema AS s ON s.name = l.name "
        "WHERE l.schema = 'main' AND l.type = 'table' AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY s.rowid"
    ).fetchall()


def _table(connection: apsw.Connection, name: str, without_rowid: int) -> Table:
    columns: list[Any] = connection.execute("SELECT name, type, pk FROM pragma_table_info(?)", (name,)).fetchall()
    key = sorted((each for each in columns if each[2]), key=lambda each: each[2])
    if without_rowid:
        columns = key + [each for each in columns if not each[2]]
    return Table(
        name=name,
        columns=tuple(column for column, _, _ in columns),
        types=tuple(type_ for _, type_, _ in columns),
        key=tuple(column for column, _, _ in key),
        has_rowid=not without_rowid,
        unique=tuple(
            column
            for (column,) in connection.execute(
                "SELECT name FROM pragma_index_info(?)", (f"sqlite_autoindex_{name}_1",)
            )
        ),
    )


def objects(connection: apsw.Connection) -> dict[str, str]:
    """Return the SQL of each table, index, view and trigger by its name; without SQLite's own."""
    rows: list[Any] = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql IS NOT NULL"
    ).fetchall()
    return dict(rows)


def build(version: int, connection: apsw.Connection) -> None:
    """Give an empty database the schema of a version."""
    for number in range(version):
        schema.apply(connection, number)


@cache
def reference(version: int) -> Mapping[str, str]:
    """Return what `objects` returns for an undamaged file of a version."""
    with closing(apsw.Connection(":memory:")) as connection:
        build(version, connection)
        return MappingProxyType(objects(connection))
