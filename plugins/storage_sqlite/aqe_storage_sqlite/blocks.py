"""Compressed blocks: a codec number beside the bytes, and decompression that cannot be made to run away.

Whoever reads a block knows how many bytes it must give. That size, never one that the block states, bounds what is
allocated and produced; a block that gives more, fewer or other bytes after its end is damaged.

Vectors are not compressed: zlib and zstd save 7 to 12 % of normal float32 vectors and make loading them several times
slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqe_core.errors import ConfigError
from aqe_storage_sqlite.compression import Compression, damaged, has_zstd, require_zstd

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CODECS", "MAX_BYTES", "RAW", "ZLIB", "ZSTD", "codec_number", "compressor", "decompress"]

RAW, ZLIB, ZSTD = 0, 1, 2
CODECS = {"raw": RAW, "zlib": ZLIB, "zstd": ZSTD}
"""Codecs by name; the numbers are stored and never change their meaning."""

MAX_BYTES = 1 << 24
"""More than this no block holds, whatever anyone states."""

_FASTEST = {number: Compression(name, level=None if number == RAW else 1) for name, number in CODECS.items()}


def codec_number(name: Any) -> int:
    """Return the number of a codec that can be written here; of ``auto``, the fastest one that compresses.

    Raises
    ------
    ConfigError
        No such codec.
    MissingExtraError
        Its library is not installed.
    """
    if name == "auto":
        return ZSTD if has_zstd() else ZLIB
    if not isinstance(name, str) or name not in CODECS:
        raise ConfigError(f"codec is {name!r:.60}, but must be auto or one of {', '.join(CODECS)}.", fix="use 'auto'.")
    if CODECS[name] == ZSTD:
        require_zstd("blocks are to be compressed with zstd")
    return CODECS[name]


def compressor(codec: int) -> Callable[[bytes], bytes]:
    """Return what turns bytes into that codec, at its fastest level, for one block after the other on one thread."""
    return _FASTEST[codec].compressor()


def decompress(data: bytes, codec: int, size: int, what: str) -> bytes:
    """Return exactly ``size`` bytes; memory is bounded by that, not by what the data says of itself.

    Parameters
    ----------
    data : bytes
    codec : int
    size : int
        How many bytes the block holds, known from elsewhere.
    what : str
        The block's name, for messages.

    Raises
    ------
    CorruptStorageError
        The data is damaged or hostile, or the size or codec is none that aqe writes.
    MissingExtraError
        It is in zstd, for which nothing is installed.
    """
    if not 0 <= size <= MAX_BYTES:
        raise damaged(what, f"claims to hold {size:,} bytes, and no block holds more than {MAX_BYTES:,}")
    if codec not in _FASTEST:
        raise damaged(what, f"has the codec number {codec}, which does not exist")
    return _FASTEST[codec].decompress(data, size, what)
