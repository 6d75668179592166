"""What all quantizers share: input checked, codes taken apart, states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aqe_core import validate
from aqe_core.errors import DimensionError, InputError
from aqe_core.state import EngineState, Portable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["QuantizerBase"]


class QuantizerBase(Portable):
    """Fulfils `aqe_core.contracts.Quantizer` but for what a scheme does with checked rows and codes.

    Thread-safe once trained.
    """

    scheme: ClassVar[str]
    code_bytes: int
    _batch = 4096  # codes that are decoded together for scores

    def __init__(self, *, dim: int, metric: str = "cosine") -> None:
        self._dim = validate.as_dim(dim)
        self._metric = validate.as_metric(metric)
        self._learned: dict[str, NDArray[Any]] | None = None

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return self._dim

    @property
    def metric(self) -> str:
        """``cosine``, ``dot`` or ``l2``."""
        return self._metric

    @property
    def trained(self) -> bool:
        """Whether vectors can be encoded."""
        return self._learned is not None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self._dim}, metric={self._metric!r})"

    def train(self, vectors: ArrayLike) -> None:
        """Learn from a sample; see the contract."""
        rows = self._rows(vectors)
        if not len(rows):
            raise InputError("there are no vectors to learn from.", fix="pass a sample of those to be encoded.")
        self._learned = self._learn(rows)

    def encode(self, vectors: ArrayLike) -> NDArray[np.uint8]:
        """Return the codes of vectors, shape (n, code_bytes)."""
        rows = self._rows(vectors)
        codes = np.empty((len(rows), self.code_bytes), np.uint8)
        learned = self._state()
        for start in range(0, len(rows), self._batch):
            part = slice(start, start + self._batch)
            with np.errstate(over="ignore", invalid="ignore"):  # looked at by the schemes
                self._encode(rows[part], learned, codes[part])
        return codes

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """Return vectors near the encoded ones, shape (n, dim)."""
        whole, learned = self._codes(codes), self._state()
        with np.errstate(over="ignore", invalid="ignore"):  # found and named below
            rows = self._decode(whole, learned)
        undamaged(rows)
        return rows

    def scores(self, queries: ArrayLike, codes: ArrayLike) -> NDArray[np.float32]:
        """Estimate scores, shape (n,) or (m, n). O(m n dim), a batch of decoded codes at a time."""
        matrix, single = validate.as_queries(queries, self._dim, self._metric)
        matrix = self._normalized(matrix)
        whole = self._codes(codes)
        learned = self._state()
        out = np.empty((len(matrix), len(whole)), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(whole), self._batch):
                part = slice(start, start + self._batch)
                out[:, part] = self._estimate(matrix, whole[part], learned)
        if not np.isfinite(out).all():
            raise InputError(
                "a score is beyond float32, or a code is damaged.", fix="scale the vectors down, or encode them anew."
            )
        return out[0] if single else out

    def export_state(self) -> EngineState:
        """Return what was learned."""
        arrays = {name: array.copy() for name, array in (self._learned or {}).items()}
        manifest = {"dim": self._dim, "metric": self._metric, "trained": self.trained, **self._settings()}
        return EngineState(kind=f"quantizer/{self.scheme}/1", manifest=manifest, arrays=arrays)

    def import_state(self, state: EngineState) -> None:
        """Replace what was learned; see the contract."""
        mine = self.export_state()
        manifest = dict(state.manifest)
        trained = manifest.pop("trained", None)
        if state.kind != mine.kind or manifest != {
            name: mine.manifest[name] for name in mine.manifest if name != "trained"
        }:
            raise InputError(
                f"the state is of {state.kind!r} with {manifest}, not of {self!r}.",
                fix="make the quantizer as the saved one was.",
            )
        arrays = {name: np.array(array) for name, array in state.arrays.items()} if trained else None
        if arrays is not None and not self._fits(arrays):
            raise InputError("the state's arrays are damaged.", fix="train anew.")
        self._learned = arrays

    # -- what a scheme does -----------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        return {}

    def _learn(self, rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        raise NotImplementedError

    def _fits(self, arrays: dict[str, NDArray[Any]]) -> bool:
        raise NotImplementedError

    def _encode(self, rows: NDArray[np.float32], learned: dict[str, NDArray[Any]], codes: NDArray[np.uint8]) -> None:
        raise NotImplementedError

    def _decode(self, codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        raise NotImplementedError

    def _estimate(
        self, queries: NDArray[np.float32], codes: NDArray[np.uint8], learned: dict[str, NDArray[Any]]
    ) -> NDArray[np.float32]:
        """Return the scores of decoded vectors."""
        rows = self._decode(codes, learned)
        dots: NDArray[np.float32] = queries @ rows.T
        if self._metric == "l2":
            dots = 2 * dots - np.einsum("ij,ij->i", rows, rows) - np.einsum("ij,ij->i", queries, queries)[:, None]
            dots = np.minimum(dots, np.float32(0))
        return dots

    # -- input ------------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, NDArray[Any]]:
        if self._learned is None:
            raise InputError(f"the {self.scheme} quantizer has learned nothing yet.", fix="call train first.")
        return self._learned

    def _rows(self, vectors: ArrayLike) -> NDArray[np.float32]:
        try:
            shape = np.shape(vectors)
        except ValueError:  # rows of unequal length, refused below
            shape = ()
        n = shape[0] if len(shape) == 2 or shape == (0,) else 1
        return self._normalized(validate.as_vectors(vectors, n, self._dim, self._metric, owner="quantizer"))

    def _normalized(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._metric != "cosine":
            return rows
        squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        unit: NDArray[np.float32] = (rows / np.sqrt(squares)[:, None]).astype(np.float32)
        return unit

    def _codes(self, codes: ArrayLike) -> NDArray[np.uint8]:
        array = np.asarray(codes)
        if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != self.code_bytes:
            raise DimensionError(
                f"codes have dtype {array.dtype} and shape {array.shape}, but must be uint8 of shape "
                f"(n, {self.code_bytes}).",
                fix="pass what encode returned.",
            )
        return np.ascontiguousarray(array)


def finite(values: NDArray[Any], what: str, scheme: str) -> None:
    """Refuse numbers that are not finite.

    Raises
    ------
    InputError
    """
    if not np.isfinite(values).all():
        raise InputError(f"{what} cannot be held as {scheme}.", fix="scale the vectors down, or encode them anew.")


def undamaged(values: NDArray[Any]) -> None:
    """Refuse what was read from codes unless it is finite.

    Raises
    ------
    InputError
    """
    if not np.isfinite(values).all():
        raise InputError("a damaged code stands for numbers that are not finite.", fix="encode the vectors anew.")
