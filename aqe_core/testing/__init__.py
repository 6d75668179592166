"""The conformance kit: what a plugin author runs to see whether an engine keeps the contract.

Three front ends run the same checks: a pytest class per kind (`PatternStoreConformance` and its like), a function
(`run_checks`), and the command ``aqe check NAME`` (`check_backend`). A check is a plain function with a name, the
capability it needs, and an advice where to look if it fails. The kit has the version of the library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aqe_core.events import capture
    from aqe_core.testing.installed import check_backend
    from aqe_core.testing.kit import Check, Context, Outcome, Report, checks, run_checks
    from aqe_core.testing.pytest_kit import (
        AnalyzerConformance,
        EmbedderConformance,
        LearnerConformance,
        PatternStoreConformance,
        RankerConformance,
        StorageConformance,
        TextIndexConformance,
    )

__all__ = [
    "AnalyzerConformance",
    "Check",
    "Context",
    "EmbedderConformance",
    "LearnerConformance",
    "Outcome",
    "PatternStoreConformance",
    "RankerConformance",
    "Report",
    "StorageConformance",
    "TextIndexConformance",
    "capture",
    "check_backend",
    "checks",
    "run_checks",
]

_HOME = {
    "AnalyzerConformance": "testing.pytest_kit",
    "Check": "testing.kit",
    "Context": "testing.kit",
    "EmbedderConformance": "testing.pytest_kit",
    "LearnerConformance": "testing.pytest_kit",
    "Outcome": "testing.kit",
    "PatternStoreConformance": "testing.pytest_kit",
    "RankerConformance": "testing.pytest_kit",
    "Report": "testing.kit",
    "StorageConformance": "testing.pytest_kit",
    "TextIndexConformance": "testing.pytest_kit",
    "capture": "events",
    "check_backend": "testing.installed",
    "checks": "testing.kit",
    "run_checks": "testing.kit",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'aqe_core.testing' has no attribute {name!r}")
    return getattr(import_module(f"aqe_core.{_HOME[name]}"), name)
