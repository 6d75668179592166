"""Compression: levels, dictionaries, and bounds that hostile data cannot pass."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from random import Random

import pytest
from aqe_storage_sqlite import compression
from aqe_storage_sqlite.compression import Compression
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.errors import ConfigError, CorruptStorageError, InputError, MissingExtraError

needs_zstd = pytest.mark.skipif(compression._zstd() is None, reason="neither Python 3.14 nor backports.zstd is here")
CODECS = [pytest.param("zlib"), pytest.param("zstd", marks=needs_zstd)]
NOTES = [
    json.dumps({"name": f"test_retry_{i}", "path": f"tests/test_{i % 7}.py", "markers": ["slow"], "line": i}).encode()
    for i in range(400)
]


@pytest.mark.parametrize("codec", CODECS)
def test_levels_make_it_smaller(codec):
    words = [f"word{n}" for n in range(300)]
    random = Random(5)
    raw = " ".join(random.choice(words) for _ in range(8000)).encode()
    quick, small = (Compression(codec, level=level) for level in (1, 9))
    assert len(small.compress(raw)) < len(quick.compress(raw)) < len(raw) / 2
    assert small.decompress(small.compress(raw), len(raw), "it") == raw
    assert quick.decompress_at_most(small.compress(raw), len(raw) + 5, "it") == raw


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("codec", CODECS)
def test_one_compressor_for_many_blocks_gives_what_one_for_each_gives(codec, learned):
    way = Compression(codec, level=1, dictionary=LEARNED[codec] if learned else None)
    compress = way.compressor()
    together = [compress(note) for note in (*NOTES[:50], b"", bytes(5000))]
    assert together == [way.compress(note) for note in (*NOTES[:50], b"", bytes(5000))]
    sizes = [*map(len, NOTES[:50]), 0, 5000]
    assert [way.decompress(each, size, "it") for each, size in zip(together, sizes, strict=True)] == [
        *NOTES[:50],
        b"",
        bytes(5000),
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_a_dictionary_helps_small_blocks_and_is_needed(codec):
    plain = Compression(codec)
    learned = plain.trained(NOTES[:300], max_bytes=4096)
    assert learned.dictionary
    assert "dictionary" not in repr(learned)
    fresh = NOTES[300:]
    packed = [learned.compress(note) for note in fresh]
    assert 2 * sum(map(len, packed)) < sum(len(plain.compress(note)) for note in fresh)
    assert [learned.decompress(each, len(note), "it") for each, note in zip(packed, fresh, strict=True)] == fresh
    other = plain.trained([note[::-1] for note in NOTES], max_bytes=4096)
    for wrong in (plain, other):
        with pytest.raises(CorruptStorageError, match=r"it cannot be decompressed|it does not end"):
            wrong.decompress(packed[0], len(fresh[0]), "it")


@pytest.mark.parametrize("codec", CODECS)
@settings(deadline=None)
@given(raw=st.binary(max_size=500), flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=3))
def test_damaged_data_give_an_error_or_bytes_within_the_bound(codec, raw, flips):
    learned = Compression(codec, dictionary=LEARNED[codec])
    packed = bytearray(learned.compress(raw))
    for place, bits in flips:
        packed[place % len(packed)] ^= bits
    try:
        found = learned.decompress_at_most(bytes(packed), 500, "it")
    except CorruptStorageError:
        return
    assert len(found) <= 500
    assert found == raw  # a checksum is in both, so that nothing else passes


LEARNED = {"zlib": Compression("zlib").trained(NOTES).dictionary}
if compression._zstd() is not None:
    LEARNED["zstd"] = Compression("zstd").trained(NOTES).dictionary


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_is_not_unpacked(codec):
    plain = Compression(codec, level=9)
    bomb = plain.compress(bytes(1 << 26))
    tracemalloc.start()
    try:
        for call in (plain.decompress, plain.decompress_at_most):
            with pytest.raises(CorruptStorageError):
                call(bomb, 1000, "it")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 22


def test_bytes_as_they_are():
    raw = Compression("raw")
    assert raw.compress(b"abc") == b"abc"
    assert raw.decompress_at_most(b"abc", 3, "it") == b"abc"
    with pytest.raises(CorruptStorageError, match="it holds more than 2 bytes"):
        raw.decompress_at_most(b"abc", 2, "it")
    with pytest.raises(CorruptStorageError, match="it does not hold the 4 bytes that it must"):
        raw.decompress(b"abc", 4, "it")
    with pytest.raises(ConfigError):
        raw.trained(NOTES)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"codec": "gzip"}, "codec is 'gzip'"),
        ({"codec": "raw", "level": 1}, "neither level nor dictionary"),
        ({"codec": "zlib", "level": 10}, r"of zlib it must be in 0 .. 9"),
        ({"codec": "zstd", "level": 23}, r"of zstd it must be in -131072 .. 22"),
        ({"codec": "zlib", "level": "9"}, "level is '9'"),
    ],
)
def test_wrong_settings_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Compression(**options)


@pytest.mark.parametrize("codec", CODECS)
def test_samples_that_teach_nothing_are_refused(codec):
    with pytest.raises(InputError):
        Compression(codec).trained([])
    with pytest.raises(InputError, match="max_bytes is 10"):
        Compression(codec).trained(NOTES, max_bytes=10)


@needs_zstd
def test_bytes_that_are_no_dictionary_are_refused():
    with pytest.raises(ConfigError, match="are no zstd dictionary"):
        Compression("zstd", dictionary=b"x" * 5).compress(b"abc")


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(compression, "_zstd", lambda: None)
    for work in (lambda: Compression("zstd").compress(b"a"), lambda: Compression("zstd").decompress(b"a", 1, "it")):
        with pytest.raises(MissingExtraError, match="aqe-core"):
            work()


def test_zlib_reads_what_others_wrote():
    assert Compression("zlib").decompress(zlib.compress(b"abc", 9), 3, "it") == b"abc"
