"""Running a plugin's code without letting it end its host, and saying whose fault it was."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import attrs

from aqe_core.errors import BrokenPluginError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["PluginSource", "import_file", "is_there", "isolated", "resolve"]

_importing = RLock()


@attrs.frozen
class PluginSource:
    """Where a plugin comes from, as its distribution's metadata says.

    Attributes
    ----------
    name : str
        Name of the entry point.
    module : str
        Module to import.
    distribution, version : str
        ``(in process)`` and empty for a plugin registered by the program itself.
    """

    name: str
    module: str
    distribution: str
    version: str


@contextmanager
def isolated(source: PluginSource, what: str, *passing: type[Exception]) -> Iterator[None]:
    """Turn whatever a plugin raises into `BrokenPluginError`, but for the given classes and Ctrl-C.

    That includes ``SystemExit`` and the panics of native engines, which are no ``Exception``: no plugin ends its host.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, *passing)):
            raise
        raise _broken(source, what, error) from error


_NOT_THEIRS = ("<frozen importlib", importlib.__path__[0], str(Path(__file__).parent))


def _broken(source: PluginSource, what: str, error: BaseException) -> BrokenPluginError:
    """Return the error for a plugin that failed, with the last place inside it."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_NOT_THEIRS):
            place = f" at {Path(file).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    try:
        said = str(error)
    except Exception:
        said = "(it cannot be shown)"
    return BrokenPluginError(
        f"plugin {source.name!r} ({' '.join(filter(None, (source.distribution, source.version)))}) {what}: "
        f"{type(error).__name__}: {said}{place}.",
        fix="repair or uninstall that distribution; its author needs this message.",
    )


def resolve(target: str, source: PluginSource) -> Any:
    """Import ``module:callable`` of a plugin.

    Raises
    ------
    BrokenPluginError
        It cannot be imported.
    """
    module, _, path = target.partition(":")
    with isolated(source, f"cannot provide {target}"):
        return attrgetter(path)(importlib.import_module(module))


def is_there(module: str) -> bool:
    """Say whether a module can be imported, without importing it."""
    try:
        return module in sys.modules or find_spec(module) is not None
    except (ImportError, ValueError):  # the package of a submodule is missing; the name is none
        return False


def import_file(path: Path, source: PluginSource) -> ModuleType:
    """Import a file as a module of its own, once.

    Raises
    ------
    BrokenPluginError
        It cannot be imported.
    """
    module_name = f"_aqe_file_{abs(hash(str(path.resolve()))):x}"
    with _importing:  # else another thread would be given a module that has run in part
        if module_name in sys.modules:
            return sys.modules[module_name]
        spec = spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            with isolated(source, "cannot be imported"):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
        return module
