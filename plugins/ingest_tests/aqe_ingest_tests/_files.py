"""What the formats share: opening files without trusting them, naming them, and noting what was left out."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from aqe_core.contracts.ingest import Skipped
from aqe_core.errors import FileTooLargeError, IngestError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Notes", "open_regular", "relative_name", "too_large", "without_surrogates"]


@contextmanager
def open_regular(path: Path, name: str, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file of at most ``max_bytes``.

    Raises
    ------
    FileTooLargeError
        It is larger; nothing was read.
    IngestError
        It is no regular file, or cannot be opened or read (also while the caller reads it).
    """
    if "\0" in str(path):
        raise IngestError(f"{name!r} is no file name.", fix="name an existing file.")
    try:
        # Opening a named pipe would wait for a writer; non-blocking, it can be looked at first.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(_regular(descriptor, name, max_bytes), "rb") as file:
            yield file
    except OSError as error:
        raise IngestError(
            f"{name} cannot be read: {error.strerror or error}.",
            fix="check that it is a file and that you may read it.",
        ) from error


def _regular(descriptor: int, name: str, max_bytes: int) -> int:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > max_bytes:
        os.close(descriptor)
        if stat.S_ISREG(found.st_mode):
            raise too_large(name, f"has {found.st_size:,} bytes", max_bytes)
        raise IngestError(f"{name} is not a regular file.", fix="name a file, not a folder, pipe or device.")
    return descriptor


def too_large(name: str, what: str, max_bytes: int) -> FileTooLargeError:
    """Return the error for a file above its limit."""
    return FileTooLargeError(
        f"{name} {what}, more than the limit of {max_bytes:,} bytes.",
        fix="split it, or check that it is the file you meant.",
    )


def relative_name(path: Path, root: Path) -> str:
    r"""Return the path relative to the root, with forward slashes; absolute where it does not lie below.

    Bytes of the name that are not UTF-8 become ``\xNN``, so that every name can be stored.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links out of the project
    base = Path(os.path.abspath(root))  # noqa: PTH100  # same
    name = (absolute.relative_to(base) if absolute.is_relative_to(base) else absolute).as_posix()
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def without_surrogates(text: str) -> str:
    r"""Return the text with lone surrogates, which UTF-8 cannot hold, written as ``\udNNN``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Notes:
    """What was left out of one file: the first hundred in full, the others counted."""

    _MAX = 100

    def __init__(self) -> None:
        self._noted: list[Skipped] = []
        self._more = 0

    def add(self, where: str, reason: str) -> None:
        """Note one thing."""
        if len(self._noted) < self._MAX:
            self._noted.append(Skipped(where, reason))
        else:
            self._more += 1

    def skipped(self, name: str) -> tuple[Skipped, ...]:
        """Return everything noted of the file ``name``."""
        more = (Skipped(name, f"and {self._more:,} more like these"),) if self._more else ()
        return (*self._noted, *more)
