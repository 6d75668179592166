"""The shipped subtoken table: learned vectors, and how common each subtoken is in tests at large."""

from __future__ import annotations

import json
import zlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aqe_core.errors import BrokenPluginError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from numpy.typing import NDArray

__all__ = ["LEARNED_DIM", "Shipped", "load", "shipped"]

LEARNED_DIM = 256


class Shipped(NamedTuple):
    """What the package carries beside code; see ``data/PROVENANCE.md``.

    Attributes
    ----------
    vectors : ndarray of int8, shape (n, 256)
        Mapped from the file, read-only.
    row_of : dict of str to int
        Subtoken to row.
    df : list of int
        In how many of ``n_documents`` tests each subtoken occurs.
    n_documents : int
    digest : str
        Checksums of the files, as 16 hexadecimal digits.
    """

    vectors: NDArray[np.int8]
    row_of: dict[str, int]
    df: list[int]
    n_documents: int
    digest: str

    def share(self, subtoken: str) -> float:
        """Return the share of all tests in which a subtoken occurs; one that is not listed counts as in one."""
        row = self.row_of.get(subtoken)
        return (1 if row is None else self.df[row]) / self.n_documents


@cache
def shipped() -> Shipped:
    """Return the package's table, read at the first call."""
    return load(resources.files("aqe_backend_numpy") / "data")


def load(folder: Traversable) -> Shipped:
    """Read and check a table. A few milliseconds; O(size of the files).

    Raises
    ------
    BrokenPluginError
        A file is missing or is not the one whose checksum the manifest has.
    """
    try:
        manifest = json.loads((folder / "subtokens.json").read_text("utf-8"))
        with resources.as_file(folder / "subtokens.npy") as path:
            # A plain array over the mapped file: rows of a memmap are slow to take.
            vectors = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
            found = [zlib.crc32(path.read_bytes())]
        text = (folder / "subtokens.txt").read_bytes()
        found.append(zlib.crc32(text))
        wanted = [manifest["crc32"][name] for name in ("subtokens.npy", "subtokens.txt")]
        if found != wanted:
            raise ValueError(f"the checksums are {found}, not {wanted}")
        entries = [line.partition("\t") for line in text.decode("utf-8").splitlines()]
        row_of = {subtoken: row for row, (subtoken, _, _) in enumerate(entries)}
        if (str(vectors.dtype), vectors.shape) != ("int8", (len(row_of), LEARNED_DIM)):
            raise ValueError(f"the vectors are {vectors.dtype}{vectors.shape}")
        return Shipped(
            vectors=vectors,
            row_of=row_of,
            df=[int(df) for _, _, df in entries],
            n_documents=int(manifest["n_documents"]),
            digest="".join(f"{checksum:08x}" for checksum in found),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise BrokenPluginError(
            f"the subtoken table in {folder} cannot be used: {error}.", fix="install aqe-core again."
        ) from error
