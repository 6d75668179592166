"""Who is there: plugins found from metadata, imported when used, isolated when broken.

A plugin is an entry point of the group ``aqe.plugins``. Its name is also the family name of every engine it may offer
(``native`` offers ``native`` and ``native/...``), so that two distributions that claim one name are seen from metadata
alone, without importing either.
"""

from __future__ import annotations

import importlib
import re
import sys
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pluggy

from aqe_core import hookspecs
from aqe_core.contracts.capabilities import (
    AnalyzerCapabilities,
    EmbedderCapabilities,
    LearnerCapabilities,
    RankerCapabilities,
    StoreCapabilities,
    TextIndexCapabilities,
)
from aqe_core.contracts.specs import EngineSpec, IngestSpec
from aqe_core.errors import (
    ApiVersionError,
    AqeError,
    ConfigError,
    ContractError,
    DuplicateNameError,
    MissingExtraError,
    PluginError,
    UnknownBackendError,
    UsageError,
)
from aqe_core.events import Event, publish
from aqe_core.isolation import PluginSource, import_file, is_there, isolated
from aqe_core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aqe_core.config import Config, Setting
    from aqe_core.contracts.capabilities import Capabilities

__all__ = [
    "CAPABILITIES",
    "GROUP",
    "HOOKS",
    "KNOWN_EXTRAS",
    "FoundEngine",
    "FoundFormat",
    "PluginManager",
    "installed_sources",
    "iter_problems",
]

GROUP = "aqe.plugins"

