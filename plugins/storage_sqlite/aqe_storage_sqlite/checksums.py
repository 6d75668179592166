"""Checksums of rows: what tells a damaged value from a written one, since SQLite keeps none.

An index keeps a second copy of its columns, and `PRAGMA integrity_check` compares the two. These sums cover what no
index does. A row written before the sums existed has NULL, which fits anything.
"""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING, Any

import numpy as np

try:  # the extra "isal": the same sums by instructions made for them, in a quarter of the time
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["FEW", "crc32", "is_run", "of_entry", "of_pattern", "of_row", "of_run", "together"]


FEW = 16
"""From so many numbers on, NumPy's calls cost less than turning each of them into bytes."""


def together(parts: Iterable[tuple[int, int, int]]) -> int:
    """Return the CRC-32 of byte strings, one after the other, from those of each. O(1) for one of a known size.

    A CRC is the remainder of a division of polynomials over GF(2), so that zeros behind the bytes multiply it by a
    power of x (M. Adler, ``crc32_combine`` of zlib).

    Parameters
    ----------
    parts : iterable of (start, sum, size)
        A string's sum, begun with ``start``, and its length in bytes.

    Examples
    --------
    >>> from zlib import crc32
    >>> together([(0, crc32(b"retry "), 6), (5, crc32(b"backoff", 5), 7)]) == crc32(b"retry backoff")
    True
    """
    total, known = 0, -1
    first = second = third = fourth = [0] * 256
    for start, ends_with, size in parts:
        if size != known:
            first, second, third, fourth = _shifts(size)
            known = size
        total ^= start
        shifted = first[total & 255] ^ second[total >> 8 & 255] ^ third[total >> 16 & 255] ^ fourth[total >> 24]
        total = shifted ^ ends_with
    return total


_POLYNOMIAL = 0xEDB88320  # of CRC-32, the lowest power in the highest bit
_ONE, _X8 = 1 << 31, 1 << 23


@lru_cache(maxsize=64)
def _shifts(size: int) -> tuple[list[int], ...]:
    """Return, for each of the four bytes of a sum, what its values become when ``size`` zeros follow."""
    power, square = _ONE, _X8
    for digit in bin(size)[:1:-1]:
        if digit == "1":
            power = _product(power, square)
        square = _product(square, square)
    bits = [_product(1 << bit, power) for bit in range(32)]
    tables = []
    for first in range(0, 32, 8):
        table = [0]
        for bit in bits[first : first + 8]:
            table += [bit ^ other for other in table]
        tables.append(table)
    return tuple(tables)


def _product(one: int, other: int) -> int:
    """Multiply two polynomials modulo that of the CRC."""
    product = 0
    for bit in range(31, -1, -1):
        if one >> bit & 1:
            product ^= other
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return product


def of_pattern(fields: tuple[Any, ...]) -> int:
    """Return the CRC-32 of a pattern's columns, in the order of `aqe_storage_sqlite.patterns.Row`.

    Raises
    ------
    TypeError
        One that must be text is not.
    """
    id_, content_hash, line, *texts = fields
    return crc32("\0".join([id_, content_hash, str(line), *texts]).encode("utf-8", "surrogatepass"))


def of_run(
    run: tuple[str, str, str, float],
    tests: Sequence[str],
    outcomes: bytes,
    durations_s: Sequence[float] | NDArray[np.float64],
    messages: Sequence[str],
) -> int:
    """Return the CRC-32 of a run and of its results, column by column.

    Parameters
    ----------
    run : tuple
        id, source, tool, started_s.
    tests, outcomes, durations_s, messages : sequences of one length
        Names, codes, seconds, and texts, in the order of the results.
    """
    id_, source, tool, started_s = run
    head = f"[{_quoted(id_)},{_quoted(source)},{_quoted(tool)},{float(started_s)!r}]"  # JSON, in a third of the time
    total = crc32(head.encode("ascii"))
    if len(outcomes) < FEW:
        seconds = struct.pack(f"<{len(outcomes)}d", *[each + 0.0 for each in durations_s])  # SQLite does not keep -0.0
    else:
        seconds = (np.asarray(durations_s, "<f8") + 0.0).tobytes()
    for column in (_joined(tests), outcomes, seconds, _joined(messages)):
        total = crc32(column, total)
    return total


def _joined(texts: Iterable[str]) -> bytes:
    return "\0".join(texts).encode("utf-8", "surrogatepass")


def is_run(total: int, run: tuple[str, str, str, float], results: Sequence[tuple[str, int, float, str]]) -> bool:
    """Say whether a run and its results, given row by row, fit their checksum.

    Before version 6 of the schema it was that of one JSON array after the other.
    """
    try:
        tests, outcomes, durations_s, messages = zip(*results, strict=True) if results else ((), (), (), ())
        if of_run(run, tests, bytes(outcomes), durations_s, messages) == total:
            return True
        by_rows = crc32(_encode(run))
        for result in results:
            by_rows = crc32(_encode(result), by_rows)
    except (TypeError, ValueError, struct.error):  # in a damaged file a value may be of any type
        return False
    return by_rows == total


_encode_json = json.JSONEncoder(separators=(",", ":")).encode


def _encode(values: tuple[str | int | float, ...]) -> bytes:
    return _encode_json(values).encode("ascii")


def of_entry(namespace: int, written: int, key: int, count: int) -> int:
    """Return the CRC-32 of a journal entry."""
    one = b"%d %d %d" % (namespace, written, key)
    return crc32(one if count == 1 else b"%s %d" % (one, count))


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
