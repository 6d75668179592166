"""Time series: points in checksummed blocks of 1,024.

A call that brings fewer points stores a small block; small blocks are folded together when there are enough points for
a full one, or too many of them. A block knows its earliest and latest time, so that reading a range opens no others.

Points may come in any order, and several may have one time: all are kept. They are read in ascending order of time,
those of one time in the order of arrival.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np

from aqe_core.errors import CorruptStorageError, DimensionError, InputError, NonFiniteError, NotFoundError
from aqe_storage_sqlite import blocks, point_coding
from aqe_storage_sqlite.checksums import crc32
from aqe_storage_sqlite.connection import RESTORE
from aqe_storage_sqlite.encoding import as_text, encode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import apsw
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BLOCK",
    "SeriesInfo",
    "append",
    "as_labels",
    "as_points",
    "as_range",
    "damaged",
    "listing",
    "read",
    "remove",
]

BLOCK = 1024
_MAX_OPEN = 32
"""How many small blocks a series may have; one more, and they become one."""

_AT_ONCE = 64  # blocks coded together: few calls of NumPy for many points, and arrays that stay in the cache
_TRIED = 16  # one block in so many is compressed although the one before did not shrink
_WORTH = 0.8  # a compressed block must be at most this part of the plain one

_HEADERS = 2 * point_coding.HEADER.itemsize

_FIELDS = (
    "series", "number", "count", "first_s", "last_s", "minimum", "maximum", "sum", "first", "last", "codec",
    "data_crc32", "crc32", "data",
)  # fmt: skip
_SELECT = f"SELECT {', '.join(_FIELDS)} FROM point_blocks WHERE "  # noqa: S608  # ours
_INSERT = f"INSERT INTO point_blocks ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})"  # noqa: S608  # ours
_SUMMED = struct.Struct("<3q7d2q")  # the columns before crc32


class _Block(NamedTuple):
    series: int
    number: int
    size: int
    first_s: float
    last_s: float
    minimum: float
    maximum: float
    sum: float | None
    first: float
    last: float
    codec: int
    data_crc32: int
    crc32: int
    data: bytes


@attrs.frozen
class SeriesInfo:
    """What is known of a series without reading its points.

    Attributes
    ----------
    name : str
    labels : dict of str to str
    count : int
        Number of points; with 0 the rest is None.
    first_s, last_s : float or None
        Earliest and latest time in seconds.
    minimum, maximum, sum : float or None
        Of the values; the sum is None too where it overflows.
    first, last : float or None
        Values at the earliest and latest time: of several at one time the first to arrive, and the last.
    """

    name: str
    labels: dict[str, str]
    count: int
    first_s: float | None = None
    last_s: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    sum: float | None = None
    first: float | None = None
    last: float | None = None


# -- checking ---------------------------------------------------------------------------------------------------------


def as_points(times_s: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times and values as float64 arrays of one length.

    Raises
    ------
    InputError
        Something is no real number.
    DimensionError
        They have not one axis each, or differ in length.
    NonFiniteError
        NaN or infinity.
    """
    given_s, given = _as_floats(times_s, "times_s"), _as_floats(values, "values")
    if given_s.size != given.size:
        raise DimensionError(
            f"there are {given_s.size} times, but {given.size} values.", fix="pass one value per time."
        )
    return given_s, given


