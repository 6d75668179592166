from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aqe_core.contracts.pattern_store import Hits

simd_levels: list[str]

class Stats(TypedDict):
    rows: int
    tail: int
    lists: int
    probes: int
    refine: int
    recall: float | None
    memory_bytes: int
    simd: str
    working: bool

class PatternStore:
    def __init__(
        self,
        *,
        dim: int,
        metric: str,
        index: str,
        keep: str,
        recall: float,
        seed: int,
        threads: int,
        background: bool,
    ) -> None: ...
    @property
    def dim(self) -> int: ...
    @property
    def metric(self) -> str: ...
    def __len__(self) -> int: ...
    def keys(self) -> NDArray[np.uint64]: ...
    def add(self, keys: ArrayLike, vectors: ArrayLike) -> None: ...
    def remove(self, keys: ArrayLike) -> int: ...
    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        among: ArrayLike | None = None,
        ef: int | None = None,
        exact: bool = False,
    ) -> Hits: ...
    def optimize(self) -> None: ...
    def stats(self) -> Stats: ...
