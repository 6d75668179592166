"""The examinations of ``aqe doctor``: each yields what it found, and none stops another."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import attrs

from aqe_core import __version__
from aqe_core.binding import bind
from aqe_core.config import Config, environment_hints, load
from aqe_core.errors import AqeError
from aqe_core.plugins import PluginManager, iter_problems
from aqe_core.selection import Selection, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Work = Callable[[Callable[..., Any]], str]

__all__ = ["Finding", "examine", "programs_on_path"]


@attrs.frozen
class Finding:
    """What an examination found.

    Attributes
    ----------
    name : str
    status : str
        ``ok``, ``warn`` or ``fail``.
    message : str
    fix : str
        What to do; empty when all is well.
    elapsed_s : float
    """

    name: str
    status: str
    message: str
    fix: str = ""
    elapsed_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``aqe doctor --json`` prints."""
        return attrs.asdict(self)


def examine(project: Path, namespace: str) -> Iterator[Finding]:
    """Examine everything, in the order in which one thing rests on another."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}, {sys.executable}")
    yield Finding("aqe", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    yield _shadow()
    config = _timed("config", lambda: _config(project))
    yield config
    hints = environment_hints(os.environ)
    if hints:
        yield Finding("environment", "warn", " ".join(hints), "correct or unset it.")
    # With a broken config the rest is examined as if there were none: it may be just as wrong.
    settings = load(project) if config.status == "ok" else Config(project, (), os.environ)
    manager = PluginManager(settings)
    yield from _plugins(manager)
    for kind, work in _WORK.items():
        for selection in _selections(kind, settings, namespace):
            yield _timed(f"{kind.replace('_', ' ')} {selection.backend}", _trial(work, selection, manager))
    if config.status == "ok":
        workspace = _timed("workspace", lambda: _workspace(project, namespace, settings))
        yield workspace
        if workspace.status == "ok":
            yield from _search_own(project, namespace, settings)


def _timed(name: str, work: Callable[[], str]) -> Finding:
    """Return how some work went: its message, or its error."""
    start = perf_counter()
    try:
        message = work()
    except AqeError as error:
        return Finding(name, "fail", error.message, error.fix, perf_counter() - start)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        return Finding(name, "fail", what, "report it to the author of that backend.", perf_counter() - start)
    return Finding(name, "ok", message, elapsed_s=perf_counter() - start)


# -- the installation -----------------------------------------------------------------------------------------------


def programs_on_path(name: str, path: str) -> list[Path]:
    """Return every program of that name on a ``PATH``, in the order of search."""
    suffixes = os.environ.get("PATHEXT", ".EXE").split(os.pathsep) if os.name == "nt" else [""]
    candidates = (
        Path(folder) / f"{name}{suffix}" for folder in path.split(os.pathsep) if folder for suffix in suffixes
    )
    return [each for each in dict.fromkeys(candidates) if each.is_file() and os.access(each, os.X_OK)]


def _shadow() -> Finding:
    found = programs_on_path("aqe", os.environ.get("PATH", os.defpath))
    scripts = Path(sysconfig.get_path("scripts")).resolve()
    ours = [each for each in found if each.resolve().parent == scripts]
    if found and found[0] in ours:
        return Finding("PATH", "ok", f"aqe is {found[0]}")
    if not found:
        return Finding(
            "PATH",
            "warn",
            "no program aqe is on PATH.",
            f"python -m aqe_core is the same program; ours is in {scripts}.",
        )
    others = "; ".join(f"{each} ({_whose(each)})" for each in found if each not in ours)
    return Finding(
        "PATH", "warn", f"`aqe` runs another program: {others}.", "python -m aqe_core always is this program."
    )


def _whose(program: Path) -> str:
    try:
        with program.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return "unreadable"
    if b"aqe_core" in head:
        return "another installation of aqe-core"
    return "of Node.js, perhaps agentic-qe" if b"node" in head else "not of aqe-core"


def _config(project: Path) -> str:
    layers = load(project).layers
    counts = [f"{layer.name} ({len(layer.leaves)} keys)" for layer in layers]
    return ", ".join(counts) if counts else "no config files, defaults apply"


def _plugins(manager: PluginManager) -> Iterator[Finding]:
    problems = list(iter_problems(manager))
    for name, error in problems:
        yield Finding(f"plugin {name}", "fail", error.message, error.fix)
    names = sorted({source.name for source in manager.sources()} - {name for name, _ in problems})
    yield Finding("plugins", "ok", ", ".join(names))


def _workspace(project: Path, namespace: str, settings: Config) -> str:
    path = project / settings.get("storage.path").value
    if not path.exists():
        return f"none at {path} (`aqe quickstart` makes one)"
    from aqe_core.workspace import open as open_workspace

    with open_workspace(project, namespace=namespace, create=False) as ws:
        return _in_words(ws.storage.info())


def _in_words(facts: dict[str, Any]) -> str:
    flat = {**facts, **facts.get("counts", {})}
    return ", ".join(f"{name} {value}" for name, value in flat.items() if not isinstance(value, dict))


# -- the engines ----------------------------------------------------------------------------------------------------


def _selections(kind: str, config: Config, namespace: str) -> list[Selection]:
    """Return one selection for each backend of the kind that the project uses anywhere."""
    namespaces = [namespace, *config.under(f"{kind}.namespaces")]
    chosen = [select(kind, config, namespace=each) for each in namespaces]
    return list({selection.backend: selection for selection in reversed(chosen)}.values())


def _trial(
    work: Callable[[Callable[..., Any]], str], selection: Selection, manager: PluginManager
) -> Callable[[], str]:
    def trial() -> str:
        answered = selection

        def make(**required: Any) -> Any:
            nonlocal answered
            engine, answered = bind(selection, manager, required)
            return engine

        message = work(make)
        instead = f"; {answered.backend} stood in: {answered.source}" if answered.backend != selection.backend else ""
        return f"{message} ({answered.distribution} {answered.version}){instead}"

    return trial


def _require(condition: object, what: str) -> None:
    if not condition:
        raise AqeError(f"wrong answer: {what}.", fix="run `aqe check` on that backend and tell its author.")


def _try_store(make: Callable[..., Any]) -> str:
    import numpy as np

    rows = np.random.default_rng(7).standard_normal((100, 32)).astype(np.float32)
    keys = np.arange(100, dtype=np.uint64)
    store = make(dim=32, metric="cosine")
    store.add(keys, rows)
    hits = store.search(rows, 1)
    _require(np.array_equal(hits.keys[:, 0], keys), "a stored vector is not its own nearest")
    stats: dict[str, Any] = getattr(store, "stats", dict)()
    simd = f", by {stats['simd']} instructions" if "simd" in stats else ""
    return f"100 vectors added, each found as its own nearest{simd}"


def _search_own(project: Path, namespace: str, settings: Config) -> Iterator[Finding]:
    """Compare what the workspace's store finds with an exact scan, if there is a workspace with enough patterns."""
    if not (project / settings.get("storage.path").value).exists():
        return
    from aqe_core.cli.examine_search import recall_on_own
    from aqe_core.workspace import open as open_workspace

    def work() -> str:
        with open_workspace(project, namespace=namespace, read_only=True) as ws:
            return recall_on_own(ws)

    finding = _timed("search", work)
    if finding.message:
        yield finding


