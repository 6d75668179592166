"""A connection on loan to a block that reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import apsw

    from aqe_storage_sqlite.database import Database

__all__ = ["Loan"]


class Loan:
    """Lends a connection of a database for as long as a ``with`` block runs, in one transaction; once.

    A class, since two generators, one inside the other, take longer than the statements that they are for.
    """

    __slots__ = ("_database", "_reader")

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> apsw.Connection:
        self._reader = self._database.take_reader()
        self._execute("BEGIN")
        return self._reader.connection

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            self._execute("COMMIT")
            self._database.put_back(self._reader)
            return
        ours = self._reader.fail(self._database.path, error)
        if ours is not error:
            raise ours from error

    def _execute(self, sql: str) -> None:
        try:
            self._reader.execute(sql)
        except BaseException as error:
            ours = self._reader.fail(self._database.path, error)
            if ours is error:
                raise
            raise ours from error
