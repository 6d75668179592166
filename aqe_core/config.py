"""Settings, and where each came from.

Three sources, highest first: environment variables, ``aqe.toml``, ``[tool.aqe]`` in ``pyproject.toml``. All of them are
strict: a key nobody knows is an error that names the nearest one that exists.
"""

from __future__ import annotations

import os
import re
import reprlib
import tomllib
from typing import TYPE_CHECKING, Any

import attrs

from aqe_core.errors import ConfigError, UnknownKeyError
from aqe_core.suggest import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["DEFAULT_BACKENDS", "ENVIRONMENT", "KEYS", "Config", "Key", "Layer", "Setting", "environment_hints", "load"]

_MAX_FILE_BYTES = 1 << 20
_MAX_DEPTH = 6  # no key has more parts, [tool.aqe] and a free name included

DEFAULT_BACKENDS = {
    "pattern_store": "numpy",
    "learner": "numpy",
    "ranker": "numpy",
    "analyzer": "numpy",
    "storage": "sqlite",
    "embedder": "lexical",
    "text_index": "numpy",
}
"""What is used when nothing else was said."""


@attrs.frozen
class Key:
    """What a config key may hold.

    Attributes
    ----------
    type : str
        ``string``, ``boolean``, ``number``, ``list of strings`` or ``any``.
    default : object
    doc : str
    """

    type: str
    default: Any
    doc: str


def _engine_keys(kind: str, noun: str, backend: str) -> dict[str, Key]:
    keys = {
        f"{kind}.backend": Key(
            "string", backend, f"Which {noun} to use: a name from `aqe backends`, or `file:PATH:CLASS`."
        ),
        f"{kind}.options.*": Key("any", None, f"Options for the {noun}'s factory."),
    }
    if kind != "storage":
        keys[f"{kind}.fallback"] = Key(
            "boolean",
            False,
            f"Use the default {noun} when the chosen one cannot be bound, and say so, instead of failing.",
        )
        keys[f"{kind}.namespaces.*"] = Key("string", None, f"Another {noun} for one namespace.")
    return keys


KEYS: dict[str, Key] = {
    **_engine_keys("pattern_store", "pattern store", DEFAULT_BACKENDS["pattern_store"]),
    **_engine_keys("learner", "learner", DEFAULT_BACKENDS["learner"]),
    **_engine_keys("ranker", "ranker", DEFAULT_BACKENDS["ranker"]),
    **_engine_keys("analyzer", "analyzer", DEFAULT_BACKENDS["analyzer"]),
    **_engine_keys("embedder", "embedder", DEFAULT_BACKENDS["embedder"]),
    **_engine_keys("text_index", "text index", DEFAULT_BACKENDS["text_index"]),
    **_engine_keys("storage", "storage", DEFAULT_BACKENDS["storage"]),
    "storage.path": Key("string", ".aqe/aqe.db", "The file that holds everything, relative to the project's root."),
    "learning.enabled": Key(
        "boolean", True, "Recommend strategies by what was learned, and learn from their outcomes (`ws.strategies`)."
    ),
    "search.mode": Key("string", "hybrid", "How texts are searched for: `hybrid`, `vector` or `lexical`."),
    "search.lexical_weight": Key("number", 1.0, "Weight of shared words in a hybrid score."),
    "search.vector_weight": Key("number", 0.5, "Weight of nearness of vectors in a hybrid score."),
    "ingest.exclude": Key(
        "list of strings", [], "Folders and files to leave out, as shell patterns on relative paths."
    ),
    "plugins.allow": Key(
        "list of strings",
        None,
        "Distributions whose plugins may be loaded; all when absent. aqe-core's own always may.",
    ),
    "plugins.observers": Key(
        "list of strings", [], "Plugins to load when a workspace opens, for their `aqe_event` hook."
    ),
    "plugins.pin.*": Key("string", None, "The distribution that a plugin name means, where two claim it."),
}
"""Every config key; ``*`` stands for a name of the user's choice."""

