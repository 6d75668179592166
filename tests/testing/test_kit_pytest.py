"""The pytest front end."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from aqe_core.contracts import LearnerCapabilities, StoreCapabilities
from aqe_core.errors import UsageError
from aqe_core.testing import LearnerConformance, PatternStoreConformance, backends, checks
from aqe_core.testing.backend_learner import DictLearner


class TestReferenceStore(PatternStoreConformance):
    capabilities = backends.REFERENCE_STORE

    def make(self, **options):
        return backends.BruteForceStore(**options)


class TestReferenceLearner(LearnerConformance):
    capabilities = backends.REFERENCE_LEARNER

    def make(self, **options):
        return DictLearner(**options)


def test_one_test_per_check():
    names = {name for name in dir(TestReferenceStore) if name.startswith("test_")}
    assert names == {f"test_{one.name}" for one in checks("pattern_store")}


@pytest.mark.parametrize("value", [None, lambda self: None, 3])
def test_a_check_cannot_be_overridden(value):
    with pytest.raises(TypeError, match=r"Mine overrides or deletes test_ties.*expected_failures"):
        type("Mine", (PatternStoreConformance,), {"test_ties": value})


def test_a_check_cannot_be_overridden_by_a_mixin_or_a_grandchild():
    mixin = type("Mixin", (), {"test_ties": None})
    with pytest.raises(TypeError, match="test_ties"):
        type("Mine", (mixin, PatternStoreConformance), {})
    with pytest.raises(TypeError, match="test_ties"):
        type("Mine", (TestReferenceStore,), {"test_ties": None})


def test_the_kind_cannot_be_changed():
    with pytest.raises(TypeError, match="kind"):
        type("Mine", (PatternStoreConformance,), {"kind": "analyzer"})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"expected_failures": {"tie": "x"}}, "no check of kind 'pattern_store' has that name"),
        ({"expected_failures": {"ties": ""}}, "has no reason"),
        ({"capabilities": LearnerCapabilities()}, "not those of the kind"),
    ],
)
def test_attributes_are_checked_when_the_class_is_made(attributes, message):
    with pytest.raises(TypeError, match=message):
        type("Mine", (PatternStoreConformance,), attributes)


def test_make_or_backend_is_needed():
    cls = type("Mine", (PatternStoreConformance,), {"capabilities": StoreCapabilities()})
    with pytest.raises(UsageError, match=r"Mine neither overrides make nor names a backend"):
        cls().make(dim=8, metric="cosine")


def run_pytest(tmp_path, source):
    (tmp_path / "test_mine.py").write_text(textwrap.dedent(source))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "-rA",
        "-q",
        str(tmp_path),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)


def test_outcomes_in_pytest(tmp_path):
    done = run_pytest(
        tmp_path,
        """
        from aqe_core.testing import AnalyzerConformance, backends
        from aqe_core.testing.faulty_others import PopulationVariance

        class TestMine(AnalyzerConformance):
            capabilities = backends.AnalyzerCapabilities(checked=True, thread_safe=False)
            expected_failures = {"groups": "divides by n", "flakiness": "never true"}

            def make(self, **options):
                return PopulationVariance(**options)
        """,
    )
    assert done.returncode == 1, done.stderr
    assert "XFAIL test_mine.py::TestMine::test_groups - divides by n" in done.stdout
    assert "[strict] passes, but was expected to fail: never true" in done.stdout
    assert "AssertionError: variance of 2 values" in done.stdout
    assert "If this fails, look at the denominator of the variance" in done.stdout
    assert "PASSED test_mine.py::TestMine::test_bad_values" in done.stdout
    assert "capability not declared: thread_safe" in done.stdout
    assert "3 failed, 8 passed, 1 skipped, 1 xfailed" in done.stdout


def test_installed_backend_in_pytest(tmp_path):
    done = run_pytest(
        tmp_path,
        """
        from aqe_core.testing import EmbedderConformance

        class TestLexical(EmbedderConformance):
            backend = "lexical"
        """,
    )
    assert done.returncode == 0, done.stdout
    assert "13 passed, 1 skipped" in done.stdout
