"""Scalar quantizers: a number a dimension, of fewer bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy.quantization._base import QuantizerBase, finite, undamaged

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Float16Quantizer", "Int8Quantizer"]

_HALF = np.dtype("<f2")
_SINGLE = np.dtype("<f4")


class Float16Quantizer(QuantizerBase):
    """Half precision, rounded to nearest: 2 dim bytes, relative error up to 2**-11. Nothing is learned.

    A magnitude above 65,504 is refused.
    """

    scheme = "float16"

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        super().__init__(dim=dim, metric=metric)
        self.code_bytes = 2 * self.dim
        self._learned = {}

    def _learn(self, rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:  # noqa: ARG002  # there is nothing to learn
        return {}

    def _fits(self, arrays: dict[str, NDArray[Any]]) -> bool:
        return not arrays

    def _encode(self, rows: NDArray[np.float32], learned: dict[str, NDArray[Any]], codes: NDArray[np.uint8]) -> None:  # noqa: ARG002  # same
        halves = rows.astype(_HALF)
        finite(halves, "a vector with a magnitude above 65,504", self.scheme)
        codes[:] = halves.view(np.uint8)

    def _decode(self, codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]) -> NDArray[np.float32]:  # noqa: ARG002  # same
        rows = codes.view(_HALF).astype(np.float32)
        undamaged(rows)
        return rows


class Int8Quantizer(QuantizerBase):
    """A signed byte a dimension around the learned mean, and a float32 scale for each vector: dim + 4 bytes.

    A vector x is ``mean + scale * integers`` with integers in -127 .. 127; the largest difference becomes 127.
    """

    scheme = "int8"

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        super().__init__(dim=dim, metric=metric)
        self.code_bytes = self.dim + 4

    def _learn(self, rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return {"mean": rows.mean(axis=0, dtype=np.float64).astype(np.float32)}

    def _fits(self, arrays: dict[str, NDArray[Any]]) -> bool:
        return is_mean(arrays.get("mean"), self.dim) and len(arrays) == 1

    def _encode(self, rows: NDArray[np.float32], learned: dict[str, NDArray[Any]], codes: NDArray[np.uint8]) -> None:
        centred = rows - learned["mean"]
        largest = np.abs(centred).max(axis=1)
        finite(largest, "a vector near the end of float32", self.scheme)
        # A vector at the mean has no scale. Below the least normal number a quotient would be infinite.
        far = largest > 127 * np.finfo(np.float32).tiny
        inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=far)
        centred *= inverse[:, None]
        codes[:, : self.dim] = np.rint(centred).astype(np.int8).view(np.uint8)
        scales = np.where(far, largest / np.float32(127), np.float32(0)).astype(_SINGLE)
        codes[:, self.dim :] = scales[:, None].view(np.uint8)

    def _decode(self, codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        scales = np.ascontiguousarray(codes[:, self.dim :]).view(_SINGLE)
        undamaged(scales)
        integers = codes[:, : self.dim].view(np.int8).astype(np.float32)
        rows: NDArray[np.float32] = learned["mean"] + scales * integers
        return rows


def is_mean(array: Any, dim: int) -> bool:
    """Say whether this is a finite float32 vector."""
    return (
        isinstance(array, np.ndarray)
        and array.dtype == np.float32
        and array.shape == (dim,)
        and bool(np.isfinite(array).all())
    )
