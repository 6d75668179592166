"""How rare subtokens are: in the collection that was fitted, and in tests at large as long as that is small."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from aqe_backend_numpy._shipped import shipped
from aqe_backend_numpy._subtokens import subtokens_of_word, words
from aqe_core.errors import InputError
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["KIND", "MAX_TEXT_CHARS", "Rarity", "count", "digest_of", "key_of", "rarity_of_state", "unfitted"]

KIND = "embedder/lexical/1"
MAX_TEXT_CHARS = 2**18
MAX_TERMS = 200_000  # of a fitted collection: 2.4 MB
KEY_BYTES = 8
PRIOR_DOCUMENTS = 300
"""The shipped table counts as so many documents of the collection."""


def digest_of(subtoken: str, n_bytes: int) -> bytes:
    """Return the subtoken's SHAKE-128; its first 8 bytes are its key, the bits after them its signs."""
    return hashlib.shake_128(subtoken.encode("utf-8", "surrogatepass")).digest(n_bytes)


def key_of(digest: bytes) -> int:
    """Return the key in a subtoken's digest."""
    return int.from_bytes(digest[:KEY_BYTES], "little")


def _key(subtoken: str) -> int:
    return key_of(digest_of(subtoken, KEY_BYTES))


class Rarity:
    """In how many of the collection's documents each subtoken occurs; one that is not held counts as in one.

    ``keys`` (uint64, ascending) and ``df`` (uint32, at least 2) have one entry per subtoken.
    """

    def __init__(self, n_documents: int, keys: NDArray[np.uint64], df: NDArray[np.uint32]) -> None:
        self.n_documents = n_documents
        self.keys = keys
        self.df = df
        for array in (keys, df):
            array.flags.writeable = False
        self._df_of: dict[int, int] | None = None
        self.digest = "unfitted"
        if n_documents:
            content = hashlib.blake2b(str(n_documents).encode(), digest_size=8)
            for array in (keys.astype("<u8", copy=False), df.astype("<u4", copy=False)):
                content.update(array.tobytes())
            self.digest = content.hexdigest()

    def idf(self, subtoken: str, key: int) -> float:
        """Return ``ln((N + n + 1) / (df + n p + 1)) + 1``: N documents, and n of which the share p has it."""
        if self._df_of is None:
            self._df_of = dict(zip(self.keys.tolist(), self.df.tolist(), strict=True))
        df = self._df_of.get(key, min(self.n_documents, 1))
        prior = PRIOR_DOCUMENTS * shipped().share(subtoken)
        return math.log((self.n_documents + PRIOR_DOCUMENTS + 1) / (df + prior + 1)) + 1

    def state(self) -> EngineState:
        """Return what `rarity_of_state` takes."""
        return EngineState(
            kind=KIND, manifest={"n_documents": self.n_documents}, arrays={"keys": self.keys, "df": self.df}
        )


def unfitted() -> Rarity:
    """Return what is known without a collection."""
    return Rarity(0, np.empty(0, np.uint64), np.empty(0, np.uint32))


def count(documents: Iterable[tuple[str, str]]) -> Rarity:
    """Count in how many documents each subtoken occurs, in name or text.

    The `MAX_TERMS` most frequent subtokens are kept (of equally frequent ones those of the smallest key), and none that
    occurs in a single document.
    """
    subtokens_of = lru_cache(maxsize=2**16)(subtokens_of_word)
    counts: Counter[str] = Counter()
    n = 0
    for n, (name, text) in enumerate(documents, 1):  # noqa: B007  # n is used after the loop
        found = {*words(name[:MAX_TEXT_CHARS]), *words(text[:MAX_TEXT_CHARS])}
        counts.update({*chain.from_iterable(map(subtokens_of, found))})
    kept = sorted((-df, _key(subtoken)) for subtoken, df in counts.items() if df > 1)[:MAX_TERMS]
    df_of = {key: -negative for negative, key in kept}
    keys = sorted(df_of)
    return Rarity(n, np.array(keys, np.uint64), np.array([df_of[key] for key in keys], np.uint32))


def rarity_of_state(state: EngineState) -> Rarity:
    """Return the fitted collection of a state after checking every promise that `Rarity` makes.

    Raises
    ------
    InputError
        It is not a state of a lexical embedder.
    """
    n = state.manifest.get("n_documents")
    arrays = dict(state.arrays)
    keys, df = arrays.pop("keys", None), arrays.pop("df", None)
    complaint = ""
    if state.kind != KIND:
        complaint = f"its kind is {state.kind!r}, not {KIND!r}"
    elif not isinstance(n, int) or isinstance(n, bool) or not 0 <= n < 2**53:
        complaint = f"n_documents is {n!r}"
    elif arrays or not (isinstance(keys, np.ndarray) and isinstance(df, np.ndarray)):
        complaint = f"it has the arrays {sorted(state.arrays)}, not df and keys"
    elif keys.dtype != np.uint64 or df.dtype != np.uint32 or keys.ndim != 1 or keys.shape != df.shape:
        complaint = f"keys are {keys.dtype}{keys.shape} and df {df.dtype}{df.shape}"
    elif keys.size > MAX_TERMS:
        complaint = f"it has {keys.size} entries, more than {MAX_TERMS}"
    elif not (keys[1:] > keys[:-1]).all():
        complaint = "keys are not strictly ascending"
    elif keys.size and not (int(df.min()) >= 2 and int(df.max()) <= n):
        complaint = f"df is not in 2 .. n_documents = {n}"
    if complaint:
        raise InputError(
            f"this is not the state of a lexical embedder: {complaint}.",
            fix="import what export_state returned, or fit again.",
        )
    assert isinstance(n, int)
    assert keys is not None
    assert df is not None
    return Rarity(n, keys.copy(), df.copy())
