"""Tests in JavaScript and TypeScript: Jest, Vitest, Mocha, Jasmine, Playwright, ``node:test``, QUnit, Deno."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqe_ingest_tests.syntax._tree import Found, Scope, comment_text, string_value, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tree_sitter import Node

__all__ = ["visit"]

_TESTS = {"it", "test", "specify", "fit", "xit", "xtest", "xspecify"}
_SUITES = {"describe", "suite", "context", "fdescribe", "xdescribe", "xcontext"}
_OWNERS = {"Deno", "QUnit"}
_MARKERS = {"skip": "skip", "todo": "todo", "only": "only", "failing": "xfail", "fails": "xfail", "fixme": "skip"}
_MODIFIERS = {*_MARKERS, "each", "for", "concurrent", "sequential", "serial", "parallel", "skipIf", "runIf", "if"}


def visit(node: Node, scope: Scope, before: Sequence[Node]) -> Found | Scope | None:
    """Look for ``test("title", ...)`` and ``describe("title", ...)`` with their variants."""
    call = _call_of(node)
    if call is None:
        return scope
    chain = _chain(call)
    if chain and chain[0] in _OWNERS:
        chain = chain[1:]
    arguments = call.child_by_field_name("arguments")
    if not chain or arguments is None or not arguments.named_children:
        return scope
    base, *modifiers = chain
    is_suite = base in _SUITES or (base == "test" and "describe" in modifiers)
    if not is_suite and base not in _TESTS:
        return scope
    if any(each not in _MODIFIERS and not (is_suite and each == "describe") for each in modifiers):
        return scope  # test.beforeEach(...), it.returns(...)
    markers = [_MARKERS[each] for each in modifiers if each in _MARKERS]
    if base.startswith("x"):
        markers.append("skip")
    if base.startswith("f"):
        markers.append("only")
    title, *rest = [child for child in arguments.named_children if child.type != "comment"] or [arguments]
    name = " ".join(string_value(_bare(title)).split())
    if not name or not (rest or "todo" in modifiers):
        return scope
    inner = scope.within(name, markers)
    return inner if is_suite else Found(node, name, scope.classes, inner.markers, comment_text(before))


def _call_of(node: Node) -> Node | None:
    """Return the call that a statement consists of."""
    if node.type != "expression_statement" or not node.named_children:
        return None
    inner = node.named_children[0]
    if inner.type == "await_expression" and inner.named_children:
        inner = inner.named_children[0]
    return inner if inner.type == "call_expression" else None


def _chain(call: Node) -> list[str]:
    """Return ``["it", "skip"]`` of ``it.skip(...)`` and ``["it", "each"]`` of ``it.each(table)(...)``, or nothing."""
    names: list[str] = []
    node = call.child_by_field_name("function")
    while node is not None:
        if node.type == "call_expression":
            node = node.child_by_field_name("function")
        elif node.type == "member_expression":
            names.append(text_of(node.child_by_field_name("property")))
            node = node.child_by_field_name("object")
        else:
            return [text_of(node), *reversed(names)] if node.type == "identifier" else []
    return []


def _bare(node: Node) -> Node:
    while node.type in {"as_expression", "parenthesized_expression", "satisfies_expression"} and node.named_children:
        node = node.named_children[0]
    return node
