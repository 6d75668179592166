"""Patterns that were read lately, for as long as nobody has committed anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.contracts.records import Pattern
    from aqe_core.contracts.storage import Storage

__all__ = ["PatternCache"]

_MAX_PATTERNS = 8192
_MAX_CHARS = 2**23  # of their texts


class _Kept:
    """What was read under one version of the truth. A thread that comes late adds to its own version's, not to ours."""

    __slots__ = ("chars", "patterns", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self.patterns: dict[int, Pattern] = {}
        self.chars = 0


class PatternCache:
    """Patterns of a namespace by key, read from storage where they are not at hand.

    Reading one from storage, with its checksum, takes as long as scoring hundreds. Bounded to 8,192 patterns with
    2**23 characters of text; fuller than that it begins anew. Safe for use from several threads.
    """

    def __init__(self, storage: Storage, namespace: str) -> None:
        self._storage = storage
        self._namespace = namespace
        self._kept = _Kept(-1)

    def get(self, keys: Sequence[int], version: int) -> list[Pattern]:
        """Return patterns by key, in that order, as they were at that version of the truth or later.

        Parameters
        ----------
        keys : sequence of int
        version : int
            What `Storage.data_version` returned; under another one than the last call's everything is read again.

        Raises
        ------
        NotFoundError
            A key is unknown.
        """
        kept = self._kept
        if kept.version != version or len(kept.patterns) > _MAX_PATTERNS or kept.chars > _MAX_CHARS:
            kept = self._kept = _Kept(version)
        patterns = kept.patterns
        missing = [key for key in keys if key not in patterns]
        if missing:
            read = self._storage.get_patterns(self._namespace, missing)
            patterns.update(zip(missing, read, strict=True))
            kept.chars += sum(len(pattern.text) + len(pattern.docstring) for pattern in read)
        return [patterns[key] for key in keys]
