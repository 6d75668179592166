"""JUnit XML: every flavour, and every way to be hostile."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from aqe_ingest_tests import _junit_suite, junit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqe_core.errors import FileTooLargeError, IngestError, MalformedFileError

# ruff: noqa: E501  # real reports have long lines

PYTEST = """<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">
<testsuite name="pytest" errors="1" failures="1" skipped="2" tests="6" time="1.5"
 timestamp="2024-03-01T12:00:00.250000+01:00" hostname="h">
<testcase classname="tests.test_a.TestX" name="test_ok[1-a]" time="0.250" />
<testcase classname="tests.test_a" name="test_bad" time="0.5"><failure message="AssertionError: assert 1 == 2">def test_bad():
&gt;       assert 1 == 2</failure></testcase>
<testcase classname="tests.test_a" name="test_bad" time="0.1"><error message="failed on teardown with &quot;x&quot;">trace</error></testcase>
<testcase classname="tests.test_a" name="test_no" time="0.0"><skipped type="pytest.skip" message="not here">a:1: not here</skipped></testcase>
<testcase classname="tests.test_a" name="test_x" time="0.0"><skipped type="pytest.xfail" message="" /></testcase>
<testcase classname="" name="tests.test_broken" time="0.0"><error message="collection failure">ImportError</error></testcase>
</testsuite></testsuites>"""

SUREFIRE = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:noNamespaceSchemaLocation="https://maven.apache.org/surefire/maven-surefire-plugin/xsd/surefire-test-report.xsd"
 version="3.0" name="org.example.RetryTest" time="1,234.567" tests="4" errors="0" skipped="1" failures="1">
  <properties><property name="java.version" value="17.0.1"/><property name="name" value="x"/></properties>
  <testcase name="capped" classname="org.example.RetryTest" time="1,234.5"/>
  <testcase name="never" classname="org.example.RetryTest" time="0,25">
    <failure message="expected: &lt;1&gt; but was: &lt;2&gt;" type="org.opentest4j.AssertionFailedError"><![CDATA[at x]]></failure>
    <rerunFailure message="again" type="T"><stackTrace>at y</stackTrace></rerunFailure>
    <system-out>noise</system-out>
  </testcase>
  <testcase name="sometimes" classname="org.example.RetryTest" time="0.5">
    <flakyFailure message="was 3" type="T"><stackTrace>at z</stackTrace><system-out>noise</system-out></flakyFailure>
    <flakyError type="E" time="2.0"><stackTrace>boom</stackTrace></flakyError>
  </testcase>
  <testcase name="off" classname="org.example.RetryTest" time="0"><skipped message="later"/></testcase>
</testsuite>"""

JEST = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="jest tests" tests="2" failures="1" errors="0" time="1.071">
  <testsuite name="addition" errors="0" failures="1" skipped="0" timestamp="2017-07-13T09:25:42" time="0.161" tests="2">
    <testcase classname=" addition positive numbers" name=" addition positive numbers should add up" time="0.004">
    </testcase>
    <testcase classname="addition" name="fails" time="0.004">
      <failure>
        Error: expect(received).toBe(expected)
          at Object.toBe (sum.test.js:5:17)
      </failure>
    </testcase>
  </testsuite>
</testsuites>"""

GO = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="2" failures="1" errors="0" time="0.016">
	<testsuite tests="2" failures="1" time="0.005000" name="example.com/m/retry" timestamp="2022-01-01T00:00:00Z">
		<properties>
			<property name="go.version" value="go1.21.0 linux/amd64"></property>
		</properties>
		<testcase classname="example.com/m/retry" name="TestCapped/zero" time="0.000000"></testcase>
		<testcase classname="example.com/m/retry" name="TestNever" time="0.010000">
			<failure message="Failed" type="">=== RUN   TestNever&#xA;    retry_test.go:5: got 1&#xA;--- FAIL: TestNever (0.01s)&#xA;</failure>
		</testcase>
	</testsuite>
	<testsuite tests="0" failures="0" time="0" name="example.com/m" timestamp="2021-12-31T23:59:59Z"></testsuite>
</testsuites>"""


