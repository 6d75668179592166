"""Distributions that exist only for a test: real metadata and modules in a folder on `sys.path`."""

from __future__ import annotations

import importlib
import sys
import textwrap

import pytest

from aqe_core.config import load
from aqe_core.plugins import PluginManager

# Offers one pattern store under the name that the entry point has. Its engine is as simple as the contract lets an
# unchecked one be: keys and rows arrive checked, hits may be fewer than asked for.
STORE_PLUGIN = """
import numpy as np
from aqe_core import hookimpl
from aqe_core.contracts import EngineSpec, Hits, StoreCapabilities

AQE_API = 1


class Store:
    def __init__(self, *, dim, metric, factor=1.0, limit=None):
        self.dim, self.metric, self.factor, self.limit = dim, metric, factor, limit
        self.rows = {}

    def __len__(self):
        return len(self.rows)

    def keys(self):
        return np.array(sorted(self.rows), np.uint64)

    def add(self, keys, vectors):
        self.rows.update(zip(keys.tolist(), vectors.copy()))

    def remove(self, keys):
        return sum(self.rows.pop(key, None) is not None for key in keys.tolist())

    def search(self, queries, k=10, *, among=None):
        keys = self.keys() if among is None else np.intersect1d(self.keys(), among)
        rows = np.array([self.rows[key] for key in keys.tolist()]).reshape(-1, self.dim)
        scores = queries @ rows.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return Hits(keys[order], np.take_along_axis(scores, order, 1) * np.float32(self.factor))


@hookimpl
def aqe_pattern_stores():
    name = NAME
    capabilities = StoreCapabilities(exact=True, filtered=True, metrics="dot")
    return [EngineSpec(name=name, factory=f"{__name__}:Store", capabilities=capabilities)]
"""


@pytest.fixture
def store_plugin():
    """Return the source of a plugin that offers a store under a name; with lines added."""

    def source(name, more=""):
        return STORE_PLUGIN.replace("NAME", repr(name)) + textwrap.dedent(more)

    return source


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install distributions: ``install("a-dist", native="source of its module")``; return a plugin's module name."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def write(distribution, version="1.2", *, metadata=None, entry_points=None, **plugins):
        stem = distribution.replace("-", "_").replace(".", "_")
        info = site / f"{stem}-{version}.dist-info"
        info.mkdir()
        if metadata is None:
            metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        modules = {name.replace("_", "-"): f"{stem}_{name}" for name in plugins}
        if entry_points is None:
            lines = [f"{name} = {module}" for name, module in modules.items()]
            entry_points = "\n".join(["[aqe.plugins]", *lines, ""])
        (info / "entry_points.txt").write_bytes(entry_points.encode("latin-1"))
        for module, source in zip(modules.values(), plugins.values(), strict=True):
            if source is not None:
                (site / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        return next(iter(modules.values()), "")

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def manager(tmp_path):
    """Make a plugin manager of a project: ``manager("text of aqe.toml", AQE_SAFE="1")``."""

    def make(text="", **environ):
        (tmp_path / "aqe.toml").write_text(text, encoding="utf-8")
        return PluginManager(load(tmp_path, environ))

    return make


@pytest.fixture
def source_of():
    """Find a plugin's source by name, and by distribution where two have the name."""

    def find(manager, name, distribution=None):
        (found,) = (
            each for each in manager.sources() if each.name == name and distribution in {None, each.distribution}
        )
        return found

    return find
