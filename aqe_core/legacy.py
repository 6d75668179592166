"""Projects of agentic-qe 2.8, the ancestor: looked into as they are, or taken over into a workspace."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aqe_core.contracts.legacy import LEGACY_NAMESPACE, TakesOver
from aqe_core.errors import CapabilityError
from aqe_core.scratch import scratch_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from aqe_core.contracts.legacy import Legacy

    Progress = Callable[[str, int, int], None]

__all__ = ["legacy_of", "open_legacy", "scratch", "take_over"]


@contextmanager
def open_legacy(path: str | os.PathLike[str]) -> Iterator[Legacy]:
    """Look into an old project without changing it.

    Its data are taken over into a storage in a temporary folder, which is asked and then removed; if the process is
    killed before, the next call of any process removes it.

    Parameters
    ----------
    path : path
        A project of agentic-qe 2.8 (the folder that holds ``.agentic-qe``, ``data`` or ``runtime``), or one of its
        database files.

    Yields
    ------
    Legacy
        See `aqe_core.contracts.Legacy`.

    Raises
    ------
    NotFoundError
        There is no database at that place.
    StorageBusyError
        A program keeps writing one of the files.
    CapabilityError
        The configured storage does not take over old projects.

    Examples
    --------
    >>> import aqe_core, contextlib, pathlib, sqlite3, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "memory.db")
    ...     with contextlib.closing(sqlite3.connect(path)) as memory:
    ...         _ = memory.execute("CREATE TABLE memory_entries (key TEXT, partition TEXT, value TEXT)")
    ...         _ = memory.execute("INSERT INTO memory_entries VALUES ('plan', 'default', '[1, 2]')")
    ...         memory.commit()
    ...     with aqe_core.open_legacy(path) as old:
    ...         old.entry("plan")["value"]
    [1, 2]
    """
    with scratch() as storage:
        storage.take_over(Path(path))
        yield storage.legacy()


@contextmanager
def scratch() -> Iterator[TakesOver]:
    """Lend an empty storage that is removed in the end."""
    import os

    from aqe_core.binding import bind
    from aqe_core.config import Config
    from aqe_core.plugins import PluginManager
    from aqe_core.selection import select

    config = Config(Path(), (), os.environ)  # it belongs to no project
    with scratch_folder() as folder:
        required = {"path": folder / "aqe.db", "read_only": False}
        selection = select("storage", config)
        # With the power the folder is lost anyway: the disk need not be waited for.
        options = {"durability": "normal"} if selection.backend == "sqlite" else {}
        storage, _ = bind(selection, PluginManager(config), required, **options)
        try:
            yield _able(storage)
        finally:
            storage.close()


def take_over(
    storage: object,
    path: str | os.PathLike[str],
    *,
    namespace: str = LEGACY_NAMESPACE,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Take an old project over into a storage; see `aqe_core.contracts.TakesOver`."""
    return _able(storage).take_over(Path(path), namespace=namespace, progress=progress)


def legacy_of(storage: object, *, namespace: str = LEGACY_NAMESPACE) -> Legacy:
    """Return what a storage has taken over."""
    return _able(storage).legacy(namespace=namespace)


def _able(storage: object) -> TakesOver:
    if not isinstance(storage, TakesOver):
        raise CapabilityError(
            f"the storage {type(storage).__name__} does not take over projects of agentic-qe.",
            fix="use the storage 'sqlite', which does.",
        )
    return storage
