"""Pattern stores that are wrong in one known way each: their files (see `aqe_core.testing.faulty`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aqe_core.errors import InputError, ReadOnlyError
from aqe_core.testing.backends import BruteForceStore
from aqe_core.testing.faulty import wrong

if TYPE_CHECKING:
    import os


@wrong("snapshot_comes_back")
class KeepsWhatWasThere(BruteForceStore):
    """Adds the rows of the file to those that it has."""

    def load(self, path: str | os.PathLike[str]) -> str:
        """Load a file."""
        keys, rows = self._table
        name = super().load(path)
        new_keys, new_rows = self._table
        self._table = (keys, rows)
        self._write(new_keys, new_rows)
        return name


@wrong("snapshot_names_content")
class NamesByKeys(BruteForceStore):
    """Takes the keys for the content."""

    def save(self, path: str | os.PathLike[str]) -> str:
        """Save to a file."""
        super().save(path)
        return str(hash(self._table[0].tobytes()))


@wrong("snapshot_of_another_store")
class TakesAnyStore(BruteForceStore):
    """Becomes what the file is of."""

    def load(self, path: str | os.PathLike[str]) -> str:
        """Load a file."""
        for dim in (self.dim, 9):
            for metric in ("cosine", "dot", "l2"):
                other = BruteForceStore(dim=dim, metric=metric)
                try:
                    name = other.load(path)
                except InputError:
                    continue
                self._table = other._table  # noqa: SLF001  # its own class
                return name
        raise InputError("no store.", fix="none.")


@wrong("snapshot_damaged")
class ChecksNothing(BruteForceStore):
    """Writes bare bytes, and believes them."""

    def save(self, path: str | os.PathLike[str]) -> str:
        """Save to a file."""
        keys, rows = self._table
        data = np.array([self.dim, keys.size], "<i8").tobytes() + keys.tobytes() + rows.tobytes()
        try:
            Path(path).write_bytes(data)
        except OSError as error:
            raise ReadOnlyError(f"{path} cannot be written.", fix="choose another place.") from error
        return str(hash(data))

    def load(self, path: str | os.PathLike[str]) -> str:
        """Load a file."""
        data = Path(path).read_bytes()
        try:
            dim, n = np.frombuffer(data[:16], "<i8").tolist()
            keys = np.frombuffer(data[16 : 16 + 8 * n], "<u8")
            rows = np.frombuffer(data[16 + 8 * n :], "<f4").reshape(n, dim)
        except ValueError as error:
            raise InputError(f"{path} is damaged.", fix="none.") from error
        self._table = (keys, rows)
        return str(hash(data))
