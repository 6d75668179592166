"""What the NumPy backend offers."""

from __future__ import annotations

from aqe_core import hookimpl
from aqe_core.contracts.capabilities import (
    AnalyzerCapabilities,
    LearnerCapabilities,
    RankerCapabilities,
    StoreCapabilities,
    TextIndexCapabilities,
)
from aqe_core.contracts.specs import EngineSpec

AQE_API = 1


@hookimpl
def aqe_pattern_stores() -> list[EngineSpec]:
    """Offer the exact scan."""
    return [
        EngineSpec(
            name="numpy",
            factory="aqe_backend_numpy.store:NumpyPatternStore",
            capabilities=StoreCapabilities(
                exact=True,
                filtered=True,
                checked=True,
                thread_safe=True,
                max_dim=65536,
                quantizers=("float16", "int8", "binary", "product"),
            ),
            requires=("numpy",),
            quantizer="aqe_backend_numpy.quantization.factory:make_quantizer",
            summary="exact scan in float32, refined in float64; recall 1.0",
        )
    ]


@hookimpl
def aqe_learners() -> list[EngineSpec]:
    """Offer tabular learners and linear bandits."""
    return [
        EngineSpec(
            name="numpy",
            factory="aqe_backend_numpy.learner:make_learner",
            capabilities=LearnerCapabilities(
                algorithms=(
                    *("q-learning", "sarsa", "expected-sarsa", "actor-critic", "ppo"),
                    *("linucb", "discounted-linucb", "thompson"),
                ),
                vector_policies=("actor-critic", "ppo"),
                replay=True,
                checked=True,
                inspectable=True,
            ),
            requires=("numpy",),
            policy="aqe_backend_numpy.neural.policy:make_policy",
            replay="aqe_backend_numpy.replay.buffer:NumpyReplay",
            summary="tabular learners and policies; PPO and actor-critic over vectors; linear bandits; replay",
        )
    ]


@hookimpl
def aqe_rankers() -> list[EngineSpec]:
    """Offer the pairwise logistic ranker."""
    return [
        EngineSpec(
            name="numpy",
            factory="aqe_backend_numpy.ranker:NumpyRanker",
            capabilities=RankerCapabilities(context=True, budgeted=True),
            requires=("numpy",),
            summary="pairwise logistic regression over each test's history",
        )
    ]


@hookimpl
def aqe_analyzers() -> list[EngineSpec]:
    """Offer descriptive statistics and flakiness."""
    return [
        EngineSpec(
            name="numpy",
            factory="aqe_backend_numpy.analyzer:NumpyAnalyzer",
            capabilities=AnalyzerCapabilities(checked=True),
            requires=("numpy",),
            summary="descriptive statistics, flakiness",
        )
    ]


@hookimpl
def aqe_text_indexes() -> list[EngineSpec]:
    """Offer BM25."""
    return [
        EngineSpec(
            name="numpy",
            factory="aqe_backend_numpy.text_index:NumpyTextIndex",
            capabilities=TextIndexCapabilities(thread_safe=True, hybrid=True),
            requires=("numpy",),
            summary="BM25 over subtokens and their joined pairs",
        )
    ]
