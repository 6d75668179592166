"""Quantizers in Rust: the codes, states and errors of `aqe_backend_numpy.quantization`, faster.

Codes of ``float16`` and ``int8`` are equal to NumPy's bit for bit, and so are the signs of ``binary``; its two factors
may differ by a rounding, the second by one of numbers as large as the first. ``product`` is trained and encoded by
NumPy, whose matrix products are faster, and decoded and scored here. Either backend reads what the other has saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from aqe_backend_numpy.quantization._base import QuantizerBase
from aqe_backend_numpy.quantization.binary import BinaryQuantizer
from aqe_backend_numpy.quantization.factory import own_options
from aqe_backend_numpy.quantization.product import ProductQuantizer
from aqe_backend_numpy.quantization.scalar import Float16Quantizer, Int8Quantizer

from aqe_backend_native import _native

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["make_quantizer"]

_NOTHING = np.empty(0, np.float32)
_MANY = 4  # queries


class _Native(QuantizerBase):
    """What is done with checked rows and codes. What Rust refuses NumPy refuses as well, with the error to raise."""

    def _given(self, learned: dict[str, NDArray[Any]]) -> tuple[str, int, bool, NDArray[np.float32], list[int]]:
        """Return scheme, dimensions, whether scores are distances, what was learned, where groups begin."""
        arrays = [np.ascontiguousarray(array, np.float32).ravel() for array in learned.values()]
        return self.scheme, self.dim, self.metric == "l2", arrays[0] if arrays else _NOTHING, self._begins()

    def _begins(self) -> list[int]:
        return []

    def _encode(self, rows: NDArray[np.float32], learned: dict[str, NDArray[Any]], codes: NDArray[np.uint8]) -> None:
        if not _native.quantizer_encode(self._given(learned), np.ascontiguousarray(rows), codes):
            super()._encode(rows, learned, codes)

    def _decode(self, codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        rows = np.empty((len(codes), self.dim), np.float32)
        if not _native.quantizer_decode(self._given(learned), codes, rows):
            return super()._decode(codes, learned)
        return rows

    def _estimate(
        self, queries: NDArray[np.float32], codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]
    ) -> NDArray[np.float32]:
        out = np.empty((len(queries), len(codes)), np.float32)
        if not _native.quantizer_scores(self._given(learned), np.ascontiguousarray(queries), codes, out):
            return super()._estimate(queries, codes, learned)
        return out


class _Decoded(_Native):
    """Scores of decoded vectors: of many queries by a matrix product."""

    def _estimate(
        self, queries: NDArray[np.float32], codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]
    ) -> NDArray[np.float32]:
        if len(queries) >= _MANY:
            return super(_Native, self)._estimate(queries, codes, learned)
        return super()._estimate(queries, codes, learned)


class NativeFloat16Quantizer(_Decoded, Float16Quantizer):
    """Half precision; see `aqe_backend_numpy.quantization.scalar.Float16Quantizer`."""


class NativeInt8Quantizer(_Decoded, Int8Quantizer):
    """A byte a dimension; see `aqe_backend_numpy.quantization.scalar.Int8Quantizer`."""


class NativeBinaryQuantizer(_Native, BinaryQuantizer):
    """A bit a dimension; see `aqe_backend_numpy.quantization.binary.BinaryQuantizer`."""

    _batch = 1 << 16  # nothing is decoded for scores


class NativeProductQuantizer(_Native, ProductQuantizer):
    """A byte a group; see `aqe_backend_numpy.quantization.product.ProductQuantizer`."""

    _batch = 1 << 16

    def _encode(self, rows: NDArray[np.float32], learned: dict[str, NDArray[Any]], codes: NDArray[np.uint8]) -> None:
        super(_Native, self)._encode(rows, learned, codes)

    def _begins(self) -> list[int]:
        begins: list[int] = self._bounds.tolist()
        return begins


_CLASSES: dict[str, type[QuantizerBase]] = {
    each.scheme: each
    for each in (NativeFloat16Quantizer, NativeInt8Quantizer, NativeBinaryQuantizer, NativeProductQuantizer)
}


def make_quantizer(*, scheme: str, dim: int, metric: str = "cosine", **options: Any) -> QuantizerBase:
    """Make a quantizer that has learned nothing yet; see `aqe_backend_numpy.quantization.factory.make_quantizer`.

    Raises
    ------
    ConfigError
        An option is wrong, or the scheme has none of that name.
    """
    own_options(scheme, options)
    return _CLASSES[scheme](dim=dim, metric=metric, **options)
