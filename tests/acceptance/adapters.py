"""What outside judges of the workspace call: each function is one task done through the public interface."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from aqe_core.contracts.embedder import Document

_NAME = re.compile(r"\bdef\s+(\w+)")


class DefaultEmbedder:
    """The embedder that a workspace uses unless told otherwise, over texts that begin with a test's signature."""

    def __init__(self) -> None:
        import aqe_core

        self._embedder = aqe_core.open_embedder()

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from the collection."""
        self._embedder.fit(_documents(texts))

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed the collection: shape (n, dim)."""
        return self._embedder.embed(_documents(texts))

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed what is asked."""
        return self._embedder.embed_queries(texts)


def _documents(texts: Sequence[str]) -> list[Document]:
    from aqe_core.contracts.embedder import Document

    return [Document(found[1] if (found := _NAME.search(text)) else "", text) for text in texts]
