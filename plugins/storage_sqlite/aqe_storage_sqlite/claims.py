"""What a kept engine state says of the truth it was made from, compared with the truth.

A state's number is a position in the journal for one engine and a count of its own for another; only the ``truth`` of
its manifest says which, and what there was at that position (see `aqe_core.contracts.Storage.save_state`).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import CorruptStorageError
from aqe_storage_sqlite import journal, patterns

if TYPE_CHECKING:
    import apsw

__all__ = ["disagreement"]


def disagreement(connection: apsw.Connection, seq: int, manifest: dict[str, Any]) -> str:
    """Say where a state and the truth differ; nothing if they agree, or if the state says nothing of it."""
    truth = manifest.get("truth")
    try:
        if isinstance(truth, dict) and "patterns" in truth:
            return _of_patterns(connection, seq, truth["patterns"])
        if isinstance(truth, dict) and "results" in truth:
            return _of_results(connection, seq, truth["results"])
    except CorruptStorageError:
        return ""  # the journal cannot be read, of which its own check tells
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        return f"what it says of the truth cannot be read ({type(error).__name__}: {error})"
    return ""


def _of_patterns(connection: apsw.Connection, seq: int, claim: dict[str, Any]) -> str:
    """Compare the keys that it has with those that there were.

    Keys ascend, and none is given twice. So there were those of today up to the last one of then, and those removed
    since. A journal that does not reach back so far leaves nothing to compare with; the engine is made anew then.
    """
    namespace, last_key = str(claim["namespace"]), np.uint64(claim["last_key"])
    if seq > journal.last_seq(connection):
        return f"it has applied the journal up to {seq}, which ends at {journal.last_seq(connection)}"
    changes = journal.changes_since(connection, namespace, seq)
    if changes is None:
        return ""
    today = patterns.keys_where(connection, namespace, None)
    then = np.union1d(today[today <= last_key], changes.removed[changes.removed <= last_key])
    if claim["count"] != then.size:
        return f"it has {claim['count']} patterns of {namespace!r:.60}, where there were {then.size} at its time"
    if claim["keys_crc32"] != zlib.crc32(then.astype("<u8").tobytes()):
        return f"it has other patterns of {namespace!r:.60} than there were at its time"
    return ""


def _of_results(connection: apsw.Connection, seq: int, claim: dict[str, Any]) -> str:
    """Compare how many runs and results it has learned from with how many there are up to its run."""
    claimed = claim["runs"], claim["results"]
    there: Any = connection.execute("SELECT count(DISTINCT run), count(*) FROM results WHERE run <= ?", (seq,)).get
    if claimed != there:
        return (
            f"it has learned from {claimed[1]} results of {claimed[0]} runs, where there are {there[1]} of {there[0]}"
        )
    return ""
