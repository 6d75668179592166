"""Situations and choices as the keys and vectors that learners work with.

Dicts go in; stable text keys, or vectors of numbers, come out. `Encoding` makes them from a list of fields. The keys of
the ancestor, agentic-qe v2.8.0, are made by `ancestor_state_key` and `ancestor_action_key`, with JavaScript's rounding
and number formats, and `read_key` understands the keys of both, old and new.

All functions are pure: no clock, no generator, no state.
"""

from __future__ import annotations

import json
import math
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import attrs

from aqe_core.errors import InputError, NonFiniteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Choice",
    "Encoding",
    "Number",
    "Part",
    "ReadKey",
    "ancestor_action_key",
    "ancestor_context_feature",
    "ancestor_extractor_key",
    "ancestor_state_key",
    "mapping_key",
    "number_text",
    "read_key",
    "round_half_up",
]

_LARGEST_PLAIN = 1e21
_TIME_LIMIT_MS = 300_000
_FEATURES = ("complexity", "capabilities", "attempts", "resources", "time", "context")
_PREFIX = "k1:"
_MAX_BINS = 10_000


# -- the ancestor's keys --------------------------------------------------------------------------------------------


def round_half_up(value: float) -> float:
    """Return ``Math.round(value)``: half goes up, also below zero.

    Examples
    --------
    >>> round_half_up(2.5), round_half_up(-0.5), round_half_up(0.49999999999999994)
    (3.0, 0.0, 0.0)
    """
    below = math.floor(value)
    return float(below + 1 if value - below >= 0.5 else below)  # the difference is exact, value + 0.5 is not


def number_text(value: float) -> str:
    """Return a number as JavaScript prints it, for those between 1e-6 and 1e21 and zero.

    Examples
    --------
    >>> number_text(1.0), number_text(0.3), number_text(-0.0), number_text(1e16)
    ('1', '0.3', '0', '10000000000000000')
    """
    return str(int(value)) if value == int(value) and abs(value) < _LARGEST_PLAIN else repr(float(value))


def ancestor_state_key(state: Mapping[str, Any]) -> str:
    """Return the five-part key under which the ancestor's learners know a state.

    Parameters
    ----------
    state : mapping
        ``taskComplexity`` (0 .. 1), ``requiredCapabilities`` (a list; only its length counts), ``previousAttempts``,
        ``availableResources`` (0 .. 1) and, if there is one, ``timeConstraint`` (ms).

    Raises
    ------
    KeyError, TypeError, ValueError, OverflowError
        It is no such state.

    Examples
    --------
    >>> ancestor_state_key({"taskComplexity": 0.65, "requiredCapabilities": ["a"], "previousAttempts": 8,
    ...                     "availableResources": 0.1, "timeConstraint": 60000})
    '0.7,0.1,1.6,0.1,0.2'
    """
    return _joined(_features(state))


def ancestor_extractor_key(state: Mapping[str, Any]) -> str:
    """Return the six-part key of the ancestor's StateExtractor: capped, and with the context's hash.

    No learner of the ancestor ever asks for such a key; its files hold them all the same.

    Raises
    ------
    KeyError, TypeError, ValueError, OverflowError
        It is no such state.

    Examples
    --------
    >>> ancestor_extractor_key({"taskComplexity": 0.65, "requiredCapabilities": ["a"], "previousAttempts": 8,
    ...                         "availableResources": 0.1, "contextFeatures": {}})
    '0.7,0.1,1,0.1,1,0.9'
    """
    complexity, capabilities, attempts, resources, limit = _features(state)
    context = ancestor_context_feature(state.get("contextFeatures", {}))
    return _joined((complexity, min(capabilities, 1), min(attempts, 1), resources, limit, context))


