"""Reading patterns that others may remove meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aqe_core.errors import NotFoundError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aqe_core.contracts.records import Pattern
    from aqe_core.contracts.storage import Storage

__all__ = ["read_present"]


def read_present(
    storage: Storage, namespace: str, keys: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], list[Pattern]]:
    """Return patterns by key, in that order, beside their keys; those that were removed meanwhile are passed over.

    What follows the truth was told of the keys by one call of the storage, and reads them by another one. Of those
    that were removed in between, the next changes tell. O(n), and O(patterns) each time that some were removed.
    """
    while True:
        try:
            return keys, storage.get_patterns(namespace, keys)
        except NotFoundError:
            there = np.isin(keys, storage.pattern_keys(namespace))
            if there.all():
                raise
            keys = keys[there]