ENVIRONMENT: dict[str, str] = {
    "AQE_PATTERN_STORE": "Pattern store to use, above the config files.",
    "AQE_LEARNER": "Learner to use, above the config files.",
    "AQE_RANKER": "Ranker of tests to use, above the config files.",
    "AQE_ANALYZER": "Analyzer to use, above the config files.",
    "AQE_EMBEDDER": "Embedder to use, above the config files.",
    "AQE_TEXT_INDEX": "Text index to use, above the config files.",
    "AQE_STORAGE": "Storage to use, above the config files.",
    "AQE_SAFE": "Kill switch: when on, only the defaults are used and no third-party plugin is loaded.",
    "AQE_NO_LEARNING": "When on, strategies are neither learned nor recommended, as by `learning.enabled = false`.",
    "AQE_PLUGINS": "Comma-separated plugin names: no other third-party plugin is loaded.",
    "AQE_TRACE_HOOKS": "When on, every hook call and its result is printed to standard error.",
}
"""Every environment variable that the core reads."""


@attrs.frozen
class Setting:
    """A value and where it came from, e.g. ``aqe.toml:3`` or ``default``."""

    value: Any
    source: str


@attrs.frozen
class Layer:
    """One config file: its leaves by dotted key."""

    name: str
    leaves: Mapping[str, Setting]


@attrs.frozen
class Config:
    """The settings of a project.

    Attributes
    ----------
    root : Path
        The project's folder.
    layers : tuple of Layer
        ``aqe.toml`` before ``[tool.aqe]``; absent files are absent.
    environ : mapping of str to str
    """

    root: Path
    layers: tuple[Layer, ...]
    environ: Mapping[str, str]

    def get(self, key: str) -> Setting:
        """Return a setting from the highest file that has it, else its default.

        Examples
        --------
        >>> from pathlib import Path
        >>> Config(Path(), (), {}).get("storage.path")
        Setting(value='.aqe/aqe.db', source='default')
        """
        for layer in self.layers:
            if key in layer.leaves:
                return layer.leaves[key]
        return Setting(KEYS[_general(key)].default, "default")

    def under(self, prefix: str) -> dict[str, Setting]:
        """Return the settings below a table of free names (``learner.options``), by name, merged over the files."""
        found: dict[str, Setting] = {}
        for layer in reversed(self.layers):
            for key, setting in layer.leaves.items():
                if key.startswith(f"{prefix}."):
                    found[key.removeprefix(f"{prefix}.")] = setting
        return found

    def switch(self, variable: str) -> bool:
        """Return an on/off environment variable; unset and empty mean off.

        Raises
        ------
        ConfigError
            It is neither on nor off.
        """
        text = self.environ.get(variable, "").strip().lower()
        if text in {"", "0", "false", "no", "off"}:
            return False
        if text in {"1", "true", "yes", "on"}:
            return True
        raise ConfigError(
            f"environment variable {variable} is {text!r}, but must be on or off.",
            fix=f"set {variable}=1 or unset it.",
        )


def _general(key: str) -> str:
    """Return the entry of KEYS that a dotted key falls under; the key itself if there is none."""
    if key in KEYS:
        return key
    parts = key.split(".")
    for n in range(len(parts) - 1, 0, -1):
        pattern = ".".join([*parts[:n], "*"])
        if pattern in KEYS:
            return pattern
    return key


