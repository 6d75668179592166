"""Tests in Java: JUnit 3 to 5 and TestNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqe_ingest_tests.syntax._tree import Found, Scope, comment_text, named, string_value, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tree_sitter import Node

__all__ = ["visit"]

_CLASSES = {"class_declaration", "record_declaration", "interface_declaration", "enum_declaration"}
_TESTS = {"Test", "ParameterizedTest", "RepeatedTest", "TestFactory", "TestTemplate", "Property"}
_SKIPPED = {"Disabled", "Ignore"}


def visit(node: Node, scope: Scope, before: Sequence[Node]) -> Found | Scope | None:
    """Look for annotated methods, and for ``test...`` methods of classes that extend ``...TestCase``."""
    if node.type in _CLASSES:
        base = text_of(node.child_by_field_name("superclass")).removeprefix("extends").strip()
        is_case = base.rpartition(".")[2].endswith("TestCase")
        return scope.within(text_of(node.child_by_field_name("name")), _markers(node), is_case=is_case)
    if node.type != "method_declaration":
        return scope
    name = text_of(node.child_by_field_name("name"))
    annotations = dict(_annotations(node))
    if not (_TESTS & annotations.keys() or (scope.is_case and name.startswith("test"))):
        return None
    title = annotations.get("DisplayName", "")
    doc = "\n".join(part for part in (title, comment_text(before)) if part)
    return Found(node, name, scope.classes, scope.within(name, _markers(node)).markers, doc)


def _markers(node: Node) -> list[str]:
    found = list(_annotations(node))
    markers = ["skip" for name, _ in found if name in _SKIPPED]
    return markers + [value for name, value in found if name == "Tag" and value]


def _annotations(node: Node) -> Iterator[tuple[str, str]]:
    """Yield the name of each annotation, and the text that is its only argument, if it is one."""
    for modifiers in named(node, "modifiers"):
        for annotation in named(modifiers, "marker_annotation", "annotation"):
            arguments = annotation.child_by_field_name("arguments")
            strings = [] if arguments is None else list(named(arguments, "string_literal"))
            value = string_value(strings[0]) if len(strings) == 1 else ""
            yield text_of(annotation.child_by_field_name("name")).rpartition(".")[2], value
