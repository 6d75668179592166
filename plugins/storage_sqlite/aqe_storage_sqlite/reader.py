"""One connection that reads, kept between the reads of its process."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import apsw

from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite.commits import Commits

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Reader"]


class Reader:
    """A connection that nobody else uses, with what a read needs made once: for one thread at a time.

    Parameters
    ----------
    connection : apsw.Connection

    Attributes
    ----------
    is_immutable : bool
        Nothing would tell the connection of changes, so that it has to be opened anew each time.
    """

    __slots__ = ("_ask", "_commits", "_moved", "_place", "connection", "cursor", "execute", "is_immutable")

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        self.execute = self.cursor.execute
        self.is_immutable = bool(connection.open_flags & apsw.SQLITE_OPEN_URI)
        self._ask = connection.file_control
        self._moved = array("i", [0])
        self._place, _ = self._moved.buffer_info()
        self._commits: Commits | None = None

    def has_moved(self) -> bool:
        """Say whether another file, or none, stands where this one was opened.

        SQLite compares inodes, in half the time of `os.stat`. On Windows it does not answer, and no need: what is open
        stays in its place.
        """
        self._ask("main", apsw.SQLITE_FCNTL_HAS_MOVED, self._place)
        return self._moved[0] != 0

    def data_version(self) -> int:
        """Return a number that changes with every commit of another connection."""
        if self._commits is None:
            self._commits = Commits(self.connection)
        return self._commits.version()

    def close(self) -> None:
        """Close the connection."""
        self._commits = None  # looks at what is the connection's
        sqlite.close(self.connection)

    def fail(self, path: Path, error: BaseException) -> BaseException:
        """Close the connection after an error, and return that in our terms."""
        self.close()
        return sqlite.translation(error, path)
