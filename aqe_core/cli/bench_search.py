"""The part of ``aqe bench`` that compares pattern stores."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aqe_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aqe_core.cli.invocation import Invocation

__all__ = ["compare", "parse_backends", "parse_sizes"]

_ENTRY = re.compile(r"(?P<name>.+?)(?::(?P<setting>[A-Za-z_]\w*=.*))?")
_SETTING = re.compile(r"[A-Za-z_]\w*=.+")


def compare(
    call: Invocation,
    *,
    backends: str | None,
    data: Path | None,
    sizes: str | None,
    queries: int,
    reference: str,
    rounds: int,
) -> int:
    """Run the comparison and print it."""
    from aqe_core.bench import search, search_data
    from aqe_core.cli.invocation import progress

    chosen = [(name, {}) for name in _every(call)] if backends is None else parse_backends(backends)
    if reference not in [name for name, _ in chosen]:
        chosen.append((reference, {}))
    vectors = search_data.load(call, data, parse_sizes(sizes), queries)
    with progress() as shown:
        found = search.compare(
            vectors.rows,
            vectors.queries,
            vectors.sizes,
            [each for name, options in chosen for each in search.contestants(name, options)],
            reference=reference,
            rounds=rounds,
            progress=shown,
        )
    facts = {
        "data": vectors.source,
        "dim": vectors.rows.shape[1],
        "queries": len(vectors.queries),
        **{name: found[name] for name in ("choices", "absent", "failed")},
    }
    told = {"what": "search", "backend": reference, "rounds": rounds, "measures": found["measures"], "facts": facts}
    call.emit(told, lambda: _draw(told, search.notes({**facts, "rounds": rounds})))
    return 0


def parse_backends(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return backends and options of ``A,B:ef=64,m=32,C``: settings after a colon, more of them after commas.

    Raises
    ------
    UsageError
        It is not written so.

    Examples
    --------
    >>> parse_backends("numpy,hnswlib:ef=64,m=32,native:index=flat")
    [('numpy', {}), ('hnswlib', {'ef': 64, 'm': 32}), ('native', {'index': 'flat'})]
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for piece in (part.strip() for part in text.split(",")):
        entry = _ENTRY.fullmatch(piece)
        if entry is None:
            raise UsageError(f"--backends is {text!r}.", fix="write --backends numpy,hnswlib:ef=64")
        setting: str | None = piece if found and found[-1][1] and _SETTING.fullmatch(piece) else entry["setting"]
        if setting != piece:
            found.append((entry["name"], {}))
        if setting is not None:
            name, _, value = setting.partition("=")
            found[-1][1][name] = _value(value)
        elif "=" in piece:
            raise UsageError(f"--backends has the setting {piece!r} of nothing.", fix="write NAME:SETTING=VALUE.")
    return found


def _value(text: str) -> Any:
    """Return a setting's value: a truth value, an integer, a number, else text."""
    if text in {"true", "false"}:
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_sizes(text: str | None) -> tuple[int, ...]:
    """Return the numbers of ``2000,12000``; none of None.

    Raises
    ------
    UsageError
        It is not written so.
    """
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise UsageError(f"--sizes is {text!r}.", fix="write --sizes 2000,12000")
    return tuple(dict.fromkeys(map(int, parts)))


def _every(call: Invocation) -> list[str]:
    """Return the backends that are installed or could be, those that compare by cosine."""
    from aqe_core.bench.search import LADDERS
    from aqe_core.config import load
    from aqe_core.plugins import PluginManager

    there = {
        found.spec.name
        for found in PluginManager(load(call.project)).engines("pattern_store")
        if "cosine" in getattr(found.spec.capabilities, "metrics", ())
    }
    return sorted(there | set(LADDERS) | {"numpy", "sqlite-vec"})


def _draw(found: Mapping[str, Any], notes: list[str]) -> None:
    from aqe_core.cli.draw import Page

    page = Page()
    columns = [">rows", "backend", "options", ">recall", ">p50 us", ">p99 us", ">calm p50", ">calm p99"]
    page.table(
        [*columns, ">batch/s", ">built/s", ">bytes"],
        [
            (
                f"{each['size']:,}",
                each["backend"],
                _options(each),
                f"{each['recall']:.3f}",
                *(f"{each[name]:,.1f}" for name in ("p50_us", "p99_us", "calm_p50_us", "calm_p99_us")),
                *(f"{each[name]:,.0f}" for name in ("batch_per_s", "build_per_s")),
                "" if each["bytes_per_vector"] is None else f"{each['bytes_per_vector']:,.0f}",
            )
            for each in found["measures"]
        ],
    )
    page.heading("Fastest at a recall")
    page.table(
        [">rows", ">recall", "backend", "options", ">p50 us", f">as fast as {found['backend']}"],
        [
            (
                f"{each['size']:,}",
                f"{each['target']:.2f}",
                each["backend"],
                _options(each),
                f"{each['p50_us']:,.1f}",
                "" if each["ratio"] is None else f"{each['ratio']:.2f}x",
            )
            for each in found["facts"]["choices"]
        ],
    )
    page.say()
    for line in notes:
        page.say(line)


def _options(each: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in each["options"].items())