def _try_learner(make: Callable[..., Any]) -> str:
    learner = make(algorithm="q-learning")
    for _ in range(100):
        learner.update("state", "good", 1.0, "end", True)
        learner.update("state", "bad", -1.0, "end", True)
    _require(learner.act("state", ["bad", "good"], explore=False) == "good", "100 rewards taught it nothing")
    return "200 updates, the rewarded action preferred"


def _try_ranker(make: Callable[..., Any]) -> str:
    from aqe_core.contracts.ranker import Candidates, Outcomes

    ranker = make()
    tests = Candidates([f"test_{i}" for i in range(10)])
    for _ in range(5):
        ranker.observe(tests, Outcomes([i == 7 for i in range(10)]))
    _require(ranker.rank(tests).order[0] == 7, "the only failing test is not the first")
    return "5 cycles of 10 tests, the failing one first"


def _try_analyzer(make: Callable[..., Any]) -> str:
    summary = make().describe([1.0, 2.0, 6.0])
    _require((summary.n, summary.mean, summary.median) == (3, 3.0, 2.0), f"of 1, 2 and 6: {summary}")
    return "count, mean and median of three numbers"


def _try_embedder(make: Callable[..., Any]) -> str:
    import numpy as np

    from aqe_core.contracts.embedder import Document

    embedder = make()
    documents = [Document("test_retry_is_capped", "retry after timeout"), Document("test_login", "wrong password")]
    embedder.fit(documents)
    scores = embedder.embed(documents) @ embedder.embed_queries(["capped retry"])[0]
    _require(np.isfinite(scores).all() and scores[0] > scores[1], "the nearer of two texts is not the nearer vector")
    return f"{embedder.dim} dimensions, the nearer of two texts found"


def _try_text_index(make: Callable[..., Any]) -> str:
    from aqe_core.contracts.embedder import Document

    index = make()
    index.add([7, 8], [Document("test_retry_is_capped", "retry after timeout"), Document("test_login", "password")])
    hits = index.search("capped retry", 2)
    _require(hits.keys[0] == 7, "the text that holds the words is not found first")
    return "two texts added, the one that holds the words found"


def _try_storage(make: Callable[..., Any]) -> str:
    from aqe_core.contracts.records import Pattern

    with tempfile.TemporaryDirectory(prefix="aqe-doctor-") as folder:
        path = Path(folder) / "aqe.db"
        storage = make(path=path, read_only=False)
        try:
            storage.put_patterns("default", [Pattern(id="a", name="a", text="a")])
        finally:
            storage.close()
        storage = make(path=path, read_only=False)
        try:
            _require(storage.find_patterns("default", ["a"])[0] is not None, "what was written is not there")
            facts = storage.info()
        finally:
            storage.close()
    return f"written and read again, {facts.get('engine', '')} {facts.get('version', '')}"


_WORK: dict[str, Work] = {
    "storage": _try_storage,
    "pattern_store": _try_store,
    "learner": _try_learner,
    "ranker": _try_ranker,
    "analyzer": _try_analyzer,
    "embedder": _try_embedder,
    "text_index": _try_text_index,
}