HOOKS = {
    "pattern_store": "aqe_pattern_stores",
    "learner": "aqe_learners",
    "ranker": "aqe_rankers",
    "analyzer": "aqe_analyzers",
    "storage": "aqe_storages",
    "embedder": "aqe_embedders",
    "text_index": "aqe_text_indexes",
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

CAPABILITIES: dict[str, type[Capabilities]] = {
    "pattern_store": StoreCapabilities,
    "learner": LearnerCapabilities,
    "ranker": RankerCapabilities,
    "analyzer": AnalyzerCapabilities,
    "embedder": EmbedderCapabilities,
    "text_index": TextIndexCapabilities,
}
"""What the spec of an engine of each kind must declare; a storage declares nothing."""

_OWN = "aqe-core"
_IN_PROCESS = "(in process)"
_LOCAL_FILE = "(local file)"


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
    """List the installed plugins from metadata, sorted by name, then distribution. Imports none of them.

    Distributions whose metadata cannot be read are passed over: they are nobody's plugin yet.
    """
    from importlib.metadata import distributions, entry_points  # costs more than all of aqe_core to import

    points: list[Any]
    try:
        points = list(entry_points(group=GROUP))
    except Exception:  # one unreadable entry_points.txt spoils the list of all; then each is asked alone
        points = []
        for distribution in distributions():
            with suppress(Exception):
                points += distribution.entry_points.select(group=GROUP)
    return sorted({_source(point) for point in points}, key=lambda source: (source.name, source.distribution))


def _source(point: Any) -> PluginSource:
    metadata = point.dist.metadata if point.dist is not None else {}
    name, version = (str(metadata[key]) if key in metadata else "" for key in ("Name", "Version"))
    return PluginSource(point.name, point.value, _canonical(name) or "(unknown)", version)


def _canonical(distribution: str) -> str:
    """Return a distribution's name in the form that package indexes compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


_Spec = TypeVar("_Spec", EngineSpec, IngestSpec)


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
    Thread-safe: threads of a workspace bind its engines when they need them first.
    """

    def __init__(self, config: Config | None = None, sources: list[PluginSource] | None = None) -> None:
        self._config = config
        self._installed = sources
        self._modules: dict[PluginSource, Any] = {}
        self._failures: dict[PluginSource, PluginError] = {}
        self._lock = RLock()  # of plugins and failures
        self._hooks = pluggy.PluginManager("aqe")
        self._hooks.add_hookspecs(hookspecs)
        self._safe = config is not None and config.switch("AQE_SAFE")
        self._traced = config is not None and config.switch("AQE_TRACE_HOOKS")

    # -- discovery --------------------------------------------------------------------------------------------------

    def sources(self) -> list[PluginSource]:
        """List all plugins, installed or registered, from metadata alone."""
        if self._installed is None:
            self._installed = installed_sources()
        return [*self._installed, *(source for source in tuple(self._modules) if source not in self._installed)]

    def left_out(self, source: PluginSource) -> str:
        """Return why a plugin is not to be loaded; empty if it may be."""
        own = source.distribution == _OWN
        if self._config is None or source.distribution == _IN_PROCESS or (own and self._safe):
            return ""
        if self._safe:
            return "left out by AQE_SAFE"
        pin = self._pin(source.name)
        if pin is not None and _canonical(pin.value) != source.distribution:
            return f"left out by plugins.pin ({pin.source})"
        if own:
            return ""
        only = self._config.environ.get("AQE_PLUGINS")
        if only is not None and source.name not in {name.strip() for name in only.split(",")}:
            return "left out by AQE_PLUGINS"
        allowed = self._config.get("plugins.allow")
        if allowed.value is None or source.distribution == _LOCAL_FILE:
            return ""
        if source.distribution not in {_canonical(name) for name in allowed.value}:
            return f"left out by plugins.allow ({allowed.source})"
        return ""

    def _pin(self, name: str) -> Setting | None:
        return None if self._config is None or self._safe else self._config.under("plugins.pin").get(name)

    def claimants(self, name: str) -> list[PluginSource]:
        """Return the loadable plugins of that name: more than one only if distributions disagree and none is pinned.

        Raises
        ------
        ConfigError
            The name is pinned to a distribution that offers no such plugin here.
        """
        claims = [source for source in self.sources() if source.name == name and not self.left_out(source)]
        pin = self._pin(name)
        if pin is not None and not claims:
            raise ConfigError(
                f"{pin.source}: plugin {name!r} is pinned to {pin.value!r}, which does not offer it here.",
                fix=f"install it, or remove plugins.pin.{name}.",
            )
        return claims

    def find(self, name: str) -> PluginSource | None:
        """Return the loadable plugin of that name, if there is one.

        Raises
        ------
        DuplicateNameError
            Two distributions claim the name.
        ConfigError
            As `claimants`.
        """
        claims = self.claimants(name)
        if len(claims) > 1:
            who = " and ".join(source.distribution for source in claims)
            raise DuplicateNameError(
                f"the plugin name {name!r} is claimed by {who}.",
                fix=f'uninstall one, or pin it: [plugins.pin] {name} = "{claims[0].distribution}"',
            )
        return claims[0] if claims else None

    def register(self, plugin: object, name: str) -> None:
        """Add a module or object of this process as a plugin.

        Raises
        ------
        DuplicateNameError
            The name is taken.
        ApiVersionError, ContractError
            As for an installed plugin.
        """
        with self._lock:
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
                with isolated(source, "cannot be imported", PluginError):
                    plugin = importlib.import_module(source.module)
                    with self._lock:  # a plugin that two threads load is accepted once
                        return self._modules[source] if source in self._modules else self._accept(source, plugin)
            except PluginError as error:
                self._report(source, error)
        raise self._failures[source]

    def _report(self, source: PluginSource, error: PluginError) -> None:
        """Keep a plugin's first failure, and tell it."""
        with self._lock:
            if source in self._failures:
                return
            self._failures[source] = error
        publish(Event(name="plugin-failed", data={**attrs.asdict(source), "error": str(error)}))

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
        name = f"{source.distribution}:{source.name}"
        if self._hooks.is_registered(plugin):
            raise ContractError(
                f"plugin {source.name!r} is the same {source.module} as plugin "
                f"{str(self._hooks.get_name(plugin)).partition(':')[2]!r}.",
                fix="give each entry point a module of its own.",
            )
        try:
            self._hooks.register(plugin, name=name)
            self._hooks.check_pending()
        except pluggy.PluginValidationError as error:
            self._hooks.unregister(name=name)
            raise ContractError(
                f"plugin {source.name!r} implements a hook that does not exist, or takes what the hook does not give: "
                f"{' '.join(str(error).split())}.",
                fix="docs/reference/hooks.md lists the hooks and their arguments.",
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
            with isolated(source, f"failed in its hook {hook}"):
                answer = implementation.function(*(arguments[name] for name in implementation.argnames))
                if self._traced:
                    sys.stderr.write(f"aqe: {hook} of {source.name} ({source.distribution}) -> {answer!r}\n")
            answers.append(answer)
        return answers

    def _offers(self, hook: str, source: PluginSource, wanted: type[_Spec]) -> list[_Spec]:
        """Return the specs that a plugin's hook returns, checked to be such."""
        found: list[_Spec] = []
        for answer in self.call(hook, source):
            with isolated(source, f"failed in its hook {hook}"):  # a generator fails only now
                specs = answer if answer is None or isinstance(answer, str) else list(answer)
            for spec in [answer] if isinstance(specs, str) else specs or ():
                if not isinstance(spec, wanted):
                    raise ContractError(
                        f"plugin {source.name!r}: {hook} returned {spec!r}, not an {wanted.__name__}.",
                        fix=f"return a list of aqe_core.contracts.{wanted.__name__}.",
                    )
                found.append(spec)
        return found

    # -- engines ----------------------------------------------------------------------------------------------------

    def engines_of(self, source: PluginSource, kind: str) -> list[FoundEngine]:
        """Return the engines of a kind that a plugin offers.

        Raises
        ------
        PluginError
            The plugin is broken, or offers what it may not.
        """
        specs = self._offers(HOOKS[kind], source, EngineSpec)
        for spec in specs:
            if spec.name.partition("/")[0] != source.name:
                raise ContractError(
                    f"plugin {source.name!r} offers {spec.name!r}, but may only offer {source.name!r} "
                    f"and '{source.name}/...'.",
                    fix="name the entry point like the engine.",
                )
        return [FoundEngine(kind, spec, source) for spec in specs]

    def engines(self, kind: str) -> list[FoundEngine]:
        """Return all engines of a kind that can be listed; a broken plugin never hides another."""
        found = []
        for source in self.sources():
            if self.left_out(source):
                continue
            try:
                found += self.engines_of(source, kind)
            except PluginError as error:
                self._report(source, error)
        return found

    def find_engine(self, kind: str, name: str) -> FoundEngine:
        """Return the engine of a kind and name. Imports only the plugin that claims the name.

        Raises
        ------
        UnknownBackendError, MissingExtraError, BrokenPluginError, DuplicateNameError
            There is none; it is known but not installed; its plugin is broken; two distributions claim it.
        """
        if not isinstance(name, str):
            raise UsageError(f"the backend is {name!r}, but must be a name.", fix="`aqe backends` lists them.")
        if name.startswith("file:"):
            return self._from_file(kind, name)
        source = self.find(name.partition("/")[0])
        for found in self.engines_of(source, kind) if source is not None else ():
            if found.spec.name == name:
                _check_requirements(found)
                return found
        raise self._unknown(kind, name)

    def _from_file(self, kind: str, name: str) -> FoundEngine:
        """Return an engine from ``file:PATH:NAME``, a one-off without a distribution."""
        path_text, _, attribute = name.removeprefix("file:").rpartition(":")
        path = Path(path_text)
        if not re.fullmatch(r"[A-Za-z_]\w*", attribute) or path.suffix != ".py":
            raise ConfigError(f"{name!r} does not look like 'file:PATH.py:CLASS'.", fix="e.g. file:./mystore.py:Store")
        source = PluginSource("file", str(path), _LOCAL_FILE, "")
        reason = self.left_out(source)
        if reason:
            raise UnknownBackendError(f"{name!r} is {reason}.", fix="allow it there, or choose another.")
        if not path.is_file():
            raise UnknownBackendError(
                f"{name!r}: there is no file {path}.", fix="the path is relative to the current folder."
            )
        module = import_file(path, source)
        product = getattr(module, attribute, None)
        if not callable(product):
            raise ContractError(f"{path} has no class or function {attribute!r}.", fix="name one that it has.")
        default = CAPABILITIES.get(kind)
        spec = EngineSpec(
            name="file",
            factory=f"{module.__name__}:{attribute}",
            capabilities=None if default is None else getattr(product, "capabilities", default()),
            summary=f"{path}:{attribute}",
        )
        return FoundEngine(kind, spec, source)

    def _unknown(self, kind: str, name: str) -> PluginError:
        noun, family = kind.replace("_", " "), name.partition("/")[0]
        claims = [source for source in self.sources() if source.name == family]
        reasons = [self.left_out(source) for source in claims]
        if claims and all(reasons):
            return UnknownBackendError(f"the {noun} {name!r} is installed but {reasons[0]}.", fix="allow its plugin.")
        if family in KNOWN_EXTRAS and not claims:
            return MissingExtraError(f"the {noun} {name!r} is not installed.", fix=KNOWN_EXTRAS[family])
        names = sorted({found.spec.name for found in self.engines(kind)})
        fix = did_you_mean(name, names, "`aqe backends` lists them.")
        there = ", ".join(names) or "none"
        return UnknownBackendError(f"there is no {noun} named {name!r}; installed: {there}.", fix=fix)

    def formats_of(self, source: PluginSource) -> list[FoundFormat]:
        """Return the ingest formats that a plugin offers.

        Raises
        ------
        PluginError
            As `engines_of`.
        """
        return [FoundFormat(spec, source) for spec in self._offers("aqe_ingest_formats", source, IngestSpec)]

    def formats(self) -> list[FoundFormat]:
        """Return all ingest formats, of aqe's own plugins first; a broken or contested plugin offers none."""
        found = []
        for source in sorted(self.sources(), key=lambda each: each.distribution != _OWN):
            if self.left_out(source):
                continue
            try:
                self.find(source.name)
                found += self.formats_of(source)
            except PluginError as error:
                self._report(source, error)
        return found

    def observe(self, names: list[str]) -> None:
        """Load the named plugins for their ``aqe_event`` hook; those that are left out are passed over.

        Raises
        ------
        ConfigError
            There is no plugin of that name.
        PluginError
            It is contested or broken.
        """
        for name in names:
            source = self.find(name)
            if source is not None:
                self.load(source)
            elif all(each.name != name for each in self.sources()):
                raise ConfigError(
                    f"plugins.observers names the plugin {name!r}, which is not installed.",
                    fix="install it, or remove it from plugins.observers.",
                )

    def tell(self, event: Event) -> None:
        """Publish an event, also to the loaded plugins that observe; what they raise is reported, not passed on."""
        publish(event)
        for source in list(self._modules):
            try:
                self.call("aqe_event", source, event=event)
            except PluginError as error:
                publish(Event(name="plugin-failed", data={**attrs.asdict(source), "error": str(error)}))


def _check_requirements(found: FoundEngine) -> None:
    missing = [name for name in found.spec.requires if not is_there(name)]
    if missing:
        raise MissingExtraError(
            f"the {found.kind.replace('_', ' ')} {found.spec.name!r} needs {', '.join(missing)}, not installed.",
            fix=found.spec.install or f"pip install {' '.join(missing)}",
        )


def iter_problems(manager: PluginManager) -> Iterator[tuple[str, AqeError]]:
    """Yield every plugin name that is claimed twice or whose plugin fails, with the error."""
    told: set[str] = set()
    for source in manager.sources():
        if manager.left_out(source):
            continue
        try:
            manager.find(source.name)
            for kind in HOOKS:
                manager.engines_of(source, kind)
            manager.formats_of(source)
        except AqeError as error:
            if str(error) not in told:
                yield source.name, error
            told.add(str(error))