def _as_floats(numbers: ArrayLike, what: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(numbers)
    except (TypeError, ValueError, OverflowError) as error:
        raise DimensionError(f"{what} cannot be read as an array ({error}).", fix="pass one flat list.") from None
    if array.ndim != 1:
        raise DimensionError(f"{what} has shape {array.shape}, but must have one axis.", fix="pass one flat list.")
    if array.dtype.kind not in "iuf" and array.size:
        raise InputError(
            f"{what} is of type {array.dtype}, but must hold real numbers.", fix="pass floats or integers."
        )
    with np.errstate(over="ignore"):  # what overflows is refused with its place
        floats = np.ascontiguousarray(array, np.float64)
    if not np.isfinite(floats).all():
        place = int(np.flatnonzero(~np.isfinite(floats))[0])
        raise NonFiniteError(
            f"{what}[{place}] is {floats[place]}, but must be finite.", fix="leave out points that were not measured."
        )
    return floats


def as_range(start_s: Any, stop_s: Any) -> tuple[float, float]:
    """Return two times in seconds, which may be infinite but not NaN."""
    for bound, what in ((start_s, "start_s"), (stop_s, "stop_s")):
        if isinstance(bound, bool) or not isinstance(bound, (int, float, np.integer, np.floating)) or bound != bound:  # noqa: PLR0124  # NaN
            raise InputError(f"{what} is {bound!r:.60}, but must be a time in seconds.", fix="pass a number.")
    return float(start_s), float(stop_s)


def as_labels(labels: Mapping[str, str] | None) -> str | None:
    """Return labels as JSON; None as None."""
    if labels is None:
        return None
    if not isinstance(labels, Mapping):
        raise InputError(f"labels are {labels!r:.60}, but must be a mapping.", fix="pass a dict of strings.")
    for key, value in labels.items():
        as_text(key, "a label's name")
        as_text(value, f"the label {key!r:.60}")
    return encode_json(dict(sorted(labels.items())), "labels")


# -- series -----------------------------------------------------------------------------------------------------------


def _checksum_of_series(name: str, labels: str) -> int:
    return crc32(f"{name}\0{labels}".encode())


def _ensure(connection: apsw.Connection, name: str, labels: str | None) -> int:
    """Return the number of a series, which is made if there is none; labels that are given replace the stored ones."""
    found = connection.execute("SELECT id, labels FROM series WHERE name = ?", (name,)).fetchone()
    stored = "{}" if found is None else found[1]
    given = stored if labels is None else labels
    if found is None or given != stored:
        connection.execute(
            "INSERT INTO series (name, labels, crc32) VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET labels = excluded.labels, crc32 = excluded.crc32",
            (name, given, _checksum_of_series(name, given)),
        )
    return int(connection.execute("SELECT id FROM series WHERE name = ?", (name,)).get)


def _number_of(connection: apsw.Connection, name: str) -> int:
    number = connection.execute("SELECT id FROM series WHERE name = ?", (name,)).get
    if number is None:
        raise NotFoundError(f"there is no series {name!r:.80}.", fix="list_series() names those that there are.")
    return int(number)


def listing(connection: apsw.Connection) -> list[SeriesInfo]:
    """Return all series in the order of their names; reads no points, but every block's summary."""
    found: Any = connection.execute("SELECT id, name, labels, crc32 FROM series ORDER BY name").fetchall()
    infos = []
    for number, name, labels, expected in found:
        if _checksum_of_series(name, labels) != expected:
            raise CorruptStorageError(f"the series {name!r:.80} has a wrong checksum.", fix=RESTORE)
        summaries = [
            _checked_summary(_Block._make((*row, b"")))
            for row in connection.execute(
                f"SELECT {', '.join(_FIELDS[:-1])} FROM point_blocks WHERE series = ? ORDER BY number",  # noqa: S608  # ours
                (number,),
            )
        ]
        infos.append(SeriesInfo(name, json.loads(labels), *_summary_of(summaries)))
    return infos


def _summary_of(parts: list[_Block]) -> tuple[Any, ...]:
    if not parts:
        return (0,)
    earliest = min(parts, key=lambda part: part.first_s)  # the first of equal ones, in the order of arrival
    latest = max(reversed(parts), key=lambda part: part.last_s)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.sum([np.nan if part.sum is None else part.sum for part in parts]))
    return (
        sum(part.size for part in parts),
        earliest.first_s,
        latest.last_s,
        min(part.minimum for part in parts),
        max(part.maximum for part in parts),
        total if np.isfinite(total) else None,
        earliest.first,
        latest.last,
    )


def remove(connection: apsw.Connection, name: str) -> int:
    """Remove a series with its points; return their number."""
    number = _number_of(connection, name)
    count = connection.execute("SELECT coalesce(sum(count), 0) FROM point_blocks WHERE series = ?", (number,)).get
    connection.execute("DELETE FROM series WHERE id = ?", (number,))  # and the blocks, which refer to it
    return int(count)


# -- writing ----------------------------------------------------------------------------------------------------------


