"""A plugin like any other, whose engines are the reference engines: for tests of discovery, selection and binding."""

from __future__ import annotations

from aqe_core.contracts.specs import EngineSpec
from aqe_core.hookspecs import hookimpl
from aqe_core.testing import backend_ranker, backends

AQE_API = 1


@hookimpl
def aqe_pattern_stores() -> list[EngineSpec]:
    """Offer the brute-force store."""
    factory = "aqe_core.testing.backends:BruteForceStore"
    return [EngineSpec(name="loopback", factory=factory, capabilities=backends.REFERENCE_STORE)]


@hookimpl
def aqe_learners() -> list[EngineSpec]:
    """Offer the dictionary learner."""
    factory = "aqe_core.testing.backend_learner:DictLearner"
    return [EngineSpec(name="loopback", factory=factory, capabilities=backends.REFERENCE_LEARNER)]


@hookimpl
def aqe_rankers() -> list[EngineSpec]:
    """Offer the ranker by smoothed failure shares."""
    factory = "aqe_core.testing.backend_ranker:ShareRanker"
    return [EngineSpec(name="loopback", factory=factory, capabilities=backend_ranker.REFERENCE_RANKER)]


@hookimpl
def aqe_analyzers() -> list[EngineSpec]:
    """Offer the plain analyzer."""
    factory = "aqe_core.testing.backends:PlainAnalyzer"
    return [EngineSpec(name="loopback", factory=factory, capabilities=backends.REFERENCE_ANALYZER)]


@hookimpl
def aqe_embedders() -> list[EngineSpec]:
    """Offer the hashing embedder."""
    factory = "aqe_core.testing.backends:HashEmbedder"
    return [EngineSpec(name="loopback", factory=factory, capabilities=backends.REFERENCE_EMBEDDER)]


@hookimpl
def aqe_text_indexes() -> list[EngineSpec]:
    """Offer the plain BM25."""
    factory = "aqe_core.testing.backend_text_index:PlainTextIndex"
    return [EngineSpec(name="loopback", factory=factory, capabilities=backends.REFERENCE_TEXT_INDEX)]
