"""The nearest name that exists, for errors about one that does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name most like the given one; None if none is like it.

    Examples
    --------
    >>> nearest("nunpy", ["native", "numpy"])
    'numpy'
    """
    import difflib  # costs 10 ms, and only who mistyped needs it

    found = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the fix for an unknown name: the nearest known one, else the other advice.

    Examples
    --------
    >>> did_you_mean("serch", ["rank", "search"], "`aqe --help` lists the verbs.")
    "did you mean 'search'?"
    """
    near = nearest(name, known)
    return otherwise if near is None else f"did you mean {near!r}?"
