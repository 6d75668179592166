"""Tests in Rust: functions with ``#[test]`` or an attribute of the same kind (``tokio::test``, ``rstest``, ...)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqe_ingest_tests.syntax._tree import Found, Scope, comment_text, named, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tree_sitter import Node

__all__ = ["visit"]

_TESTS = {"test", "rstest", "test_case", "quickcheck", "wasm_bindgen_test"}
_MARKERS = {"ignore": "skip", "should_panic": "should_panic"}


def visit(node: Node, scope: Scope, before: Sequence[Node]) -> Found | Scope | None:
    """Look for functions with a test's attribute, in modules and out of them."""
    if node.type == "mod_item":
        return scope.within(text_of(node.child_by_field_name("name")))
    if node.type != "function_item":
        return scope if node.type in {"source_file", "declaration_list"} else None
    attributes = set(_attributes(before))
    if not attributes & _TESTS:
        return None
    markers = tuple(_MARKERS[name] for name in sorted(attributes & _MARKERS.keys()))
    return Found(node, text_of(node.child_by_field_name("name")), scope.classes, markers, comment_text(before))


def _attributes(before: Sequence[Node]) -> Iterator[str]:
    """Yield the last part of the path of each attribute: ``test`` of ``#[tokio::test(flavor = "...")]``."""
    for item in before:
        for attribute in named(item, "attribute"):
            yield text_of(attribute.named_children[0]).rpartition("::")[2]
