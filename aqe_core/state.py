"""The state of an engine in a form that any backend and the storage can hold: JSON values and arrays; and its file.

A file ``NAME.aqestate`` is a ZIP archive: ``manifest.json`` with ``format`` (``aqestate/1``), ``kind``, ``producer``,
``manifest`` and ``sha256`` (by array), and one ``arrays/NAME.npy`` per array (NumPy's format, little-endian, C order).
Members under ``ext/`` belong to single backends and are passed over. Equal states give equal files, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from aqe_core.errors import InputError, ReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["EngineState", "Portable", "read_state", "write_state"]

FORMAT = "aqestate/1"
_MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MADE = (1980, 1, 1, 0, 0, 0)  # the first moment ZIP knows: the time of writing is no part of a state


@attrs.frozen(kw_only=True, eq=False)
class EngineState:
    """What an engine learned, without any of its code.

    Attributes
    ----------
    kind : str
        What it is a state of, e.g. ``learner/q-learning/1``; the number is the layout's version.
    manifest : mapping of str to JSON value
        Parameters, names, the generator's state.
    arrays : mapping of str to ndarray
        Numeric arrays (never of dtype object).
    """

    kind: str
    manifest: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = attrs.field(factory=dict)


class Portable:
    """Gives an engine that exports and imports its state the methods `save` and `load`."""

    if TYPE_CHECKING:

        def export_state(self) -> EngineState: ...  # noqa: D102  # the contracts describe it
        def import_state(self, state: EngineState) -> None: ...  # noqa: D102  # same

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything learned to a file (``.aqestate``), atomically; see `write_state`."""
        write_state(path, self.export_state())

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace everything learned by what a file holds.

        Raises
        ------
        InputError
            The file is absent, damaged, or of another kind of engine; nothing was changed.
        """
        self.import_state(read_state(path))


def write_state(path: str | os.PathLike[str], state: EngineState) -> None:
    """Write a state to a file, atomically: a crash leaves the old file or the new one.

    Parameters
    ----------
    path : path
        By convention ending in ``.aqestate``; replaced if it is there.
    state : EngineState

    Raises
    ------
    InputError
        The manifest is no JSON (NaN is not), or an array is not of numbers or booleans.
    ReadOnlyError
        The file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from aqe_core.state import EngineState, read_state, write_state
    >>> write_state("a.aqestate", EngineState(kind="x/1", manifest={"n": 1}, arrays={"v": np.arange(3.0)}))
    >>> read_state("a.aqestate").arrays["v"].tolist()
    [0.0, 1.0, 2.0]
    """
    from aqe_core import __version__

    members = {f"arrays/{name}.npy": _npy(name, state.arrays[name]) for name in sorted(state.arrays)}
    try:
        manifest = json.dumps(
            {
                "format": FORMAT,
                "kind": state.kind,
                "producer": f"aqe-core {__version__}",
                "manifest": dict(state.manifest),
                "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
            },
            allow_nan=False,
            separators=(",", ":"),
        ).encode()
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the manifest of the state cannot be written as JSON ({error}).", fix="report it to the engine's author."
        ) from None
    with _replacing(Path(path)) as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in {_MANIFEST: manifest, **members}.items():
            archive.writestr(zipfile.ZipInfo(name, _MADE), data)


def _npy(name: str, array: NDArray[Any]) -> bytes:
    import numpy as np  # not needed to talk about states

    if not _NAME.fullmatch(name) or array.dtype.kind not in "biuf":
        raise InputError(
            f"the array {name!r} of dtype {array.dtype} cannot be written.",
            fix="use numbers or booleans, under a name of letters, digits, '_', '.' and '-'.",
        )
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape), allow_pickle=False)
    return out.getvalue()


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    """Yield a file that takes the place of ``path`` when the block ends well."""
    name = ""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            name = file.name
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        raise ReadOnlyError(f"{path} cannot be written ({error}).", fix="choose a writable place.") from None
    finally:
        if name:
            Path(name).unlink(missing_ok=True)


def read_state(path: str | os.PathLike[str], *, max_bytes: int = 2**33) -> EngineState:
    """Read a state from a file; every checksum is compared.

    Parameters
    ----------
    path : path
    max_bytes : int
        A file that would unpack to more is refused before anything is read.

    Returns
    -------
    EngineState
        Its arrays are writable copies.

    Raises
    ------
    InputError
        The file is absent, too large, damaged, or written by a newer aqe.
    """
    where = Path(path)
    try:
        with zipfile.ZipFile(where) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > max_bytes:
                raise InputError(f"{where} unpacks to {size} bytes, above {max_bytes}.", fix="raise max_bytes.")
            return _unpack(where, archive)
    except OSError as error:
        raise InputError(f"{where} cannot be read ({error}).", fix="give the path of a saved state.") from None
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError, RuntimeError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error) or type(error).__name__
        raise InputError(f"{where} is not a whole aqestate file ({reason}).", fix="save it again.") from None


def _unpack(where: Path, archive: zipfile.ZipFile) -> EngineState:
    head = json.loads(archive.read(_MANIFEST))
    if head["format"] != FORMAT:
        raise InputError(f"{where} has the format {head['format']!r}, not {FORMAT!r}.", fix="update aqe.")
    arrays = {}
    for member, wanted in head["sha256"].items():
        name = re.fullmatch(r"arrays/(.+)\.npy", member)
        data = archive.read(member)
        if name is None or hashlib.sha256(data).hexdigest() != wanted:
            raise ValueError(f"checksum of {member}")
        arrays[name[1]] = _array(data)
    if not isinstance(head["kind"], str) or not isinstance(head["manifest"], dict):
        raise TypeError("kind or manifest")
    return EngineState(kind=head["kind"], manifest=head["manifest"], arrays=arrays)


def _array(data: bytes) -> NDArray[Any]:
    import numpy as np  # as above

    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"dtype {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
