# What the compiled module holds.

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aqe_core.contracts.learner import ActionKey, StateKey
from aqe_core.contracts.pattern_store import Hits
from aqe_core.contracts.replay import Transitions

SHARDS: int
simd_levels: list[str]

class Stats(TypedDict):
    rows: int
    tail: int
    lists: int
    graph: int
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

_Quantizer: TypeAlias = tuple[str, int, bool, NDArray[np.float32], list[int]]

def quantizer_encode(given: _Quantizer, rows: NDArray[np.float32], codes: NDArray[np.uint8]) -> bool: ...
def quantizer_decode(given: _Quantizer, codes: NDArray[np.uint8], rows: NDArray[np.float32]) -> bool: ...
def quantizer_scores(
    given: _Quantizer, queries: NDArray[np.float32], codes: NDArray[np.uint8], out: NDArray[np.float32]
) -> bool: ...

class TabularLearner:
    def __new__(cls, kind: tuple[bool, bool], numbers: Any, actions: Any, seed: int) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def steps(self) -> int: ...
    def update(
        self,
        state: StateKey,
        action: ActionKey,
        reward: float,
        next_state: StateKey,
        done: bool = False,
        next_action: ActionKey | None = None,
    ) -> None: ...
    def update_batch(
        self,
        states: ArrayLike | list[StateKey],
        actions: ArrayLike | list[ActionKey],
        rewards: ArrayLike,
        next_states: ArrayLike | list[StateKey],
        dones: ArrayLike | None = None,
        next_actions: ArrayLike | list[ActionKey] | None = None,
    ) -> None: ...
    def act(self, state: StateKey, actions: Any, *, explore: bool = True) -> Any: ...
    def value(self, state: StateKey, action: ActionKey) -> float: ...
    def shard(self, state: StateKey) -> int: ...
    def _update(self, names: Any, reward: float, done: bool, next_action: ActionKey | None) -> None: ...
    def _update_batch(
        self,
        states: Any,
        actions: Any,
        rewards: NDArray[np.float64],
        next_states: Any,
        dones: NDArray[np.bool_] | None,
        next_actions: Any,
    ) -> None: ...
    def _choose(self, state: StateKey, actions: Any, explore: bool) -> int: ...
    def _value(self, state: StateKey, action: ActionKey) -> float: ...
    def _visits(self, state: StateKey, action: ActionKey) -> int: ...
    def _set_rates(self, learning_rate: float, discount: float, epsilon: float) -> None: ...
    def _params(self) -> tuple[list[float], list[ActionKey], int]: ...
    def _learned(self) -> tuple[Any, Any, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], list[int]]: ...
    def _resume(
        self,
        params: Any,
        names: Any,
        places: Any,
        values: NDArray[np.float64],
        visits: NDArray[np.int64],
        generator: Any,
    ) -> None: ...

class BanditModels:
    steps: int
    def __new__(cls, *arguments: Any, **named: Any) -> Self: ...
    def act(self, context: ArrayLike, actions: Any = None, *, explore: bool = True) -> Any: ...
    def update(self, context: ArrayLike, action: ActionKey, reward: float) -> None: ...
    def _begin(
        self, dim: int, actions: Any, rows: dict[ActionKey, int], prior: tuple[float, float], alpha: float | None
    ) -> None: ...
    def _moments(self, context: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
    def _learn_all(self, contexts: NDArray[np.float64], rows: list[int], rewards: list[float]) -> None: ...
    def _counts(self) -> list[int]: ...
    def _parts(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...
    def _restore(self, steps: int, *arrays: NDArray[Any]) -> None: ...

class PolicyCore:
    def __init__(self, actor: list[int], critic: list[int], discrete: bool) -> None: ...
    def choose(
        self,
        parameters: NDArray[np.float32],
        rows: NDArray[np.float32],
        masks: NDArray[np.bool_] | None,
        noise: NDArray[np.float32] | None,
    ) -> NDArray[Any]: ...
    def values(self, parameters: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]: ...
    def descend(
        self,
        state: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], int],
        columns: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
        actions: NDArray[Any],
        masks: NDArray[np.bool_] | None,
        orders: NDArray[np.int64],
        options: tuple[int, float, float, float, float, float],
    ) -> list[float]: ...

