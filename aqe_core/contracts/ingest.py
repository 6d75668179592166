"""The contract of an ingest format: one file in, patterns or test results out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import attrs

if TYPE_CHECKING:
    from pathlib import Path

    from aqe_core.contracts.records import Pattern, Run, TestResult

__all__ = ["Ingested", "Reader", "Recognizer", "Skipped"]


class Skipped(NamedTuple):
    """Something in a file that was not taken.

    Attributes
    ----------
    where : str
        File, with line or element where known.
    reason : str
    """

    where: str
    reason: str


@attrs.frozen(kw_only=True)
class Ingested:
    """What was in one file.

    Attributes
    ----------
    patterns : tuple of Pattern
    run : Run or None
        Present when the file holds test results.
    results : tuple of TestResult
    skipped : tuple of Skipped
    """

    patterns: tuple[Pattern, ...] = ()
    run: Run | None = None
    results: tuple[TestResult, ...] = ()
    skipped: tuple[Skipped, ...] = ()


class Recognizer(Protocol):
    """Says whether a file is of the format."""

    def __call__(self, path: Path, head: bytes) -> bool:
        """Judge by the name and the first 4096 bytes (decompressed if the name ends in ``.gz``)."""
        ...


class Reader(Protocol):
    """Reads one file."""

    def __call__(self, path: Path, *, root: Path) -> Ingested:
        """Read the file.

        Parameters
        ----------
        path : Path
        root : Path
            The project's root; ids, paths and origins are relative to it where the file lies below it.

        Raises
        ------
        MalformedFileError, FileTooLargeError
            The file cannot be used; nothing of it is stored.
        """
        ...
