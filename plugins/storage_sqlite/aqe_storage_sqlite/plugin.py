"""What the SQLite storage offers."""

from __future__ import annotations

from aqe_core import hookimpl
from aqe_core.contracts.specs import EngineSpec

AQE_API = 1


@hookimpl
def aqe_storages() -> list[EngineSpec]:
    """Offer the SQLite storage."""
    return [
        EngineSpec(
            name="sqlite",
            factory="aqe_storage_sqlite.storage:SqliteStorage",
            requires=("apsw",),
            summary="one SQLite file: WAL, one writer, numbered migrations, journal",
        )
    ]
