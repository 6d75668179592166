"""Compression with a level and a dictionary, and decompression that cannot be made to run away.

Whoever decompresses states how many bytes there must be, or may be at most. That number, never one that the data states
of itself, bounds what is allocated and produced.
"""

from __future__ import annotations

import zlib
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from aqe_core.errors import ConfigError, CorruptStorageError, InputError, MissingExtraError
from aqe_storage_sqlite.connection import RESTORE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Compression", "damaged", "has_zstd", "require_zstd"]

_WINDOW_LOG = 24  # 16 MiB: a frame that wants a larger window is refused before it is allocated
_ZLIB_LEVELS = (0, 9)
_ZLIB_WINDOW = 1 << 15  # what zlib can look back, and so the most of a dictionary that it uses
_MOST_SAMPLES = 1 << 30


@attrs.frozen
class Compression:
    """How bytes are made smaller, and back.

    Parameters
    ----------
    codec : str
        ``raw``, ``zlib`` or ``zstd`` (the extra ``zstd``, or Python 3.14).
    level : int, optional
        0 .. 9 of zlib, -131,072 .. 22 of zstd; larger is smaller and slower. By default the library's (6, 3).
    dictionary : bytes, optional
        What the data have in common; small blocks need it. The same bytes are needed to decompress. See `trained`.

    Notes
    -----
    Thread-safe: a call has its own state.

    Examples
    --------
    >>> from aqe_storage_sqlite.compression import Compression
    >>> plain = Compression("zlib", level=9)
    >>> packed = plain.compress(b"retry " * 100)
    >>> len(packed) < 30, plain.decompress(packed, 600, "the note") == b"retry " * 100
    (True, True)
    """

    codec: str = "zlib"
    level: Any = None
    dictionary: bytes | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.codec not in {"raw", "zlib", "zstd"}:
            raise ConfigError(f"codec is {self.codec!r:.60}, but must be raw, zlib or zstd.", fix="use 'zlib'.")
        if self.codec == "raw" and (self.level is not None or self.dictionary is not None):
            raise ConfigError("the codec raw has neither level nor dictionary.", fix="use 'zlib'.")
        if self.level is None:
            return
        least, most = _ZLIB_LEVELS if self.codec == "zlib" else (-(1 << 17), 22)
        if not isinstance(self.level, int) or not least <= self.level <= most:
            raise ConfigError(
                f"level is {self.level!r:.60}, but of {self.codec} it must be in {least} .. {most}.", fix="use 3."
            )

    def trained(self, samples: Sequence[bytes], *, max_bytes: int = 1 << 14) -> Compression:
        """Return the same with a dictionary that was learned from samples of what will be compressed.

        Parameters
        ----------
        samples : sequence of bytes
            A hundred or more, as small as the data will be; at most 1 GiB together.
        max_bytes : int
            Of the dictionary, 256 .. 1,048,576. About a hundredth of the samples is worth having.

        Raises
        ------
        InputError
            The samples are too few or too much alike to learn from, or ``max_bytes`` is out of range.
        """
        if not 256 <= max_bytes <= 1 << 20 or sum(map(len, samples)) > _MOST_SAMPLES:
            raise InputError(
                f"max_bytes is {max_bytes}, with {sum(map(len, samples)):,} bytes of samples.",
                fix="choose 256 .. 1,048,576, and at most 1 GiB of samples.",
            )
        if self.codec == "raw":
            raise ConfigError("the codec raw has no dictionary.", fix="use 'zlib'.")
        if self.codec == "zlib":
            # What comes last is nearest, and the cheapest to refer to.
            common = b"".join(reversed(list(dict.fromkeys(samples))))[-min(max_bytes, _ZLIB_WINDOW) :]
            if not common:
                raise InputError("there are no samples to learn a dictionary from.", fix="pass more.")
            return attrs.evolve(self, dictionary=common)
        zstd = require_zstd("a dictionary is to be learned for zstd")
        try:
            found = zstd.train_dict([sample for sample in samples if sample], max_bytes)
        except (zstd.ZstdError, ValueError) as error:
            raise InputError(
                f"no dictionary can be learned from {len(samples)} samples ({error}).", fix="pass more, or larger ones."
            ) from error
        return attrs.evolve(self, dictionary=bytes(found.dict_content))

    def compress(self, raw: bytes) -> bytes:
        """Return the bytes, made smaller where they can be.

        Raises
        ------
        MissingExtraError
            It is to be zstd, for which nothing is installed.
        """
        return self.compressor()(raw)

    def compressor(self) -> Callable[[bytes], bytes]:
        """Return what does the same as `compress`, for many blocks one after the other: faster, and for one thread.

        Raises
        ------
        MissingExtraError
            As for `compress`.
        """
        if self.codec == "raw":
            return bytes
        if self.codec == "zlib":
            level = zlib.Z_DEFAULT_COMPRESSION if self.level is None else self.level
            return partial(zlib.compress, level=level) if self.dictionary is None else partial(self._deflate, level)
        zstd = require_zstd("something is to be compressed with zstd")
        if self.dictionary is None:
            stream = zstd.ZstdCompressor(self.level)
        else:
            options = {zstd.CompressionParameter.checksum_flag: 1}  # another dictionary would give other bytes
            if self.level is not None:
                options[zstd.CompressionParameter.compression_level] = self.level
            stream = zstd.ZstdCompressor(options=options, zstd_dict=_zstd_dictionary(self.dictionary))
        return partial(stream.compress, mode=stream.FLUSH_FRAME)

    def _deflate(self, level: int, raw: bytes) -> bytes:
        stream = zlib.compressobj(level, zdict=self.dictionary or b"")
        return stream.compress(raw) + stream.flush()

    def decompress(self, data: bytes, size: int, what: str) -> bytes:
        """Return exactly ``size`` bytes; memory is bounded by that, not by what the data says of itself.

        Parameters
        ----------
        data : bytes
        size : int
            How many bytes there must be, known from elsewhere.
        what : str
            A name of the data, for messages.

        Raises
        ------
        CorruptStorageError
            The data is damaged or hostile, or was compressed in another way.
        MissingExtraError
            It is in zstd, for which nothing is installed.
        """
        raw = self._unpacked(data, size, size, what)
        if len(raw) != size:
            raise damaged(what, f"does not hold the {size:,} bytes that it must")
        return raw

    def decompress_at_most(self, data: bytes, max_bytes: int, what: str) -> bytes:
        """Return what the data holds, if that is not more than ``max_bytes``.

        Raises
        ------
        CorruptStorageError, MissingExtraError
            As for `decompress`; also if there is more.
        """
        raw = self._unpacked(data, max_bytes, None, what)
        if len(raw) > max_bytes:
            raise damaged(what, f"holds more than {max_bytes:,} bytes")
        return raw

    def _unpacked(self, data: bytes, most: int, stated: int | None, what: str) -> bytes:
        if self.codec == "raw":
            return data
        return self._inflated(data, most, what) if self.codec == "zlib" else self._unzstd(data, most, stated, what)

    def _inflated(self, data: bytes, most: int, what: str) -> bytes:
        stream = zlib.decompressobj() if self.dictionary is None else zlib.decompressobj(zdict=self.dictionary)
        try:
            raw = stream.decompress(data, most + 1)  # one more, which tells too much from just enough
        except zlib.error as error:
            raise damaged(what, f"cannot be decompressed ({error})") from error
        return _whole(raw, stream, what)

    def _unzstd(self, data: bytes, most: int, stated: int | None, what: str) -> bytes:
        zstd = require_zstd(f"{what} is compressed with zstd")
        try:
            size = zstd.get_frame_info(data).decompressed_size
            if stated is not None and size != stated:
                raise damaged(what, f"states {size} bytes where it must hold {stated:,}")
            options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
            dictionary = None if self.dictionary is None else _zstd_dictionary(self.dictionary)
            stream = zstd.ZstdDecompressor(zstd_dict=dictionary, options=options)
            raw = stream.decompress(data, most + 1)
        except zstd.ZstdError as error:
            raise damaged(what, f"cannot be decompressed ({error})") from error
        return _whole(raw, stream, what)


def _whole(raw: bytes, stream: Any, what: str) -> bytes:
    if not stream.eof or stream.unused_data:
        raise damaged(what, "does not end where it must")
    return raw


def damaged(what: str, why: str) -> CorruptStorageError:
    """Return the error about compressed data."""
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


@cache
def _zstd_dictionary(content: bytes) -> Any:
    zstd = require_zstd("a dictionary is of zstd")
    try:
        return zstd.ZstdDict(content)
    except (zstd.ZstdError, ValueError) as error:
        raise ConfigError(f"these {len(content)} bytes are no zstd dictionary ({error}).", fix="train one.") from error


def has_zstd() -> bool:
    """Say whether something is installed for zstd."""
    return _zstd() is not None


def require_zstd(why: str) -> Any:
    """Return the module for zstd.

    Raises
    ------
    MissingExtraError
        There is none.
    """
    module = _zstd()
    if module is None:
        raise MissingExtraError(
            f"{why}, for which nothing is installed.", fix="pip install 'aqe-core[zstd]', or use Python 3.14."
        )
    return module
