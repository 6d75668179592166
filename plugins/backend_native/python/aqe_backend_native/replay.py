"""Experience replay in Rust: the files of the NumPy backend, and its draws where they are uniform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from aqe_backend_numpy.neural._generator import as_count, words_of
from aqe_backend_numpy.replay._rows import Options, as_columns, as_options, as_share
from aqe_backend_numpy.replay.buffer import NumpyReplay

from aqe_backend_native._native import ReplayRing
from aqe_core.errors import CapabilityError, DimensionError, InputError
from aqe_core.state import EngineState, Portable
from aqe_core.validate import as_values, as_whole

if TYPE_CHECKING:
    from aqe_core.contracts.replay import Transitions

__all__ = ["NativeReplay"]

_KIND = "replay/1"
_COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminated", "ended")


class NativeReplay(ReplayRing, Portable):
    """A `aqe_core.contracts.Replay` in Rust.

    ``add``, ``add_batch``, ``sample``, ``update_priorities`` and ``len`` are the Rust methods themselves. They take
    plain arguments on their own and hand anything else to the methods below, which check it as the NumPy backend does.

    Uniform draws are those of `aqe_backend_numpy.replay.buffer.NumpyReplay` with the same seed, number for number.
    Draws by priority have the same chances; which rows they are may differ where sums round differently.

    Parameters
    ----------
    capacity, observation_dim, action_dim, n_envs, n_step, discount, prioritized, priority_exponent, \
importance_exponent, seed
        As `aqe_backend_numpy.replay.buffer.NumpyReplay`.

    Notes
    -----
    `add` is O(1), `sample` O(batch size * n_step), with priorities O(batch size * log len) more. A call is one whole
    step for other threads.
    """

    __slots__ = ()

    def __new__(
        cls,
        *,
        capacity: int,
        observation_dim: int,
        action_dim: int = 0,
        n_envs: int = 1,
        n_step: int = 1,
        discount: float = 0.99,
        prioritized: bool = False,
        priority_exponent: float = 0.6,
        importance_exponent: float = 0.4,
        seed: int = 0,
    ) -> Self:
        """Make an empty replay from options that are checked here."""
        options = as_options({name: value for name, value in locals().items() if name in Options._fields})
        words = words_of(np.random.Generator(np.random.PCG64(options.seed)))
        return super().__new__(cls, tuple(options), words[:4].tolist())

    def get_params(self) -> dict[str, Any]:
        """Return the options, defaults included."""
        return Options(*self._options())._asdict()

    # -- arguments that are not plain -----------------------------------------------------------------------------

    def _add_with_care(self, *row: Any) -> None:
        self._add_batch_with_care(*([each] for each in row))

    def _add_batch_with_care(self, *columns: Any) -> None:
        checked = as_columns(Options(*self._options()), *columns)
        self._add_batch(*map(as_whole, checked))

    def _sample_with_care(self, batch_size: Any, importance_exponent: Any) -> Transitions:
        m = as_count(batch_size, "batch_size")
        exponent = None if importance_exponent is None else as_share(importance_exponent, "importance_exponent")
        if not len(self):
            raise InputError("the replay is empty.", fix="add transitions first.")
        return self._sample(m, exponent)

    def _update_priorities_with_care(self, indices: Any, errors: Any) -> None:
        if not Options(*self._options()).prioritized:
            raise CapabilityError("this replay draws uniformly.", fix="make it with prioritized=True.")
        sizes = as_values(errors, "errors")
        where = np.asarray(indices)
        if not where.size:
            where = where.astype(np.int64)
        if where.shape != sizes.shape:
            raise DimensionError(
                f"indices have shape {where.shape}, errors {sizes.shape}, but both one axis.", fix="pass one each."
            )
        inside = where.dtype.kind in "iu" and (not where.size or 0 <= int(where.min()) <= int(where.max()) < len(self))
        if not inside:
            raise InputError(
                f"indices must be integers in 0 .. {len(self) - 1}; there are others.", fix="pass those of sample()."
            )
        self._update_priorities(as_whole(where.astype(np.int64)), sizes)

    # -- moving ---------------------------------------------------------------------------------------------------

    def export_state(self) -> EngineState:
        """Return everything; kind ``replay/1``, as `aqe_backend_numpy.replay.buffer.NumpyReplay` writes it."""
        columns, weights, (head, highest), words = self._kept()
        arrays = dict(zip(_COLUMNS, columns, strict=True))
        if weights is not None:
            arrays["weights"] = weights
        arrays["generator"] = np.array([*words, 0, 0], np.uint64)
        manifest = {"params": self.get_params(), "head": head, "highest": highest}
        return EngineState(kind=_KIND, manifest=manifest, arrays=arrays)

    def import_state(self, state: EngineState) -> None:
        """Replace everything by an exported state.

        Raises
        ------
        InputError
            It is not a state of a replay; nothing was changed.
        """
        # The NumPy backend reads it first, so that both refuse alike.
        reader = NumpyReplay(capacity=1, observation_dim=1)
        reader.import_state(state)
        checked = reader.export_state()
        self._resume(
            tuple(Options(**checked.manifest["params"])),
            tuple(checked.arrays[name] for name in _COLUMNS),
            checked.arrays.get("weights"),
            (checked.manifest["head"], checked.manifest["highest"]),
            checked.arrays["generator"][:4].tolist(),
        )
