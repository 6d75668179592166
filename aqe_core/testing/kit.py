"""Checks, how they are registered, chosen and run, and the report about a run."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

import attrs

from aqe_core import __version__
from aqe_core.contracts.capabilities import (
    AnalyzerCapabilities,
    EmbedderCapabilities,
    LearnerCapabilities,
    RankerCapabilities,
    StoreCapabilities,
    TextIndexCapabilities,
)
from aqe_core.contracts.specs import KINDS
from aqe_core.errors import UsageError
from aqe_core.hookspecs import API_VERSION

__all__ = ["STATUSES", "Check", "Context", "Outcome", "Report", "check", "checks", "run_check", "run_checks"]

STATUSES = ("passed", "failed", "skipped", "expected-failure", "unexpected-pass")
"""How a check can end. ``failed`` and ``unexpected-pass`` make a report not ok."""

_ADVICE = "If this fails, look at"

_CAPABILITIES: dict[str, type | None] = {
    "pattern_store": StoreCapabilities,
    "learner": LearnerCapabilities,
    "ranker": RankerCapabilities,
    "analyzer": AnalyzerCapabilities,
    "embedder": EmbedderCapabilities,
    "text_index": TextIndexCapabilities,
    "storage": None,
}

_MODULES = {
    "pattern_store": (
        "checks_pattern_store",
        "checks_pattern_store_search",
        "checks_pattern_store_input",
        "checks_pattern_store_snapshot",
        "checks_quantizer",
    ),
    "learner": (
        "checks_learner",
        "checks_learner_policy",
        "checks_learner_input",
        "checks_learner_recorder",
        "checks_bandit",
        "checks_vector_policy",
        "checks_replay",
    ),
    "ranker": ("checks_ranker",),
    "analyzer": ("checks_analyzer",),
    "embedder": ("checks_embedder",),
    "text_index": ("checks_text_index",),
    "storage": ("checks_storage",),
}

_registry: dict[str, dict[str, Check]] = {kind: {} for kind in KINDS}


@attrs.frozen
class Context:
    """What a check is given.

    Attributes
    ----------
    make : callable
        ``make(**options)`` returns a fresh engine: ``make(dim=8, metric="cosine")`` for a store,
        ``make(algorithm="q-learning", **hyper_parameters)`` for a learner, ``make(path=...)`` for a storage,
        ``make()`` for the others. A learner that declares ``vector_policies`` makes one when it is given
        ``observation_dim``, and with ``replay`` one when it is given ``capacity``. A store that declares
        ``quantizers`` makes one when it is given ``scheme``.
    capabilities : StoreCapabilities, LearnerCapabilities, AnalyzerCapabilities, EmbedderCapabilities or None
        What the engine declares.
    """

    make: Callable[..., Any]
    capabilities: Any


@attrs.frozen(kw_only=True)
class Check:
    """One promise of a contract, as a function that raises if an engine breaks it.

    Attributes
    ----------
    kind : str
        Kind of engine, of `aqe_core.contracts.KINDS`.
    name : str
        Unique within the kind.
    needs : tuple of str
        Capabilities without which it is not promised: ``"filtered"``, ``"not mutable"``, ``"sarsa in algorithms"``.
    advice : str
        Where to look if it fails.
    function : callable
        Takes a `Context`, returns nothing.
    """

    kind: str
    name: str
    needs: tuple[str, ...]
    advice: str
    function: Callable[[Context], None]

    @property
    def summary(self) -> str:
        """What is promised, in one line."""
        return (self.function.__doc__ or "").strip().splitlines()[0]

    def missing(self, capabilities: Any) -> str:
        """Return why the check does not apply to an engine of these capabilities; empty if it does."""
        absent = [need for need in self.needs if not _declares(capabilities, need)]
        return f"capability not declared: {', '.join(absent)}" if absent else ""


_F = TypeVar("_F", bound=Callable[[Context], None])


def check(kind: str, *, needs: str | tuple[str, ...] = ()) -> Callable[[_F], _F]:
    """Register a function named ``check_...`` as a check of a kind of engine.

    Its docstring must end in a paragraph that begins "If this fails, look at".
    """
    needed = (needs,) if isinstance(needs, str) else needs
    for need in needed:
        _verify_need(kind, need)

    def register(function: _F) -> _F:
        name = function.__name__.removeprefix("check_")
        if name == function.__name__ or name in _registry[kind]:
            raise ValueError(f"{function.__name__!r} is not a new name of the form check_...")
        advice = " ".join((function.__doc__ or "").strip().split("\n\n")[-1].split())
        if not advice.startswith(_ADVICE):
            raise ValueError(f"the docstring of {function.__name__} does not end in {_ADVICE!r} ...")
        _registry[kind][name] = Check(kind=kind, name=name, needs=needed, advice=advice, function=function)
        return function

    return register


def checks(kind: str) -> tuple[Check, ...]:
    """Return the checks of a kind of engine, in the order of their definition.

    Raises
    ------
    UsageError
        There is no such kind.
    """
    if kind not in _MODULES:
        raise UsageError(f"there is no kind of engine {kind!r}.", fix=f"choose one of {', '.join(KINDS)}.")
    for module in _MODULES[kind]:
        import_module(f"aqe_core.testing.{module}")
    modules = [f"aqe_core.testing.{module}" for module in _MODULES[kind]]
    return tuple(sorted(_registry[kind].values(), key=lambda each: modules.index(each.function.__module__)))


@attrs.frozen(kw_only=True)
class Outcome:
    """How one check ended.

    Attributes
    ----------
    check : Check
    status : str
        One of `STATUSES`.
    message : str
        What was wrong, why it was skipped, or the written reason of an expected failure.
    traceback : str
        The last frames of a failure.
    duration_s : float
    error : BaseException or None
        What a failed check raised.
    """

    check: Check
    status: str
    message: str = ""
    traceback: str = ""
    duration_s: float = 0.0
    error: BaseException | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def ok(self) -> bool:
        """Whether it speaks for the engine, or at least not against it."""
        return self.status not in {"failed", "unexpected-pass"}

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``--json`` prints."""
        return {
            "name": self.check.name,
            "status": self.status,
            "message": self.message,
            "advice": "" if self.ok else self.check.advice,
            "traceback": self.traceback,
            "duration_s": self.duration_s,
        }


