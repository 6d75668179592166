"""A cache of vectors by content, for embedders that take their time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from aqe_core.caching import LruCache
from aqe_core.errors import DimensionError
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aqe_core.contracts.embedder import Document, Embedder
    from aqe_core.contracts.storage import Storage

__all__ = ["EmbeddingCache"]

_KIND = "embedding-cache/1"
_DIGEST_BYTES = 16
_ENTRY_BYTES = 160  # of a digest and its place in the dictionary, about


class EmbeddingCache:
    """Vectors of documents, found by embedder and content; the least recently used go when the budget is spent.

    An entry's name is a digest of the embedder's fingerprint, the document's name and its text: a document that moved,
    or was removed and comes back, is not embedded again, and vectors of different fingerprints cannot be mixed up.

    Parameters
    ----------
    max_bytes : int, default 64 MiB
        Of vectors and what finds them.

    Attributes
    ----------
    hits, misses : int
        Documents found, and not, since it was made.

    Notes
    -----
    A look-up costs O(length of the document). Not safe to use from several threads at once.
    """

    def __init__(self, max_bytes: int = 64 << 20) -> None:
        self.max_bytes = max_bytes
        self.hits = 0
        self.misses = 0
        self._vectors: LruCache[bytes, NDArray[np.float32]] = LruCache(max_bytes)
        self._saved = True

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._vectors)

    @property
    def n_bytes(self) -> int:
        """Bytes of vectors and of what finds them."""
        return self._vectors.n_bytes

    def embed(self, embedder: Embedder, documents: Sequence[Document]) -> NDArray[np.float32]:
        """Return what ``embedder.embed(documents)`` returns, asking it only for what is not here yet.

        Raises
        ------
        DimensionError
            The embedder returned rows of another length than ``dim``.
        """
        out = np.empty((len(documents), embedder.dim), np.float32)
        digests = [_digest(embedder.fingerprint, document) for document in documents]
        lacking: dict[bytes, list[int]] = {}
        for row, digest in enumerate(digests):
            vector = self._vectors.get(digest)
            if vector is None:
                lacking.setdefault(digest, []).append(row)
            else:
                out[row] = vector
        self.misses += len(lacking)
        self.hits += len(documents) - len(lacking)
        if lacking:
            made = embedder.embed([documents[rows[0]] for rows in lacking.values()])
            if made.shape != (len(lacking), embedder.dim):
                raise DimensionError(
                    f"the embedder returned shape {made.shape} for {len(lacking)} documents, but its dim is "
                    f"{embedder.dim}.",
                    fix="correct the embedder; aqe check finds such faults.",
                )
            for (digest, rows), vector in zip(lacking.items(), made, strict=True):
                out[rows] = vector
                self._keep(digest, vector.copy())
        return out

    def _keep(self, digest: bytes, vector: NDArray[np.float32]) -> None:
        self._vectors.put(digest, vector, n_bytes=vector.nbytes + _ENTRY_BYTES)
        self._saved = False

    def save(self, storage: Storage, name: str) -> None:
        """Keep it in storage under a name, if there is anything new."""
        if self._saved or storage.read_only:
            return
        by_dim: dict[int, list[tuple[bytes, NDArray[np.float32]]]] = {}
        for digest, vector in self._vectors.items():
            by_dim.setdefault(len(vector), []).append((digest, vector))
        arrays: dict[str, NDArray[np.generic]] = {}
        for dim, entries in by_dim.items():
            digests = b"".join(digest for digest, _ in entries)
            arrays[f"digests-{dim}"] = np.frombuffer(digests, np.uint8).reshape(-1, _DIGEST_BYTES)
            arrays[f"vectors-{dim}"] = np.stack([vector for _, vector in entries])
        storage.save_state(name, EngineState(kind=_KIND, manifest={"dims": sorted(by_dim)}, arrays=arrays))
        self._saved = True

    def load(self, storage: Storage, name: str) -> None:
        """Add what is kept in storage under a name; what is not of this kind or damaged is passed over."""
        kept = storage.load_state(name)
        if kept is None or kept[0].kind != _KIND:
            return
        arrays = kept[0].arrays
        for dim in kept[0].manifest.get("dims", []):
            digests, vectors = arrays.get(f"digests-{dim}"), arrays.get(f"vectors-{dim}")
            if digests is None or vectors is None or vectors.shape != (len(digests), dim):
                continue
            for digest, vector in zip(digests, vectors.astype(np.float32, copy=False), strict=True):
                self._keep(digest.tobytes(), vector)
        self._saved = True


def _digest(fingerprint: str, document: Document) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in (fingerprint, *document):
        content = part.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.digest()
