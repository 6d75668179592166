"""The conformance kit applied to every engine that ships with aqe."""

from __future__ import annotations

from aqe_backend_numpy.analyzer import NumpyAnalyzer
from aqe_backend_numpy.embedder import LexicalEmbedder
from aqe_backend_numpy.learner import make_learner
from aqe_backend_numpy.store import NumpyPatternStore
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import AnalyzerCapabilities, EmbedderCapabilities, LearnerCapabilities, StoreCapabilities
from aqe_core.testing import (
    AnalyzerConformance,
    EmbedderConformance,
    LearnerConformance,
    PatternStoreConformance,
    StorageConformance,
)


class TestNumpyStore(PatternStoreConformance):
    capabilities = StoreCapabilities(exact=True, filtered=True, checked=True, thread_safe=True, max_dim=65536)

    def make(self, **options):
        return NumpyPatternStore(**options)


class TestNumpyLearner(LearnerConformance):
    capabilities = LearnerCapabilities(
        algorithms=(
            *("q-learning", "sarsa", "expected-sarsa", "actor-critic", "ppo"),
            *("linucb", "discounted-linucb", "thompson"),
        ),
        checked=True,
        inspectable=True,
    )

    def make(self, **options):
        return make_learner(**options)


class TestNumpyAnalyzer(AnalyzerConformance):
    capabilities = AnalyzerCapabilities(checked=True)

    def make(self, **options):
        return NumpyAnalyzer(**options)


class TestLexicalEmbedder(EmbedderConformance):
    capabilities = EmbedderCapabilities(kind="lexical", fits=True)

    def make(self, **options):
        return LexicalEmbedder(**options)


class TestSqliteStorage(StorageConformance):
    def make(self, **options):
        return SqliteStorage(**options)
