"""Who is there: plugins found from metadata, imported when used, isolated when broken.

A plugin is an entry point of the group ``aqe.plugins``. Its name is also the family name of every engine it may offer
(``native`` offers ``native`` and ``native/...``), so that two distributions that claim one name are seen from metadata
alone, without importing either.
"""

from __future__ import annotations

import difflib
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from aqe_core import hookspecs
from aqe_core.contracts.capabilities import (
    AnalyzerCapabilities,
    EmbedderCapabilities,
    LearnerCapabilities,
    StoreCapabilities,
)
from aqe_core.contracts.specs import EngineSpec, IngestSpec
from aqe_core.errors import (
    ApiVersionError,
    AqeError,
    BrokenPluginError,
    ConfigError,
    ContractError,
    DuplicateNameError,
    MissingExtraError,
    PluginError,
    UnknownBackendError,
)
from aqe_core.events import Event, publish

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from aqe_core.config import Config

__all__ = ["GROUP", "KNOWN_EXTRAS", "FoundEngine", "FoundFormat", "PluginManager", "PluginSource"]

GROUP = "aqe.plugins"

HOOKS = {
    "pattern_store": "aqe_pattern_stores",
    "learner": "aqe_learners",
    "analyzer": "aqe_analyzers",
    "storage": "aqe_storages",
    "embedder": "aqe_embedders",
}

KNOWN_EXTRAS = {
    "native": 'pip install "aqe-core[native]"',
    "gpu": 'pip install "aqe-core[gpu]"',
    "annoy": 'pip install "aqe-backend-native[annoy]"',
    "nmslib": 'pip install "aqe-backend-native[nmslib]"',
    "sqlite-vec": 'pip install "aqe-backend-native[sqlite-vec]"',
    "usearch": 'pip install "aqe-backend-native[usearch]"',
    "hnswlib": 'pip install "aqe-backend-native[hnswlib]"',
}
"""Backends that are known by name although they may not be installed, and the command that installs each."""

_FILE_CAPABILITIES = {
    "pattern_store": StoreCapabilities,
    "learner": LearnerCapabilities,
    "analyzer": AnalyzerCapabilities,
    "embedder": EmbedderCapabilities,
}


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


@attrs.frozen
class FoundEngine:
    """An engine and the plugin that offers it."""

    kind: str
    spec: EngineSpec
    source: PluginSource


@attrs.frozen
class FoundFormat:
    """An ingest format and the plugin that offers it."""

    spec: IngestSpec
    source: PluginSource


def installed_sources() -> list[PluginSource]:
    """List the installed plugins from metadata, sorted by name, then distribution. Imports none of them."""
    from importlib.metadata import entry_points  # costs more than all of aqe_core to import

    found = [
        PluginSource(
            name=point.name,
            module=point.value,
            distribution=point.dist.name if point.dist else "(unknown)",
            version=point.dist.version if point.dist else "",
        )
        for point in entry_points(group=GROUP)
    ]
    return sorted(found, key=lambda source: (source.name, source.distribution))


