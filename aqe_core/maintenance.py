"""Looking after a project's data file, also when it cannot be opened: verify, back up, restore, compact, repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqe_core.config import load
from aqe_core.contracts.maintenance import StorageMaintenance
from aqe_core.errors import AqeError, CapabilityError, ContractError
from aqe_core.isolation import isolated, resolve
from aqe_core.plugins import PluginManager
from aqe_core.selection import select
from aqe_core.workspace import make_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["maintenance"]


def maintenance(root: Path, *, file: Path | None = None, create: bool = False) -> StorageMaintenance:
    """Return what looks after the data file of a project. Opens nothing.

    Parameters
    ----------
    root : Path
        The project's folder.
    file : Path, optional
        Another file of the same storage, such as a backup.
    create : bool
        Make the data file's folder if there is none.

    Raises
    ------
    CapabilityError
        The project's storage offers no maintenance.
    PluginError, ConfigError
        The storage cannot be found.
    """
    config = load(root)
    selection = select("storage", config)
    found = PluginManager(config).find_engine("storage", selection.backend)
    factory = resolve(found.spec.factory, found.source)
    make = getattr(factory, "maintenance", None)
    if make is None:
        raise CapabilityError(
            f"the storage {selection.backend!r} offers no maintenance.", fix="use the tools of that storage itself."
        )
    path = file if file is not None else root / config.get("storage.path").value
    if create:
        make_folder(path)
    with isolated(found.source, "failed to offer its maintenance", AqeError):
        product = make(path, **selection.options)
    if not isinstance(product, StorageMaintenance):
        raise ContractError(
            f"the maintenance of storage {selection.backend!r} is {type(product).__name__}, which lacks methods.",
            fix="fulfil aqe_core.contracts.StorageMaintenance.",
        )
    return product
