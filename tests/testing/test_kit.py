"""The kit itself: registration, outcomes, reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import attrs
import numpy as np
import pytest

import aqe_core
from aqe_core.contracts import KINDS, LearnerCapabilities, StoreCapabilities
from aqe_core.errors import CapabilityError, UnknownBackendError, UsageError
from aqe_core.isolation import PluginSource, resolve
from aqe_core.plugins import PluginManager
from aqe_core.testing import backend_ranker, backends, check_backend, checks, kit, run_checks
from aqe_core.testing.backend_learner import DictLearner
from aqe_core.testing.backend_text_index import PlainTextIndex
from aqe_core.validate import as_keys, as_vectors

REFERENCES = {
    "pattern_store": (backends.BruteForceStore, backends.REFERENCE_STORE),
    "learner": (DictLearner, backends.REFERENCE_LEARNER),
    "ranker": (backend_ranker.ShareRanker, backend_ranker.REFERENCE_RANKER),
    "analyzer": (backends.PlainAnalyzer, backends.REFERENCE_ANALYZER),
    "embedder": (backends.HashEmbedder, backends.REFERENCE_EMBEDDER),
    "text_index": (PlainTextIndex, backends.REFERENCE_TEXT_INDEX),
}


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("kind", REFERENCES)
def test_reference_passes_with_and_without_guard(kind, checked):
    make, capabilities = REFERENCES[kind]
    if not checked:
        if kind in {"embedder", "ranker", "text_index"}:
            pytest.skip(f"a {kind} has no guard")
        capabilities = attrs.evolve(capabilities, checked=False)
    report = run_checks(kind, make, capabilities)
    assert report.ok, str(report)
    assert report.counts["passed"] > 8


def test_unchecked_engine_is_tested_as_it_is_bound():
    class Trusting(backends.BruteForceStore):
        def add(self, keys, vectors):
            assert keys.dtype == "uint64"
            assert vectors.dtype == "float32"
            self._write(keys, vectors)

    report = run_checks("pattern_store", Trusting, attrs.evolve(backends.REFERENCE_STORE, checked=False))
    assert report.ok, str(report)
    assert not run_checks("pattern_store", Trusting, backends.REFERENCE_STORE).ok


class FrozenStore(backends.BruteForceStore):
    """Cannot remove, replace or filter, and says so."""

    def add(self, keys, vectors):
        names = as_keys(keys)
        as_vectors(vectors, len(names), self.dim, self.metric)
        if np.isin(names, self.keys()).any() or len(np.unique(names)) < len(names):
            raise CapabilityError("cannot replace")
        super().add(keys, vectors)

    def remove(self, keys):
        raise CapabilityError("cannot remove")

    def search(self, queries, k=10, *, among=None):
        if among is not None:
            raise CapabilityError("cannot filter")
        return super().search(queries, k)


@pytest.mark.parametrize("checked", [True, False])
def test_a_store_of_few_capabilities_passes(checked):
    declared = StoreCapabilities(exact=True, mutable=False, filtered=False, checked=checked)
    report = run_checks("pattern_store", FrozenStore, declared)
    assert report.ok, str(report)
    assert report["immutable_refuses"].status == report["unfiltered_refuses"].status == "passed"


def test_an_approximate_store_passes():
    report = run_checks("pattern_store", backends.BruteForceStore, attrs.evolve(backends.REFERENCE_STORE, exact=False))
    assert report.ok, str(report)
    assert report["recall"].status == report["among"].status == "passed"


def test_loopback_offers_the_reference_engines():
    manager = PluginManager(sources=[PluginSource("loopback", "aqe_core.testing.loopback", "nobody", "0")])
    for kind, (engine, capabilities) in REFERENCES.items():
        found = manager.find_engine(kind, "loopback")
        assert found.spec.capabilities == capabilities
        assert resolve(found.spec.factory, found.source) is engine


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_is_described(kind):
    found = checks(kind)
    assert len({one.name for one in found}) == len(found) > 10
    for one in found:
        assert one.kind == kind
        assert one.summary.endswith((".", ":"))
        assert one.advice.startswith("If this fails, look at ")
        assert one.advice.endswith(".")


def test_unknown_kind():
    with pytest.raises(UsageError, match="no kind of engine 'tape'"):
        checks("tape")


def test_capabilities_choose_checks():
    capabilities = StoreCapabilities(exact=False, filtered=False, mutable=True)
    report = run_checks("pattern_store", backends.BruteForceStore, capabilities)
    assert report["among"].status == "skipped"
    assert report["among"].message == "capability not declared: filtered"
    assert report["ties"].message == "capability not declared: exact"
    assert report["recall"].status == "passed"
    only_q = LearnerCapabilities(algorithms="q-learning", checked=True)
    report = run_checks("learner", DictLearner, only_q)
    assert report.ok
    assert report["sarsa_values"].message == "capability not declared: sarsa in algorithms"


def test_failure_tells_what_where_and_what_to_look_at():
    class Silent(backends.BruteForceStore):
        def remove(self, keys):
            super().remove(keys)

    report = run_checks("pattern_store", Silent, backends.REFERENCE_STORE, engine="silent")
    outcome = report["remove"]
    assert not report.ok
    assert outcome.status == "failed"
    assert "answer of remove" in outcome.message
    assert "checks_pattern_store.py" in outcome.traceback
    assert isinstance(outcome.error, AssertionError)
    assert f"failed: remove: {outcome.message}" in str(report)
    assert outcome.check.advice in str(report)


def test_nothing_an_engine_raises_leaves_the_report():
    class Panic(BaseException):
        pass

    def make(**_):
        raise Panic("index out of bounds")

    report = run_checks("analyzer", make)
    assert report["describe"].message == "Panic: index out of bounds"
    assert not report.ok


def test_interrupt_is_not_a_failure():
    def make(**_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_checks("analyzer", make)


def test_expected_failure_is_strict():
    class NoZeros(backends.BruteForceStore):
        def add(self, keys, vectors):
            backends.as_vectors(vectors, len(vectors), self.dim, "cosine")
            super().add(keys, vectors)

    reason = "the engine cannot hold zeros"
    expected = {"zero_rows": reason, "ties": "not true"}
    failing = run_checks("pattern_store", NoZeros, backends.REFERENCE_STORE, expected_failures=expected)
    assert failing["zero_rows"].status == "expected-failure"
    assert failing["zero_rows"].message == reason
    assert failing["ties"].status == "unexpected-pass"
    assert not failing["ties"].ok
    assert not failing.ok


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"no_such_check": "because"}, "'no_such_check', but no check"),
        ({"ties": ""}, "'ties'. has no reason"),
        ({"ties": "  "}, "has no reason"),
        ({"ties": None}, "has no reason"),
    ],
)
def test_expected_failure_needs_a_name_and_a_reason(expected, message):
    with pytest.raises(UsageError, match=message):
        run_checks("pattern_store", backends.BruteForceStore, expected_failures=expected)


def test_capabilities_of_another_kind_are_refused():
    with pytest.raises(UsageError, match="not those of the kind 'learner'"):
        run_checks("learner", DictLearner, StoreCapabilities())
    with pytest.raises(UsageError, match="not those of the kind 'storage'"):
        run_checks("storage", object, StoreCapabilities())


def test_report_as_json():
    report = run_checks("analyzer", backends.PlainAnalyzer, engine="plain")
    told = json.loads(json.dumps(report.to_dict()))
    assert list(told) == ["kind", "engine", "aqe_version", "api_version", "ok", "counts", "checks"]
    assert (told["kind"], told["engine"], told["ok"]) == ("analyzer", "plain", True)
    assert told["aqe_version"] == aqe_core.__version__
    assert sum(told["counts"].values()) == len(told["checks"]) == len(checks("analyzer"))
    assert list(told["checks"][0]) == ["name", "status", "message", "advice", "traceback", "duration_s"]
    assert all(one["duration_s"] >= 0.0 for one in told["checks"])
    assert str(report).startswith(f"analyzer plain (aqe {aqe_core.__version__}, plugin API 1)")


def test_report_without_a_check_that_ran_is_not_ok():
    skipped = kit.Outcome(check=checks("analyzer")[0], status="skipped", message="x")
    assert not kit.Report(kind="analyzer", engine="e", outcomes=(skipped,)).ok
    assert not kit.Report(kind="analyzer", engine="e", outcomes=()).ok


def test_registration_is_strict():
    def check_without_advice(context):
        """Say something."""

    def not_a_check(context):
        """Say something.

        If this fails, look at it.
        """

    def check_describe(context):
        """Say something.

        If this fails, look at it.
        """

    checks("analyzer")
    with pytest.raises(ValueError, match="does not end in"):
        kit.check("analyzer")(check_without_advice)
    for wrong in (not_a_check, check_describe):
        with pytest.raises(ValueError, match="not a new name"):
            kit.check("analyzer")(wrong)
    with pytest.raises(ValueError, match="no capability 'filterd'"):
        kit.check("pattern_store", needs="filterd")
    with pytest.raises(ValueError, match="no capability"):
        kit.check("storage", needs="filtered")


def test_check_backend_runs_every_kind_of_a_name():
    reports = check_backend("lexical")
    assert [report.kind for report in reports] == ["embedder"]
    assert reports[0].engine == "lexical"
    assert reports[0].ok, str(reports[0])


def test_check_backend_of_unknown_name():
    with pytest.raises(UnknownBackendError, match="no-such-backend"):
        check_backend("no-such-backend")


def test_check_backend_of_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from aqe_core.testing.backends import PlainAnalyzer as Mine\n")
    try:
        reports = {report.kind: report for report in check_backend(f"file:{file}:Mine")}
    except Exception as error:  # files may be limited to kinds that need no capabilities
        pytest.skip(f"engines in files: {error}")
    assert reports["analyzer"].ok, str(reports["analyzer"])


def test_kit_needs_no_pytest():
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from aqe_core.testing import AnalyzerConformance, run_checks\n"
        "from aqe_core.testing.backends import PlainAnalyzer\n"
        "assert run_checks('analyzer', PlainAnalyzer).ok\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


def test_exports_are_sorted_and_there():
    import aqe_core.testing as module

    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        module.nonsense  # noqa: B018  # the access is the test
