"""The Quantizer contract: vectors as short codes, and scores estimated from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from aqe_core.state import EngineState

__all__ = ["SCHEMES", "Quantizer"]

SCHEMES = ("float16", "int8", "binary", "product")
"""``float16``: half precision; ``int8``: a byte a dimension, and a scale for each vector; ``binary``: a bit a
dimension, and two factors; ``product``: a byte for each group of dimensions, the number of the nearest of up to 256
learned parts."""


@runtime_checkable
class Quantizer(Protocol):
    """Turns vectors into codes of fixed length, and estimates scores between exact queries and codes.

    Made by a factory ``factory(*, scheme: str, dim: int, metric: str, **options)``. What it learns in `train` and what
    it writes in `encode` follow from its arguments alone: the same calls give the same bytes.

    Arrays given to it are never changed. A call that raises has changed nothing.
    """

    @property
    def scheme(self) -> str:
        """One of `SCHEMES`, or another of its own."""
        ...

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        ...

    @property
    def metric(self) -> str:
        """One of `aqe_core.contracts.METRICS`."""
        ...

    @property
    def code_bytes(self) -> int:
        """Bytes of one code."""
        ...

    @property
    def trained(self) -> bool:
        """Whether vectors can be encoded: what has nothing to learn always can."""
        ...

    def train(self, vectors: ArrayLike) -> None:
        """Learn from a sample, in place of what was learned before. Codes made before mean nothing from then on.

        Parameters
        ----------
        vectors : array of float32, shape (n, dim)
            At least one; finite, for ``cosine`` no row all zeros.

        Raises
        ------
        DimensionError, NonFiniteError, InputError
            Bad input.
        """
        ...

    def encode(self, vectors: ArrayLike) -> NDArray[np.uint8]:
        """Return the codes of vectors, shape (n, code_bytes).

        Parameters
        ----------
        vectors : array of float32, shape (n, dim)
            As for `train`; ``n`` may be 0. Brought to unit length for ``cosine``.

        Raises
        ------
        DimensionError, NonFiniteError, InputError
            Bad input, a number too large for the scheme, or not trained yet.
        """
        ...

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """Return vectors near the encoded ones, shape (n, dim); for ``cosine`` near those of unit length.

        Raises
        ------
        DimensionError, InputError
            The codes are not of this quantizer, as far as that can be seen; or it is not trained yet.
        """
        ...

    def scores(self, queries: ArrayLike, codes: ArrayLike) -> NDArray[np.float32]:
        """Estimate the scores of encoded vectors, as a pattern store of this metric defines them.

        Parameters
        ----------
        queries : array of float32, shape (dim,) or (m, dim)
        codes : array of uint8, shape (n, code_bytes)

        Returns
        -------
        ndarray of float32, shape (n,) or (m, n)
            Of ``cosine`` they may pass 1 by the error of the estimate.

        Raises
        ------
        DimensionError, NonFiniteError, InputError
            Bad input.
        """
        ...

    def export_state(self) -> EngineState:
        """Return what was learned; its arrays are copies."""
        ...

    def import_state(self, state: EngineState) -> None:
        """Replace what was learned.

        Raises
        ------
        InputError
            It is of another scheme, dimension or metric, or damaged.
        """
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned to a file (``.aqestate``); see `aqe_core.state.write_state`."""
        ...

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace what was learned by what a file holds.

        Raises
        ------
        InputError
            The file is absent, damaged, or of another quantizer.
        """
        ...
