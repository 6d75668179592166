"""How tests relate to changed files, by their names alone.

Nothing records which test runs which code, so the relation is what a reader would guess from the names; its weights
are fixed, in log-odds: 3 is about twenty times likelier to fail.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Relation", "relation"]

_OWN_FILE, _OWNER, _NAME = 3.0, 2.0, 1.0
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_SAYS_NOTHING = frozenset({"init", "main", "index", "test", "tests", "spec", "conftest", "mod", "lib"})


class Relation(NamedTuple):
    """What a test has to do with the changed files.

    Attributes
    ----------
    log_odds : float
        3 if its own file changed, 2 if its module or class is named like a changed file, 1 if its name is, else 0.
    reason : str
        The same in words; empty for 0.
    """

    log_odds: float = 0.0
    reason: str = ""


def relation(test: str, path: str, changed: Iterable[str]) -> Relation:
    """Return the strongest relation of a test to any changed file; of equal ones the first.

    Parameters
    ----------
    test : str
        Its name: ``owner::name`` or an id ``path::Class::name``.
    path : str
        The file that it is in, relative to the project; empty if not known.
    changed : iterable of str
        Changed files, relative to the project.
    """
    owner, _, name = test.partition("[")[0].rpartition("::")
    best = Relation()
    for given in changed:
        file = given.replace("\\", "/").removeprefix("./")
        found = _to_file(owner, name, path, file)
        if found.log_odds > best.log_odds:
            best = found
    return best


def _to_file(owner: str, name: str, path: str, file: str) -> Relation:
    module = str(PurePosixPath(file).with_suffix("")).replace("/", ".") if file else ""
    home = owner.partition("::")[0]
    dotted = home if "/" not in home else str(PurePosixPath(home).with_suffix("")).replace("/", ".")
    if module and (
        file in {path, home} or f"{dotted}.".startswith(f"{module}.") or f".{module}".endswith(f".{dotted}")
    ):
        return Relation(_OWN_FILE, f"its file changed ({file})")
    wanted = _words(PurePosixPath(file).stem)
    if not wanted:
        return Relation()
    parts = re.split(r"[./:]+", str(PurePosixPath(path).with_suffix("")) if path else dotted)
    holder = set().union(*map(_words, [*parts[-2:], *re.split(r"[.:]+", owner)[-2:]]))
    if wanted <= holder:
        return Relation(_OWNER, f"it is about {PurePosixPath(file).name}, which changed")
    if wanted <= _words(name):
        return Relation(_NAME, f"its name is like {PurePosixPath(file).name}, which changed")
    return Relation()


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)} - _SAYS_NOTHING