@pytest.fixture
def read(tmp_path):
    def read(content, name="report.xml", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return junit.read(path, root=tmp_path, **options)

    return read


def rows(found):
    return [(r.test, r.outcome, r.duration_s, r.message) for r in found.results]


def test_pytest(read):
    found = read(PYTEST)
    assert (found.run.tool, found.run.source, found.run.started_s) == ("pytest", "report.xml", 1709290800.25)
    assert rows(found) == [
        ("tests.test_a.TestX::test_ok[1-a]", "passed", 0.25, ""),
        ("tests.test_a::test_bad", "failed", 0.5, "AssertionError: assert 1 == 2"),
        ("tests.test_a::test_bad", "error", 0.1, 'failed on teardown with "x"'),
        ("tests.test_a::test_no", "skipped", 0.0, "not here"),
        ("tests.test_a::test_x", "skipped", 0.0, ""),
        ("tests.test_broken", "error", 0.0, "collection failure"),
    ]
    assert found.skipped == found.patterns == ()


def test_surefire(read, tmp_path):
    (tmp_path / "report.xml").write_text(SUREFIRE)
    os.utime(tmp_path / "report.xml", (1e9, 1e9))
    found = junit.read(tmp_path / "report.xml", root=tmp_path)
    assert (found.run.tool, found.run.started_s) == ("surefire", 1e9)
    suite = "org.example.RetryTest"
    assert rows(found) == [
        (f"{suite}::capped", "passed", 1234.5, ""),
        (f"{suite}::never", "failed", 0.25, "expected: <1> but was: <2>"),
        (f"{suite}::sometimes", "failed", 0.0, "was 3"),
        (f"{suite}::sometimes", "error", 2.0, "boom"),
        (f"{suite}::sometimes", "passed", 0.5, ""),
        (f"{suite}::off", "skipped", 0.0, "later"),
    ]
    old = SUREFIRE.replace("chemaLocation", "x").replace("java.version", "surefire.test.class.path")
    assert read(old).run.tool == "surefire"


def test_jest(read):
    found = read(JEST)
    assert (found.run.tool, found.run.started_s) == ("jest", 1499937942.0)
    assert rows(found) == [
        ("addition positive numbers::addition positive numbers should add up", "passed", 0.004, ""),
        ("addition::fails", "failed", 0.004, "Error: expect(received).toBe(expected)"),
    ]


def test_go(read):
    found = read(GO)
    assert (found.run.tool, found.run.started_s) == ("go", 1640995199.0)
    assert rows(found) == [
        ("example.com/m/retry::TestCapped/zero", "passed", 0.0, ""),
        ("example.com/m/retry::TestNever", "failed", 0.01, "retry_test.go:5: got 1"),
    ]


def test_a_real_pytest_run(tmp_path):
    (tmp_path / "test_real.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def bad_end():\n    yield\n    raise RuntimeError('at the end')\n"
        "class TestA:\n"
        "    def test_ok(self): pass\n"
        "    @pytest.mark.parametrize('x', ['<&>', 'é'])\n"
        "    def test_each(self, x): pass\n"
        "def test_twice(bad_end): assert 1 == 2\n"
        "@pytest.mark.skip(reason='not now')\n"
        "def test_off(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--rootdir=."]
    subprocess.run([*command, "--junitxml=out.xml"], cwd=tmp_path, check=False, capture_output=True)
    path = tmp_path / "out.xml"
    assert junit.recognize(path, path.read_bytes()[:4096])
    found = junit.read(path, root=tmp_path)
    assert found.run.tool == "pytest"
    assert abs(found.run.started_s - path.stat().st_mtime) < 3600
    assert [(r.test, r.outcome) for r in found.results] == [
        ("test_real.TestA::test_ok", "passed"),
        ("test_real.TestA::test_each[<&>]", "passed"),
        ("test_real.TestA::test_each[\\xe9]", "passed"),
        ("test_real::test_twice", "failed"),
        ("test_real::test_twice", "error"),
        ("test_real::test_off", "skipped"),
    ]
    assert found.results[3].message == "assert 1 == 2"
    assert "at the end" in found.results[4].message


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('classname="a.B" name="t"', "a.B::t"),
        ('name="t"', "suite::t"),
        ('classname="" name="t"', "t"),
        ('classname="c" name=" t "', "c::t"),
    ],
)
def test_names(read, attributes, expected):
    found = read(f'<testsuite name="suite"><testcase {attributes}/></testsuite>')
    assert found.results[0].test == expected


def test_cut_names_stay_apart(read):
    long = "x" * 5000
    found = read(f'<testsuite><testcase name="{long}1"/><testcase name="{long}2"/></testsuite>')
    first, second = (r.test for r in found.results)
    assert first != second
    assert len(first) == len(second) == _junit_suite.MAX_NAME_CHARS


