"""What the ingest of tests offers."""

from __future__ import annotations

from aqe_core import hookimpl
from aqe_core.contracts.specs import IngestSpec

AQE_API = 1


@hookimpl
def aqe_ingest_formats() -> list[IngestSpec]:
    """Offer Python test sources, JUnit XML and JSON Lines of patterns."""
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
    ]