def ancestor_context_feature(context: Any) -> float:
    """Return the ancestor's hash of a context's JSON text, in 0 .. 0.999.

    ``h = 31 h + unit`` over the UTF-16 code units, in 32-bit signed arithmetic; then ``|h % 1000| / 1000``.

    Raises
    ------
    TypeError, ValueError
        It is no JSON value.
    """
    text = json.dumps(_plain(context), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    code = 0
    data = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(data[::2], data[1::2], strict=True):
        code = (31 * code + low + 256 * high) & 0xFFFFFFFF
    signed = code - 2**32 if code >= 2**31 else code
    return abs(math.fmod(signed, 1000.0)) / 1000.0


def ancestor_action_key(action: Mapping[str, Any]) -> str:
    """Return the ancestor's key of an action: strategy, parallelization as ``toFixed(1)`` prints it, retry policy.

    Raises
    ------
    KeyError, TypeError, ValueError, ArithmeticError
        It is no such action.

    Examples
    --------
    >>> ancestor_action_key({"strategy": "snapshot", "parallelization": 0.25, "retryPolicy": "none"})
    'snapshot:0.3:none'
    """
    exact = Decimal(action["parallelization"])  # of the double's binary value: 0.35 lies below the tie
    return f"{action['strategy']}:{exact.quantize(Decimal('0.1'), ROUND_HALF_UP)}:{action['retryPolicy']}"


def _features(state: Mapping[str, Any]) -> tuple[float, float, float, float, float]:
    limit_ms = state.get("timeConstraint")
    return (
        state["taskComplexity"],
        len(state["requiredCapabilities"]) / 10,
        state["previousAttempts"] / 5,
        state["availableResources"],
        min(limit_ms / _TIME_LIMIT_MS, 1) if limit_ms else 1,
    )


def _joined(features: Sequence[float]) -> str:
    return ",".join(number_text(round_half_up(feature * 10) / 10) for feature in features)


def _plain(value: Any) -> Any:
    """Return a JSON value whose whole floats are integers, as JavaScript prints them."""
    if isinstance(value, float) and value == value and abs(value) < _LARGEST_PLAIN and value == int(value):  # noqa: PLR0124  # false for NaN only
        return int(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


# -- our own keys and vectors ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Number:
    """A field that is a number, of which the key keeps the bin and the vector the position between the ends.

    Attributes
    ----------
    name : str
    low, high : float
        Ends of the range; what lies outside counts as the nearer end.
    bins : int
        Number of equal bins of the key, 1 .. 10,000.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    bins: int = 10

    @property
    def width(self) -> int:
        """Number of places in the vector."""
        return 1

    def place(self, value: Any) -> float:
        """Return where a value lies between the ends, 0 .. 1."""
        if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, (str, bytes)):
            raise InputError(f"{self.name} is {value!r}, but must be a number.", fix="pass a finite number.")
        number = float(value)
        if not math.isfinite(number):
            raise NonFiniteError(f"{self.name} is {number}.", fix="pass a finite number.")
        return (min(max(number, self.low), self.high) - self.low) / (self.high - self.low)

    def code(self, value: Any) -> int:
        """Return the bin of a value, 0 .. bins - 1; the upper end belongs to the last one."""
        return min(int(self.place(value) * self.bins), self.bins - 1)

    def read(self, code: int) -> float:
        """Return the middle of a bin."""
        return self.low + (code + 0.5) / self.bins * (self.high - self.low)


def _as_tuple(options: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(options)


@attrs.frozen(kw_only=True)
class Choice:
    """A field that is one of several values; anything else counts as ``other``, the last place of the vector.

    Attributes
    ----------
    name : str
    options : tuple of str, int or bool
    """

    name: str
    options: tuple[Any, ...] = attrs.field(converter=_as_tuple)

    @property
    def width(self) -> int:
        """Number of places in the vector."""
        return len(self.options) + 1

    def code(self, value: Any) -> int:
        """Return the position of a value among the options; their number if it is none of them."""
        for code, option in enumerate(self.options):
            if option == value and isinstance(option, bool) == isinstance(value, bool):
                return code
        return len(self.options)

    def read(self, code: int) -> Any:
        """Return the option at a position; None for the one of others."""
        return self.options[code] if code < len(self.options) else None


Field: TypeAlias = Number | Choice


class Encoding:
    """Encodes dicts by a list of fields.

    Parameters
    ----------
    *fields : Number or Choice
        In the order of key and vector. Other entries of a dict are not looked at.

    Attributes
    ----------
    dim : int
        Length of `vector`: one place per number, one per option and one more per choice.
    fields : tuple of Number or Choice
    parts : tuple of Part
        What `key` joins, for backends that do the same.

    Raises
    ------
    InputError
        There is no field, a name comes twice, or a range or number of bins is impossible.

    Examples
    --------
    >>> encoding = Encoding(Number(name="coverage", high=100.0, bins=4), Choice(name="kind", options=["unit", "ui"]))
    >>> encoding.key({"coverage": 80, "kind": "ui"})
    'k1:coverage=3,kind=1'
    >>> encoding.vector({"coverage": 80, "kind": "ui"}).tolist()
    [0.8, 0.0, 1.0, 0.0]
    >>> encoding.read("k1:coverage=3,kind=1")
    {'coverage': 87.5, 'kind': 'ui'}
    """

    def __init__(self, *fields: Field) -> None:
        names = [field.name for field in fields]
        if not fields or len(set(names)) < len(names):
            raise InputError(f"the fields are {names}.", fix="name at least one field, each once.")
        for field in fields:
            _refuse_field(field)
        self.fields = fields
        self.dim = sum(field.width for field in fields)
        self.parts = tuple(_part_of(field, "," if at else _PREFIX) for at, field in enumerate(fields))

    def key(self, state: Mapping[str, Any]) -> str:
        """Return the key of a dict: the same text for the same bins, on every machine and in every version. O(fields).

        Raises
        ------
        InputError
            A field is absent, or a number is none.
        NonFiniteError
            A number is NaN or infinite.
        """
        key = ""
        try:
            for name, known, low, high, width, bins, texts, code in self.parts:
                value = state[name]
                kind = type(value)
                if known is not None:
                    key += known.get(value, texts[-1]) if kind is str else texts[code(value)]
                elif (kind is float or kind is int) and low <= value <= high:  # not so for NaN
                    key += texts[int((value - low) / width * bins)]
                else:
                    key += texts[code(value)]
        except (KeyError, TypeError):
            for field in self.fields:
                field.code(_item(state, field.name))  # names what is absent
            raise
        return key

    def vector(self, state: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the vector of a dict, shape (dim,), float64, all in 0 .. 1: numbers scaled, choices one-hot.

        Raises
        ------
        InputError, NonFiniteError
            As `key`.
        """
        import numpy as np  # keys do without

        out = np.zeros(self.dim)
        start = 0
        for field in self.fields:
            value = _item(state, field.name)
            if isinstance(field, Number):
                out[start] = field.place(value)
            else:
                out[start + field.code(value)] = 1.0
            start += field.width
        return out

    def read(self, key: str) -> dict[str, Any]:
        """Return the dict that stands for all dicts of a key: middles of bins, options, None for other options.

        Raises
        ------
        InputError
            The key was not made with these fields.
        """
        found = read_key(key)
        known = found.format == "aqe" and list(found.parts) == [field.name for field in self.fields]
        if not known or not all(0 <= found.parts[f.name] < _codes(f) for f in self.fields):
            raise InputError(
                f"the key {key!r} was not made with these fields.", fix="use the encoding it was made with."
            )
        return {field.name: field.read(found.parts[field.name]) for field in self.fields}


def _codes(field: Field) -> int:
    return field.bins if isinstance(field, Number) else field.width


class Part(NamedTuple):
    """A field's part of the key, by a table, for the values that come most.

    A text is looked up in ``known``, where the last of ``texts`` stands for all others. A number in ``low .. high`` has
    the code ``int((value - low) / width * bins)``, in float64 and in this order.

    Attributes
    ----------
    name : str
    known : dict or None
        Of a choice: the part by option, of those that are texts. Of a number None.
    low, high, width : float
        Ends, and their distance.
    bins : int
    texts : list of str
        The part by code. The upper end of a number has a code of its own, and the part of the last bin.
    code : callable
        The code of all other values.
    """

    name: str
    known: dict[str, str] | None
    low: float
    high: float
    width: float
    bins: int
    texts: list[str]
    code: Callable[[Any], int]


def _part_of(field: Field, prefix: str) -> Part:
    texts = [f"{prefix}{field.name}={code}" for code in range(_codes(field))]
    if isinstance(field, Choice):
        known = {option: text for option, text in zip(field.options, texts, strict=False) if type(option) is str}
        return Part(field.name, known, 0.0, 0.0, 1.0, 1, texts, field.code)
    texts.append(texts[-1])  # the upper end belongs to the last bin
    low, high = float(field.low), float(field.high)
    return Part(field.name, None, low, high, high - low, field.bins, texts, field.code)


def _item(state: Mapping[str, Any], name: str) -> Any:
    try:
        return state[name]
    except (KeyError, TypeError):
        raise InputError(f"the state has no {name!r}.", fix="pass a dict with every field of the encoding.") from None


def _refuse_field(field: Field) -> None:
    if not field.name or set(field.name) & set("=,:"):
        raise InputError(f"a field is named {field.name!r}.", fix="use a name without '=', ',' and ':'.")
    if isinstance(field, Choice):
        if not field.options or len({(isinstance(o, bool), o) for o in field.options}) < len(field.options):
            raise InputError(f"{field.name} has the options {field.options}.", fix="name at least one, each once.")
    elif not (math.isfinite(field.high - field.low) and field.low < field.high and 1 <= field.bins <= _MAX_BINS):
        raise InputError(
            f"{field.name} has {field.bins} bins between {field.low} and {field.high}.",
            fix=f"let low be below high, and bins be in 1 .. {_MAX_BINS}.",
        )


def mapping_key(state: Mapping[str, Any]) -> str:
    """Return a key of a flat mapping without a list of fields: sorted JSON, its numbers to two significant digits.

    Parameters
    ----------
    state : mapping of str to str, bool, int, float or None
        At least one entry. Whole floats and integers are one: ``1.0`` and ``1``.

    Raises
    ------
    InputError
        It is empty, or something in it is none of these.
    NonFiniteError
        A number is NaN or infinite.

    Examples
    --------
    >>> mapping_key({"kind": "flaky", "failures": 3, "coverage": 0.8149})
    'm1:{"coverage":0.81,"failures":3,"kind":"flaky"}'
    """
    if not state or not all(isinstance(name, str) for name in state):
        raise InputError(f"the mapping has the names {list(state)!r}.", fix="name at least one entry, by text.")
    return "m1:" + json.dumps({name: _rounded(name, state[name]) for name in sorted(state)}, separators=(",", ":"))


def _rounded(name: str, value: Any) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (bytes, complex)) or not hasattr(value, "__float__"):
        raise InputError(f"{name} is {value!r}.", fix="use text, truth values, numbers and None.")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is {value!r}.", fix="use text, truth values, numbers and None.") from None
    if not math.isfinite(number):
        raise NonFiniteError(f"{name} is {number}.", fix="pass a finite number.")
    return _plain(float(f"{number:.1e}"))


# -- reading both ---------------------------------------------------------------------------------------------------


class ReadKey(NamedTuple):
    """What a key says.

    Attributes
    ----------
    format : str
        ``aqe`` (`Encoding.key`), ``agentic-qe-2.8`` (`ancestor_state_key`), ``agentic-qe-2.8-extractor``
        (`ancestor_extractor_key`), ``agentic-qe-2.8-action`` (`ancestor_action_key`), or ``other``.
    parts : dict
        Codes by field (``aqe``); features by name; ``strategy``, ``parallelization`` and ``retry_policy``; or nothing.
    """

    format: str
    parts: dict[str, Any]


def read_key(key: str | int) -> ReadKey:
    """Return what a key of a state or action says, whichever encoding made it. O(length).

    Examples
    --------
    >>> read_key("0.7,0.1,1.6,0.1,0.2").parts["attempts"]
    1.6
    >>> read_key("snapshot:0.3:none").parts
    {'strategy': 'snapshot', 'parallelization': 0.3, 'retry_policy': 'none'}
    >>> read_key("k1:coverage=3,kind=1")
    ReadKey(format='aqe', parts={'coverage': 3, 'kind': 1})
    >>> read_key("anything else").format
    'other'
    """
    if not isinstance(key, str):
        return ReadKey("other", {})
    if key.startswith(_PREFIX):
        pairs = [part.partition("=") for part in key.removeprefix(_PREFIX).split(",")]
        if all(name and code.isascii() and code.isdigit() for name, _, code in pairs):
            return ReadKey("aqe", {name: int(code) for name, _, code in pairs})
        return ReadKey("other", {})
    parts = key.split(",")
    if len(parts) in {5, 6} and all(map(_is_number, parts)):
        which = "agentic-qe-2.8" if len(parts) == 5 else "agentic-qe-2.8-extractor"
        return ReadKey(which, dict(zip(_FEATURES, map(float, parts), strict=False)))
    names = key.rsplit(":", 2)
    if len(names) == 3 and all(names) and "." in names[1] and _is_number(names[1]):
        action = {"strategy": names[0], "parallelization": float(names[1]), "retry_policy": names[2]}
        return ReadKey("agentic-qe-2.8-action", action)
    return ReadKey("other", {})


def _is_number(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").replace(".", "", 1).isdigit()
