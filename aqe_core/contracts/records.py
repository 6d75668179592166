"""What is remembered: patterns, test results, and the reports about storing them."""

from __future__ import annotations

import hashlib
import json
from json.encoder import encode_basestring
from numbers import Real
from typing import TYPE_CHECKING, Any

import attrs

from aqe_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OUTCOMES", "Pattern", "PutReport", "ResultTable", "Run", "TestResult"]

_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode

OUTCOMES = ("passed", "failed", "error", "skipped")
"""Outcomes of a test; their positions are the codes in `ResultTable.outcome`."""


@attrs.frozen(kw_only=True, slots=False)
class Pattern:
    """A test pattern: what a test is called, where it lives, what it says.

    Attributes
    ----------
    id : str
        Its natural identity, unique in a namespace, e.g. ``tests/test_retry.py::TestRetry::test_capped``.
    name : str
        The test's name.
    text : str
        The source, or whatever describes the pattern.
    path : str
        File it is in, relative to the project's root, with forward slashes; may be empty.
    class_name : str
        Enclosing class; nested ones joined by dots.
    docstring : str
    markers : tuple of str
        Names of pytest markers or tags.
    line : int
        First line in ``path``, counted from 1; 0 when unknown.
    metadata : mapping of str to JSON value
        Anything else; searchable with ``where=``.
    origin : str
        The ingested file it came from, so that a vanished test can be told from one of another file.
    key : int or None
        Its 64-bit key in storage; None until stored.
    """

    id: str
    name: str
    text: str
    path: str = ""
    class_name: str = ""
    docstring: str = ""
    markers: tuple[str, ...] = ()
    line: int = 0
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    origin: str = ""
    key: int | None = attrs.field(default=None, eq=False)

    def content_hash(self) -> str:
        """Return 32 hex digits over everything that a reader of the pattern sees (not its line, origin or key)."""
        texts = (self.name, self.text, self.path, self.class_name, self.docstring)
        rest = "[],{}" if not self.markers and not self.metadata else _encode([self.markers, self.metadata])[1:-1]
        encoded = f"[{','.join(map(encode_basestring, texts))},{rest}]"  # as JSON, which takes half the time so
        return hashlib.blake2b(encoded.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``--json`` prints."""
        fields = attrs.asdict(self, recurse=False)
        return {**fields, "markers": list(self.markers), "metadata": dict(self.metadata)}


def _is_text(_: Any, attribute: attrs.Attribute[str], value: Any) -> None:
    if not isinstance(value, str):
        raise InputError(f"{attribute.name} is {value!r}, but must be a str.", fix="pass text.")


def _is_outcome(_: Any, __: attrs.Attribute[str], value: Any) -> None:
    if value not in OUTCOMES:
        raise InputError(f"outcome is {value!r}.", fix=f"use one of {', '.join(OUTCOMES)}.")


def _is_duration(_: Any, attribute: attrs.Attribute[float], value: Any) -> None:
    if not (type(value) is float or isinstance(value, Real)) or not 0.0 <= float(value) < float("inf"):
        raise InputError(
            f"{attribute.name} is {value!r}, but must be a finite number of seconds, at least 0.",
            fix="pass 0.0 if it is not known.",
        )


@attrs.frozen(kw_only=True)
class TestResult:
    """The outcome of one test in one run.

    Attributes
    ----------
    test : str
        The test's name in its runner's own terms: ``classname::name`` for JUnit XML.
    outcome : str
        One of `OUTCOMES`.
    duration_s : float
        Seconds, at least 0.
    message : str
        Why it failed, shortened.

    Raises
    ------
    InputError
        A value is of another kind, or out of range.
    """

    __test__ = False  # a record about tests, not one for pytest to collect

    test: str = attrs.field(validator=_is_text)
    outcome: str = attrs.field(validator=_is_outcome)
    duration_s: float = attrs.field(default=0.0, validator=_is_duration)
    message: str = attrs.field(default="", validator=_is_text)


@attrs.frozen(kw_only=True)
class Run:
    """One run of a test suite.

    Attributes
    ----------
    id : str
        Content hash of the file it came from; a run is stored once.
    source : str
        Name of that file.
    tool : str
        Flavour: ``pytest``, ``surefire``, ``jest``, ``go`` or ``junit``.
    started_s : float
        Unix time of its start in seconds (from the file, else the file's modification time).
    """

    id: str
    source: str
    tool: str = "junit"
    started_s: float = 0.0


@attrs.frozen(kw_only=True, eq=False)
class PutReport:
    """What storing patterns did.

    Attributes
    ----------
    keys : ndarray of uint64, shape (n,)
        Keys of the given patterns, in their order.
    added, changed, unchanged : int
        How many of them were new, had another content, or were there already.
    removed : int
        How many vanished from the given origins.
    written_keys, removed_keys : ndarray of uint64
        Keys of the added and changed ones, and of the removed ones.
    """

    keys: NDArray[np.uint64]
    added: int
    changed: int
    unchanged: int
    removed: int
    written_keys: NDArray[np.uint64]
    removed_keys: NDArray[np.uint64]


@attrs.frozen(kw_only=True, eq=False)
class ResultTable:
    """Test results as columns, ordered by start of run, then by position in the run.

    Attributes
    ----------
    tests : list of str
        Names; ``test`` indexes into it.
    test : ndarray of int64, shape (n,)
    run : ndarray of int64, shape (n,)
        Sequence number of the run in storage.
    outcome : ndarray of uint8, shape (n,)
        Index into `OUTCOMES`.
    duration_s : ndarray of float64, shape (n,)
    """

    tests: list[str]
    test: NDArray[np.int64]
    run: NDArray[np.int64]
    outcome: NDArray[np.uint8]
    duration_s: NDArray[np.float64]
