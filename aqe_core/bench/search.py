"""``aqe bench search``: pattern stores on the same vectors and queries, in alternating rounds, at the same recall.

Truth is the exact scan of the NumPy backend; recall is tie-aware: a returned row counts if its exact score is not below
that of the k-th true one. Each setting of a backend is a store of its own, all of one size are held at once, and they
take turns within each round, one query at a time.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np

from aqe_core.contracts.pattern_store import NO_KEY
from aqe_core.engines import open_store
from aqe_core.errors import AqeError, ConfigError, MissingExtraError, UnknownBackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from aqe_core.contracts.pattern_store import PatternStore

    Progress = Callable[[str, int, int], None]

__all__ = ["LADDERS", "TARGETS", "Contestant", "compare", "contestants", "notes"]

TARGETS = (0.95, 0.99)
"""Recalls at which backends are compared."""

LADDERS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "annoy": ("search_k", (1_000, 4_000, 16_000)),
    "hnswlib": ("ef", (16, 64, 256)),
    "native": ("recall", (0.95, 0.99, 0.995)),
    "nmslib": ("ef", (16, 64, 256)),
    "usearch": ("ef", (16, 64, 256)),
}
"""Settings that are tried of a backend when none was given: the option, and its values."""

K = 10
_WARM_UP = 10
_TIE = 1e-6


@attrs.frozen
class Contestant:
    """A backend with the options of its factory.

    Attributes
    ----------
    backend : str
    options : mapping of str to object
    """

    backend: str
    options: Mapping[str, Any] = attrs.field(factory=dict)


class _Running(NamedTuple):
    contestant: Contestant
    store: PatternStore
    build_per_s: float
    rounds_us: list[NDArray[np.float64]]  # one row per round, by query
    batch_per_s: list[float]


def contestants(backend: str, options: Mapping[str, Any]) -> list[Contestant]:
    """Return a backend as it was asked for; without options, once for each step of its ladder."""
    if options or backend not in LADDERS:
        return [Contestant(backend, options)]
    option, values = LADDERS[backend]
    return [Contestant(backend, {option: value}) for value in values]


def compare(
    rows: NDArray[np.float32],
    queries: NDArray[np.float32],
    sizes: Sequence[int],
    entrants: Sequence[Contestant],
    *,
    reference: str,
    rounds: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure pattern stores by cosine.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, dim)
        The first ``size`` of these are stored.
    queries : ndarray of float32, shape (m, dim)
    sizes : sequence of int
    entrants : sequence of Contestant
    reference : str
        Backend to compare with.
    rounds : int
    progress : callable, optional
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    dict
        ``measures``, ``choices``, ``absent`` and ``failed``, as `aqe bench --help` lists them.

    Raises
    ------
    MissingExtraError
        None of the backends is installed.
    """
    absent: dict[str, str] = {}
    failed: dict[str, str] = {}
    measures: list[dict[str, Any]] = []
    for size in sizes:
        stored = rows[:size]
        exact = open_store("numpy", dim=rows.shape[1])
        exact.add(np.arange(size, dtype=np.uint64), stored)
        k = min(K, size)
        least = exact.search(queries, k).scores[:, -1].astype(np.float64)
        running = _built(stored, queries[:1], entrants, absent, failed, progress)
        _run(running, queries, k, rounds, progress)
        measures += [_summary(each, size, _recall(each.store, stored, queries, least, k)) for each in running]
        del running, exact
        gc.collect()  # stores of other libraries may be part of cycles, and the next size needs the memory
    if not measures:
        told = "; ".join([*(f"{name} is not installed" for name in absent), *failed.values()])
        raise MissingExtraError(f"none of the backends can be measured: {told}.", fix="; ".join(absent.values()) or "-")
    return {
        "measures": measures,
        "choices": _choices(measures, reference),
        "absent": [{"backend": name, "install": how} for name, how in absent.items()],
        "failed": failed,
    }


def _built(
    rows: NDArray[np.float32],
    query: NDArray[np.float32],
    entrants: Sequence[Contestant],
    absent: dict[str, str],
    failed: dict[str, str],
    progress: Progress | None,
) -> list[_Running]:
    """Return a store of all rows for each contestant; who cannot take part is noted."""
    keys = np.arange(len(rows), dtype=np.uint64)
    running = []
    for number, each in enumerate(entrants):
        if progress is not None:
            progress(f"building {len(rows):,}", number, len(entrants))
        if each.backend in absent:
            continue
        try:
            store = open_store(each.backend, dim=rows.shape[1], **each.options)
            began_s = time.perf_counter()
            store.add(keys, rows)
            getattr(store, "optimize", lambda: None)()
            store.search(query[0], 1)  # some build at the first search
            elapsed_s = time.perf_counter() - began_s
        except MissingExtraError as error:
            absent[each.backend] = error.fix
        except (ConfigError, UnknownBackendError):
            raise  # the caller's mistake
        except AqeError as error:
            failed[_label(each)] = str(error)
        else:
            running.append(_Running(each, store, len(rows) / elapsed_s, [], []))
    return running