@attrs.frozen(kw_only=True)
class Report:
    """What the checks of one kind said about one engine.

    Attributes
    ----------
    kind, engine : str
    outcomes : tuple of Outcome
    aqe_version : str
        Version of this library, and so of the kit.
    api_version : int
        Version of the plugin API.
    """

    kind: str
    engine: str
    outcomes: tuple[Outcome, ...]
    aqe_version: str = __version__
    api_version: int = API_VERSION

    @property
    def ok(self) -> bool:
        """Whether at least one check ran, and nothing failed or passed against an expectation."""
        ran = any(outcome.status != "skipped" for outcome in self.outcomes)
        return ran and all(outcome.ok for outcome in self.outcomes)

    @property
    def counts(self) -> dict[str, int]:
        """Number of checks by status."""
        return {status: sum(o.status == status for o in self.outcomes) for status in STATUSES}

    def __getitem__(self, name: str) -> Outcome:
        """Return the outcome of a check by its name."""
        return next(outcome for outcome in self.outcomes if outcome.check.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``aqe check --json`` prints."""
        return {
            "kind": self.kind,
            "engine": self.engine,
            "aqe_version": self.aqe_version,
            "api_version": self.api_version,
            "ok": self.ok,
            "counts": self.counts,
            "checks": [outcome.to_dict() for outcome in self.outcomes],
        }

    def __str__(self) -> str:
        """Return a header, what was not simply passed, and the counts."""
        lines = [f"{self.kind} {self.engine} (aqe {self.aqe_version}, plugin API {self.api_version})"]
        for outcome in self.outcomes:
            if outcome.status != "passed":
                lines.append(f"  {outcome.status}: {outcome.check.name}: {outcome.message}")
            if not outcome.ok:
                lines.append(f"    {outcome.check.advice}")
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items() if count)
        return "\n".join([*lines, f"  {counts or 'no checks'}"])


def as_bound(kind: str, make: Callable[..., Any], capabilities: Any) -> Callable[..., Any]:
    """Return a ``make`` of engines as the binding hands them out: behind a guard unless they check their input."""
    if getattr(capabilities, "checked", True):
        return make
    from aqe_core import guards, validate  # brings numpy; listing checks does not need it

    guard: Any = {
        "pattern_store": guards.guarded_store,
        "learner": guards.guarded_learner,
        "analyzer": guards.GuardedAnalyzer,
    }[kind]

    def make_guarded(**options: Any) -> Any:
        if "scheme" in options:
            return make(**options)  # quantizers check their input themselves
        if kind == "pattern_store":
            options["dim"] = validate.as_dim(options["dim"], capabilities.max_dim)
            options["metric"] = validate.as_metric(options["metric"], capabilities.metrics)
        return guard(make(**options), capabilities)

    return make_guarded


def run_check(one: Check, make: Callable[..., Any], capabilities: Any, reason: str = "") -> Outcome:
    """Run one check.

    Parameters
    ----------
    one : Check
    make : callable
        As in `Context`.
    capabilities : StoreCapabilities, LearnerCapabilities, AnalyzerCapabilities, EmbedderCapabilities or None
        What the engine declares; decides whether the check applies.
    reason : str
        Why it is expected to fail; empty if it is not.
    """
    skip = one.missing(capabilities)
    if skip:
        return Outcome(check=one, status="skipped", message=skip)
    start = time.perf_counter()
    error: BaseException | None = None
    try:
        one.function(Context(as_bound(one.kind, make, capabilities), capabilities))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as caught:  # also the panics of a native engine, which are no Exceptions
        error = caught
    duration_s = time.perf_counter() - start
    if error is None:
        status, message = (
            ("unexpected-pass", f"passes, but was expected to fail: {reason}") if reason else ("passed", "")
        )
        return Outcome(check=one, status=status, message=message, duration_s=duration_s)
    return Outcome(
        check=one,
        status="expected-failure" if reason else "failed",
        message=reason or _one_line(error),
        traceback="".join(traceback.format_exception(error, limit=-3)),
        duration_s=duration_s,
        error=error,
    )


def run_checks(
    kind: str,
    make: Callable[..., Any],
    capabilities: Any = None,
    *,
    expected_failures: Mapping[str, str] | None = None,
    engine: str = "",
) -> Report:
    """Run every check of a kind on an engine; no exception of the engine leaves this function.

    Parameters
    ----------
    kind : str
        ``pattern_store``, ``learner``, ``ranker``, ``analyzer``, ``embedder``, ``text_index`` or ``storage``.
    make : callable
        ``make(**options)`` returns a fresh engine (see `Context`); the engine's class will often do.
    capabilities : StoreCapabilities, LearnerCapabilities, AnalyzerCapabilities or EmbedderCapabilities, optional
        What the engine declares; the defaults of its kind when absent.
    expected_failures : mapping of str to str, optional
        Reason by name of check. Such a check must fail: if it passes, the report is not ok.
    engine : str
        Name for the report.

    Raises
    ------
    UsageError
        The kind or the name of an expected failure does not exist, a reason is empty, or the capabilities are of
        another kind.

    Examples
    --------
    >>> from aqe_core.testing import run_checks
    >>> from aqe_core.testing.backends import REFERENCE_STORE, BruteForceStore
    >>> run_checks("pattern_store", BruteForceStore, REFERENCE_STORE).ok
    True
    """
    chosen = checks(kind)
    expected = verify_expected_failures(kind, expected_failures or {})
    declared = verify_capabilities(kind, capabilities)
    outcomes = tuple(run_check(one, make, declared, expected.get(one.name, "")) for one in chosen)
    name = engine or getattr(make, "__qualname__", repr(make))
    return Report(kind=kind, engine=name, outcomes=outcomes)


def verify_expected_failures(kind: str, expected: Mapping[str, str]) -> Mapping[str, str]:
    """Return the mapping if every name exists and every reason is written."""
    known = {one.name for one in checks(kind)}
    reason: Any
    for name, reason in expected.items():
        if name not in known:
            raise UsageError(
                f"expected_failures names {name!r}, but no check of kind {kind!r} has that name.",
                fix=f"choose of: {', '.join(sorted(known))}.",
            )
        if not isinstance(reason, str) or not reason.strip():
            raise UsageError(
                f"expected_failures[{name!r}] has no reason.", fix="write why the check is expected to fail."
            )
    return expected


def verify_capabilities(kind: str, capabilities: Any) -> Any:
    """Return the capabilities, or the defaults of the kind for None, if they are of that kind."""
    wanted = _CAPABILITIES[kind]
    if capabilities is None and wanted is not None:
        return wanted()
    if capabilities is not None and (wanted is None or not isinstance(capabilities, wanted)):
        raise UsageError(
            f"capabilities are {capabilities!r}, which are not those of the kind {kind!r}.",
            fix=f"pass a {wanted.__name__}." if wanted else "pass None.",
        )
    return capabilities


def _declares(capabilities: Any, need: str) -> bool:
    if need.startswith("not "):
        return not _declares(capabilities, need.removeprefix("not "))
    value, _, field = need.rpartition(" in ")
    return value in getattr(capabilities, field) if value else bool(getattr(capabilities, field))


def _verify_need(kind: str, need: str) -> None:
    """Refuse a need that no capabilities of the kind could meet: such a check would be skipped for ever."""
    wanted = _CAPABILITIES[kind]
    field = need.removeprefix("not ").rpartition(" in ")[2]
    if wanted is None or not (field in attrs.fields_dict(wanted) or isinstance(getattr(wanted, field, None), property)):
        raise ValueError(f"no capability {field!r} of the kind {kind!r}")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AssertionError) and text else f"{type(error).__name__}: {text}"
