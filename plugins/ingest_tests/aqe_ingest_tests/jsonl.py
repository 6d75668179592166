"""JSON Lines of patterns: one object a line, plain or gzipped."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections import Counter
from contextlib import contextmanager
from io import BufferedReader
from typing import TYPE_CHECKING, Any

from aqe_core.contracts.ingest import Ingested
from aqe_core.contracts.records import Pattern
from aqe_core.errors import MalformedFileError
from aqe_ingest_tests._files import Notes, open_regular, relative_name, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["read", "recognize"]

MAX_BYTES = 2**30
MAX_LINE_BYTES = 2**20

_TEXT = ("text", "src", "source", "code")
_CLASS = ("class", "cls", "class_name")


def recognize(path: Path, head: bytes) -> bool:
    """Say whether the name ends in ``.jsonl`` or ``.jsonl.gz`` and the first line begins an object."""
    return path.name.lower().endswith((".jsonl", ".jsonl.gz")) and head.removeprefix(
        b"\xef\xbb\xbf"
    ).lstrip().startswith(b"{")


def read(path: Path, *, root: Path, max_bytes: int = MAX_BYTES) -> Ingested:
    """Read one pattern a line.

    An object has a ``name``, and may have ``text`` (or ``src``, ``source``, ``code``), ``path``, ``class`` (or
    ``cls``, ``class_name``), ``docstring``, ``markers`` (a list of strings), ``line``, and ``id`` (a string or an
    integer, unique in the file). Everything else is metadata. The pattern's id is ``<file>:<id>``, where ``<file>`` is
    the file's name up to its first dot; without an ``id`` it is ``project/path::class::name`` of what is there, with
    ``#2``, ``#3``, ... for repetitions.

    A line that cannot be used is left out and noted with its reason.

    Parameters
    ----------
    path : Path
    root : Path
        Origins are relative to it.
    max_bytes : int
        Limit of the file's size, both as it is and decompressed.

    Raises
    ------
    MalformedFileError
        No line can be used, or the compression is broken.
    FileTooLargeError, IngestError
    """
    name = relative_name(path, root)
    notes = Notes()
    ids = _Ids(path.name.partition(".")[0] or path.name)
    patterns: list[Pattern] = []
    first_problem = ""
    with _open(path, name, max_bytes) as file:
        for number, line in _lines(file, name, max_bytes):
            try:
                fields = _fields(_decode(line))
                pattern_id = ids.make(fields, number)
            except _BadLineError as problem:
                notes.add(f"{name}:{number}", str(problem))
                first_problem = first_problem or f"line {number}: {problem}"
            else:
                patterns.append(Pattern(id=pattern_id, origin=name, **fields))
    if not patterns:
        raise MalformedFileError(
            f"{name} holds no pattern ({first_problem or 'it is empty'}).",
            fix='write one JSON object a line, e.g. {"name": "test_x", "text": "..."}.',
        )
    return Ingested(patterns=tuple(patterns), skipped=notes.skipped(name))


class _BadLineError(Exception):
    """A line cannot be used; the message says why."""


@contextmanager
def _open(path: Path, name: str, max_bytes: int) -> Iterator[BinaryIO]:
    """Open the file for reading its lines, decompressed."""
    with open_regular(path, name, max_bytes) as file:
        if not path.name.lower().endswith(".gz"):
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield BufferedReader(unzipped, 2**18)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise MalformedFileError(
                f"{name} is not a whole gzip file: {error}.", fix="make or copy it again."
            ) from error


def _lines(file: BinaryIO, name: str, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each line; of one that is too long only enough to know that it is."""
    total = number = 0
    in_long_line = False
    while line := file.readline(MAX_LINE_BYTES + 1):
        total += len(line)
        if total > max_bytes:
            raise too_large(name, "is larger when decompressed", max_bytes)
        if not in_long_line:
            number += 1
            if not line.isspace():
                yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        in_long_line = not line.endswith(b"\n")


def _refuse_constant(constant: str) -> Any:
    raise _BadLineError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _BadLineError(f"the number {digits:.40} is too large")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _decode(line: bytes) -> dict[str, Any]:
    """Return the object on a line."""
    if len(line) > MAX_LINE_BYTES:
        raise _BadLineError(f"longer than {MAX_LINE_BYTES:,} bytes")
    try:
        fields = _DECODER.decode(line.decode("utf-8"))
        if b"\\ud" in line or b"\\uD" in line:
            json.dumps(fields, ensure_ascii=False).encode("utf-8")  # raises for lone surrogates
    except RecursionError:
        raise _BadLineError("nested too deeply") from None
    except ValueError as error:
        raise _BadLineError(f"not JSON in UTF-8: {error}") from None
    if not isinstance(fields, dict):
        raise _BadLineError("not a JSON object")
    return fields


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a pattern but for id and origin; what no attribute takes becomes metadata."""
    name = _string(values, ("name",))
    if not name:
        raise _BadLineError("no name")
    markers, line = values.pop("markers", None) or [], values.pop("line", None) or 0
    if not (isinstance(markers, list) and all(isinstance(marker, str) for marker in markers)):
        raise _BadLineError("markers are not a list of strings")
    if isinstance(line, bool) or not isinstance(line, int) or not 0 <= line < 2**31:
        raise _BadLineError("line is not a line number")
    return {
        "name": name,
        "text": _string(values, _TEXT),
        "path": _string(values, ("path",)),
        "class_name": _string(values, _CLASS),
        "docstring": _string(values, ("docstring",)),
        "markers": tuple(markers),
        "line": line,
        "metadata": values,
    }


class _Ids:
    """Makes the ids of one file's patterns."""

    def __init__(self, stem: str) -> None:
        self._stem = stem
        self._line_of: dict[str, int] = {}
        self._seen: Counter[str] = Counter()

    def make(self, fields: dict[str, Any], number: int) -> str:
        """Return the id of the pattern on line ``number``; takes ``id`` out of its metadata."""
        given = fields["metadata"].pop("id", None)
        if given is None:
            project = fields["metadata"].get("project")
            place = "/".join(part for part in (project, fields["path"]) if part and isinstance(part, str))
            natural = "::".join(part for part in (place, fields["class_name"], fields["name"]) if part)
            self._seen[natural] += 1
            return natural if self._seen[natural] == 1 else f"{natural}#{self._seen[natural]}"
        if isinstance(given, bool) or not isinstance(given, (str, int)):
            raise _BadLineError("id is neither a string nor an integer")
        own = f"{self._stem}:{given}"
        before = self._line_of.setdefault(own, number)
        if before != number:
            raise _BadLineError(f"id {given!r} was on line {before} already")
        return own


def _string(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    """Take the first of the fields that is there out of them; empty if none is."""
    for name in names:
        value = fields.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise _BadLineError(f"{name} is not a string")
            del fields[name]
            return value
    return ""
