"""Compressed blocks: what goes in comes out, and nothing hostile makes decompression run away."""

from __future__ import annotations

import importlib.util
import tracemalloc
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from aqe_storage_sqlite import blocks, compression
from aqe_storage_sqlite.storage import SqliteStorage
from hypothesis import given
from hypothesis import strategies as st

from aqe_core.errors import ConfigError, CorruptStorageError, MissingExtraError

GIB = 1 << 30


def has_zstd():
    for name in ("compression", "backports"):
        if importlib.util.find_spec(name) and importlib.util.find_spec(f"{name}.zstd"):
            return True
    return False


needs_zstd = pytest.mark.skipif(not has_zstd(), reason="neither Python 3.14 nor backports.zstd is here")
CODECS = [
    pytest.param(blocks.RAW, id="raw"),
    pytest.param(blocks.ZLIB, id="zlib"),
    pytest.param(blocks.ZSTD, id="zstd", marks=needs_zstd),
]


@contextmanager
def refused(most_bytes=1 << 22):
    """Expect a typed error, and that little memory was used on the way."""
    tracemalloc.start()
    try:
        with pytest.raises(CorruptStorageError) as caught:
            yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most_bytes
    assert "the block" in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize("codec", CODECS)
@given(raw=st.binary(max_size=3000))
def test_what_goes_in_comes_out(codec, raw):
    assert blocks.decompress(blocks.compressor(codec)(raw), codec, len(raw), "the block") == raw


@pytest.mark.parametrize("codec", CODECS)
@given(raw=st.binary(min_size=1, max_size=300), data=st.data())
def test_a_damaged_block_gives_an_error_or_bytes_of_that_size(codec, raw, data):
    packed = bytearray(blocks.compressor(codec)(raw))
    kind = data.draw(st.sampled_from(["flip", "cut", "grow", "empty"]))
    if kind == "flip":
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del packed[data.draw(st.integers(0, len(packed) - 1)) :]
    elif kind == "grow":
        packed += data.draw(st.binary(min_size=1, max_size=10))
    else:
        packed.clear()
    try:
        found = blocks.decompress(bytes(packed), codec, len(raw), "the block")
    except CorruptStorageError:
        return
    assert kind == "flip"  # all others change the size, which is always seen
    assert len(found) == len(raw)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("stated", [0, 99, 101, 5000])
def test_another_size_than_stated(codec, stated):
    packed = blocks.compressor(codec)(b"x" * 100)
    with refused():
        blocks.decompress(packed, codec, stated, "the block")


@pytest.mark.parametrize("size", [GIB, blocks.MAX_BYTES + 1, -1])
@pytest.mark.parametrize("codec", [blocks.RAW, blocks.ZLIB, blocks.ZSTD])
def test_a_lying_size_is_refused_before_anything_is_allocated(codec, size):
    with refused(1 << 16):
        blocks.decompress(b"x", codec, size, "the block")


@pytest.mark.parametrize("codec", [3, -1, 255])
def test_unknown_codec(codec):
    with refused():
        blocks.decompress(b"x", codec, 1, "the block")


def zeros(compressor):
    parts = [compressor.compress(bytes(1 << 24)) for _ in range(GIB >> 24)]
    return b"".join([*parts, compressor.flush()])


def test_a_zlib_bomb():
    bomb = zeros(zlib.compressobj(1))
    assert len(bomb) < 5 << 20  # a GiB
    with refused(8 << 20):  # the rest of the input is copied once
        blocks.decompress(bomb, blocks.ZLIB, 1000, "the block")


@needs_zstd
@pytest.mark.parametrize("says_its_size", [True, False])
def test_a_zstd_bomb(says_its_size):
    zstd = compression._zstd()
    if says_its_size:
        compressor = zstd.ZstdCompressor()
        compressor.set_pledged_input_size(GIB)
    else:
        compressor = zstd.ZstdCompressor()
    bomb = zeros(compressor)
    assert len(bomb) < 1 << 17
    assert zstd.get_frame_info(bomb).decompressed_size == (GIB if says_its_size else None)
    with refused():
        blocks.decompress(bomb, blocks.ZSTD, 1000, "the block")


def frame(content, size_bytes, *, window=None):
    """Build a zstd frame of one raw block by hand, so that its header can say anything."""
    if window is None:
        head = bytes([0xE0])  # an 8-byte size, and the window is as large as it
        header = head + size_bytes.to_bytes(8, "little")
    else:
        header = bytes([0xC0, window]) + size_bytes.to_bytes(8, "little")
    block = (1 | len(content) << 3).to_bytes(3, "little") + content
    return (0xFD2FB528).to_bytes(4, "little") + header + block


@needs_zstd
def test_a_frame_made_by_hand_is_understood():
    assert blocks.decompress(frame(b"abc", 3), blocks.ZSTD, 3, "the block") == b"abc"
    assert blocks.decompress(frame(b"abc", 3, window=0), blocks.ZSTD, 3, "the block") == b"abc"


@needs_zstd
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame(b"abc", GIB), id="a GiB stated, three bytes there"),
        pytest.param(frame(b"abc", 2**63), id="more than any machine has"),
        pytest.param(frame(b"abc", 3, window=0xF8), id="the largest window"),
        pytest.param(frame(b"abcd", 3), id="more than stated"),
        pytest.param(frame(b"ab", 3), id="less than stated"),
        pytest.param(frame(b"abc", 3) * 2, id="two frames"),
        pytest.param(frame(b"abc", 3)[:-1], id="cut"),
        pytest.param(b"\x50\x2a\x4d\x18\x03\0\0\0abc", id="a frame to skip"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_lying_zstd_frames(data):
    with refused():
        blocks.decompress(data, blocks.ZSTD, 3, "the block")


@needs_zstd
def test_a_bomb_within_a_bomb_gives_only_its_own_layer():
    zstd = compression._zstd()
    inner = zstd.compress(bytes(1 << 24))
    assert blocks.decompress(zstd.compress(inner), blocks.ZSTD, len(inner), "the block") == inner


def test_without_zstd_the_install_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "_zstd", lambda: None)
    with pytest.raises(MissingExtraError, match=r"the block is compressed with zstd.*aqe-core\[zstd\]"):
        blocks.decompress(b"x", blocks.ZSTD, 1, "the block")
    with pytest.raises(MissingExtraError, match="pip install"):
        SqliteStorage(tmp_path / "aqe.db", codec="zstd")
    assert not (tmp_path / "aqe.db").exists()


def test_the_codec_is_zstd_where_it_is_installed(tmp_path, monkeypatch):
    def written(name):
        with SqliteStorage(tmp_path / name, durability="normal") as storage:
            storage.append_points("s", np.arange(1024.0), np.arange(1024.0) % 7)
            assert storage.points("s")[1].tolist() == (np.arange(1024.0) % 7).tolist()
            with storage._database.read() as connection:
                return connection.execute("SELECT codec FROM point_blocks").get

    assert written("here.db") == (blocks.ZSTD if compression.has_zstd() else blocks.ZLIB)
    monkeypatch.setattr(compression, "_zstd", lambda: None)
    assert written("without.db") == blocks.ZLIB


@pytest.mark.parametrize("codec", ["lz4", "", 1, None, ["zlib"]])
def test_wrong_codec_names_create_nothing(tmp_path, codec):
    with pytest.raises(ConfigError, match="codec"):
        SqliteStorage(tmp_path / "aqe.db", codec=codec)
    assert not (tmp_path / "aqe.db").exists()


def test_looking_for_zstd_ends_without_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(compression, "import_module", missing)
    assert compression._zstd.__wrapped__() is None
