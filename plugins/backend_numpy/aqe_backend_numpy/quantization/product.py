"""The product quantizer: for each group of dimensions the number of the nearest learned part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy.quantization._base import QuantizerBase
from aqe_core.errors import ConfigError, InputError
from aqe_core.validate import as_dim

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ProductQuantizer"]

_PARTS = 256
_SAMPLE = 16384
_ROUNDS = 10


class ProductQuantizer(QuantizerBase):
    """A byte for each of ``groups`` runs of dimensions (Jegou, Douze and Schmid, TPAMI 2011).

    Each run has up to 256 parts, learned by Lloyd's algorithm on up to 16,384 rows of the sample; ten rounds, the first
    parts are rows. Scores are sums over a table of the query with all parts, one look-up a group: O(groups) for each
    code instead of O(dim).

    Parameters
    ----------
    dim, metric
        As for every quantizer.
    groups : int, optional
        1 .. dim; by default one for eight dimensions. They differ in length by at most one dimension.
    seed : int
        Of the first parts, and of the sample.
    """

    scheme = "product"

    def __init__(self, *, dim: int, metric: str = "cosine", groups: int | None = None, seed: Any = 0) -> None:
        super().__init__(dim=dim, metric=metric)
        self.code_bytes = -(-self.dim // 8) if groups is None else as_dim(groups)
        if self.code_bytes > self.dim:
            raise ConfigError(f"groups is {groups}, but there are {self.dim} dimensions.", fix="choose fewer groups.")
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise ConfigError(f"seed is {seed!r:.60}, but must be an integer in 0 .. 2**64 - 1.", fix="pass e.g. 0.")
        self._seed = seed
        self._bounds = np.linspace(0, self.dim, self.code_bytes + 1).astype(np.int64)

    def _settings(self) -> dict[str, Any]:
        return {"groups": self.code_bytes, "seed": self._seed}

    def _runs(self) -> list[slice]:
        """Return the dimensions of each group."""
        return [slice(int(a), int(b)) for a, b in zip(self._bounds[:-1], self._bounds[1:], strict=True)]

    def _learn(self, rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        random = np.random.default_rng(self._seed)
        sample = rows[np.sort(random.permutation(len(rows))[:_SAMPLE])]
        first = np.sort(random.permutation(len(sample))[:_PARTS])
        parts = sample[first]  # of each run those of its columns
        for run in self._runs():
            parts[:, run] = _means(sample[:, run], parts[:, run])
        return {"parts": parts}

    def _fits(self, arrays: dict[str, NDArray[Any]]) -> bool:
        parts = arrays.get("parts")
        return (
            len(arrays) == 1
            and parts is not None
            and parts.dtype == np.float32
            and parts.ndim == 2
            and 1 <= len(parts) <= _PARTS
            and parts.shape[1] == self.dim
            and bool(np.isfinite(parts).all())
        )

    def _encode(self, rows: NDArray[np.float32], learned: dict[str, NDArray[Any]], codes: NDArray[np.uint8]) -> None:
        for group, run in enumerate(self._runs()):
            codes[:, group] = _nearest(rows[:, run], learned["parts"][:, run])

    def _codes_of(self, codes: NDArray[np.uint8], parts: NDArray[np.float32]) -> NDArray[np.uint8]:
        if codes.size and int(codes.max()) >= len(parts):
            raise InputError(
                f"a code holds {int(codes.max())}, but there are {len(parts)} parts.", fix="encode the vectors anew."
            )
        return codes

    def _decode(self, codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        parts = learned["parts"]
        codes = self._codes_of(codes, parts)
        rows = np.empty((len(codes), self.dim), np.float32)
        for group, run in enumerate(self._runs()):
            rows[:, run] = parts[codes[:, group], run]
        return rows

    def _estimate(
        self, queries: NDArray[np.float32], codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]
    ) -> NDArray[np.float32]:
        parts = learned["parts"]
        columns = np.ascontiguousarray(self._codes_of(codes, parts).T)
        out = np.zeros((len(queries), len(codes)), np.float32)
        for group, run in enumerate(self._runs()):
            if self.metric == "l2":
                table = -np.square(queries[:, None, run] - parts[None, :, run]).sum(axis=2)
            else:
                table = queries[:, run] @ parts[:, run].T
            out += table.take(columns[group], axis=1)
        return out


def _nearest(rows: NDArray[np.float32], parts: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the number of the nearest part of each row, of equally near ones the first."""
    nearness = rows @ parts.T
    nearness -= 0.5 * np.einsum("ij,ij->i", parts, parts)
    numbers: NDArray[np.int64] = nearness.argmax(axis=1)
    return numbers


def _means(rows: NDArray[np.float32], parts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Improve parts by Lloyd's algorithm; one that is nearest to no row stays where it is."""
    parts = np.ascontiguousarray(parts)
    rows = np.ascontiguousarray(rows)
    for _ in range(_ROUNDS):
        chosen = _nearest(rows, parts)
        counts = np.bincount(chosen, minlength=len(parts))
        sums = np.stack([np.bincount(chosen, column, len(parts)) for column in rows.T], axis=1)
        used = counts > 0
        parts[used] = (sums[used] / counts[used, None]).astype(np.float32)
    return parts