class PluginManager:
    """The plugins of one process or workspace.

    Parameters
    ----------
    config : Config, optional
        Says which distributions are allowed, which names are pinned, and carries the environment.
    sources : list of PluginSource, optional
        Instead of the installed ones (for tests).

    Notes
    -----
    Not thread-safe; it is used while a workspace opens or a list is printed.
    """

    def __init__(self, config: Config | None = None, sources: list[PluginSource] | None = None) -> None:
        self._config = config
        self._installed = sources
        self._modules: dict[PluginSource, Any] = {}
        self._failures: dict[PluginSource, PluginError] = {}
        self._hooks = pluggy.PluginManager("aqe")
        self._hooks.add_hookspecs(hookspecs)
        if config is not None and config.switch("AQE_TRACE_HOOKS"):
            self._hooks.trace.root.setwriter(sys.stderr.write)
            self._hooks.enable_tracing()

    # -- discovery --------------------------------------------------------------------------------------------------

    def sources(self) -> list[PluginSource]:
        """List all plugins, installed or registered, from metadata alone."""
        if self._installed is None:
            self._installed = installed_sources()
        return [*self._installed, *(source for source in self._modules if source not in self._installed)]

    def left_out(self, source: PluginSource) -> str:
        """Return why a plugin is not to be loaded; empty if it may be."""
        if self._config is None or source.distribution in {"aqe-core", _IN_PROCESS}:
            return ""
        if self._config.switch("AQE_SAFE"):
            return "left out by AQE_SAFE"
        only = self._config.environ.get("AQE_PLUGINS")
        if only is not None and source.name not in {name.strip() for name in only.split(",")}:
            return "left out by AQE_PLUGINS"
        allowed = self._config.get("plugins.allow")
        if allowed.value is not None and source.distribution not in allowed.value:
            return f"left out by plugins.allow ({allowed.source})"
        return ""

    def claimants(self, name: str) -> list[PluginSource]:
        """Return the loadable plugins of that name: more than one only if distributions disagree and none is pinned."""
        claims = [source for source in self.sources() if source.name == name and not self.left_out(source)]
        pin = self._config.under("plugins.pin").get(name) if self._config is not None else None
        if pin is None:
            return claims
        pinned = [source for source in claims if source.distribution == pin.value]
        if not pinned:
            raise ConfigError(
                f"{pin.source}: plugin {name!r} is pinned to {pin.value!r}, which does not offer it here.",
                fix=f"install it, or remove plugins.pin.{name}.",
            )
        return pinned

    def register(self, plugin: object, name: str) -> None:
        """Add a module or object of this process as a plugin.

        Raises
        ------
        DuplicateNameError
            The name is taken.
        ApiVersionError, ContractError
            As for an installed plugin.
        """
        if any(source.name == name for source in self.sources()):
            raise DuplicateNameError(
                f"a plugin named {name!r} is there already.", fix="register it under another name."
            )
        source = PluginSource(name, getattr(plugin, "__name__", type(plugin).__name__), _IN_PROCESS, "")
        self._accept(source, plugin)

    # -- loading ----------------------------------------------------------------------------------------------------

    def load(self, source: PluginSource) -> object:
        """Import a plugin, once.

        Raises
        ------
        BrokenPluginError
            It cannot be imported; the cause is chained.
        ApiVersionError, ContractError
            It is for another API version, or implements a hook wrongly.
        """
        if source in self._modules:
            return self._modules[source]
        if source not in self._failures:
            try:
                return self._accept(source, import_module(source.module))
            except PluginError as error:
                self._failures[source] = error
            except Exception as error:
                self._failures[source] = broken(source, "cannot be imported", error)
            publish(Event(name="plugin-failed", data={**attrs.asdict(source), "error": str(self._failures[source])}))
        raise self._failures[source]

    def _accept(self, source: PluginSource, plugin: Any) -> object:
        wanted = hookspecs.API_VERSION
        version = getattr(plugin, "AQE_API", None)
        if version != wanted:
            said = "sets no AQE_API" if version is None else f"is for plugin API {version}"
            advice = "set AQE_API = 1 in the plugin" if version is None else f"install a version of it for API {wanted}"
            raise ApiVersionError(
                f"plugin {source.name!r} ({source.module}) {said}; this aqe has API {wanted}.",
                fix=f"{advice}.",
            )
        registered = self._hooks.register(plugin, name=f"{source.distribution}:{source.name}")
        try:
            self._hooks.check_pending()
        except pluggy.PluginValidationError as error:
            self._hooks.unregister(name=registered)
            raise ContractError(
                f"plugin {source.name!r} implements a hook that does not exist: {error}.",
                fix="docs/reference/hooks.md lists the hooks.",
            ) from error
        self._modules[source] = plugin
        return plugin

    def load_all(self) -> list[tuple[PluginSource, str]]:
        """Load every allowed plugin; return those that were left out or failed, each with the reason."""
        problems = []
        for source in self.sources():
            reason = self.left_out(source)
            if not reason:
                try:
                    self.load(source)
                except PluginError as error:
                    reason = str(error)
            if reason:
                problems.append((source, reason))
        return problems

    def call(self, hook: str, source: PluginSource, **arguments: Any) -> list[Any]:
        """Call one plugin's implementations of a hook, isolated from the others.

        Raises
        ------
        BrokenPluginError
            An implementation raised; the cause is chained.
        """
        plugin = self.load(source)
        implementations = [each for each in getattr(self._hooks.hook, hook).get_hookimpls() if each.plugin is plugin]
        answers = []
        for implementation in implementations:
            try:
                answers.append(implementation.function(*(arguments[name] for name in implementation.argnames)))
            except Exception as error:
                raise broken(source, f"failed in its hook {hook}", error) from error
        return answers

    # -- engines ----------------------------------------------------------------------------------------------------

    def engines_of(self, source: PluginSource, kind: str) -> list[FoundEngine]:
        """Return the engines of a kind that a plugin offers.

        Raises
        ------
        PluginError
            The plugin is broken, or offers what it may not.
        """
        found = []
        for answer in self.call(HOOKS[kind], source):
            for spec in answer or ():
                if not isinstance(spec, EngineSpec):
                    raise ContractError(
                        f"plugin {source.name!r}: {HOOKS[kind]} returned {spec!r}, not an EngineSpec.",
                        fix="return a list of aqe_core.contracts.EngineSpec.",
                    )
                if spec.name.partition("/")[0] != source.name:
                    raise ContractError(
                        f"plugin {source.name!r} offers {spec.name!r}, but may only offer {source.name!r} "
                        f"and '{source.name}/...'.",
                        fix="name the entry point like the engine.",
                    )
                found.append(FoundEngine(kind, spec, source))
        return found

    def engines(self, kind: str) -> list[FoundEngine]:
        """Return all engines of a kind that can be listed; a broken plugin never hides another."""
        found = []
        for source in self.sources():
            if self.left_out(source):
                continue
            try:
                found += self.engines_of(source, kind)
            except PluginError as error:
                self._failures.setdefault(source, error)
        return found

    def find_engine(self, kind: str, name: str) -> FoundEngine:
        """Return the engine of a kind and name. Imports only the plugin that claims the name.

        Raises
        ------
        UnknownBackendError, MissingExtraError, BrokenPluginError, DuplicateNameError
            There is none; it is known but not installed; its plugin is broken; two distributions claim it.
        """
        if name.startswith("file:"):
            return _from_file(kind, name)
        claims = self.claimants(name.partition("/")[0])
        if len(claims) > 1:
            who = " and ".join(source.distribution for source in claims)
            raise DuplicateNameError(
                f"the plugin name {claims[0].name!r} is claimed by {who}.",
                fix=f'uninstall one, or pin it: [plugins.pin] {claims[0].name} = "{claims[0].distribution}"',
            )
        if claims:
            for found in self.engines_of(claims[0], kind):
                if found.spec.name == name:
                    _check_requirements(found)
                    return found
        raise self._unknown(kind, name)

    def _unknown(self, kind: str, name: str) -> PluginError:
        noun = kind.replace("_", " ")
        for source in self.sources():
            reason = self.left_out(source)
            if source.name == name.partition("/")[0] and reason:
                return UnknownBackendError(f"the {noun} {name!r} is installed but {reason}.", fix="allow its plugin.")
        if name in KNOWN_EXTRAS and not any(source.name == name for source in self.sources()):
            return MissingExtraError(f"the {noun} {name!r} is not installed.", fix=KNOWN_EXTRAS[name])
        names = sorted({found.spec.name for found in self.engines(kind)})
        near = difflib.get_close_matches(name, names, n=1)
        fix = f"did you mean {near[0]!r}?" if near else "`aqe backends` lists them."
        return UnknownBackendError(f"there is no {noun} named {name!r}; installed: {', '.join(names)}.", fix=fix)

    def formats(self) -> list[FoundFormat]:
        """Return all ingest formats, of aqe's own plugins first."""
        found = []
        for source in sorted(self.sources(), key=lambda each: each.distribution != "aqe-core"):
            if self.left_out(source):
                continue
            try:
                for answer in self.call("aqe_ingest_formats", source):
                    found += [FoundFormat(spec, source) for spec in answer or ()]
            except PluginError as error:
                self._failures.setdefault(source, error)
        return found

    def observe(self, names: list[str]) -> None:
        """Load the named plugins for their ``aqe_event`` hook."""
        for name in names:
            for source in self.claimants(name):
                self.load(source)

    def tell(self, event: Event) -> None:
        """Publish an event, also to the loaded plugins that observe; what they raise is reported, not passed on."""
        publish(event)
        for source in list(self._modules):
            try:
                self.call("aqe_event", source, event=event)
            except PluginError as error:
                publish(Event(name="plugin-failed", data={**attrs.asdict(source), "error": str(error)}))