def append(
    connection: apsw.Connection,
    name: str,
    times_s: NDArray[np.float64],
    values: NDArray[np.float64],
    labels: str | None,
    codec: int,
) -> None:
    """Add points to a series, which is made if there is none.

    O(n log n), plus at most 1,023 older points that are written anew.
    """
    series = _ensure(connection, name, labels)
    if not times_s.size:
        return
    small = list(
        map(_Block._make, connection.execute(_SELECT + "series = ? AND count < 1024 ORDER BY number", (series,)))
    )
    if sum(block.size for block in small) + times_s.size >= BLOCK or len(small) >= _MAX_OPEN:
        old_times_s, old_values = _decoded(small)
        times_s, values = np.concatenate((old_times_s, times_s)), np.concatenate((old_values, values))
        connection.execute("DELETE FROM point_blocks WHERE series = ? AND count < 1024", (series,))
    newest = connection.execute("SELECT max(number) FROM point_blocks WHERE series = ?", (series,)).get
    times_s, values = _sorted(times_s, values)
    full = times_s.size - times_s.size % BLOCK
    number = 0 if newest is None else newest + 1
    connection.executemany(_INSERT, _encoded(series, number, times_s[:full], values[:full], BLOCK, codec))
    if full < times_s.size:
        number += full // BLOCK
        rest = times_s.size - full
        connection.executemany(_INSERT, _encoded(series, number, times_s[full:], values[full:], rest, codec))


