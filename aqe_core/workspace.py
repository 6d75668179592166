"""The facade that people use: one project's memory, results, ranking and analysis.

Data moves one way: what is ingested goes into storage in one transaction; the engines follow from there. An engine is
bound when it is first needed and then kept; before each search the workspace asks storage, in a few microseconds,
whether anyone has written since, and catches up from the journal.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property, wraps
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aqe_core.binding import bind
from aqe_core.config import load
from aqe_core.errors import InputError, NoWorkspaceError, ReadOnlyError
from aqe_core.plugins import PluginManager
from aqe_core.selection import Selection, select

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from aqe_core.analysis import Analysis
    from aqe_core.config import Config
    from aqe_core.contracts.analyzer import Analyzer
    from aqe_core.contracts.learner import Learner
    from aqe_core.contracts.ranker import Ranker
    from aqe_core.contracts.storage import Storage
    from aqe_core.encoding import Encoding
    from aqe_core.ingest import IngestReport
    from aqe_core.learning import DurableLearner
    from aqe_core.memory import Patterns
    from aqe_core.ranking import RankedTest
    from aqe_core.ranking_evaluation import RankingEvaluation
    from aqe_core.results import Results
    from aqe_core.strategy import Strategies

    Progress = Callable[[str, int, int], None]

__all__ = ["Workspace", "open"]

_T = TypeVar("_T")


def open(  # noqa: A001  # aqe_core.open() is the public name
    path: str | os.PathLike[str] = ".",
    *,
    namespace: str = "default",
    create: bool = True,
    read_only: bool = False,
    pattern_store: str | None = None,
    learner: str | None = None,
    ranker: str | None = None,
    analyzer: str | None = None,
    embedder: str | None = None,
    text_index: str | None = None,
) -> Workspace:
    """Open the workspace of a project.

    Parameters
    ----------
    path : path
        The project's folder. Its data live in ``.aqe/`` there, unless ``storage.path`` says otherwise.
    namespace : str
        Which set of patterns; sets do not see each other. Test results belong to the whole project.
    create : bool
        Make the data file if there is none.
    read_only : bool
        Refuse every write; implies that nothing is created.
    pattern_store, learner, ranker, analyzer, embedder : str, optional
    pattern_store, learner, analyzer, embedder, text_index : str, optional
        Backends to use here, above every configuration.

    Returns
    -------
    Workspace
        A context manager; leaving it closes the file.

    Raises
    ------
    NoWorkspaceError
        There is no such folder, or no data file and nothing may be created.
    ConfigError
        A config file is wrong.
    StorageError
        The data file cannot be used.

    Examples
    --------
    >>> import aqe_core, tempfile
    >>> with tempfile.TemporaryDirectory() as folder, aqe_core.open(folder) as ws:
    ...     keys = ws.patterns.add(["retry is capped after a timeout", "login rejects a wrong password"])
    ...     [match.pattern.name for match in ws.patterns.search("timeout retry", k=1)]
    ['retry is capped after a timeout']
    """
    root = Path(path)
    if not root.is_dir():
        raise NoWorkspaceError(f"{root} is not a folder.", fix="give the project's folder.")
    explicit = {
        "pattern_store": pattern_store,
        "learner": learner,
        "ranker": ranker,
        "analyzer": analyzer,
        "embedder": embedder,
        "text_index": text_index,
    }
    return Workspace(
        root, load(root), namespace=namespace, create=create and not read_only, read_only=read_only, explicit=explicit
    )


def make_folder(path: Path) -> None:
    """Make the folder of a data file, unless it is there.

    Raises
    ------
    ReadOnlyError
    """
    if path.parent.is_dir() and path.parent.name != ".aqe":
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name == ".aqe":
            # The folder keeps itself out of version control, whatever the project's own rules say.
            (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise ReadOnlyError(
            f"{path.parent} cannot be written: {error.strerror or error}.",
            fix="make the folder writable, or set storage.path to one that is.",
        ) from error


def _made_once(make: Callable[[Workspace], _T]) -> cached_property[_T]:
    """Return a `cached_property` of which threads that ask for it together are given the same one.

    Since Python 3.12 a `cached_property` takes no lock of its own.
    """

    @wraps(make)
    def once(workspace: Workspace) -> _T:
        with workspace.lock:
            made = vars(workspace)
            if make.__name__ not in made:
                made[make.__name__] = make(workspace)
            value: _T = made[make.__name__]
            return value

    return cached_property(once)


class Workspace:
    """One project's memory, results, ranking and analysis. Made by `open`.

    Attributes
    ----------
    root : Path
        The project's folder.
    namespace : str
    config : Config
    storage : Storage
        The durable truth.
    patterns : Patterns
        Test patterns: add, search, get, remove.
    results : Results
        Test results: ingest.
    strategies : Strategies
        Actions for situations: recommend, learn.

    Notes
    -----
    Methods may be called from several threads. Several processes may hold the same workspace open; writers wait for
    each other for at most the storage's timeout.
    """

    def __init__(
        self,
        root: Path,
        config: Config,
        *,
        namespace: str,
        create: bool,
        read_only: bool,
        explicit: dict[str, str | None],
    ) -> None:
        self.root = root
        self.config = config
        self.namespace = namespace
        self._explicit = explicit
        self.lock = RLock()
        self.selections: dict[str, Selection] = {}
        self._learners: dict[str, DurableLearner] = {}
        self.plugins = PluginManager(config)
        self.plugins.observe(config.get("plugins.observers").value)
        self.storage: Storage = self._open_storage(create=create, read_only=read_only)

    def _open_storage(self, *, create: bool, read_only: bool) -> Storage:
        path = self.root / self.config.get("storage.path").value
        if not path.exists():
            if not create:
                raise NoWorkspaceError(
                    f"there is no workspace at {path}.", fix="run `aqe init` or `aqe quickstart` there."
                )
            make_folder(path)
        storage: Storage = self.bound("storage", required={"path": path, "read_only": read_only})
        return storage

    def bound(self, kind: str, required: dict[str, Any] | None = None, **options: Any) -> Any:
        """Select and make the engine of a kind for this namespace, and remember why it was chosen."""
        selection = select(kind, self.config, namespace=self.namespace, explicit=self._explicit.get(kind))
        engine, self.selections[kind] = bind(selection, self.plugins, required, **options)
        return engine

    def make_learner(self, **hyper_parameters: Any) -> Learner:
        """Make a learner as configured; the configured hyper-parameters come above the given ones."""
        chosen = self._with_configured(hyper_parameters)
        algorithm = chosen.pop("algorithm", "q-learning")
        learner: Learner = self.bound("learner", {"algorithm": algorithm}, **chosen)
        return learner

    def _with_configured(self, hyper_parameters: dict[str, Any]) -> dict[str, Any]:
        selection = select("learner", self.config, namespace=self.namespace, explicit=self._explicit.get("learner"))
        return {**hyper_parameters, **selection.options}

    def make_ranker(self) -> Ranker:
        """Make a ranker as configured, that has learned nothing yet."""
        ranker: Ranker = self.bound("ranker")
        return ranker

    def learner(
        self,
        name: str = "default",
        *,
        batch: int = 1000,
        max_wait_s: float = 1.0,
        encoding: Encoding | None = None,
        **hyper_parameters: Any,
    ) -> DurableLearner:
        """Return the learner of a name, with everything that was learned under it, kept from here on.

        Parameters
        ----------
        name : str
        batch : int
            So many updates become durable together.
        max_wait_s : float
            The first of them waits no longer than this for the next update to take it along.
        encoding : aqe_core.encoding.Encoding, optional
            Makes keys of states that are mappings, which ``update``, ``act`` and ``value`` then take too.
        **hyper_parameters
            ``algorithm``, ``learning_rate`` and so on, as for `aqe_core.open_learner`; the configured ones come above.

        Returns
        -------
        DurableLearner
            The same one for the same name, as it was asked for first; closing the workspace makes its updates durable.

        Raises
        ------
        InputError
            What is stored was learned with other parameters, or the learner of that name was asked for with others, or
            with another encoding.

        Examples
        --------
        >>> import aqe_core, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with aqe_core.open(folder) as ws:
        ...         ws.learner("repair", learning_rate=0.5).update("timeout", "retry", 1.0, "green", done=True)
        ...     with aqe_core.open(folder) as ws:
        ...         ws.learner("repair", learning_rate=0.5).value("timeout", "retry")
        0.5
        """
        from aqe_core.learning import DurableLearner  # same
        from aqe_core.recording import as_encoding  # same

        with self.lock:
            if name not in self._learners:
                engine = self.make_learner(**hyper_parameters)
                self._learners[name] = DurableLearner(
                    self, name, engine, batch=batch, max_wait_s=max_wait_s, encoding=encoding
                )
            elif hyper_parameters:
                self._learners[name].refuse_other_parameters(self._with_configured(hyper_parameters))
            found = self._learners[name]
        wanted = as_encoding(encoding)
        if wanted is not None and (found.encoding is None or found.encoding.fields != wanted.fields):
            raise InputError(
                f"the learner {name!r} is open with another encoding, or none.",
                fix="pass the encoding where the learner is asked for first, or choose another name.",
            )
        return found

    @_made_once
    def analyzer(self) -> Analyzer:
        """Analyzer of the configured backend, bound at first use."""
        analyzer: Analyzer = self.bound("analyzer")
        return analyzer

    @_made_once
    def patterns(self) -> Patterns:
        """Test patterns: add, search, get, remove."""
        from aqe_core.memory import Patterns  # numpy comes with it, and not every verb needs it

        return Patterns(self)

    @_made_once
    def results(self) -> Results:
        """Test results: ingest."""
        from aqe_core.results import Results  # same

        return Results(self)

    @_made_once
    def strategies(self) -> Strategies:
        """Strategies: recommend an action for a situation, and learn from its outcome."""
        from aqe_core.strategy import Strategies  # same

        return Strategies(self)

    def ingest(self, *paths: str | os.PathLike[str], progress: Progress | None = None) -> IngestReport:
        """Take test sources and result files into the workspace.

        Parameters
        ----------
        *paths : path
            Files, or folders that are searched; the project's folder when none is given. A file that cannot be read is
            left out and listed when it was found in a folder, and an error when it was named outright.
        progress : callable, optional
            Called as ``progress(stage, done, total)``.

        Returns
        -------
        IngestReport
            What was added, changed, unchanged, removed and skipped.

        Raises
        ------
        IngestError
            A named file cannot be used.
        StorageError
            Writing failed; what earlier files held is stored.
        """
        from aqe_core.ingest import ingest  # same

        return ingest(self, [Path(path) for path in paths] or [self.root], progress)

    def rank(
        self,
        k: int | None = None,
        *,
        tests: Iterable[str] | None = None,
        budget_s: float | None = None,
        changed: Iterable[str] = (),
    ) -> list[RankedTest]:
        """Order tests by what running them first is expected to find.

        Parameters
        ----------
        k : int, optional
            Only the first ``k``.
        tests : iterable of str, optional
            Only these, e.g. those that a change touches, by `RankedTest.test` or ``.node``, with or without
            parameters; all known tests when absent.
        budget_s : float, optional
            Only tests that fit into so many seconds, in the order that makes what they find large.
        changed : iterable of str
            Changed files, relative to the project: tests in or named like them come earlier.

        Returns
        -------
        list of RankedTest
            Best first; see `aqe_core.ranking`.

        Raises
        ------
        InputError
            The budget is not above 0.
        """
        from aqe_core.ranking import rank  # same

        return rank(self, k, tests, budget_s=budget_s, changed=changed)

    def evaluate_ranking(self, *, budget: float = 0.5) -> RankingEvaluation:
        """Replay the stored runs and compare the ranking with running tests at random, as reported, or last failed.

        Parameters
        ----------
        budget : float
            Share of each run's total duration that may be spent, above 0, at most 1.

        Returns
        -------
        RankingEvaluation
            See `aqe_core.ranking_evaluation`.

        Raises
        ------
        InputError
            The budget is out of range.
        """
        from aqe_core.ranking_evaluation import evaluate  # same

        return evaluate(self, budget)

    def analyze(self, k: int = 10) -> Analysis:
        """Summarize the results: durations, the ``k`` slowest and ``k`` flakiest tests.

        Returns
        -------
        Analysis
            See `aqe_core.analysis`.
        """
        from aqe_core.analysis import analyze  # same

        return analyze(self, k)

    def close(self) -> None:
        """End what runs in the background, make what learners have learned durable, and release the data file.

        May be called twice.

        Raises
        ------
        StorageError
            Writing what a learner has collected failed; the file is released all the same.
        """
        try:
            if "patterns" in vars(self):
                self.patterns.close()
        finally:
            with self.lock, ExitStack() as stack:  # each of them, whatever another one raises
                stack.callback(self.storage.close)
                while self._learners:
                    stack.callback(self._learners.popitem()[1].close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
