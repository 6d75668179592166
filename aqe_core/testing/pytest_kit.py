"""The pytest front end: one class per kind of engine, one test per check.

pytest is imported when a test runs, not before: the library does not depend on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from aqe_core.errors import UsageError
from aqe_core.testing.kit import Check, checks, run_check, verify_capabilities, verify_expected_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "AnalyzerConformance",
    "EmbedderConformance",
    "LearnerConformance",
    "PatternStoreConformance",
    "RankerConformance",
    "StorageConformance",
    "TextIndexConformance",
]


class _Conformance:
    """What the classes below share.

    Attributes
    ----------
    backend : str
        Name of an installed backend, instead of `make`: tested as the binding hands it out, with the capabilities of
        its spec.
    capabilities : StoreCapabilities, LearnerCapabilities, AnalyzerCapabilities, EmbedderCapabilities or None
        What the engine declares; the defaults of its kind if not set.
    expected_failures : mapping of str to str
        Reason by name of check. Such a check must fail; if it passes, its test fails.
    """

    kind: ClassVar[str] = ""
    backend: ClassVar[str] = ""
    capabilities: Any = None
    expected_failures: Mapping[str, str] = {}

    def make(self, **options: Any) -> Any:
        """Return a fresh engine. This is what a subclass overrides, unless it sets `backend`."""
        return _source(type(self))[0](**options)

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        family: type[Any] = next(base for base in cls.__mro__ if _Conformance in base.__bases__)
        if family is cls:
            return
        for name in ("kind", *_tests_of(family.kind)):
            if getattr(cls, name, None) is not vars(family)[name]:
                raise TypeError(
                    f"{cls.__name__} overrides or deletes {name}. A check cannot be changed: if it is expected to "
                    "fail, write down why in expected_failures."
                )
        try:
            verify_expected_failures(cls.kind, cls.expected_failures)
            verify_capabilities(cls.kind, cls.capabilities)
        except UsageError as error:
            raise TypeError(f"{cls.__name__}: {error}") from None


def _tests_of(kind: str) -> dict[str, Check]:
    return {f"test_{one.name}": one for one in checks(kind)}


def _source(cls: type[_Conformance]) -> tuple[Callable[..., Any], Any]:
    """Return the maker and the capabilities of the backend that a class names."""
    if not cls.backend:
        raise UsageError(
            f"{cls.__name__} neither overrides make nor names a backend.",
            fix="def make(self, **options): return MyEngine(**options)",
        )
    from aqe_core.testing.installed import maker  # only for installed backends

    return maker(cls.kind, cls.backend)


def _as_test(one: Check) -> Callable[[_Conformance], None]:
    def test(self: _Conformance) -> None:
        import pytest  # not a dependency of the library

        capabilities = _source(type(self))[1] if self.backend else verify_capabilities(self.kind, self.capabilities)
        outcome = run_check(one, self.make, capabilities, self.expected_failures.get(one.name, ""))
        if outcome.status == "skipped":
            pytest.skip(outcome.message)
        if outcome.status == "expected-failure":
            pytest.xfail(outcome.message)
        if outcome.status == "unexpected-pass":
            pytest.fail(f"[strict] {outcome.message}", pytrace=False)
        if outcome.error is not None:
            _reraise(outcome.error, one.advice)

    test.__name__ = test.__qualname__ = f"test_{one.name}"
    test.__doc__ = one.function.__doc__
    return test


def _reraise(error: BaseException, advice: str) -> NoReturn:
    error.add_note(advice)
    raise error


def _with_tests(cls: type[_Conformance]) -> type[_Conformance]:
    for name, one in _tests_of(cls.kind).items():
        setattr(cls, name, _as_test(one))
    return cls


@_with_tests
class PatternStoreConformance(_Conformance):
    """Tests of a pattern store: ``make(dim=8, metric="cosine")`` returns an empty one.

    Examples
    --------
    ::

        class TestMyStore(PatternStoreConformance):
            capabilities = StoreCapabilities(exact=True)

            def make(self, **options):
                return MyStore(**options)

    With ``scheme`` among the options it returns a quantizer (where ``quantizers`` are declared).
    """

    kind = "pattern_store"


@_with_tests
class LearnerConformance(_Conformance):
    """Tests of a learner: ``make(algorithm="q-learning", **hyper_parameters)`` returns one that has learned nothing.

    With ``observation_dim`` it returns a policy (where ``vector_policies`` are declared), with ``capacity`` a replay.
    """

    kind = "learner"


@_with_tests
class RankerConformance(_Conformance):
    """Tests of a ranker: ``make(seed=0, **options)`` returns one that has learned nothing."""

    kind = "ranker"


@_with_tests
class AnalyzerConformance(_Conformance):
    """Tests of an analyzer: ``make()`` returns one."""

    kind = "analyzer"


@_with_tests
class EmbedderConformance(_Conformance):
    """Tests of an embedder: ``make()`` returns one that has not been fitted."""

    kind = "embedder"


@_with_tests
class TextIndexConformance(_Conformance):
    """Tests of a text index: ``make()`` returns an empty one."""

    kind = "text_index"


@_with_tests
class StorageConformance(_Conformance):
    """Tests of a storage: ``make(path=..., read_only=..., timeout_s=...)`` opens one."""

    kind = "storage"
