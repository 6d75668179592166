"""``where=``: which patterns a search may return.

A filter is a mapping, and all of its entries must fit:

- ``{"area": "ui"}``: the field is equal to the value; of a field that is a list, any item is.
- ``{"area": ["ui", "api"]}`` or ``{"area": {"$in": [...]}}``: equal to any of these.
- ``{"line": {"$gte": 100, "$lt": 200}}``: in a range, by ``$gt``, ``$gte``, ``$lt``, ``$lte``; numbers are compared
  with numbers, strings with strings (dates in ISO form, say), and nothing else is in a range.
- ``{"$or": [filter, ...]}``, ``{"$and": [filter, ...]}``, ``{"$not": filter}``.

A field is ``id``, ``name``, ``path``, ``class_name``, ``origin``, ``marker`` or ``line``, else a top-level key of the
metadata. Values are strings, numbers, booleans and None; 1 equals 1.0 but not true, and None equals null but not an
absent field.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import InputError
from aqe_core.present import read_present
from aqe_core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from aqe_core.contracts.records import Pattern
    from aqe_core.workspace import Workspace

    Mask = NDArray[np.bool_]

__all__ = ["FIELDS", "Filter"]

FIELDS = ("id", "name", "path", "class_name", "origin", "marker", "line")
"""Fields of a pattern that are no metadata."""

_JOINTS = ("$and", "$or", "$not")
_BOUNDS = ("$gt", "$gte", "$lt", "$lte")
_OPERATORS = ("$in", *_BOUNDS)
_BATCH = 2048


class _Column:
    """One field of all patterns: a code for each pattern, and what the codes stand for. -1: it has no such field."""

    def __init__(self, n: int) -> None:
        self.codes = np.full(n, -1, np.int32)
        self.code_of: dict[Any, int] = {}
        self.items: dict[int, tuple[Any, ...]] = {}  # of codes that stand for a list
        self._orders: dict[bool, tuple[int, list[Any], NDArray[np.int64]]] = {}

    def code(self, value: Any) -> int:
        """Return the code of a value, a new one if it is new."""
        many = isinstance(value, (list, tuple))
        key = ("[", *map(_key, value)) if many else _key(value)
        code = self.code_of.setdefault(key, len(self.code_of))
        if many:
            self.items.setdefault(code, tuple(map(_key, value)))
        return code

    def plain_codes(self, values: Iterable[str | int]) -> list[int]:
        """Return the codes of strings and integers, new ones for new ones."""
        code_of = self.code_of
        return [code_of.setdefault(value, len(code_of)) for value in values]

    def equal_to(self, wanted: Iterable[Any]) -> Mask:
        """Return which patterns have any of the values."""
        keys = {_key(value) for value in wanted}
        hit = [code for key in keys if (code := self.code_of.get(key)) is not None]
        hit += [code for code, items in self.items.items() if not keys.isdisjoint(items)]
        return self._with(hit)

    def within(self, bounds: Mapping[str, Any]) -> Mask:
        """Return which patterns have a value that is within all bounds. O(log distinct values), sorted if it is new."""
        of_text = isinstance(next(iter(bounds.values())), str)
        values, codes = self._sorted(of_text=of_text)
        first, last = 0, len(values)
        for operator, bound in bounds.items():
            place = (bisect_left if operator in {"$gte", "$lt"} else bisect_right)(values, bound)
            first, last = (max(first, place), last) if operator in {"$gt", "$gte"} else (first, min(last, place))
        inside = set(values[first:last]) if self.items else set()
        of_lists = [code for code, items in self.items.items() if not inside.isdisjoint(items)]
        return self._with([*codes[first:last].tolist(), *of_lists])

    def _sorted(self, *, of_text: bool) -> tuple[list[Any], NDArray[np.int64]]:
        """Return the distinct texts or numbers, also those inside lists, ascending, and their codes (-1 in lists)."""
        kept = self._orders.get(of_text)
        if kept is None or kept[0] != len(self.code_of):
            kind = str if of_text else (int, float)
            in_lists = {item: -1 for items in self.items.values() for item in items}
            pairs = sorted((key, code) for key, code in {**in_lists, **self.code_of}.items() if isinstance(key, kind))
            codes = np.array([code for _, code in pairs], np.int64)
            kept = self._orders[of_text] = (len(self.code_of), [key for key, _ in pairs], codes)
        return kept[1], kept[2]

    def _with(self, codes: list[int]) -> Mask:
        wanted = np.zeros(len(self.code_of) + 1, np.bool_)  # the last one is for -1
        wanted[codes] = True
        wanted[-1] = False
        return wanted[self.codes]


def _key(value: Any) -> Any:
    """Return what stands for a value: equal for equal values, and true for no number, null and objects for nothing."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return ("=", value) if value is None or isinstance(value, bool) else ("{",)


class Filter:
    """Filters over the patterns of a workspace's namespace, by columns of their fields in memory.

    The columns are read from storage for the first filter (O(N)), and follow the journal from then on. A filter costs
    O(N) array operations a field.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._storage = workspace.storage
        self._namespace = workspace.namespace
        self._lock = workspace.lock
        self._data_version = -1
        self._seq = -1
        self._forget()

    def _forget(self) -> None:
        self._keys = np.empty(0, np.uint64)
        self._columns: dict[str, _Column] = {}
        self._replaced = 0

    def keys(self, where: Mapping[str, Any], version: int | None = None) -> NDArray[np.uint64]:
        """Return the ascending keys of the patterns that fit, in the truth of that version if it is known.

        Raises
        ------
        InputError
            It is no filter; the message says where, the fix what was perhaps meant.
        """
        _verify(where, "where")
        with self._lock:
            self._follow(version)
            return np.sort(self._keys[self._fitting(where)])

    def hint(self, where: Mapping[str, Any]) -> str:
        """Return a sentence about fields of a filter that no pattern has; empty if there are none."""
        with self._lock:
            self._follow()
            unknown = [field for field in dict.fromkeys(_fields(where)) if field not in {*self._columns, *FIELDS}]
            if not unknown or not self._keys.size:
                return ""
            near = did_you_mean(unknown[0], [*self._columns, *FIELDS], f"there are {', '.join(self._columns)}.")
            return f"no pattern has the field {unknown[0]!r}: {near}"

    def _fitting(self, where: Mapping[str, Any]) -> Mask:
        mask = np.ones(self._keys.size, np.bool_)
        for field, wanted in where.items():
            if field == "$not":
                mask &= ~self._fitting(wanted)
            elif field == "$or":
                mask &= np.logical_or.reduce([self._fitting(part) for part in wanted])
            elif field == "$and":
                mask &= np.logical_and.reduce([self._fitting(part) for part in wanted])
            elif field not in self._columns:
                mask[:] = False
            else:
                mask &= self._fitting_field(self._columns[field], wanted)
        return mask

    def _fitting_field(self, column: _Column, wanted: Any) -> Mask:
        if not isinstance(wanted, Mapping):
            return column.equal_to(wanted if isinstance(wanted, _MANY) else [wanted])
        bounds = {name: bound for name, bound in wanted.items() if name in _BOUNDS}
        mask = column.within(bounds) if bounds else np.ones(self._keys.size, np.bool_)
        return mask & column.equal_to(wanted["$in"]) if "$in" in wanted else mask

    # -- following the truth ------------------------------------------------------------------------------------------

    def _follow(self, version: int | None = None) -> None:
        if version is None:
            version = self._storage.data_version()
        if version == self._data_version:
            return
        changes = None if self._seq < 0 else self._storage.changes_since(self._namespace, self._seq)
        if changes is None or self._replaced > self._keys.size:  # columns hold values that nobody has any more
            self._forget()
            self._seq = self._storage.last_seq()
            self._append([pattern for batch in self._storage.iter_patterns(self._namespace) for pattern in batch])
        else:
            gone = np.isin(self._keys, np.concatenate([changes.removed, changes.written]))
            self._replaced += int(gone.sum())
            self._keys = self._keys[~gone]
            for column in self._columns.values():
                column.codes = column.codes[~gone]
            for start in range(0, len(changes.written), _BATCH):
                chunk = changes.written[start : start + _BATCH]
                self._append(read_present(self._storage, self._namespace, chunk)[1])
            self._seq = changes.seq
        self._data_version = version

    def _append(self, patterns: list[Pattern]) -> None:
        first = self._keys.size
        keys = np.array([pattern.key for pattern in patterns], np.uint64)
        self._keys = np.append(self._keys, keys)
        for column in self._columns.values():
            column.codes = np.append(column.codes, np.full(len(patterns), -1, np.int32))
        for field, attribute in _ATTRIBUTES.items():
            column = self._column(field)
            column.codes[first:] = column.plain_codes(map(attribute, patterns))
        for place, pattern in enumerate(patterns, first):
            if pattern.markers:
                self._column("marker").codes[place] = self._column("marker").code(pattern.markers)
            for field, value in pattern.metadata.items():
                if field not in FIELDS:
                    column = self._columns.get(field) or self._column(field)
                    column.codes[place] = column.code(value)

    def _column(self, field: str) -> _Column:
        return self._columns.get(field) or self._columns.setdefault(field, _Column(self._keys.size))


_ATTRIBUTES = {field: attrgetter(field) for field in FIELDS if field != "marker"}


# -- checking ---------------------------------------------------------------------------------------------------------

_MANY = (list, tuple, set, frozenset)
_MAX_DEPTH = 32


def _fields(where: Mapping[str, Any]) -> Iterable[str]:
    for field, wanted in where.items():
        if field not in _JOINTS:
            yield field
        else:
            for part in [wanted] if field == "$not" else wanted:
                yield from _fields(part)


def _verify(where: Any, place: str, depth: int = 0) -> None:
    """Refuse what is no filter."""
    if not isinstance(where, Mapping):
        raise InputError(f"{place} is {where!r:.60}, but must be a mapping.", fix='e.g. {"marker": "slow"}.')
    if depth > _MAX_DEPTH:
        raise InputError(f"where is nested more than {_MAX_DEPTH} deep.", fix="write it flatter.")
    for field, wanted in where.items():
        if not isinstance(field, str):
            raise InputError(f"{place} has the key {field!r:.60}, but keys are strings.", fix="use str.")
        here = f"{place}[{field!r:.60}]"
        if field == "$not":
            _verify(wanted, here, depth + 1)
        elif field in _JOINTS:
            if not isinstance(wanted, (list, tuple)) or not wanted:
                raise InputError(f"{here} is {wanted!r:.60}, but must be a list of filters.", fix="give one or more.")
            for i, part in enumerate(wanted):
                _verify(part, f"{here}[{i}]", depth + 1)
        elif field.startswith("$"):
            fix = did_you_mean(field, [*_JOINTS, *_OPERATORS], f"choose of {', '.join(_JOINTS)}.")
            raise InputError(f"{here}: there is no {field!r:.60}.", fix=fix)
        elif isinstance(wanted, Mapping):
            _verify_operators(wanted, here)
        else:
            _verify_values(wanted if isinstance(wanted, _MANY) else [wanted], here)


def _verify_operators(wanted: Mapping[Any, Any], here: str) -> None:
    if not wanted:
        raise InputError(f"{here} is an empty mapping.", fix=f"choose of {', '.join(_OPERATORS)}.")
    kinds = set()
    for operator, value in wanted.items():
        if operator not in _OPERATORS:
            fix = did_you_mean(str(operator), _OPERATORS, f"choose of {', '.join(_OPERATORS)}.")
            raise InputError(f"{here} has no operator {operator!r:.60}.", fix=fix)
        if operator != "$in":
            if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value != value:  # noqa: PLR0124  # NaN
                raise InputError(
                    f"{here}[{operator!r}] is {value!r:.60}, but bounds are numbers or strings.", fix="correct it."
                )
            kinds.add(isinstance(value, str))
        elif isinstance(value, _MANY):
            _verify_values(value, here)
        else:
            raise InputError(f"{here}['$in'] is {value!r:.60}, but must be a list.", fix="put it in brackets.")
    if len(kinds) > 1:
        raise InputError(f"{here} has a number and a string for bounds.", fix="nothing is between these.")


def _verify_values(values: Iterable[Any], here: str) -> None:
    for value in values:
        plain = value is None or isinstance(value, (str, int, bool))
        if not plain and not (isinstance(value, float) and math.isfinite(value)):
            raise InputError(
                f"{here} holds {value!r:.60}, which nothing stored could equal.",
                fix="compare with strings, integers, finite floats, booleans, None, or a list of these.",
            )
