"""Python sources: what counts as a test, and what is kept of it."""

from __future__ import annotations

import os
import sys
import textwrap
import warnings

import pytest
from aqe_ingest_tests import python
from aqe_ingest_tests._files import relative_name
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqe_core.errors import FileTooLargeError, IngestError, MalformedFileError


@pytest.fixture
def read(tmp_path):
    def read(source, name="tests/test_it.py", **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else textwrap.dedent(source).encode())
        return python.read(path, root=tmp_path, **options)

    return read


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_a.py", True),
        ("a_test.py", True),
        ("tests.py", True),
        ("test.py", False),
        ("conftest.py", False),
        ("test_a.pyi", False),
        ("Test_a.py", False),
        ("latest.py", False),
    ],
)
def test_recognizes_by_name(tmp_path, name, expected):
    assert python.recognize(tmp_path / name, b"") is expected


def test_everything_about_one_test(read):
    (pattern,) = read('''
        """Module."""
        import pytest

        class TestRetry:

            @pytest.mark.slow
            @pytest.mark.parametrize("n", [
                1, 2])
            async def test_capped(self, n):
                """Waits no longer.

                Than the cap.
                """
                text = """
        at the margin"""
                assert n

            def helper(self): ...
    ''').patterns
    assert pattern.id == "tests/test_it.py::TestRetry::test_capped"
    assert (pattern.name, pattern.class_name, pattern.path) == ("test_capped", "TestRetry", "tests/test_it.py")
    assert pattern.origin == "tests/test_it.py"
    assert pattern.docstring == "Waits no longer.\n\nThan the cap."
    assert pattern.markers == ("slow", "parametrize")
    assert pattern.line == 7
    assert pattern.metadata == {"language": "python"}
    assert pattern.text.startswith('@pytest.mark.slow\n@pytest.mark.parametrize("n", [\n    1, 2])\nasync def')
    assert pattern.text.endswith('    text = """\nat the margin"""\n    assert n')


def test_which_functions_are_tests(read):
    ids = [
        p.id.partition("::")[2]
        for p in read("""
        import unittest, pytest, lib

        def test_plain(): ...
        async def test_async(): ...
        def helper():
            def test_inside(): ...
        def test_outer():
            class TestInside:
                def test_no(self): ...
        @pytest.fixture
        def test_client(): ...
        @pytest.fixture(scope="module")
        def test_server(): ...
        if True:
            def test_under_if(): ...
        try:
            import x
        except ImportError:
            def test_under_except(): ...
        else:
            def test_under_else(): ...
        finally:
            def test_under_finally(): ...
        with x:
            def test_under_with(): ...
        match x:
            case 1:
                def test_under_case(): ...
        class Helper:
            def test_not(self): ...
        class TestA:
            def testCamel(self): ...
            class TestB:
                def test_nested(self): ...
            class Inner:
                def test_not(self): ...
        class Retry(unittest.TestCase):
            def test_in_case(self): ...
        class RetryAgain(Retry):
            def test_in_heir(self): ...
        class Web(lib.AsyncHTTPTestCase, Generic[int]):
            def test_in_web(self): ...
        class Strange((lambda: object)()):
            def test_not(self): ...
    """).patterns
    ]
    assert ids == [
        "test_plain",
        "test_async",
        "test_outer",
        "test_under_if",
        "test_under_except",
        "test_under_else",
        "test_under_finally",
        "test_under_with",
        "test_under_case",
        "TestA::testCamel",
        "TestA::TestB::test_nested",
        "Retry::test_in_case",
        "RetryAgain::test_in_heir",
        "Web::test_in_web",
    ]


def test_nested_classes_are_joined_by_dots(read):
    (pattern,) = read("class TestA:\n class TestB:\n  def test_x(self): pass").patterns
    assert pattern.class_name == "TestA.TestB"
    assert pattern.text == "def test_x(self): pass"


def test_redefinitions_are_numbered(read):
    source = "def test_x(): 1\n" * 3
    assert [p.id.partition("::")[2] for p in read(source).patterns] == ["test_x", "test_x#2", "test_x#3"]


def test_markers_come_from_module_class_and_function(read):
    patterns = read("""
        import unittest
        from pytest import mark
        pytestmark = [mark.slow, pytest.mark.timeout(5), 3]

        class TestA(unittest.TestCase):
            pytestmark: list = pytest.mark.db

            @unittest.skipIf(True, "no")
            @mark.slow
            def test_a(self): ...

            @unittest.skip("no")
            @unittest.expectedFailure
            @other.skip
            @getattr(a, "b")()
            def test_b(self): ...

        @skipUnless(x, "y")
        class TestB(unittest.TestCase):
            def test_c(self): ...

        def test_d(): ...
    """).patterns
    assert [set(p.markers) for p in patterns] == [
        {"slow", "timeout", "db", "skipif"},
        {"slow", "timeout", "db", "skip", "xfail"},
        {"slow", "timeout", "skipif"},
        {"slow", "timeout"},
    ]
    assert all(len(set(p.markers)) == len(p.markers) for p in patterns)


