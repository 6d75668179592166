"""Walking a syntax tree from its root to its tests, and reading what stands before them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tree_sitter import Node

__all__ = ["Found", "Scope", "Visit", "comment_text", "named", "string_value", "text_of", "unique", "walk"]

_COMMENT_EDGE = re.compile(r"^\s*(?:/\*+!?|//[/!]?|\*(?!/))[ \t]?|\s*\*+/\s*$")
_XML_TAG = re.compile(r"</?(?:summary|remarks|para)>")
_LEADING = ("comment", "line_comment", "block_comment", "attribute_item")
MAX_DEPTH = 1000
"""Deeper nodes are not looked at: no test stands there."""


class Scope(NamedTuple):
    """What a test inherits from what it stands in."""

    classes: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    is_case: bool = False  # of a class whose methods are tests by their names alone

    def within(self, name: str, markers: Sequence[str] = (), *, is_case: bool = False) -> Scope:
        """Return the scope of what stands in a class or suite of this one."""
        return Scope((*self.classes, name), unique((*self.markers, *markers)), is_case)


class Found(NamedTuple):
    """A test."""

    node: Node
    name: str
    classes: tuple[str, ...]
    markers: tuple[str, ...]
    docstring: str


Visit: TypeAlias = "Callable[[Node, Scope, Sequence[Node]], Found | Scope | None]"
"""Looks at a node, its scope, and the comments and attributes before it.

Returns a test, whose inside is not looked at; or the scope of what is inside; or None to pass over the inside."""


def walk(root: Node, visit: Visit) -> Iterator[Found]:
    """Yield the tests of a tree in order of appearance. Without recursion: sources may be nested without bound."""
    stack: list[tuple[Node, Scope, list[Node], int]] = [(root, Scope(), [], 0)]
    while stack:
        node, scope, before, depth = stack.pop()
        seen = visit(node, scope, before)
        if isinstance(seen, Found):
            yield seen
        elif seen is not None and depth < MAX_DEPTH:
            inside = []
            leading: list[Node] = []
            for child in node.named_children:
                if leading and child.start_point.row > leading[-1].end_point.row + 1:
                    # A blank line between: the comments are not about what follows.
                    leading = [each for each in leading if each.type == "attribute_item"]
                if child.type in _LEADING:
                    leading.append(child)
                else:
                    inside.append((child, seen, leading, depth + 1))
                    leading = []
            stack.extend(reversed(inside))


def text_of(node: Node | None) -> str:
    """Return the source of a node; empty for none."""
    return "" if node is None or node.text is None else node.text.decode("utf-8", "replace")


def named(node: Node, *types: str) -> Iterator[Node]:
    """Yield the named children of these types."""
    return (child for child in node.named_children if child.type in types)


def string_value(node: Node) -> str:
    """Return what stands between the quotes of a string, escapes as written; the source of any other expression."""
    text = text_of(node)
    if "string" in node.type and len(text) >= 2 and text[0] in "\"'`":
        return text[1:-1]
    return text


def comment_text(leading: Sequence[Node]) -> str:
    """Return the text of the comments directly before a test, without their marks."""
    lines = [
        _XML_TAG.sub("", _COMMENT_EDGE.sub("", _COMMENT_EDGE.sub("", line))).strip()
        for node in leading
        if "comment" in node.type
        for line in text_of(node).splitlines()
    ]
    return "\n".join(lines).strip()


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names without repetitions, in order."""
    return tuple(dict.fromkeys(names))
