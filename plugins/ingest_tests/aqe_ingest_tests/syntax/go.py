"""Tests in Go: ``testing`` and suites of methods (testify)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aqe_ingest_tests.syntax._tree import Found, Scope, comment_text, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tree_sitter import Node

__all__ = ["visit"]

# As `go test` reads names: what follows the word is no lower-case letter.
_TEST = re.compile(r"(?:Test|Fuzz|Example)(?:[^a-z].*)?", re.DOTALL)
_METHOD = re.compile(r"Test(?:[^a-z].*)", re.DOTALL)
_RECEIVER = re.compile(r"\*?\s*(\w+)(?:\[[^\]]*\])?\s*\)$")


def visit(node: Node, scope: Scope, before: Sequence[Node]) -> Found | Scope | None:
    """Look for ``func TestX(t *testing.T)``, fuzz tests, examples and the test methods of a suite."""
    if node.type == "source_file":
        return scope
    name = text_of(node.child_by_field_name("name"))
    if node.type == "function_declaration" and _TEST.fullmatch(name) and name != "TestMain":
        if name.startswith("Example") or "testing." in text_of(node.child_by_field_name("parameters")):
            return Found(node, name, (), (), comment_text(before))
    elif node.type == "method_declaration" and _METHOD.fullmatch(name):
        receiver = _RECEIVER.search(text_of(node.child_by_field_name("receiver")))
        if receiver is not None:
            return Found(node, name, (receiver.group(1),), (), comment_text(before))
    return None
