"""Checksums of rows: what tells a damaged value from a written one, since SQLite keeps none.

An index keeps a second copy of its columns, and `PRAGMA integrity_check` compares the two. These sums cover what no
index does. A row written before the sums existed has NULL, which fits anything.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

try:  # the extra "isal": the same sums by instructions made for them, in a quarter of the time
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["crc32", "of_entry", "of_pattern", "of_row", "of_run"]


def of_pattern(fields: tuple[Any, ...]) -> int:
    """Return the CRC-32 of a pattern's columns, in the order of `aqe_storage_sqlite.patterns.Row`.

    Raises
    ------
    TypeError
        One that must be text is not.
    """
    id_, content_hash, line, *texts = fields
    return crc32("\0".join([id_, content_hash, str(line), *texts]).encode("utf-8", "surrogatepass"))


def of_run(run: tuple[str, str, str, float], results: Iterable[tuple[str, int, float, str]]) -> int:
    """Return the CRC-32 of a run and of its results in their order.

    Parameters
    ----------
    run : tuple
        id, source, tool, started_s.
    results : iterable of tuples
        Name of the test, code of the outcome, duration_s, message.
    """
    total = crc32(_encode(run))
    for result in results:
        total = crc32(_encode(result), total)
    return total


_encode_json = json.JSONEncoder(separators=(",", ":")).encode


def _encode(values: tuple[str | int | float, ...]) -> bytes:
    return _encode_json(values).encode("ascii")


def of_entry(namespace: int, written: int, key: int) -> int:
    """Return the CRC-32 of a journal entry."""
    return crc32(b"%d %d %d" % (namespace, written, key))


def of_row(values: Iterable[str | float | bytes | None]) -> int:
    """Return the CRC-32 of any row's columns: as a JSON array, then the bytes of its BLOBs.

    Numbers count by their value, since SQLite gives back 1.0 for a 1 in a column of REAL.
    """
    given = list(values)
    total = crc32(_encode_json([_by_value(value) for value in given]).encode("ascii"))
    for value in given:
        if isinstance(value, bytes):
            total = crc32(value, total)
    return total


def _by_value(value: str | float | bytes | None) -> str | float | list[int] | None:
    if isinstance(value, bytes):
        return [len(value)]
    if isinstance(value, (int, float)):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return value
