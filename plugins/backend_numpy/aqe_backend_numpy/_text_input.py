"""What the text index is given, checked."""

from __future__ import annotations

import math
from typing import Any

from aqe_core.errors import InputError

__all__ = ["as_document", "as_number", "as_query", "as_whole"]


def as_number(name: str, value: Any, largest: float) -> float:
    """Return an option as a float in 0 .. largest."""
    number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not 0 <= number <= largest:
        raise InputError(
            f"{name} is {value!r:.60}, but must be a number in 0 .. {largest:g}.",
            fix=f"leave {name} out for its default.",
        )
    return number


def as_whole(name: str, value: Any, largest: int) -> int:
    """Return an option as an int in 0 .. largest."""
    if as_number(name, value, largest) != int(value):
        raise InputError(f"{name} is {value!r}, but must be a whole number.", fix=f"pass e.g. {name}=2.")
    return int(value)


def as_document(document: Any, what: str) -> tuple[str, str]:
    """Return a document as its name and text."""
    if not (isinstance(document, tuple) and len(document) == 2 and all(isinstance(part, str) for part in document)):
        raise InputError(
            f"{what} is {document!r:.80}, but must be a name and a text.", fix="pass Document(name, text)."
        )
    return document


def as_query(query: Any, what: str) -> str:
    """Return a query, which is a string."""
    if not isinstance(query, str):
        raise InputError(f"{what} is {query!r:.80}, but must be a string.", fix="pass words or code.")
    return query
