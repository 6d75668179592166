"""What the text index is given, checked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from aqe_core import validate
from aqe_core.errors import DimensionError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

__all__ = ["as_document", "as_documents", "as_number", "as_queries", "as_query", "as_whole"]


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


def as_documents(keys: ArrayLike, documents: Sequence[Any]) -> tuple[dict[int, int], list[tuple[str, str]]]:
    """Return of each distinct key the place of its last document, and all documents."""
    wanted = validate.as_keys(keys)
    pairs = [as_document(document, f"document {i}") for i, document in enumerate(documents)]
    if len(pairs) != wanted.size:
        raise DimensionError(
            f"there are {wanted.size} keys, but {len(pairs)} documents.", fix="pass one document for each key."
        )
    return {key: i for i, key in enumerate(wanted.tolist())}, pairs


def as_queries(queries: Any) -> list[str]:
    """Return one query or several as a list."""
    texts = [queries] if isinstance(queries, str) else list(queries)
    return [as_query(text, f"query {i}") for i, text in enumerate(texts)]


def as_query(query: Any, what: str) -> str:
    """Return a query, which is a string."""
    if not isinstance(query, str):
        raise InputError(f"{what} is {query!r:.80}, but must be a string.", fix="pass words or code.")
    return query
