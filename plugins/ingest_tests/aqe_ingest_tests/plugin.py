"""What the ingest of tests offers."""

from __future__ import annotations

from aqe_core import hookimpl
from aqe_core.contracts.specs import IngestSpec

AQE_API = 1

# Read through tree-sitter, which the extra `languages` brings.
_SYNTAX = (
    ("javascript", (".js", ".jsx", ".mjs", ".cjs"), "Jest, Vitest, Mocha, Jasmine, Playwright, node:test"),
    ("typescript", (".ts", ".tsx", ".mts", ".cts"), "the same in TypeScript"),
    ("java", (".java",), "JUnit 3 to 5 and TestNG"),
    ("csharp", (".cs",), "xUnit, NUnit and MSTest"),
    ("go", (".go",), "functions and suite methods of *_test.go"),
    ("rust", (".rs",), "functions with #[test], #[tokio::test], #[rstest], ..."),
)


@hookimpl
def aqe_ingest_formats() -> list[IngestSpec]:
    """Offer test sources of seven languages, JUnit XML and JSON Lines of patterns."""
    return [
        IngestSpec(
            name="python-tests",
            suffixes=(".py",),
            recognizer="aqe_ingest_tests.python:recognize",
            reader="aqe_ingest_tests.python:read",
            summary="test functions of test_*.py and *_test.py, by their syntax tree",
        ),
        IngestSpec(
            name="junit-xml",
            suffixes=(".xml",),
            recognizer="aqe_ingest_tests.junit:recognize",
            reader="aqe_ingest_tests.junit:read",
            summary="test results of pytest, surefire, jest, go and others",
        ),
        IngestSpec(
            name="patterns-jsonl",
            suffixes=(".jsonl", ".jsonl.gz"),
            recognizer="aqe_ingest_tests.jsonl:recognize",
            reader="aqe_ingest_tests.jsonl:read",
            discover=False,
            summary="one pattern a line: name, and text (or src, source), path, class, docstring, markers, ...",
        ),
        *(
            IngestSpec(
                name=f"{language}-tests",
                suffixes=suffixes,
                recognizer="aqe_ingest_tests.syntax.reader:recognize",
                reader="aqe_ingest_tests.syntax.reader:read",
                summary=summary,
            )
            for language, suffixes, summary in _SYNTAX
        ),
    ]