def _run(
    running: Sequence[_Running], queries: NDArray[np.float32], k: int, rounds: int, progress: Progress | None
) -> None:
    """Time each query of each store, in rounds in which the stores take turns, each time another one first."""
    clock = time.perf_counter_ns
    for number in range(rounds):
        for turn in range(len(running)):
            each = running[(turn + number) % len(running)]
            if progress is not None:
                progress(f"searching {len(each.store):,}", number * len(running) + turn, rounds * len(running))
            search = each.store.search
            for query in queries[:_WARM_UP]:
                search(query, k)
            taken = np.empty(len(queries))
            for position, query in enumerate(queries):
                began = clock()
                search(query, k)
                taken[position] = clock() - began
            each.rounds_us.append(taken / 1e3)
            began = clock()
            search(queries, k)
            each.batch_per_s.append(len(queries) / max((clock() - began) / 1e9, 1e-9))


def _recall(
    store: PatternStore,
    rows: NDArray[np.float32],
    queries: NDArray[np.float32],
    least: NDArray[np.float64],
    k: int,
) -> float:
    """Return the share of the k best that is found, one query at a time; any of equally good rows will do."""
    found = 0
    for query, bound in zip(queries, least, strict=True):
        keys = np.unique(store.search(query, k).keys)
        near = rows[keys[keys != NO_KEY].astype(np.int64)].astype(np.float64)
        wide = query.astype(np.float64)
        scores = near @ wide / (np.linalg.norm(near, axis=1) * np.linalg.norm(wide))
        found += min(int((scores >= bound - _TIE).sum()), k)
    return found / (k * len(queries))


def _summary(each: _Running, size: int, recall: float) -> dict[str, Any]:
    times = np.array(each.rounds_us)
    calm = times.min(axis=0)
    stats: Any = getattr(each.store, "stats", dict)()
    memory = stats.get("memory_bytes") if hasattr(stats, "get") else None
    return {
        "size": size,
        "backend": each.contestant.backend,
        "options": dict(each.contestant.options),
        "recall": recall,
        "p50_us": float(np.median(np.percentile(times, 50, axis=1))),
        "p99_us": float(np.median(np.percentile(times, 99, axis=1))),
        "calm_p50_us": float(np.percentile(calm, 50)),
        "calm_p99_us": float(np.percentile(calm, 99)),
        "batch_per_s": float(np.median(each.batch_per_s)),
        "build_per_s": each.build_per_s,
        "bytes_per_vector": None if memory is None else memory / size,
    }


def _choices(measures: Sequence[Mapping[str, Any]], reference: str) -> list[dict[str, Any]]:
    """Return, by size and recall, the fastest setting of each backend that reaches it, fastest first."""
    choices = []
    for size in dict.fromkeys(each["size"] for each in measures):
        for target in TARGETS:
            best: dict[str, Mapping[str, Any]] = {}
            for each in measures:
                if each["size"] == size and each["recall"] >= target:
                    known = best.get(each["backend"])
                    if known is None or each["p50_us"] < known["p50_us"]:
                        best[each["backend"]] = each
            base = best.get(reference)
            choices += [
                {
                    "size": size,
                    "target": target,
                    **{name: each[name] for name in ("backend", "options", "recall", "p50_us")},
                    "ratio": None if base is None else base["p50_us"] / each["p50_us"],
                }
                for each in sorted(best.values(), key=lambda one: float(one["p50_us"]))
            ]
    return choices


def _label(each: Contestant) -> str:
    return each.backend + "".join(f":{name}={value}" for name, value in each.options.items())


def notes(found: Mapping[str, Any]) -> list[str]:
    """Return what stands below the tables."""
    lines = [f"{found['data']}; {found['queries']} queries, k = {K}, {found['rounds']} rounds; truth: the exact scan"]
    lines += [f"{each['backend']} is not installed: {each['install']}" for each in found["absent"]]
    lines += [f"{name} was left out: {why}" for name, why in found["failed"].items()]
    return lines
