"""The binary quantizer: the sign of each dimension, and two factors that make an estimate of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy.quantization._base import QuantizerBase, finite, undamaged
from aqe_backend_numpy.quantization.scalar import is_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BinaryQuantizer"]

_SINGLE = np.dtype("<f4")
_SHRINK = np.float32(2 / np.pi)


class BinaryQuantizer(QuantizerBase):
    """A bit a dimension around the learned mean, and two float32 factors: dim / 8 (rounded up) + 8 bytes.

    With c the mean, r = x - c and s the signs of r, the dot product of an exact query q with x is estimated by
    ``q.c + |r|^2 / |r|_1 * s.(q - c) + r.c``: the estimator of RaBitQ (Gao and Long, SIGMOD 2024) without its random
    rotation, which embeddings do not need. Multiplied out it is ``q.c + slope * s.q + offset``, of which the code keeps
    signs, slope and offset; for ``l2`` the offset also holds ``-|x|^2 / 2``.

    `decode` returns ``c + 2 / pi * slope * s``, the nearest multiple of s if the components of r are normally
    distributed. It is much coarser than the scores are.
    """

    scheme = "binary"

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        super().__init__(dim=dim, metric=metric)
        self._sign_bytes = -(-self.dim // 8)
        self.code_bytes = self._sign_bytes + 8

    def _learn(self, rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return {"mean": rows.mean(axis=0, dtype=np.float64).astype(np.float32)}

    def _fits(self, arrays: dict[str, NDArray[Any]]) -> bool:
        return is_mean(arrays.get("mean"), self.dim) and len(arrays) == 1

    def _encode(self, rows: NDArray[np.float32], learned: dict[str, NDArray[Any]], codes: NDArray[np.uint8]) -> None:
        mean = learned["mean"].astype(np.float64)
        centred = rows - mean
        signs = centred >= 0
        sizes = np.abs(centred).sum(axis=1)
        squares = np.einsum("ij,ij->i", centred, centred)
        slopes = np.divide(squares, sizes, out=np.zeros_like(sizes), where=sizes > 0)
        offsets = centred @ mean - slopes * (np.where(signs, mean, -mean).sum(axis=1))
        if self.metric == "l2":
            offsets -= 0.5 * np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        factors = np.stack([slopes, offsets], axis=1).astype(_SINGLE)
        finite(factors, "a vector whose square is beyond float32", self.scheme)
        codes[:, : self._sign_bytes] = np.packbits(signs, axis=1, bitorder="little")
        codes[:, self._sign_bytes :] = factors.view(np.uint8)

    def _parts(self, codes: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return signs (1 or -1), shape (n, dim), and factors, shape (n, 2)."""
        bits = np.unpackbits(codes[:, : self._sign_bytes], axis=1, count=self.dim, bitorder="little")
        factors = np.ascontiguousarray(codes[:, self._sign_bytes :]).view(_SINGLE)
        undamaged(factors)
        signs = bits.astype(np.float32)
        signs *= 2
        signs -= 1
        return signs, factors.astype(np.float32, copy=False)

    def _decode(self, codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        signs, factors = self._parts(codes)
        rows: NDArray[np.float32] = learned["mean"] + _SHRINK * factors[:, :1] * signs
        return rows

    def _estimate(
        self, queries: NDArray[np.float32], codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]
    ) -> NDArray[np.float32]:
        signs, factors = self._parts(codes)
        dots: NDArray[np.float32] = queries @ signs.T
        dots *= factors[:, 0]
        dots += factors[:, 1]
        dots += (queries @ learned["mean"])[:, None]
        if self.metric == "l2":
            dots *= 2
            dots -= np.einsum("ij,ij->i", queries, queries)[:, None]
            dots = np.minimum(dots, np.float32(0))
        return dots