def _sorted(
    times_s: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if (times_s[1:] >= times_s[:-1]).all():
        return times_s, values
    order = np.argsort(times_s, kind="stable")
    return times_s[order], values[order]


def _encoded(
    series: int, number: int, times_s: NDArray[np.float64], values: NDArray[np.float64], size: int, codec: int
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of blocks of ``size`` points each; the numbers of points must be a multiple of it."""
    shrank, compress = True, blocks.compressor(codec)
    for start in range(0, times_s.size, _AT_ONCE * size):
        part_s = times_s[start : start + _AT_ONCE * size].reshape(-1, size)
        part = values[start : start + _AT_ONCE * size].reshape(-1, size)
        headers_s, planes_s = point_coding.encode(part_s)
        headers, planes = point_coding.encode(part)
        both = np.stack((headers_s, headers), axis=1).tobytes()
        for position, summary in enumerate(_summaries(part_s, part)):
            plain = planes_s[position] + planes[position]
            used, kept = blocks.RAW, plain
            if codec != blocks.RAW and (shrank or number % _TRIED == 0):
                packed = compress(plain)
                shrank = len(packed) <= _WORTH * len(plain)
                used, kept = (codec, packed) if shrank else (blocks.RAW, plain)
            data = both[position * _HEADERS : (position + 1) * _HEADERS] + kept
            head = (series, number, size, *summary, used, crc32(data))
            yield (*head, _checksum(head), data)
            number += 1


def _summaries(times_s: NDArray[np.float64], values: NDArray[np.float64]) -> Iterable[tuple[float | None, ...]]:
    """Return, for each row, first_s, last_s, minimum, maximum, sum, first and last."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = values.sum(axis=1)
    columns = (times_s[:, 0], times_s[:, -1], values.min(axis=1), values.max(axis=1), sums, values[:, 0], values[:, -1])
    # Adding 0.0 turns -0.0, which SQLite does not keep, into 0.0.
    rows: list[list[float]] = (np.stack(columns, axis=1) + 0.0).tolist()
    return [(*row[:4], row[4] if np.isfinite(row[4]) else None, *row[5:]) for row in rows]


def _checksum(head: tuple[Any, ...]) -> int:
    """Return the CRC-32 of the columns before it."""
    values = (math.nan if value is None else value for value in head) if None in head else head
    return crc32(_SUMMED.pack(*values))


# -- reading ----------------------------------------------------------------------------------------------------------


def read(
    connection: apsw.Connection, name: str, start_s: float, stop_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times and values of the points with ``start_s <= time < stop_s``, ascending."""
    found = connection.execute(
        _SELECT + "series = ? AND last_s >= ? AND first_s < ? ORDER BY number",
        (_number_of(connection, name), start_s, stop_s),
    )
    times_s, values = _sorted(*_decoded(map(_Block._make, found)))
    start, stop = np.searchsorted(times_s, (start_s, stop_s)).tolist()
    return times_s[start:stop], values[start:stop]


def _decoded(stored: Iterable[_Block]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times and values of blocks, one after the other."""
    parts = [_decoded_together(part) for part in _batches(stored)]
    if not parts:
        return np.empty(0), np.empty(0)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _batches(stored: Iterable[_Block]) -> Iterator[list[_Block]]:
    """Yield runs of blocks that one shape of array can take: equal in their counts and widths."""
    run: list[_Block] = []
    shape: tuple[int, int, int] | None = None
    for block in stored:
        _checked(block)
        own = (block.size, block.data[_WIDTH_S], block.data[_WIDTH])
        if own != shape or len(run) == _AT_ONCE:
            if run:
                yield run
            run, shape = [], own
        run.append(block)
    if run:
        yield run


_WIDTH_S: int = point_coding.HEADER.fields["width"][1]  # type: ignore[index]  # a structured type has fields
_WIDTH = point_coding.HEADER.itemsize + _WIDTH_S


def _decoded_together(run: list[_Block]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count, width_s, width = run[0].size, run[0].data[_WIDTH_S], run[0].data[_WIDTH]
    headers = np.frombuffer(b"".join(block.data[:_HEADERS] for block in run), point_coding.HEADER).reshape(-1, 2)
    if not point_coding.is_known(headers):
        raise _damaged(run[0], "or one after it has a header that does not exist")
    size = count * (width_s + width)
    plain = b"".join(blocks.decompress(block.data[_HEADERS:], block.codec, size, _name_of(block)) for block in run)
    planes = np.frombuffer(plain, np.uint8).reshape(len(run), width_s + width, count)
    times_s = point_coding.decode(headers[:, 0], planes[:, :width_s])
    values = point_coding.decode(headers[:, 1], planes[:, width_s:])
    return times_s.ravel(), values.ravel()


def _checked(block: _Block) -> None:
    """Raise unless the checksums of a block are right."""
    _checked_summary(block)
    if crc32(block.data) != block.data_crc32:
        raise _damaged(block, "has a wrong checksum")
    if len(block.data) < _HEADERS:
        raise _damaged(block, "is too short")


def _checked_summary(block: _Block) -> _Block:
    try:
        sound = _checksum(block[:-2]) == block.crc32 and 1 <= block.size <= BLOCK
    except (struct.error, TypeError):
        sound = False
    if not sound:
        raise _damaged(block, "has a wrong checksum")
    return block


def _damaged(block: _Block, why: str) -> CorruptStorageError:
    """Return the error for a block."""
    return CorruptStorageError(f"{_name_of(block)} {why}.", fix=RESTORE)


def _name_of(block: _Block) -> str:
    return f"block {block.number} of the points of series {block.series}"


def damaged(connection: apsw.Connection, *, unpack: bool = True) -> Iterator[tuple[str, int, int, str]]:
    """Yield table, rowid, series and reason for each series and block that cannot be read. O(all points).

    Without ``unpack`` only the checksums are compared, in a tenth of the time: what they fit is as it was written.
    """
    for number, name, labels, expected in connection.execute("SELECT id, name, labels, crc32 FROM series"):
        if _checksum_of_series(name, labels) != expected:
            yield "series", number, number, "its checksum is wrong"
    read = _decoded if unpack else _all_checked
    stored = connection.execute(f"SELECT rowid, {', '.join(_FIELDS)} FROM point_blocks")  # noqa: S608  # ours
    while rows := list(islice(stored, _AT_ONCE)):
        together = [(rowid, _Block._make(row)) for rowid, *row in rows]
        if _problem_of(read, [block for _, block in together]):  # else no need to ask one by one, which takes longer
            for rowid, block in together:
                if problem := _problem_of(read, [block]):
                    yield "point_blocks", rowid, block.series, problem


def _all_checked(stored: Iterable[_Block]) -> None:
    for block in stored:
        _checked(block)


def _problem_of(read: Callable[[list[_Block]], object], stored: list[_Block]) -> str:
    try:
        read(stored)
    except CorruptStorageError as error:
        return error.message
    return ""