class RankerCore:
    def __init__(self) -> None: ...
    def look(
        self,
        slots: NDArray[np.int64],
        canon: NDArray[np.int64],
        duration_s: NDArray[np.float64],
        context: list[tuple[int, NDArray[np.float64]]],
    ) -> None: ...
    def rank(self, offset: NDArray[np.float64], budget_s: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]: ...
    def shares(self) -> NDArray[np.float64]: ...
    def meet(self, columns: int) -> None: ...
    def observe(
        self,
        slots: NDArray[np.int64],
        failed: NDArray[np.bool_],
        ran: NDArray[np.bool_],
        duration_s: NDArray[np.float64],
        options: tuple[float, int],
    ) -> None: ...
    def history(self, slots: NDArray[np.int64]) -> tuple[list[NDArray[np.int64]], NDArray[np.float64]]: ...
    def learned(
        self,
    ) -> tuple[
        tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
        tuple[NDArray[np.float64], NDArray[np.int64]],
        tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
        tuple[int, int],
    ]: ...
    def resume(
        self,
        kept: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
        window: tuple[NDArray[np.float64], list[int]],
        older: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
        cycles: tuple[int, int],
    ) -> None: ...

class ReplayRing:
    def __new__(cls, options: Any, generator: Any) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    def add(
        self,
        observation: ArrayLike,
        action: Any,
        reward: float,
        next_observation: ArrayLike,
        terminated: bool,
        truncated: bool = False,
    ) -> None: ...
    def add_batch(
        self,
        observations: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        next_observations: ArrayLike,
        terminated: ArrayLike,
        truncated: ArrayLike | None = None,
    ) -> None: ...
    def sample(self, batch_size: int, *, importance_exponent: float | None = None) -> Transitions: ...
    def update_priorities(self, indices: ArrayLike, errors: ArrayLike) -> None: ...
    def _add_batch(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[Any],
        next_observations: NDArray[Any],
        terminated: NDArray[Any],
        ended: NDArray[Any],
    ) -> None: ...
    def _sample(self, batch_size: int, importance_exponent: float | None) -> Transitions: ...
    def _update_priorities(self, indices: NDArray[np.int64], errors: NDArray[np.float64]) -> None: ...
    def _options(self) -> Any: ...
    def _kept(self) -> tuple[Any, NDArray[np.float64] | None, tuple[int, float], list[int]]: ...
    def _resume(self, options: Any, columns: Any, weights: Any, place: Any, generator: Any) -> None: ...

BeyondAscii: TypeAlias = Callable[[str], Iterable[str]]

class TextIndex:
    def __new__(cls, k1: float, b: float, name_weight: int, function_words: Sequence[str]) -> Self: ...
    def __len__(self) -> int: ...
    def keys(self) -> NDArray[np.uint64]: ...
    def add(self, keys: list[int], documents: list[tuple[str, str]], beyond_ascii: BeyondAscii) -> None: ...
    def remove(self, keys: NDArray[np.uint64]) -> int: ...
    def search(
        self, queries: list[str], k: int, among: NDArray[np.uint64] | None, beyond_ascii: BeyondAscii
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32]]: ...
    def weights(self, query: str, beyond_ascii: BeyondAscii) -> list[tuple[str, float]]: ...
    def packed(
        self,
    ) -> tuple[
        NDArray[np.uint64], NDArray[np.int64], bytes, NDArray[np.int64], NDArray[np.int32], NDArray[np.uint16]
    ]: ...
    def unpack(
        self,
        keys: NDArray[np.uint64],
        lengths: NDArray[np.int64],
        terms: bytes,
        counts: NDArray[np.int64],
        rows: NDArray[np.int32],
        tf: NDArray[np.uint16],
    ) -> None: ...

class SubtokenTable:
    def __new__(cls, subtokens: list[str], df: list[int], n_documents: int, vectors: NDArray[np.int8]) -> Self: ...

class SubtokenSums:
    def __new__(
        cls,
        options: tuple[int, float, bool],
        n_documents: int,
        keys: NDArray[np.uint64],
        df: NDArray[np.uint32],
        table: SubtokenTable,
    ) -> Self: ...
    def embed(self, documents: list[tuple[str, str]], beyond_ascii: BeyondAscii) -> NDArray[np.float32]: ...

def hybrid(
    query: str,
    beyond_ascii: tuple[BeyondAscii, BeyondAscii],
    engines: tuple[TextIndex, SubtokenSums, PatternStore],
    pool: int,
    depth: int,
    weights: tuple[float, float],
    narrow: bool,
) -> tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
def subtokens(text: str, beyond_ascii: BeyondAscii) -> list[str]: ...
def terms(text: str, beyond_ascii: BeyondAscii) -> list[str]: ...
def count_subtokens(
    documents: list[tuple[str, str]], beyond_ascii: BeyondAscii
) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]: ...
