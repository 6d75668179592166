"""The Storage contract: the durable truth that no engine owns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.records import Pattern, PutReport, ResultTable, Run, TestResult
    from aqe_core.state import EngineState

__all__ = ["Changes", "Storage"]


class Changes(NamedTuple):
    """What happened to the patterns of a namespace since a journal sequence number.

    Attributes
    ----------
    seq : int
        The journal's newest number; an engine that has applied the changes has applied everything up to it.
    written, removed : ndarray of uint64
        Ascending keys whose last change was a write or a removal.
    """

    seq: int
    written: NDArray[np.uint64]
    removed: NDArray[np.uint64]


@runtime_checkable
class Storage(Protocol):
    """The durable truth: patterns, vectors, test results, engine states, and a journal of what changed.

    A factory may also offer ``factory.maintenance``, see `aqe_core.contracts.maintenance`.

    Made by a factory ``factory(path: Path, *, read_only: bool, timeout_s: float, **options)``, which creates the file
    unless ``read_only``. A method that writes is one transaction: when it returns, everything is durable; when it
    raises, nothing was written. Methods may be called from several threads; several processes may hold one file open.

    Every method may raise `aqe_core.errors.StorageError` or one of its subclasses: `StorageBusyError` when another
    process keeps the write lock longer than ``timeout_s`` (naming its pid), `ReadOnlyError`, `CorruptStorageError`.
    """

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether writing is refused."""
        ...

    def close(self) -> None:
        """Release the file. May be called twice."""
        ...

    def info(self) -> dict[str, Any]:
        """Return facts for ``aqe doctor``: engine and version, schema version, size in bytes, durability, counts."""
        ...

    # -- patterns ---------------------------------------------------------------------------------------------------

    def put_patterns(self, namespace: str, patterns: Sequence[Pattern], *, origins: Collection[str] = ()) -> PutReport:
        """Store patterns; those with a known id replace it if their content differs.

        Parameters
        ----------
        namespace : str
        patterns : sequence of Pattern
            Of equal ids in one call the last one counts.
        origins : collection of str
            Origins that were read completely: stored patterns of these that are not among ``patterns`` are removed.
        """
        ...

    def get_patterns(self, namespace: str, keys: ArrayLike) -> list[Pattern]:
        """Return patterns by key, in that order.

        Raises
        ------
        NotFoundError
            A key is unknown.
        """
        ...

    def find_patterns(self, namespace: str, ids: Sequence[str]) -> list[Pattern | None]:
        """Return patterns by id, in that order; None where there is none."""
        ...

    def remove_patterns(self, namespace: str, keys: ArrayLike) -> int:
        """Remove patterns with their vectors; unknown keys are passed over. Return how many there were."""
        ...

    def iter_patterns(self, namespace: str, *, batch: int = 1000) -> Iterator[list[Pattern]]:
        """Yield all patterns in ascending order of key, in lists of at most ``batch``."""
        ...

    def pattern_keys(self, namespace: str, where: Mapping[str, Any] | None = None) -> NDArray[np.uint64]:
        """Return ascending keys, all or those that fit.

        Parameters
        ----------
        namespace : str
        where : mapping, optional
            All entries must fit. A key is ``id``, ``name``, ``path``, ``class_name``, ``origin``, ``marker`` or a
            top-level metadata key; a value is compared for equality, a list means any of.

        Raises
        ------
        InputError
            A value is not a string, number, boolean, None or list of these.
        """
        ...

    def count_patterns(self, namespace: str) -> int:
        """Return the number of patterns."""
        ...

    def origins(self, namespace: str) -> dict[str, int]:
        """Return the number of patterns by origin."""
        ...

    # -- vectors: a cache of what the embedder says, kept so that opening need not embed again ------------------------

    def put_vectors(
        self,
        namespace: str,
        keys: ArrayLike,
        vectors: ArrayLike,
        fingerprint: str,
        *,
        unchanged_since: int | None = None,
    ) -> None:
        """Store vectors of patterns; keys whose pattern is gone are passed over. Replaces those of other fingerprints.

        Parameters
        ----------
        namespace : str
        keys : array of uint64, shape (n,)
        vectors : array of float32, shape (n, dim)
        fingerprint : str
            Of the embedder that made them.
        unchanged_since : int, optional
            A journal number. Patterns that were written after it are passed over: the vectors are of what they were.
            If the journal does not reach back that far, all are.
        """
        ...

    def load_vectors(
        self, namespace: str, fingerprint: str, keys: ArrayLike | None = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """Return ascending keys and their vectors of that fingerprint, all or of those of ``keys`` that have one.

        A pattern that was changed after its vector was stored has none. With no vectors the second has shape (0, 0).

        Raises
        ------
        CorruptStorageError
            A vector's checksum is wrong.
        """
        ...

    # -- results ----------------------------------------------------------------------------------------------------

    def put_run(self, run: Run, results: Sequence[TestResult]) -> bool:
        """Store a run with its results. Return False, and write nothing, if the run's id is known."""
        ...

    def results(self, *, after_run: int = 0) -> ResultTable:
        """Return results of the runs stored after run number ``after_run``."""
        ...

    def count_results(self) -> tuple[int, int]:
        """Return the numbers of runs and of results."""
        ...

    def known_runs(self, ids: Collection[str]) -> set[str]:
        """Return those of the run ids that are stored."""
        ...

    # -- engine states ----------------------------------------------------------------------------------------------

    def save_state(self, name: str, state: EngineState, *, seq: int = 0) -> None:
        """Keep an engine's state under a name, with the number up to which it has applied the truth.

        A state that is made from the truth may say so below ``truth`` in its manifest, for ``aqe verify`` to compare:

        - ``patterns``: ``namespace``, ``count`` and ``keys_crc32`` (of the ascending keys as little-endian uint64) of
          the patterns it has, and ``last_key``, the largest key of the namespace; ``seq`` is the journal number then.
        - ``results``: numbers of ``runs`` and ``results`` it has learned from; ``seq`` is the last run's number.
        """
        ...

    def load_state(self, name: str) -> tuple[EngineState, int] | None:
        """Return a kept state and its number; None if there is none or if its checksum is wrong (rebuild then)."""
        ...

    # -- journal ----------------------------------------------------------------------------------------------------

    def last_seq(self) -> int:
        """Return the newest journal number; 0 in an empty file."""
        ...

    def changes_since(self, namespace: str, seq: int) -> Changes | None:
        """Return what changed after ``seq``; None if the journal does not reach back that far (rebuild then)."""
        ...

    def data_version(self) -> int:
        """Return a number that changes when anyone, this process or another, has committed. A few microseconds."""
        ...