_IN_PROCESS = "(in process)"


def broken(source: PluginSource, what: str, error: BaseException) -> BrokenPluginError:
    """Return the error for a plugin that failed, with the last place inside it."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    failure = BrokenPluginError(
        f"plugin {source.name!r} ({source.distribution} {source.version}) {what}: "
        f"{type(error).__name__}: {error}{place}.",
        fix="repair or uninstall that distribution; its author needs this message.",
    )
    failure.__cause__ = error
    return failure


def resolve(target: str, source: PluginSource) -> Any:
    """Import ``module:callable`` of a plugin.

    Raises
    ------
    BrokenPluginError
        It cannot be imported.
    """
    module, _, path = target.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise broken(source, f"cannot provide {target}", error) from error
    return found


def _check_requirements(found: FoundEngine) -> None:
    missing = [name for name in found.spec.requires if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"the {found.kind.replace('_', ' ')} {found.spec.name!r} needs {', '.join(missing)}, not installed.",
            fix=found.spec.install or f"pip install {' '.join(missing)}",
        )


def _from_file(kind: str, name: str) -> FoundEngine:
    """Return an engine from ``file:PATH:NAME``, a one-off without a distribution."""
    path_text, _, attribute = name.removeprefix("file:").rpartition(":")
    path = Path(path_text)
    if not attribute.isidentifier() or path.suffix != ".py":
        raise ConfigError(f"{name!r} does not look like 'file:PATH.py:CLASS'.", fix="e.g. file:./mystore.py:Store")
    if not path.is_file():
        raise UnknownBackendError(
            f"{name!r}: there is no file {path}.", fix="the path is relative to the current folder."
        )
    source = PluginSource("file", str(path), "(local file)", "")
    module = _import_file(path, source)
    product = getattr(module, attribute, None)
    if not callable(product):
        raise ContractError(f"{path} has no class or function {attribute!r}.", fix="name one that it has.")
    capabilities = getattr(product, "capabilities", None)
    if capabilities is None and kind in _FILE_CAPABILITIES:
        capabilities = _FILE_CAPABILITIES[kind]()
    spec = EngineSpec(
        name="file",
        factory=f"{module.__name__}:{attribute}",
        capabilities=capabilities,
        summary=f"{path}:{attribute}",
    )
    return FoundEngine(kind, spec, source)


def _import_file(path: Path, source: PluginSource) -> ModuleType:
    module_name = f"_aqe_file_{path.stem}_{abs(hash(str(path.resolve()))):x}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise broken(source, "cannot be imported", error) from error
    return module


def iter_problems(manager: PluginManager) -> Iterator[tuple[str, AqeError]]:
    """Yield every plugin name that is claimed twice or whose plugin fails, with the error."""
    seen: set[str] = set()
    for source in manager.sources():
        if source.name in seen or manager.left_out(source):
            continue
        seen.add(source.name)
        try:
            claims = manager.claimants(source.name)
            if len(claims) > 1:
                manager.find_engine("pattern_store", source.name)
            for kind in HOOKS:
                manager.engines_of(claims[0], kind)
        except AqeError as error:
            yield source.name, error


def environment_hints(environ: Mapping[str, str], known: Mapping[str, str]) -> list[str]:
    """Return a sentence for each ``AQE_`` variable that nobody reads but that looks like one that is."""
    hints = []
    for variable in sorted(environ):
        if variable.startswith("AQE_") and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.75)
            if near:
                hints.append(f"environment variable {variable} is not read; did you mean {near[0]}?")
    return hints
