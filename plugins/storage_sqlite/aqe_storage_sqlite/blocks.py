"""Compressed blocks: a codec number beside the bytes, and decompression that cannot be made to run away.

Whoever reads a block knows how many bytes it must give. That size, never one that the block states, bounds what is
allocated and produced; a block that gives more, fewer or other bytes after its end is damaged.

Vectors are not compressed: zlib and zstd save 7 to 12 % of normal float32 vectors and make loading them several times
slower.
"""

from __future__ import annotations

import zlib
from functools import cache
from importlib import import_module
from typing import Any

from aqe_core.errors import ConfigError, CorruptStorageError, MissingExtraError
from aqe_storage_sqlite.connection import RESTORE

__all__ = ["CODECS", "MAX_BYTES", "RAW", "ZLIB", "ZSTD", "codec_number", "compress", "decompress"]

RAW, ZLIB, ZSTD = 0, 1, 2
CODECS = {"raw": RAW, "zlib": ZLIB, "zstd": ZSTD}
"""Codecs by name; the numbers are stored and never change their meaning."""

MAX_BYTES = 1 << 24
"""More than this no block holds, whatever anyone states."""

_WINDOW_LOG = 24  # 16 MiB: a frame that wants a larger window is refused before it is allocated


def codec_number(name: Any) -> int:
    """Return the number of a codec that can be written here.

    Raises
    ------
    ConfigError
        No such codec.
    MissingExtraError
        Its library is not installed.
    """
    if not isinstance(name, str) or name not in CODECS:
        raise ConfigError(f"codec is {name!r:.60}, but must be one of {', '.join(CODECS)}.", fix="use 'zlib'.")
    if CODECS[name] == ZSTD:
        _require_zstd("blocks are to be compressed with zstd")
    return CODECS[name]


def compress(raw: bytes, codec: int) -> bytes:
    """Return the bytes in that codec, at its fastest level."""
    if codec == ZLIB:
        return zlib.compress(raw, 1)
    if codec == ZSTD:
        return bytes(_require_zstd("a block is to be compressed with zstd").compress(raw, 1))
    return raw


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
        raise _damaged(what, f"claims to hold {size:,} bytes, and no block holds more than {MAX_BYTES:,}")
    if codec == RAW:
        raw = data
    elif codec == ZLIB:
        raw = _inflate(data, size, what)
    elif codec == ZSTD:
        raw = _unpack_zstd(data, size, what)
    else:
        raise _damaged(what, f"has the codec number {codec}, which does not exist")
    if len(raw) != size:
        raise _damaged(what, f"does not hold the {size:,} bytes that it must")
    return raw


def _inflate(data: bytes, size: int, what: str) -> bytes:
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, size + 1)  # one more, which tells too much from just enough
    except zlib.error as error:
        raise _damaged(what, f"cannot be decompressed ({error})") from error
    return _whole(raw, stream, what)


def _unpack_zstd(data: bytes, size: int, what: str) -> bytes:
    zstd = _require_zstd(f"{what} is compressed with zstd")
    try:
        stated = zstd.get_frame_info(data).decompressed_size
        if stated != size:
            raise _damaged(what, f"states {stated} bytes where it must hold {size:,}")
        options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        stream = zstd.ZstdDecompressor(options=options)
        raw = stream.decompress(data, size + 1)
    except zstd.ZstdError as error:
        raise _damaged(what, f"cannot be decompressed ({error})") from error
    return _whole(raw, stream, what)


def _whole(raw: bytes, stream: Any, what: str) -> bytes:
    if not stream.eof or stream.unused_data:
        raise _damaged(what, "does not end where it must")
    return raw


def _damaged(what: str, why: str) -> CorruptStorageError:
    return CorruptStorageError(f"{what} {why}.", fix=RESTORE)


@cache
def _zstd() -> Any:
    """Return the module for zstd, Python's own (3.14) or its backport; None if there is neither."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def _require_zstd(why: str) -> Any:
    module = _zstd()
    if module is None:
        raise MissingExtraError(
            f"{why}, for which nothing is installed.", fix="pip install 'aqe-core[zstd]', or use Python 3.14."
        )
    return module
