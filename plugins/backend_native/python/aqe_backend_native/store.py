"""The native pattern store: options checked, then made in Rust."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING, Any

from aqe_core import validate
from aqe_core.errors import ConfigError, InputError

if TYPE_CHECKING:
    from aqe_backend_native._native import PatternStore

__all__ = ["INDEXES", "KEEPS", "make_store"]

INDEXES = ("auto", "flat", "lists", "hnsw")
"""``auto``: flat below 4,096 rows, lists above. ``hnsw``: a graph, from 1,024 rows on."""

KEEPS = ("planes", "float16", "float32")
"""What is kept of the vectors, beside their codes: 10 bits a dimension; 16 more; 32 more."""

_MAX_DIM = 4096
_SIMD = ("", "avx512vbmi", "avx512", "avx2", "neon", "portable")


def make_store(
    *,
    dim: int,
    metric: str = "cosine",
    index: str = "auto",
    keep: str = "planes",
    recall: float = 0.95,
    seed: int = 0,
    threads: int | None = None,
    background: bool = True,
) -> PatternStore:
    """Make an empty native pattern store.

    Parameters
    ----------
    dim : int
        Number of dimensions, 1 .. 4096.
    metric : str
        ``cosine``, ``dot`` or ``l2``.
    index : str
        One of `INDEXES`.
    keep : str
        One of `KEEPS`. A score is accurate to about 2e-4 with ``planes``, 3e-5 with ``float16`` and 1e-5 with
        ``float32``, relative to the largest magnitude involved. Below 128 dimensions, and below 1,024 rows, float32
        is kept always.
    recall : float
        Recall at 10 that a search is tuned for, between 0.5 and 0.999. The store measures it on its own rows.
    seed : int
        Of everything that is left to chance, 0 .. 2**64 - 1.
    threads : int, optional
        For batches of queries and for building; by default the number of processors this process may use.
    background : bool
        Whether lists are learned beside the calls. If not, `add` and `remove` do it themselves, and the same calls
        give the same store, bit for bit.

    Returns
    -------
    PatternStore
        Fulfils `aqe_core.contracts.PatternStore`; has ``optimize()`` and ``stats()`` besides, and ``search`` takes
        ``ef`` and ``exact``. Thread-safe.

    Raises
    ------
    InputError, DimensionError
        ``dim`` or ``metric`` is wrong.
    ConfigError
        Another option is wrong.
    """
    dim, metric = validate.as_dim(dim, _MAX_DIM), validate.as_metric(metric)
    _one_of("index", index, INDEXES)
    _one_of("keep", keep, KEEPS)
    _one_of("AQE_SIMD", os.environ.get("AQE_SIMD", ""), _SIMD)
    _recall(recall)
    from aqe_backend_native import _native  # the one place that needs the compiled module

    return _native.PatternStore(
        dim=dim,
        metric=metric,
        index=index,
        keep=keep,
        recall=float(recall),
        seed=_integer("seed", seed, 0, 2**64 - 1),
        threads=0 if threads is None else _integer("threads", threads, 1, 256),  # 0: as many as there are processors
        background=bool(background),
    )


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        names = ", ".join(each for each in known if each)
        raise ConfigError(f"{name} is {value!r}, but must be one of {names}.", fix="choose one of them.")


def _recall(value: Any) -> None:
    if not isinstance(value, (int, float)) or not 0.5 <= value <= 0.999:
        raise ConfigError(f"recall is {value!r}, but must be in 0.5 .. 0.999.", fix="choose e.g. 0.95 or 0.99.")


def _integer(name: str, value: Any, least: int, most: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}, but must be an integer.", fix=f"pass e.g. {name}={least}.") from None
    if not least <= number <= most:
        raise ConfigError(f"{name} is {number}, but must be in {least} .. {most}.", fix="choose one in that range.")
    return number
