"""``aqe bench storage``: the storage's own benchmark, in a folder of its choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aqe_core.errors import CapabilityError
from aqe_core.isolation import resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aqe_core.plugins import FoundEngine

__all__ = ["ENGINE", "ROWS", "measure", "notes"]

ENGINE = "storage"
ROWS = 5_000


def measure(found: FoundEngine, *, folder: Path, **options: Any) -> dict[str, Any]:
    """Run the benchmark that the storage's factory offers."""
    name = found.spec.name
    benchmark: Callable[..., dict[str, Any]] | None = getattr(
        resolve(found.spec.factory, found.source), "benchmark", None
    )
    if benchmark is None:
        raise CapabilityError(f"the storage {name!r} offers no benchmark.", fix="measure it with its own tools.")
    return {"folder": str(folder), **benchmark(folder, **options)}


def notes(found: dict[str, Any]) -> list[str]:
    """Return what stands below the table."""
    return [
        f"syncs per durable write of a lone caller: {found['syncs_per_write']:.3f}",
        f"SQLite {found['sqlite_version']}; {found['node']}; {found['rounds']} rounds",
    ]