def test_a_testcase_without_a_name_is_noted(read):
    found = read('<testsuite><testcase classname="c"/><testcase name="t"/></testsuite>')
    assert [r.test for r in found.results] == ["t"]
    assert "without a name" in found.skipped[0].reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0.0),
        ("1", 1.0),
        (".5", 0.5),
        ("2.", 2.0),
        ("1e-05", 1e-05),
        ("0,123", 0.123),
        ("1,234.567", 1234.567),
        ("1.234,567", 1234.567),
        ("1,234,567", 1234567.0),
        ("1 234,5", 1234.5),
        ("1'234.5", 1234.5),
        ("0.25s", 0.25),
        ("-1", None),
        ("NaN", None),
        ("inf", None),
        ("1e999", None),
        ("soon", None),
    ],
)
def test_times(read, text, expected):
    found = read(f'<testsuite><testcase name="t" time="{text}"/></testsuite>')
    assert found.results[0].duration_s == (expected or 0.0)
    assert len(found.skipped) == (expected is None)


@pytest.mark.parametrize("status", ['status="notrun"', 'status="disabled"', 'result="suppressed"'])
def test_tests_that_did_not_run_are_skipped(read, status):
    assert read(f'<testsuite><testcase name="t" {status}/></testsuite>').results[0].outcome == "skipped"


def test_the_first_complaint_of_the_worst_kind_counts(read):
    found = read(
        '<testsuite><testcase name="t"><skipped message="a"/><error message="b"/><failure message="c"/></testcase>'
        '<testcase name="u"><failure>\n  d\ne</failure><system-err>f</system-err></testcase></testsuite>'
    )
    assert [(r.outcome, r.message) for r in found.results] == [("error", "b"), ("failed", "d")]


def test_messages_are_bounded(read):
    long = "m" * 100_000
    found = read(
        f'<testsuite><testcase name="a"><failure message="{long}"/></testcase>'
        f'<testcase name="b"><failure>{long}</failure></testcase></testsuite>'
    )
    assert [len(r.message) for r in found.results] == [_junit_suite.MAX_MESSAGE_CHARS] * 2


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2024-01-01T00:00:00", 1704067200.0),
        ("2024-01-01T01:00:00+01:00", 1704067200.0),
        ("2024-01-01T00:00:00Z", 1704067200.0),
        ("yesterday", None),
        ("2024-13-01T00:00:00", None),
    ],
)
def test_timestamps(read, tmp_path, timestamp, expected):
    found = read(f'<testsuite timestamp="{timestamp}"/>')
    assert found.run.started_s == (expected or (tmp_path / "report.xml").stat().st_mtime)
    assert len(found.skipped) == (expected is None)


def test_the_run_is_named_by_its_content(read):
    one, same, other = read(GO), read(GO, "other.xml"), read(PYTEST)
    assert one.run.id == same.run.id != other.run.id
    assert same.run.source == "other.xml"


@pytest.mark.parametrize(
    "content",
    [
        b"<testsuites><testsuite/></testsuites>",
        b"<testsuite name='a'>",
        b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- <a> -->\n<?style x?>\n<testsuite/>",
        '<?xml version="1.0" encoding="utf-16"?><testsuite/>'.encode("utf-16"),
        b"<j:testsuites xmlns:j='x'/>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><testsuite/>",
    ],
)
def test_recognizes(tmp_path, content):
    assert junit.recognize(tmp_path / "a.XML", content)
    assert not junit.recognize(tmp_path / "a.txt", content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<project><testsuite/></project>",
        b"<testsuitefoo/>",
        b"<!-- <testsuite/> --><coverage/>",
        b"<!DOCTYPE html><html/>",
        b"\xff\xfe<",
        b"<!-- -->" * 400 + b"<x",
    ],
)
def test_does_not_recognize(tmp_path, content):
    assert not junit.recognize(tmp_path / "a.xml", content)


