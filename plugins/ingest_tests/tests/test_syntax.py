"""Test sources of JavaScript, TypeScript, Java, C#, Go and Rust."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from aqe_ingest_tests.syntax.reader import LANGUAGES, read, recognize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqe_core.errors import FileTooLargeError, IngestError, MalformedFileError

for _module in sorted({language.grammar.split(":")[0] for language in LANGUAGES}):
    pytest.importorskip(_module, reason=f'{_module} is not installed: pip install "aqe-core[languages]"')


def read_text(folder, name, source):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return read(path, root=folder)


def shape(ingested):
    return [(p.id.partition("::")[2], p.class_name, p.markers, p.docstring) for p in ingested.patterns]


JAVASCRIPT = """
/** Of the suite. */
describe("retry policy", () => {
  beforeEach(() => {});
  // The delay
  // is capped.
  it.skip(`waits ${n} seconds`, async function () { expect(1); });

  // About nothing in particular.

  test.each([[1], [2]])('adds %i', (n) => {});
  it.each`a|b`("table $a", () => {});
  describe.only(Foo.name, () => {
    xit("left out", () => {});
    it("no body yet");
    it.todo("later");
  });
});
await Deno.test("of deno", () => {});
QUnit.test("of qunit", (assert) => {});
test.describe("of playwright", () => { test.fixme("page", async ({ page }) => {}); });
test.beforeEach("not a test", () => {});
/pattern/.test("not a test", 1);
object.it("not a test", () => {});
"""


@pytest.mark.parametrize(
    "name", ["a.test.js", "a.spec.mjs", "a.test.ts", "a_test.cts", "a.test.tsx", "__tests__/a.jsx"]
)
def test_javascript_and_typescript(tmp_path, name):
    got = read_text(tmp_path, name, JAVASCRIPT)
    assert shape(got) == [
        ("retry policy::waits ${n} seconds", "retry policy", ("skip",), "The delay\nis capped."),
        ("retry policy::adds %i", "retry policy", (), ""),
        ("retry policy::table $a", "retry policy", (), ""),
        ("retry policy::Foo.name::left out", "retry policy > Foo.name", ("only", "skip"), ""),
        ("retry policy::Foo.name::later", "retry policy > Foo.name", ("only", "todo"), ""),
        ("of deno", "", (), ""),
        ("of qunit", "", (), ""),
        ("of playwright::page", "of playwright", ("skip",), ""),
    ]
    assert got.skipped == ()
    assert {p.metadata["language"] for p in got.patterns} == {"typescript" if "ts" in name[-3:] else "javascript"}


def test_java(tmp_path):
    got = read_text(
        tmp_path,
        "src/FooTest.java",
        """package a;
@Tag("slow")
class FooTest extends TestCase {
    /**
     * Refuses what is too long.
     */
    @Test @DisplayName("refuses long names")
    void refuses() throws Exception { }
    public void testOld() { }
    public void helper() { }
    @Nested @Disabled
    class Inner {
        @org.junit.jupiter.params.ParameterizedTest(name = "x") void takes(int n) { }
        void testNothing() { }
    }
}
""",
    )
    assert shape(got) == [
        ("FooTest::refuses", "FooTest", ("slow",), "refuses long names\nRefuses what is too long."),
        ("FooTest::testOld", "FooTest", ("slow",), ""),
        ("FooTest::Inner::takes", "FooTest.Inner", ("slow", "skip"), ""),
    ]
    assert got.patterns[0].line == 7
    assert got.patterns[0].text == '@Test @DisplayName("refuses long names")\nvoid refuses() throws Exception { }'


def test_csharp(tmp_path):
    got = read_text(
        tmp_path,
        "FooTests.cs",
        """namespace A.B
{
    [Collection("db")]
    public class FooTests
    {
        /// <summary>Keeps the order.</summary>
        [Fact(Skip = "slow machine")] [Trait("Category", "order")]
        public async Task Keeps_Order() { }
        public void Helper() { }
        class Inner { [NUnit.Framework.TestAttribute, Category("unit")] public void X() { } }
        [DataTestMethod, Ignore] public void Y() { }
    }
}
""",
    )
    assert shape(got) == [
        ("FooTests::Keeps_Order", "FooTests", ("skip", "order"), "Keeps the order."),
        ("FooTests::Inner::X", "FooTests.Inner", ("unit",), ""),
        ("FooTests::Y", "FooTests", ("skip",), ""),
    ]


def test_go(tmp_path):
    got = read_text(
        tmp_path,
        "x_test.go",
        """package a
