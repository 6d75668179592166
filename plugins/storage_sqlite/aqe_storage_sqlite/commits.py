"""Whether anybody has committed, without a lock where nobody has."""

from __future__ import annotations

from typing import Any

import apsw

__all__ = ["Commits"]

_HEADER_BYTES = 96
_REGION_BYTES = 32768
_FEW = 4  # questions, which do not pay for looking the header up


class Commits:
    """What ``PRAGMA data_version`` says, asked only after a commit: for one thread at a time.

    In WAL mode the memory that all connections to a file share begins with a header of 48 bytes, twice, which each
    commit changes (https://www.sqlite.org/walformat.html, "The WAL-Index Header"). By comparing it SQLite itself
    tells, at the beginning of a read, whether anything has changed. To look at it takes no system call; the PRAGMA
    takes two, for the lock that a read needs, and in the midst of other work they cost ten times what they do alone.

    Parameters
    ----------
    connection : apsw.Connection
        That never writes. It has to stay open for as long as this is used.
    """

    __slots__ = ("_ask", "_asked", "_connection", "_header", "_seen", "_version")

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._ask = connection.cursor().execute
        self._asked = 0
        self._header: Any = None
        self._seen = b""
        self._version = 0

    def version(self) -> int:
        """Return a number that changes with every commit of another connection, of this process or another."""
        header = self._header
        seen = b"" if header is None else header.raw  # before the question: a commit in between is told next time
        if not seen or seen != self._seen:
            self._version = self._ask("PRAGMA data_version").get
            self._seen = seen
            self._asked += 1
            if self._asked == _FEW:
                self._header = header_of(self._connection)
        return self._version


def header_of(connection: apsw.Connection) -> Any:
    """Return the header that a connection shares with others, bytes as ``raw``; None where there is none.

    The connection has to have read. The memory stays where it is for as long as it is open, and while it is, nobody
    leaves WAL mode.
    """
    import ctypes  # slow to import, and of use in long lives only

    if connection.execute("PRAGMA journal_mode").get != "wal":
        return None

    class Methods(ctypes.Structure):  # sqlite3_io_methods, up to what is used
        _fields_ = (
            ("version", ctypes.c_int),
            ("before", ctypes.c_void_p * 12),
            (
                "map_shared",  # int (*xShmMap)(sqlite3_file*, int iRegion, int szRegion, int bExtend, void volatile**)
                ctypes.CFUNCTYPE(
                    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p
                ),
            ),
        )

    file, memory = ctypes.c_void_p(), ctypes.c_void_p()
    try:
        known = connection.file_control("main", apsw.SQLITE_FCNTL_FILE_POINTER, ctypes.addressof(file))
    except apsw.Error:
        return None
    if not known or file.value is None:
        return None
    methods: Any = ctypes.cast(file, ctypes.POINTER(ctypes.POINTER(Methods))).contents.contents
    if methods.version < 2:  # the first that shares memory
        return None
    failed = methods.map_shared(file, 0, _REGION_BYTES, 0, ctypes.addressof(memory))
    if failed or not memory.value:
        return None
    return (ctypes.c_char * _HEADER_BYTES).from_address(memory.value)
