"""``aqe bench storage``: the storage's own benchmark, and the search for words in what it holds."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.bench.measure import Measure, run
from aqe_core.contracts.records import Pattern
from aqe_core.errors import CapabilityError
from aqe_core.isolation import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqe_core.plugins import FoundEngine

__all__ = ["ENGINE", "ROWS", "made_tests", "measure", "notes"]

ENGINE = "storage"
ROWS = 5_000
_QUERIES = 200
_WORDS = 5_000
_WORDS_A_TEST = 40


def measure(
    found: FoundEngine, *, folder: Path, rounds: int = 3, rows: int = ROWS, progress: Any = None, **options: Any
) -> dict[str, Any]:
    """Run the benchmark that the storage's factory offers, and measure the search for words."""
    name = found.spec.name
    factory = resolve(found.spec.factory, found.source)
    benchmark: Callable[..., dict[str, Any]] | None = getattr(factory, "benchmark", None)
    if benchmark is None:
        raise CapabilityError(f"the storage {name!r} offers no benchmark.", fix="measure it with its own tools.")
    own = benchmark(folder, rounds=rounds, rows=rows, progress=progress, **options)
    words = _search_words(folder, rows, rounds)
    return {"folder": str(folder), **own, "measures": [*own["measures"], *words]}


def made_tests(rows: int, seed: int = 1) -> tuple[list[Pattern], list[str]]:
    """Return tests of 40 words, and queries of three words; words are as frequent as Zipf's law has it."""
    generator = np.random.default_rng(seed)
    syllables = ["re", "try", "log", "par", "se", "cli", "ent", "ti", "me", "out", "qu", "er", "va", "lid", "no", "de"]
    words = ["".join(three) for three in itertools.product(syllables, repeat=4)][:_WORDS]
    chances = 1 / np.arange(1, _WORDS + 1)
    chances /= chances.sum()
    drawn = generator.choice(_WORDS, (rows, _WORDS_A_TEST), p=chances)
    texts = [" ".join(words[place] for place in places) for places in drawn.tolist()]
    asked = generator.choice(_WORDS, (_QUERIES, 3), p=chances)
    patterns = [Pattern(id=f"w{i}", name=f"test_{i}", text=text) for i, text in enumerate(texts)]
    return patterns, [" ".join(words[place] for place in places) for places in asked.tolist()]


def _search_words(folder: Path, rows: int, rounds: int) -> list[dict[str, Any]]:
    """Measure queries of three words, as a workspace answers them and as the storage's own index does."""
    from aqe_core.workspace import open as open_workspace  # imports most of aqe

    patterns, queries = made_tests(rows)
    work = Path(tempfile.mkdtemp(prefix="aqe-bench-", dir=folder))
    try:
        with open_workspace(work) as ws:
            ws.storage.put_patterns("default", patterns)
            latencies_s: list[float] = []

            def by_workspace() -> float:
                return _p99_ms(lambda query: ws.patterns.search(query, k=10, mode="lexical"), queries, latencies_s)

            own: Any = getattr(ws.storage, "search_text", None)  # no part of the contract

            def by_storage() -> float:
                return _p99_ms(lambda query: own("default", query, 10), queries, [])

            by_workspace()  # the first search makes the index
            latencies_s.clear()
            peers = {"the storage's own index": by_storage} if own is not None else {}
            [found] = run([Measure("search_words", "ms p99", by_workspace, peers, less_is_better=True)], rounds)
        p50_ms, p99_ms = (np.quantile(latencies_s, [0.5, 0.99]) * 1e3).tolist()
        return [{**found, "p50_ms": p50_ms, "p99_ms": p99_ms}]
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _p99_ms(search: Callable[[str], object], queries: list[str], latencies_s: list[float]) -> float:
    taken_s = []
    for query in queries:
        began_s = time.perf_counter()
        search(query)
        taken_s.append(time.perf_counter() - began_s)
    latencies_s += taken_s
    return float(np.quantile(taken_s, 0.99) * 1e3)


def notes(found: dict[str, Any]) -> list[str]:
    """Return what stands below the table."""
    return [
        f"syncs per durable write of a lone caller: {found['syncs_per_write']:.3f}",
        *_beside_a_writer(found),
        f"SQLite {found['sqlite_version']}; {found['node']}; {found['rounds']} rounds",
    ]


def _beside_a_writer(found: dict[str, Any]) -> list[str]:
    if "longest_log_bytes" not in found:  # another storage's benchmark
        return []
    log, write = found["longest_log_bytes"] / 1e6, found["longest_write_beside_backup_ms"]
    return [f"a busy writer: longest log {log:.1f} MB; beside a backup its longest write, 500 patterns, {write:.0f} ms"]
