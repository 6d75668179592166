"""JSON Lines of patterns."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from aqe_ingest_tests import jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqe_core.errors import FileTooLargeError, IngestError, MalformedFileError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "test-patterns" / "vectors.meta.jsonl.gz"


def read(folder, *lines, name="suite.meta.jsonl", **options):
    content = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return jsonl.read(path, root=folder, **options)


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.jsonl", b'{"name": 1}', True),
        ("a.b.JSONL.GZ", b'\xef\xbb\xbf \n{"name": 1}', True),
        ("a.json", b"{}", False),
        ("a.jsonl", b"[1]", False),
        ("a.jsonl", b"", False),
    ],
)
def test_recognize(tmp_path, name, head, expected):
    assert jsonl.recognize(tmp_path / name, head) is expected


@pytest.mark.parametrize("name", ["suite.meta.jsonl", "suite.jsonl.gz"])
def test_all_fields(tmp_path, name):
    found = read(
        tmp_path,
        {
            "id": 7,
            "name": "test_x",
            "src": "def test_x(): ...",
            "path": "tests/a.py",
            "cls": "TestA",
            "docstring": "Says x.",
            "markers": ["slow"],
            "line": 3,
            "project": "p",
            "tags": {"a": [1, None]},
        },
        name=name,
    )
    (pattern,) = found.patterns
    assert pattern.to_dict() == {
        "id": "suite:7",
        "name": "test_x",
        "text": "def test_x(): ...",
        "path": "tests/a.py",
        "class_name": "TestA",
        "docstring": "Says x.",
        "markers": ["slow"],
        "line": 3,
        "metadata": {"project": "p", "tags": {"a": [1, None]}},
        "origin": name,
        "key": None,
    }
    assert found.skipped == ()


@pytest.mark.parametrize("field", ["text", "src", "source", "code"])
def test_names_of_the_text(tmp_path, field):
    assert read(tmp_path, {"name": "n", field: "words"}).patterns[0].text == "words"


@pytest.mark.parametrize("field", ["class", "cls", "class_name"])
def test_names_of_the_class(tmp_path, field):
    assert read(tmp_path, {"name": "n", field: "A"}).patterns[0].class_name == "A"


def test_natural_ids_and_repetitions(tmp_path):
    full = {"name": "n", "path": "a.py", "class": "C", "project": "p"}
    found = read(tmp_path, full, {"name": "n"}, full, {"name": "n", "path": "a.py", "project": 3}, full)
    assert [p.id for p in found.patterns] == ["p/a.py::C::n", "n", "p/a.py::C::n#2", "a.py::n", "p/a.py::C::n#3"]


def test_bad_lines_are_left_out_with_their_reason(tmp_path):
    bad = [
        (b"{", "not JSON"),
        (b"[1]", "object"),
        (b'{"text": "t"}', "no name"),
        (b'{"name": ""}', "no name"),
        (b'{"name": 3}', "name is not a string"),
        (b'{"name": "n", "text": 3}', "text is not a string"),
        (b'{"name": "n", "markers": "slow"}', "markers"),
        (b'{"name": "n", "markers": [1]}', "markers"),
        (b'{"name": "n", "line": -1}', "line"),
        (b'{"name": "n", "line": true}', "line"),
        (b'{"name": "n", "id": 1.5}', "id is neither"),
        (b'{"name": "n", "id": "known"}', "line 1 already"),
        (b'{"name": "n", "x": NaN}', "NaN is not JSON"),
        (b'{"name": "n", "x": -Infinity}', "-Infinity is not JSON"),
        (b'{"name": "n", "x": 1e999}', "too large"),
        (b'{"name": "\xff"}', "UTF-8"),
        (b'{"name": "\\ud800"}', "surrogates"),
        (b'{"name": "n", "x": ' + b"[" * 100_000 + b"}", "nested|JSON"),
        (b'{"name": "' + b"x" * jsonl.MAX_LINE_BYTES + b'"}', "longer than"),
    ]
    good = b'{"name": "good", "id": "known"}'
    found = read(tmp_path, good, b"", b"  ", *(line for line, _ in bad), b'{"name": "last"}')
    assert [p.name for p in found.patterns] == ["good", "last"]
    assert [note.where for note in found.skipped] == [f"suite.meta.jsonl:{n}" for n in range(4, 4 + len(bad))]
    for note, (_, reason) in zip(found.skipped, bad, strict=True):
        assert any(word in note.reason for word in reason.split("|")), note


def test_escaped_pairs_are_no_surrogates(tmp_path):
    assert read(tmp_path, {"name": "test_\U0001f600"}).patterns[0].name == "test_\U0001f600"


def test_a_byte_order_mark_is_ignored(tmp_path):
    assert read(tmp_path, b'\xef\xbb\xbf{"name": "n"}').patterns[0].name == "n"


def test_notes_are_bounded(tmp_path):
    found = read(tmp_path, {"name": "n"}, *([b"{"] * 500))
    assert len(found.skipped) == 101
    assert "400 more" in found.skipped[-1].reason


@pytest.mark.parametrize("lines", [[b""], [b"\n\n"], [b"{", b"["]])
def test_nothing_usable_is_an_error(tmp_path, lines):
    with pytest.raises(MalformedFileError, match="holds no pattern"):
        read(tmp_path, *lines)


@pytest.mark.parametrize("cut", [5, 30, -4])
def test_broken_gzip(tmp_path, cut):
    content = gzip.compress(b"\n".join(b'{"name": "n%d", "x": %d}' % (i, i * i) for i in range(50)))
    for broken in (content[:cut], content[:20] + bytes([content[20] ^ 255]) + content[21:], b"plain"):
        (tmp_path / "a.jsonl.gz").write_bytes(broken)
        with pytest.raises(MalformedFileError, match="gzip"):
            jsonl.read(tmp_path / "a.jsonl.gz", root=tmp_path)


def test_a_bomb_is_refused(tmp_path):
    with pytest.raises(FileTooLargeError, match="decompressed"):
        read(tmp_path, b'{"name": "n"}', b"0" * 10_000_000, name="bomb.jsonl.gz", max_bytes=5_000_000)


def test_size_limit(tmp_path):
    with pytest.raises(FileTooLargeError):
        read(tmp_path, {"name": "n" * 100}, max_bytes=50)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_folders_are_refused(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl.gz").mkdir()
    for name in ("a.jsonl", "b.jsonl.gz"):
        with pytest.raises(IngestError):
            jsonl.read(tmp_path / name, root=tmp_path)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_the_shared_data_set():
    found = jsonl.read(SHARED, root=SHARED.parent)
    assert len(found.patterns) == 25_000
    assert found.skipped == ()
    assert len({p.id for p in found.patterns}) == 25_000
    assert found.patterns[1].id == "vectors:1"
    assert found.patterns[1].metadata == {"project": "pandas"}


def read_or_fix(path):
    """Return what is in the file and no fix, or None and the fix that the error names."""
    try:
        return jsonl.read(path, root=path.parent), ""
    except IngestError as error:
        return None, error.fix


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.dictionaries(
                st.sampled_from(["name", "text", "id", "path", "cls", "markers", "line", "project", "x"]),
                st.one_of(st.none(), st.text(max_size=5), st.integers(), st.floats(), st.lists(st.text(max_size=3))),
            ),
            max_size=5,
        ).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    ),
    zipped=st.booleans(),
)
def test_any_bytes_are_read_or_refused(tmp_path, content, zipped):
    path = tmp_path / ("a.jsonl.gz" if zipped else "a.jsonl")
    path.write_bytes(gzip.compress(content) if zipped else content)
    found, fix = read_or_fix(path)
    assert found is not None or fix
    if found is not None:
        assert all(p.name and p.content_hash() for p in found.patterns)
        assert len({p.id for p in found.patterns}) == len(found.patterns)
