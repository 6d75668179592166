"""What the native backend offers, as the entry point ``native`` names it."""

from __future__ import annotations

from aqe_core import hookimpl
from aqe_core.contracts.capabilities import (
    EmbedderCapabilities,
    LearnerCapabilities,
    RankerCapabilities,
    StoreCapabilities,
    TextIndexCapabilities,
)
from aqe_core.contracts.specs import EngineSpec

AQE_API = 1


@hookimpl
def aqe_pattern_stores() -> list[EngineSpec]:
    """Offer the store of 1-bit codes in lists."""
    return [
        EngineSpec(
            name="native",
            factory="aqe_backend_native.store:make_store",
            capabilities=StoreCapabilities(
                filtered=True,
                checked=True,
                thread_safe=True,
                max_dim=4096,
                score_tolerance=4e-3,
                snapshots=True,
                quantizers=("float16", "int8", "binary", "product"),
            ),
            requires=("aqe_backend_native._native",),
            install="pip install ./plugins/backend_native",
            quantizer="aqe_backend_native.quantization:make_quantizer",
            summary="1-bit codes in lists, refined by 10-bit planes; measures its own recall",
        )
    ]


@hookimpl
def aqe_learners() -> list[EngineSpec]:
    """Offer tabular learners and policies, policies over vectors, linear bandits and replay."""
    return [
        EngineSpec(
            name="native",
            factory="aqe_backend_native.learner:make_learner",
            capabilities=LearnerCapabilities(
                algorithms=(
                    *("q-learning", "sarsa", "expected-sarsa", "actor-critic", "ppo"),
                    *("linucb", "discounted-linucb", "thompson"),
                ),
                vector_policies=("actor-critic", "ppo"),
                replay=True,
                checked=True,
                thread_safe=True,
                inspectable=True,
            ),
            requires=("aqe_backend_native._native",),
            install="pip install ./plugins/backend_native",
            summary="tabular learners and policies; PPO and actor-critic over vectors; linear bandits; replay, in Rust",
            policy="aqe_backend_native.policy:make_policy",
            replay="aqe_backend_native.replay:NativeReplay",
        )
    ]


@hookimpl
def aqe_rankers() -> list[EngineSpec]:
    """Offer the pairwise logistic ranker."""
    return [
        EngineSpec(
            name="native",
            factory="aqe_backend_native.ranker:NativeRanker",
            capabilities=RankerCapabilities(context=True, budgeted=True),
            requires=("aqe_backend_native._native",),
            install="pip install ./plugins/backend_native",
            summary="pairwise logistic regression over each test's history, in Rust",
        )
    ]


@hookimpl
def aqe_text_indexes() -> list[EngineSpec]:
    """Offer BM25."""
    return [
        EngineSpec(
            name="native",
            factory="aqe_backend_native.text_index:NativeTextIndex",
            capabilities=TextIndexCapabilities(thread_safe=True, hybrid=True),
            requires=("aqe_backend_native._native",),
            install="pip install ./plugins/backend_native",
            summary="BM25 over subtokens and their joined pairs, in Rust",
        )
    ]


@hookimpl
def aqe_embedders() -> list[EngineSpec]:
    """Offer the lexical embedder."""
    return [
        EngineSpec(
            name="native",
            factory="aqe_backend_native.embedder:NativeLexicalEmbedder",
            capabilities=EmbedderCapabilities(kind="lexical", fits=True),
            requires=("aqe_backend_native._native",),
            install="pip install ./plugins/backend_native",
            summary="the lexical embedder in Rust: the same vectors",
        )
    ]
