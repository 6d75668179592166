"""How tests relate to changed files."""

from __future__ import annotations

import pytest

from aqe_core.changes import Relation, relation


@pytest.mark.parametrize(
    ("test", "path", "changed", "log_odds"),
    [
        ("tests.test_a.TestB::test_c", "tests/test_a.py", "tests/test_a.py", 3.0),
        ("tests.test_a.TestB::test_c[1-x::y]", "", "tests/test_a.py", 3.0),
        ("tests/test_a.py::TestB::test_c", "", "./tests/test_a.py", 3.0),
        ("tests.test_ab::test_c", "", "tests/test_a.py", 0.0),
        ("com.acme.ParserTest::keeps", "", "src/test/java/com/acme/ParserTest.java", 3.0),
        ("com.acme.ParserTest::keeps", "", "src/main/java/com/acme/Parser.java", 2.0),
        ("tests.test_retry_policy::test_cap", "", "src/retry_policy.py", 2.0),
        ("tests.test_retry_policy::test_cap", "", "src\\retryPolicy.ts", 2.0),
        ("tests.test_http::test_retry_is_capped", "", "src/retry.py", 1.0),
        ("tests.test_http::test_retry", "", "src/__init__.py", 0.0),
        ("tests.test_http::test_retry", "", "README.md", 0.0),
        ("tests.test_http::test_retry", "", "", 0.0),
        ("lonely", "", "src/lonely.py", 1.0),
        ("", "", "src/x.py", 0.0),
    ],
)
def test_relation(test, path, changed, log_odds):
    found = relation(test, path, [changed])
    assert found.log_odds == log_odds
    assert bool(found.reason) == bool(log_odds)


def test_the_strongest_relation_counts():
    assert relation("tests.test_parser::test_lexer", "tests/test_parser.py", []) == Relation()
    changed = ["src/lexer.py", "docs/why.md", "src/parser.py"]
    assert relation("tests.test_parser::test_lexer", "tests/test_parser.py", changed) == Relation(
        2.0, "it is about parser.py, which changed"
    )