@pytest.mark.parametrize(
    "content",
    [
        "def test_x():\n    'größe'\n".encode(),
        b"\xef\xbb\xbf" + "def test_x():\n    'größe'\n".encode(),
        "# coding: latin-1\ndef test_x():\n    'größe'\n".encode("latin-1"),
        "#!/usr/bin/python\r\n# -*- coding: cp1252 -*-\r\ndef test_x():\r\n    'größe'\r\n".encode("cp1252"),
        "def test_x():\r    'größe'\r".encode(),
    ],
)
def test_decodes_as_python_does(read, content):
    (pattern,) = read(content).patterns
    assert pattern.text == "def test_x():\n    'größe'"
    assert pattern.docstring == "größe"


def test_form_feeds_and_line_separators_do_not_shift_lines(read):
    (pattern,) = read('x = "\u2028"\n\x0c\ny = "\x0b"\ndef test_x():\n    assert y\n').patterns
    assert pattern.text == "def test_x():\n    assert y"
    assert pattern.line == 4


def test_a_docstring_with_a_lone_surrogate_can_be_stored(read):
    (pattern,) = read(rb'def test_x(): "\ud800"').patterns
    assert pattern.docstring == "\\ud800"


def test_long_sources_are_cut_and_noted(read):
    found = read("def test_x():\n" + "    assert 1\n" * 3000)
    assert len(found.patterns[0].text) == python.MAX_TEXT_CHARS
    assert found.skipped[0].where == "tests/test_it.py:1"
    assert "20,000" in found.skipped[0].reason


def test_the_files_own_warnings_stay_inside(read):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read("def test_x():\n    assert '\\d' is 1\n").patterns


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (b"x = 1\ndef test_x(:\n", ":2:", "invalid syntax"),
        (b"x = 1\ny = '\0'\n", ":2:", "null"),
        (b"def test_x():\n    '\xff'\n", ":1:", "decode"),
        (b"# coding: klingon\n", ":1:", "klingon"),
        (b"x = " + b"(" * 5000, ":1:", "parsed"),
        (b"x = " + b"-" * 50_000 + b"1", ":1:", "deep"),
        (b"x = 1\nif x: pass\n" + b"elif x: pass\n" * 1500, ":1:", "deep"),
        (b"x = " + b"9" * 10_000, ":1:", "parsed"),
    ],
    ids=["syntax", "null", "undecodable", "coding", "parentheses", "signs", "elif", "digits"],
)
def test_broken_files_get_one_error(read, content, where, what):
    with pytest.raises(MalformedFileError, match=r"parsed|decoded") as caught:
        read(content)
    assert f"tests/test_it.py{where}" in caught.value.message
    assert caught.value.fix
    if what != "deep" or sys.version_info < (3, 12):
        assert what in caught.value.message


def test_size_limit(read):
    with pytest.raises(FileTooLargeError, match="10 bytes"):
        read("def test_long(): pass", max_bytes=10)
    assert read("x", max_bytes=1).patterns == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "test_pipe.py")
    with pytest.raises(IngestError, match="not a regular file") as caught:
        python.read(tmp_path / "test_pipe.py", root=tmp_path)
    assert caught.value.fix


@pytest.mark.parametrize("name", ["folder", "absent", "a\0b"])
def test_what_is_no_file_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IngestError) as caught:
        python.read(tmp_path / name, root=tmp_path)
    assert caught.value.fix


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path):
    (tmp_path / "test_x.py").touch(mode=0)
    with pytest.raises(IngestError, match="cannot be read"):
        python.read(tmp_path / "test_x.py", root=tmp_path)


def test_names_are_relative_only_below_the_root(tmp_path):
    assert relative_name(tmp_path / "a" / "b.py", tmp_path) == "a/b.py"
    assert relative_name(tmp_path / "b" / ".." / "a.py", tmp_path) == "a.py"
    assert relative_name(tmp_path / "x.py", tmp_path / "a") == (tmp_path / "x.py").as_posix()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_name_that_is_not_utf8_can_be_stored(tmp_path):
    assert relative_name(tmp_path / os.fsdecode(b"test_\xff.py"), tmp_path) == "test_\\xff.py"


def read_or_fix(path):
    """Return what is in the file and no fix, or None and the fix that the error names."""
    try:
        return python.read(path, root=path.parent), ""
    except IngestError as error:
        return None, error.fix


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text("()[]{}:=@\n\t '\"\\#abdefst_test class def assert\0é", max_size=200).map(str.encode),
    )
)
def test_any_bytes_are_read_or_refused(tmp_path, content):
    path = tmp_path / "test_any.py"
    path.write_bytes(content)
    found, fix = read_or_fix(path)
    assert found is not None or fix
    if found is not None:
        assert len({p.id for p in found.patterns}) == len(found.patterns)
