"""Quantizers that are wrong in one known way each (see `aqe_core.testing.faulty`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.testing.faulty import BorrowedQuantizer, wrong

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from aqe_core.state import EngineState

_INT8 = ("int8",)


@wrong("quantizer_codes", quantizers=_INT8)
class CodesByBatch(BorrowedQuantizer):
    """Takes one scale for all rows of a call."""

    def encode(self, vectors: ArrayLike) -> NDArray[np.uint8]:
        """Return codes."""
        codes: NDArray[np.uint8] = self.inner.encode(vectors)
        codes[:, -4:] = codes[:1, -4:]
        return codes


@wrong("quantizer_decodes", quantizers=("binary",))
class BitsBackwards(BorrowedQuantizer):
    """Reads the bits of a byte from the other end."""

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return vectors."""
        turned = codes.copy()
        turned[:, :-8] = np.packbits(
            np.unpackbits(codes[:, :-8], axis=1).reshape(len(codes), -1, 8)[:, :, ::-1], axis=2
        )[:, :, 0]
        rows: NDArray[np.float32] = self.inner.decode(turned)
        return rows


@wrong("quantizer_scores", quantizers=("int8", "product"))
class ForgetsSquares(BorrowedQuantizer):
    """Scores l2 by the dot product."""

    def scores(self, queries: ArrayLike, codes: ArrayLike) -> NDArray[np.float32]:
        """Return scores."""
        if self.inner.metric != "l2":
            scores: NDArray[np.float32] = self.inner.scores(queries, codes)
        else:
            scores = np.asarray(queries, np.float32) @ self.inner.decode(codes).T
        return scores


@wrong("quantizer_state", quantizers=_INT8)
class SharesState(BorrowedQuantizer):
    """Takes a state's arrays for its own."""

    def import_state(self, state: EngineState) -> None:
        """Replace what was learned."""
        self.inner.import_state(state)
        self.inner._learned = dict(state.arrays)  # noqa: SLF001  # the fault


@wrong("quantizer_refuses", quantizers=_INT8)
class TakesAnything(BorrowedQuantizer):
    """Replaces what is not finite by zero."""

    def encode(self, vectors: Any) -> NDArray[np.uint8]:
        """Return codes."""
        codes: NDArray[np.uint8] = self.inner.encode(np.nan_to_num(vectors))
        return codes
