"""The conformance kit applied to every engine that ships with aqe."""

from __future__ import annotations

from aqe_backend_numpy.analyzer import NumpyAnalyzer
from aqe_backend_numpy.embedder import LexicalEmbedder
from aqe_backend_numpy.learner import make_learner
from aqe_backend_numpy.neural.policy import make_policy
from aqe_backend_numpy.quantization.factory import make_quantizer
from aqe_backend_numpy.ranker import NumpyRanker
from aqe_backend_numpy.replay.buffer import NumpyReplay
from aqe_backend_numpy.store import NumpyPatternStore
from aqe_backend_numpy.text_index import NumpyTextIndex
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import (
    AnalyzerCapabilities,
    EmbedderCapabilities,
    LearnerCapabilities,
    RankerCapabilities,
    StoreCapabilities,
    TextIndexCapabilities,
)
from aqe_core.testing import (
    AnalyzerConformance,
    EmbedderConformance,
    LearnerConformance,
    PatternStoreConformance,
    RankerConformance,
    StorageConformance,
    TextIndexConformance,
)


class TestNumpyStore(PatternStoreConformance):
    capabilities = StoreCapabilities(
        exact=True,
        filtered=True,
        checked=True,
        thread_safe=True,
        max_dim=65536,
        quantizers=("float16", "int8", "binary", "product"),
    )

    def make(self, **options):
        return (make_quantizer if "scheme" in options else NumpyPatternStore)(**options)


class TestNumpyLearner(LearnerConformance):
    capabilities = LearnerCapabilities(
        algorithms=(
            *("q-learning", "sarsa", "expected-sarsa", "actor-critic", "ppo"),
            *("linucb", "discounted-linucb", "thompson"),
        ),
        checked=True,
        inspectable=True,
        vector_policies=("actor-critic", "ppo"),
        replay=True,
    )

    def make(self, **options):
        if "capacity" in options:
            return NumpyReplay(**options)
        return make_policy(**options) if "observation_dim" in options else make_learner(**options)


class TestNumpyRanker(RankerConformance):
    capabilities = RankerCapabilities(context=True, budgeted=True)

    def make(self, **options):
        return NumpyRanker(**options)


class TestNumpyAnalyzer(AnalyzerConformance):
    capabilities = AnalyzerCapabilities(checked=True)

    def make(self, **options):
        return NumpyAnalyzer(**options)


class TestLexicalEmbedder(EmbedderConformance):
    capabilities = EmbedderCapabilities(kind="lexical", fits=True)

    def make(self, **options):
        return LexicalEmbedder(**options)


class TestNumpyTextIndex(TextIndexConformance):
    capabilities = TextIndexCapabilities(thread_safe=True)

    def make(self, **options):
        return NumpyTextIndex(**options)


class TestSqliteStorage(StorageConformance):
    def make(self, **options):
        return SqliteStorage(**options)
