from __future__ import annotations

import copy
import pickle
import re

import pytest

from aqe_core import errors
from aqe_core.errors import AqeError, BrokenPluginError, DimensionError

ALL = [getattr(errors, name) for name in errors.__all__]


def _drawn() -> dict[str, tuple[str, str]]:
    """Parse the tree in the docstring: each class with its parent and its other base."""
    found: dict[str, tuple[str, str]] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.fullmatch(r"    ([│├└─ ]*)(\w+)(?: \((\w+)\))?(?: {2,}\S.*)?", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            found[match[2]] = (path[depth - 1] if depth else "Exception", match[3] or "")
    return found


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = _drawn()
    actual = {cls.__name__: cls for cls in ALL}
    assert drawn.keys() == actual.keys()
    for name, (parent, other) in drawn.items():
        assert [base.__name__ for base in actual[name].__bases__] == [parent, *([other] if other else [])]


def test_every_error_is_exported():
    defined = {name for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, Exception)}
    assert defined == set(errors.__all__)


def test_codes_are_unique_and_extend_their_parents():
    codes = [cls.code for cls in ALL]
    assert len(set(codes)) == len(codes)
    for cls in ALL:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cls.code)
        parent = cls.__bases__[0]
        if parent not in (Exception, AqeError):
            assert cls.code.startswith(f"{parent.code}-")


@pytest.mark.parametrize("cls", ALL)
def test_the_text_says_what_and_what_to_do(cls):
    assert str(cls("it broke.", fix="mend it.")) == "it broke. Fix: mend it."
    assert str(cls("it broke.")) == "it broke."
    assert cls("it broke.", fix="mend it.").to_dict() == {"code": cls.code, "message": "it broke.", "fix": "mend it."}


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, *(lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(6))]
)
def test_an_error_crosses_processes_whole(cls, clone):
    error = cls("it broke.", fix="mend it.")
    error.add_note("seen at night")
    got = clone(error)
    assert type(got) is cls
    assert (str(got), got.to_dict(), got.args) == (str(error), error.to_dict(), error.args)
    assert got.__notes__ == ["seen at night"]


def test_bad_input_is_a_value_error_too():
    with pytest.raises(ValueError, match="mend it"):
        raise DimensionError("it broke.", fix="mend it.")
    assert not issubclass(BrokenPluginError, ValueError)