def test_utf16_is_read(read):
    found = read('<?xml version="1.0" encoding="utf-16"?><testsuite><testcase name="é"/></testsuite>'.encode("utf-16"))
    assert found.results[0].test == "é"


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">'
    + "".join(f'<!ENTITY lol{i} "' + f"&lol{i - 1 or ''};" * 10 + '">' for i in range(1, 10))
    + ']><testsuite><testcase name="&lol9;"/></testsuite>'
)
EXTERNAL = (
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><testsuite><testcase name="t">&e;</testcase></testsuite>'
)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (LAUGHS, "document type"),
        (EXTERNAL, "document type"),
        ('<!DOCTYPE x SYSTEM "http://localhost/x.dtd"><testsuite/>', "document type"),
        ("<testsuite>" * 200 + "</testsuite>" * 200, "nested"),
        ("<html><testsuite/></html>", "'html'"),
        ("not XML", ":1: not well-formed"),
        ("", "not well-formed"),
        ("<testsuite>\n<testcase>", ":2: not well-formed"),
        ("<testsuite>&undefined;</testsuite>", "not well-formed"),
        (b"<testsuite name='\xff'/>", "not well-formed"),
        ('<?xml version="1.0" encoding="klingon"?><testsuite/>', "encoding"),
        ('<?xml version="1.0" encoding="shift_jis"?><testsuite/>', "encoding"),
    ],
)
def test_hostile_or_foreign_files_get_one_error(read, content, what):
    with pytest.raises(MalformedFileError) as caught:
        read(content)
    assert what in caught.value.message
    assert "report.xml" in caught.value.message
    assert caught.value.fix


def test_a_file_of_100_mb_is_refused_unread(tmp_path):
    with (tmp_path / "big.xml").open("wb") as file:
        file.truncate(100 * 10**6)
    with pytest.raises(FileTooLargeError, match="100,000,000 bytes"):
        junit.read(tmp_path / "big.xml", root=tmp_path)


def test_size_limit_is_inclusive(read):
    assert read("<testsuite/>", max_bytes=12).results == ()
    with pytest.raises(FileTooLargeError):
        read("<testsuite/>", max_bytes=11)


@pytest.mark.parametrize("start", [b"<!--", b"<testsuite name='", b"<testsuite " + b"a='1' " * 3 * 10**5])
def test_endless_tags_are_refused(read, start):
    with pytest.raises(FileTooLargeError, match="tag or comment"):
        read(start + b" " * 8 * 2**20)


def test_long_text_is_no_tag(read):
    inside = "x\n" * 3 * 2**20
    found = read(f"<testsuite><testcase name='t'><failure>{inside}</failure></testcase></testsuite>")
    assert found.results[0].message == "x"


def test_too_many_elements(read, monkeypatch):
    monkeypatch.setattr(_junit_suite, "MAX_ELEMENTS", 4)
    assert len(read("<testsuite>" + "<testcase name='t'/>" * 3 + "</testsuite>").results) == 3
    with pytest.raises(FileTooLargeError, match="more than 4 elements"):
        read("<testsuite>" + "<testcase name='t'/>" * 4 + "</testsuite>")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_folders_are_refused(tmp_path):
    os.mkfifo(tmp_path / "a.xml")
    (tmp_path / "b.xml").mkdir()
    for name in ("a.xml", "b.xml", "c.xml"):
        with pytest.raises(IngestError):
            junit.read(tmp_path / name, root=tmp_path)


TAGS = st.sampled_from(
    ["testsuites", "testsuite", "testcase", "failure", "error", "skipped", "flakyError", "property", "x:testcase"]
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["name", "classname", "time", "timestamp", "message", "status"]),
    st.text("abc019.,-:TZ é", max_size=6),
    max_size=3,
)


@st.composite
def elements(draw, depth=4):
    tag, attributes = draw(TAGS), draw(ATTRIBUTES)
    inside = draw(st.lists(elements(depth=depth - 1), max_size=3)) if depth else ["text"]
    written = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return f"<{tag} {written}>{''.join(inside)}</{tag}>"


def read_or_fix(path):
    """Return what is in the file and no fix, or None and the fix that the error names."""
    try:
        return junit.read(path, root=path.parent), ""
    except IngestError as error:
        return None, error.fix


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.binary(max_size=200), elements().map(str.encode)), st.integers(-200, 200))
def test_any_bytes_are_read_or_refused(tmp_path, content, cut):
    path = tmp_path / "any.xml"
    for variant in (content, content[:cut]):
        path.write_bytes(variant)
        junit.recognize(path, variant)
        found, fix = read_or_fix(path)
        assert found is not None or fix
        if found is not None:
            assert found.run.id
            assert all(r.test and r.duration_s >= 0 for r in found.results)
