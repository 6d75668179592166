"""Tests in C#: xUnit, NUnit and MSTest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqe_ingest_tests.syntax._tree import Found, Scope, comment_text, named, string_value, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tree_sitter import Node

__all__ = ["visit"]

_CLASSES = {"class_declaration", "record_declaration", "struct_declaration"}
_TESTS = {"Fact", "Theory", "Test", "TestCase", "TestCaseSource", "TestMethod", "DataTestMethod", "Property"}
_TAGS = {"Category", "TestCategory"}


def visit(node: Node, scope: Scope, before: Sequence[Node]) -> Found | Scope | None:
    """Look for methods with an attribute that makes them tests."""
    if node.type in _CLASSES:
        return scope.within(text_of(node.child_by_field_name("name")), list(_markers(node)))
    if node.type != "method_declaration":
        return scope
    if not any(name in _TESTS for name, _ in _attributes(node)):
        return None
    name = text_of(node.child_by_field_name("name"))
    markers = scope.within(name, list(_markers(node))).markers
    return Found(node, name, scope.classes, markers, comment_text(before))


def _markers(node: Node) -> Iterator[str]:
    for name, arguments in _attributes(node):
        strings = [string_value(literal) for each in arguments for literal in named(each, "string_literal")]
        if name in {"Ignore", "Explicit"} or any(text_of(each).startswith("Skip") for each in arguments):
            yield "skip"
        elif (name in _TAGS and strings) or (name == "Trait" and strings[:1] == ["Category"]):
            yield strings[-1]


def _attributes(node: Node) -> Iterator[tuple[str, list[Node]]]:
    """Yield the name of each attribute, without ``Attribute`` at its end, and its arguments."""
    for attribute_list in named(node, "attribute_list"):
        for attribute in named(attribute_list, "attribute"):
            name = text_of(attribute.child_by_field_name("name")).rpartition(".")[2]
            arguments = [each for group in named(attribute, "attribute_argument_list") for each in group.named_children]
            yield name.removesuffix("Attribute") or name, arguments
