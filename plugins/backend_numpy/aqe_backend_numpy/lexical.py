"""What the lexical embedder's plugin offers."""

from __future__ import annotations

from aqe_core import hookimpl
from aqe_core.contracts.capabilities import EmbedderCapabilities
from aqe_core.contracts.specs import EngineSpec

AQE_API = 1


@hookimpl
def aqe_embedders() -> list[EngineSpec]:
    """Offer the lexical embedder."""
    return [
        EngineSpec(
            name="lexical",
            factory="aqe_backend_numpy.embedder:LexicalEmbedder",
            capabilities=EmbedderCapabilities(kind="lexical", fits=True),
            requires=("numpy",),
            summary="subtokens weighted by rarity: near means shared words, or words that tests use together",
        )
    ]