// TestFoo says
// what it tests.
func TestFoo(t *testing.T) { t.Run("sub", func(t *testing.T) {}) }
func (s *MySuite[T]) TestBar() {}
func (s MySuite) helper() {}
func Testify(t *testing.T) {}
func TestHelper(name string) {}
func TestMain(m *testing.M) {}
func ExampleX() {}
func FuzzX(f *testing.F) {}
func BenchmarkX(b *testing.B) {}
""",
    )
    assert shape(got) == [
        ("TestFoo", "", (), "TestFoo says\nwhat it tests."),
        ("MySuite::TestBar", "MySuite", (), ""),
        ("ExampleX", "", (), ""),
        ("FuzzX", "", (), ""),
    ]


def test_rust(tmp_path):
    got = read_text(
        tmp_path,
        "src/lib.rs",
        """pub fn test_like() {}
#[cfg(test)]
mod tests {
    use super::*;
    /// Works in
    /// time.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore]
    async fn it_works() { fn test_inner() {} }
    #[test_case(1; "one")]
    #[should_panic]
    fn panics() {}
    #[inline]
    fn helper() {}
    mod deep { #[test] fn below() {} }
}
""",
    )
    assert shape(got) == [
        ("tests::it_works", "tests", ("skip",), "Works in\ntime."),
        ("tests::panics", "tests", ("should_panic",), ""),
        ("tests::deep::below", "tests::deep", (), ""),
    ]


def test_a_rust_file_without_the_word_is_passed_over(tmp_path):
    assert read_text(tmp_path, "lib.rs", "fn main() { let = ; }").patterns == ()


def test_equal_names_are_numbered(tmp_path):
    got = read_text(tmp_path, "a.test.js", 'it("a", f); it("a", f);\nit("b", f); it("a", f)')
    assert [p.id for p in got.patterns] == ["a.test.js::a", "a.test.js::a#2", "a.test.js::b", "a.test.js::a#3"]
    assert [p.text for p in got.patterns] == ['it("a", f);', 'it("a", f);', 'it("b", f);', 'it("a", f)']


def test_windows_newlines_and_a_byte_order_mark_change_nothing(tmp_path):
    plain = read_text(tmp_path, "a.test.js", JAVASCRIPT)
    other = read_text(tmp_path, "a.test.js", b"\xef\xbb\xbf" + JAVASCRIPT.replace("\n", "\r\n").encode())
    assert other == plain


def test_a_mistake_is_noted_and_the_tests_around_it_are_taken(tmp_path):
    got = read_text(tmp_path, "a.test.ts", 'it("before", () => {});\nit("bad", () => { const = ; });\nit("after", f);')
    assert [p.name for p in got.patterns] == ["before", "bad", "after"]
    assert [(s.where, "tests around it" in s.reason) for s in got.skipped] == [("a.test.ts:2", True)]


def test_what_is_no_source_at_all_is_refused(tmp_path):
    with pytest.raises(MalformedFileError, match=r"a\.test\.js:1: not javascript that can be parsed"):
        read_text(tmp_path, "a.test.js", b"\0\1\2)]}" * 50)


def test_a_long_test_is_cut_and_said_so(tmp_path):
    got = read_text(tmp_path, "a.test.js", f'it("long", () => {{ {"call(); " * 5000} }});')
    assert len(got.patterns[0].text) == 20_000
    assert "cut" in got.skipped[0].reason


def test_limits_and_names(tmp_path):
    path = tmp_path / "a.test.js"
    path.write_text('it("a", f)')
    with pytest.raises(FileTooLargeError, match="limit of 5 bytes"):
        read(path, root=tmp_path, max_bytes=5)
    other = tmp_path / "main.js"
    other.write_text("f()")
    assert recognize(path, b"")
    assert not recognize(other, b"")
    with pytest.raises(MalformedFileError, match="not named like a file of tests"):
        read(other, root=tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FooTest.java", True),
        ("FooIT.java", True),
        ("Foo.java", False),
        ("FooTests.cs", True),
        ("Foo.cs", False),
        ("a_test.go", True),
        ("a.go", False),
        ("latest.js", False),
        ("a.test.json", False),
    ],
)
def test_files_are_recognized_by_name(name, expected):
    assert recognize(Path("x") / name, b"") is expected


def test_without_the_grammar_the_fix_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tree_sitter_go", None)
    with pytest.raises(IngestError, match="reading that needs tree_sitter_go") as caught:
        read_text(tmp_path, "a_test.go", "package a")
    assert caught.value.fix == 'pip install "aqe-core[languages]"'


def test_nesting_without_bound(tmp_path):
    source = "describe('a', () => {" * 3000 + "it('deep', f)" + "})" * 3000
    assert all(len(p.class_name) < 20_000 for p in read_text(tmp_path, "a.test.js", source).patterns)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["a.test.js", "a.test.tsx", "ATest.java", "ATests.cs", "a_test.go", "a.rs"]),
    st.binary(max_size=200),
    st.integers(0, len(JAVASCRIPT)),
)
def test_any_bytes_are_read_or_refused(tmp_path, name, junk, where):
    source = JAVASCRIPT.encode()
    try:
        got = read_text(tmp_path, name, source[:where] + junk + b"test" + source[where:])
    except MalformedFileError:
        return
    ids = [p.id for p in got.patterns]
    assert len(ids) == len(set(ids))
