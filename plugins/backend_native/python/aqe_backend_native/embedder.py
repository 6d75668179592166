"""The lexical embedder in Rust: the vectors of the NumPy backend's, bit for bit."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from aqe_backend_numpy._rarity import Rarity
from aqe_backend_numpy._shipped import shipped
from aqe_backend_numpy._subtokens import subtokens
from aqe_backend_numpy.embedder import LexicalEmbedder, as_documents

from aqe_backend_native import _native

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from aqe_core.contracts.embedder import Document

__all__ = ["NativeLexicalEmbedder"]


@cache
def _table() -> _native.SubtokenTable:
    table = shipped()
    return _native.SubtokenTable(list(table.row_of), table.df, table.n_documents, table.vectors)


class NativeLexicalEmbedder(LexicalEmbedder):
    """`aqe_backend_numpy.embedder.LexicalEmbedder`, computed in Rust; parameters, states and fingerprints are its own.

    An equal fingerprint means equal vectors here too, and whoever has vectors of the one may go on with the other.
    That rests on sums which are exact in float32, as they are for all documents but those whose components pass
    2**24: enormous ones, or any under an enormous ``name_weight``. There the last bits may differ, as they do between
    two builds of NumPy.

    Safe for use from several threads: calls take turns, beside Python.
    """

    def _replace(self, rarity: Rarity) -> None:
        options = (self._dim, self._name_weight, self._learned)
        sums = _native.SubtokenSums(options, rarity.n_documents, rarity.keys, rarity.df, _table())
        self._fitted = (rarity, sums)  # at once: other threads may be embedding

    @property
    def _rarity(self) -> Rarity:
        return self._fitted[0]

    @property
    def sums(self) -> _native.SubtokenSums:
        """The part in Rust, for this package."""
        return self._fitted[1]

    def fit(self, documents: Sequence[Document]) -> None:
        """Count in how many documents each subtoken occurs; replaces what was fitted before.

        Raises
        ------
        InputError
            A document is not a pair of strings; nothing was changed.
        """
        pairs = as_documents(documents)
        self._replace(Rarity(len(pairs), *_native.count_subtokens(pairs, subtokens)))

    def _embed(self, documents: list[tuple[str, str]]) -> NDArray[np.float32]:
        return self._fitted[1].embed(documents, subtokens)

    def _embed_query(self, text: str) -> NDArray[np.float32]:
        return self._embed([("", text)])
