"""Engine states: a manifest and arrays, each with its checksum."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aqe_core.errors import InputError
from aqe_core.state import EngineState
from aqe_storage_sqlite import checksums
from aqe_storage_sqlite.encoding import as_text, decode_json, encode_json

if TYPE_CHECKING:
    import apsw
    from numpy.typing import NDArray

__all__ = ["Encoded", "decode", "encode", "fetch", "save"]


class _Array(NamedTuple):
    name: str
    dtype: str
    shape: str
    crc32: int
    data: bytes


class Encoded(NamedTuple):
    """A state as its rows hold it."""

    kind: str
    seq: int
    manifest: str
    arrays: tuple[_Array, ...]

    def checksum(self) -> int:
        """Return the CRC-32 of everything but the arrays' bytes, for which their own stand in."""
        headers = [array[:-1] for array in self.arrays]
        text = json.dumps([self.kind, self.seq, self.manifest, headers])
        return checksums.crc32(text.encode("ascii"))


def encode(state: EngineState, seq: int) -> Encoded:
    """Check and encode a state.

    Raises
    ------
    InputError
        The manifest is not JSON, or an array is not numeric.
    """
    as_text(state.kind, "kind of the state")
    if not isinstance(state.manifest, dict):
        raise InputError("the state's manifest is no dict.", fix="pass a dict of JSON values.")
    arrays = tuple(_encode_array(name, array) for name, array in sorted(state.arrays.items()))
    return Encoded(state.kind, seq, encode_json(state.manifest, "the state's manifest"), arrays)


def _encode_array(name: str, array: Any) -> _Array:
    as_text(name, "an array's name")
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
        raise InputError(f"the state's array {name!r:.60} is not numeric.", fix="keep names in the manifest.")
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    data = little.tobytes()
    return _Array(name, little.dtype.str, json.dumps(array.shape), checksums.crc32(data), data)


def save(connection: apsw.Connection, name: str, state: Encoded) -> None:
    """Keep a state in place of the one that had the name."""
    connection.execute("DELETE FROM states WHERE name = ?", (name,))
    connection.execute(
        "INSERT INTO states (name, kind, seq, created_s, crc32, manifest) VALUES (?, ?, ?, ?, ?, ?)",
        (name, state.kind, state.seq, time.time(), state.checksum(), state.manifest),
    )
    connection.executemany(
        "INSERT INTO state_arrays (state, name, dtype, shape, crc32, data) VALUES (?, ?, ?, ?, ?, ?)",
        ((name, *array) for array in state.arrays),
    )


def fetch(connection: apsw.Connection, name: str) -> Encoded | None:
    """Return a kept state; None if there is none or its checksums do not fit."""
    try:
        found = connection.execute("SELECT crc32, kind, seq, manifest FROM states WHERE name = ?", (name,)).get
        arrays = connection.execute(
            "SELECT name, dtype, shape, crc32, data FROM state_arrays WHERE state = ? ORDER BY name", (name,)
        ).fetchall()
        if found is None:
            return None
        crc32, kind, seq, manifest = found
        state = Encoded(kind, seq, manifest, tuple(map(_Array._make, arrays)))
        sound = state.checksum() == crc32 and all(checksums.crc32(array.data) == array.crc32 for array in state.arrays)
    except (UnicodeDecodeError, TypeError):  # in a damaged file a value may be of any type
        return None
    return state if sound else None


def decode(state: Encoded) -> EngineState:
    """Return the state with arrays of its own, writable and in the machine's byte order."""
    return EngineState(
        kind=state.kind,
        manifest=decode_json(state.manifest),
        arrays={array.name: _decode_array(array) for array in state.arrays},
    )


def _decode_array(array: _Array) -> NDArray[np.generic]:
    values = np.frombuffer(array.data, array.dtype).reshape(json.loads(array.shape))
    return values.astype(values.dtype.newbyteorder("="))
