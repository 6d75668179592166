"""Remember test patterns, learn which tests pay, judge test metrics: on interchangeable backends.

Importing this package costs next to nothing: every name below is loaded when it is first used.
"""

__version__ = "0.1.0"

# Written out for type checkers and readers; `__getattr__` loads each name from its module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from aqe_core.engines import (
        open_analyzer,
        open_embedder,
        open_learner,
        open_quantizer,
        open_ranker,
        open_replay,
        open_store,
        open_text_index,
    )
    from aqe_core.errors import AqeError
    from aqe_core.hookspecs import hookimpl
    from aqe_core.legacy import open_legacy
    from aqe_core.selection import explain
    from aqe_core.workspace import Workspace, open  # noqa: A004  # aqe_core.open() is the public name

__all__ = [
    "AqeError",
    "Workspace",
    "__version__",
    "explain",
    "hookimpl",
    "open",
    "open_analyzer",
    "open_embedder",
    "open_learner",
    "open_legacy",
    "open_quantizer",
    "open_ranker",
    "open_replay",
    "open_store",
    "open_text_index",
]

_HOME = {
    "AqeError": "errors",
    "Workspace": "workspace",
    "explain": "selection",
    "hookimpl": "hookspecs",
    "open": "workspace",
    "open_analyzer": "engines",
    "open_embedder": "engines",
    "open_learner": "engines",
    "open_legacy": "legacy",
    "open_quantizer": "engines",
    "open_ranker": "engines",
    "open_replay": "engines",
    "open_store": "engines",
    "open_text_index": "engines",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'aqe_core' has no attribute {name!r}")
    from importlib import import_module  # nothing is loaded before it is used

    value = getattr(import_module(f"aqe_core.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
