"""Measures beside peers: rounds in turns, medians, and what became of each."""

from __future__ import annotations

import statistics
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Progress = Callable[[str, int, int], None]

__all__ = ["Measure", "absent", "rate", "run"]


@attrs.frozen
class Measure:
    """One thing to measure: what returns a number, ours and each peer's.

    Attributes
    ----------
    name, unit : str
        The name is stable.
    ours : callable
    peers : mapping of str to callable
    less_is_better : bool
    """

    name: str
    unit: str
    ours: Callable[[], float]
    peers: Mapping[str, Callable[[], float]] = attrs.field(factory=dict)
    less_is_better: bool = False


def rate(work: Callable[[], object], units: int, seconds: float) -> float:
    """Return how many units of work are done per second, repeating it for about so long after one unmeasured call."""
    work()
    done, began_s = 0, time.perf_counter()
    while True:
        work()
        done += units
        elapsed_s = time.perf_counter() - began_s
        if elapsed_s >= seconds:
            return done / elapsed_s


def absent(modules: Sequence[str]) -> list[str]:
    """Return those of the modules that are not installed, without importing any."""
    return [name for name in modules if find_spec(name) is None]


def run(measures: Sequence[Measure], rounds: int, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Return a summary of each measure.

    Ours and the peers take turns in each round, since the speed of a machine changes with time.

    Returns
    -------
    list of dict
        ``name``, ``unit``, ``value`` (the median), ``lowest``, ``highest``, and ``peers``: ``name``, ``value`` and
        ``ratio`` (above 1: ours is faster).
    """
    found: list[dict[str, list[float]]] = [{} for _ in measures]
    for number in range(rounds):
        for position, (measure, values) in enumerate(zip(measures, found, strict=True)):
            if progress is not None:
                progress("measuring", number * len(measures) + position, rounds * len(measures))
            for who, work in {"": measure.ours, **measure.peers}.items():
                values.setdefault(who, []).append(work())
    return [_summary(measure, values) for measure, values in zip(measures, found, strict=True)]


def _summary(measure: Measure, found: dict[str, list[float]]) -> dict[str, Any]:
    ours = found[""]
    value = statistics.median(ours)
    peers = []
    for name in measure.peers:
        theirs = statistics.median(found[name])
        ratio = theirs / value if measure.less_is_better else value / theirs
        peers.append({"name": name, "value": theirs, "ratio": ratio})
    return {
        "name": measure.name,
        "unit": measure.unit,
        "value": value,
        "lowest": min(ours),
        "highest": max(ours),
        "peers": peers,
    }