def load(root: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read the settings of a project.

    Parameters
    ----------
    root : Path
        Folder with ``aqe.toml`` and ``pyproject.toml``, both optional.
    environ : mapping, optional
        Instead of ``os.environ``.

    Raises
    ------
    ConfigError, UnknownKeyError
        A file cannot be read, is not TOML, has an unknown key or a value of the wrong type.
    """
    layers = []
    for name, table in (("aqe.toml", ()), ("pyproject.toml", ("tool", "aqe"))):
        text = _read(root / name)
        if text is not None:
            leaves = {key: _anchored(root, key, setting) for key, setting in _leaves(name, text, table)}
            layers.append(Layer(name, leaves))
    return Config(root, tuple(layers), os.environ if environ is None else environ)


def environment_hints(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each ``AQE_`` variable that nobody reads but that looks like one that is."""
    hints = []
    for variable in sorted(environ):
        if variable.startswith("AQE_") and variable not in ENVIRONMENT:
            near = nearest(variable, ENVIRONMENT, cutoff=0.75)
            if near is not None:
                hints.append(f"environment variable {variable} is not read; did you mean {near}?")
    return hints


def _anchored(root: Path, key: str, setting: Setting) -> Setting:
    """Return a setting whose ``file:PATH`` backend, if it is one, is relative to the project and not to the caller."""
    names_a_backend = key.endswith(".backend") or ".namespaces." in key
    if names_a_backend and setting.value.startswith("file:"):
        return attrs.evolve(setting, value=f"file:{root / setting.value.removeprefix('file:')}")
    return setting


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {_MAX_FILE_BYTES} bytes.", fix="a config file is a few lines.")
        return data.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", fix="make it a readable UTF-8 file.") from error


def _leaves(name: str, text: str, table: tuple[str, ...]) -> Iterator[tuple[str, Setting]]:
    try:
        data: Any = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib lets through those of int() and of deep nesting
        raise ConfigError(f"{name} is not valid TOML: {error}.", fix="correct that place.") from error
    for depth, part in enumerate(table, 1):
        data = data.get(part, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{name}: {'.'.join(table[:depth])} must be a table.", fix="write it as a table.")
    if not data:
        return
    lines = _line_numbers(text)

    def where(path: tuple[str, ...]) -> str:
        full = (*table, *path)
        return f"{name}:{next(lines[full[:n]] for n in range(len(full), 0, -1) if full[:n] in lines)}"

    def walk(prefix: tuple[str, ...], value: Any) -> Iterator[tuple[str, Setting]]:
        key, general = ".".join(prefix), _general(".".join(prefix))
        place = where(prefix)
        quoted = "." in prefix[-1] and general != ".".join((*prefix[:-1], "*"))
        if quoted or not any(known == general or known.startswith(f"{key}.") for known in KEYS):
            raise _unknown(key, place)
        if general in KEYS:
            yield key, Setting(_typed(key, value, place), place)
        elif isinstance(value, dict):
            for part, below in value.items():
                yield from walk((*prefix, part), below)
        else:
            fix = f"set {key}.backend." if f"{key}.backend" in KEYS else f"write [{'.'.join((*table, key))}]."
            raise ConfigError(f"{place}: {key} must be a table.", fix=fix)

    for part, value in data.items():
        yield from walk((part,), value)


def _unknown(key: str, where: str) -> UnknownKeyError:
    candidates = [*KEYS, *(known.rsplit(".", 1)[0] for known in KEYS)]
    known = [candidate for candidate in candidates if "*" not in candidate]
    if key in known:
        fix = "write it without quotation marks."
    else:
        fix = did_you_mean(key, known, "docs/reference/config.md lists the keys.")
    return UnknownKeyError(f"{where}: unknown key {key!r}.", fix=fix)


def _typed(key: str, value: Any, where: str) -> Any:
    expected = KEYS[_general(key)].type
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "number": isinstance(value, (int, float)) and not isinstance(value, bool),
        "list of strings": isinstance(value, list) and all(isinstance(item, str) for item in value),
        "any": True,
    }[expected]
    if not fits:
        fix = f"write a {expected} there."
        if isinstance(value, dict) and _general(key).endswith("*"):
            fix = "put quotation marks around a name with dots in it."
        raise ConfigError(f"{where}: {key} is {reprlib.repr(value)}, but must be a {expected}.", fix=fix)
    return value


# What may hold a newline, a bracket or an equals sign without meaning it, before what means it.
_PIECE = re.compile(
    r""""{3}(?:[^\\]|\\.)*?"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[^\n"'#=\[\]{}]+|.""",
    re.DOTALL,
)


def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Map each table and key of a valid TOML text to the line where it is first named; tomllib tells no positions.

    What an inline table or an array holds is not mapped: its line is that of its key.
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    line, statement, depth, in_value = 1, "", 0, False
    for piece in _PIECE.findall(text + "\n"):
        if piece == "\n" and depth == 0:
            if statement:
                table = _note(found, (), statement, line)
            statement, in_value = "", False
        elif in_value:
            depth += (piece in "[{") - (piece in "]}")
        elif piece == "=":
            _note(found, table, f"{statement}= 0", line)
            statement, in_value = "", True
        elif piece[0] != "#":
            statement += piece.strip()
        line += piece.count("\n")
    return found


def _note(found: dict[tuple[str, ...], int], table: tuple[str, ...], statement: str, line: int) -> tuple[str, ...]:
    """Map the table or key that a statement names, and all above it; return its path."""
    path = [*table]
    data: Any = tomllib.loads(statement)
    while isinstance(data, dict) and data:
        key, data = next(iter(data.items()))
        path.append(key)
    for n in range(1, min(len(path), _MAX_DEPTH) + 1):
        found.setdefault(tuple(path[:n]), line)
    return tuple(path)
