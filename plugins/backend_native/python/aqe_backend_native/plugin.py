"""What the native backend offers, as the entry point ``native`` names it."""

from __future__ import annotations

from aqe_core import hookimpl
from aqe_core.contracts.capabilities import StoreCapabilities
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
                filtered=True, checked=True, thread_safe=True, max_dim=4096, score_tolerance=4e-3
            ),
            requires=("aqe_backend_native._native",),
            install="pip install ./plugins/backend_native",
            summary="1-bit codes in lists, refined by 10-bit planes; measures its own recall",
        )
    ]
