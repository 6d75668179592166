"""Postings packed by term."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Raw", "Segment", "joined", "pack", "raw_of"]


class Raw(NamedTuple):
    """Postings as they come: how often a term occurs in a row. Three arrays of one length.

    Attributes
    ----------
    rows, terms : ndarray of int32
    tf : ndarray of uint16
    """

    rows: NDArray[np.int32]
    terms: NDArray[np.int32]
    tf: NDArray[np.uint16]


class Segment(NamedTuple):
    """Postings of the rows ``first .. first + n - 1``, sorted by term, then by row.

    Attributes
    ----------
    first, n : int
    terms : ndarray of int32, shape (t,)
        Ascending; only terms that have postings.
    starts : ndarray of int64, shape (t + 1,)
        The postings of ``terms[i]`` are ``starts[i] .. starts[i + 1] - 1``.
    rows : ndarray of int32, shape (p,)
    tf : ndarray of uint16, shape (p,)
    """

    first: int
    n: int
    terms: NDArray[np.int32]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    tf: NDArray[np.uint16]


def joined(parts: list[Raw]) -> Raw:
    """Return the postings of all parts together."""
    none = Raw(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.uint16))
    return Raw(*map(np.concatenate, zip(none, *parts, strict=True)))


def pack(raw: Raw, first: int, n: int) -> Segment:
    """Sort postings into a segment. O(p log p)."""
    order = np.argsort(raw.terms.astype(np.int64) * (first + n) + raw.rows)
    terms = raw.terms[order]
    begins = np.flatnonzero(np.append(True, terms[1:] != terms[:-1])) if terms.size else np.empty(0, np.int64)
    starts = np.append(begins, terms.size).astype(np.int64)
    return Segment(first, n, terms[begins], starts, raw.rows[order], raw.tf[order])


def raw_of(segment: Segment) -> Raw:
    """Return the postings of a segment."""
    return Raw(segment.rows, np.repeat(segment.terms, np.diff(segment.starts)), segment.tf)
