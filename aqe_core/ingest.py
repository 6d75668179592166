"""Files into the workspace: found, recognized, read, stored."""

from __future__ import annotations

import fnmatch
import gzip
import os
import zlib
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import attrs

from aqe_core.contracts.ingest import Skipped
from aqe_core.errors import IngestError, UnknownFormatError
from aqe_core.isolation import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aqe_core.contracts.ingest import Ingested, Reader, Recognizer
    from aqe_core.contracts.records import Pattern
    from aqe_core.plugins import FoundFormat
    from aqe_core.workspace import Workspace

__all__ = ["IngestReport", "ingest"]

_HEAD_BYTES = 4096
_NEVER = {"__pycache__", "node_modules", "site-packages"}


@attrs.define(kw_only=True)
class IngestReport:
    """What an ingest did.

    Attributes
    ----------
    files : int
        Files read.
    added, changed, unchanged, removed : int
        Patterns.
    runs_added, runs_known, results_added : int
        Test runs and their results.
    skipped : list of Skipped
        What was not taken, and why.
    elapsed_s : float
    """

    files: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    runs_added: int = 0
    runs_known: int = 0
    results_added: int = 0
    skipped: list[Skipped] = attrs.field(factory=list)
    elapsed_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``aqe ingest --json`` prints."""
        fields = attrs.asdict(self, recurse=False)
        return {**fields, "elapsed_s": round(self.elapsed_s, 3), "skipped": [each._asdict() for each in self.skipped]}


@attrs.frozen
class _Format:
    found: FoundFormat
    recognize: Recognizer
    read: Reader

    def may_read(self, path: Path) -> bool:
        name = path.name.lower()
        return any(name.endswith(suffix) for suffix in self.found.spec.suffixes)


def ingest(workspace: Workspace, paths: list[Path], progress: Callable[[str, int, int], None] | None) -> IngestReport:
    """Read files and folders into a workspace; see `aqe_core.workspace.Workspace.ingest`."""
    started = perf_counter()
    report = IngestReport()
    formats = [
        _Format(found, resolve(found.spec.recognizer, found.source), resolve(found.spec.reader, found.source))
        for found in workspace.plugins.formats()
    ]
    exclude = list(workspace.config.get("ingest.exclude").value)
    todo = list(_choose(workspace.root, paths, formats, exclude, report.skipped))
    patterns: list[Pattern] = []
    origins: set[str] = set()
    for position, (path, chosen, named) in enumerate(todo):
        if progress is not None:
            progress("reading", position, len(todo))
        try:
            got = chosen.read(path, root=workspace.root)
        except IngestError as error:
            if named:
                raise
            report.skipped.append(Skipped(relative(path, workspace.root), str(error)))
            continue
        report.files += 1
        report.skipped += got.skipped
        _store_run(workspace, got, report)
        patterns += got.patterns
        if got.run is None:
            origins.update(pattern.origin for pattern in got.patterns)
            origins.add(relative(path, workspace.root))
    origins |= _vanished(workspace, paths, origins)
    if patterns or origins:
        put = workspace.patterns.put(patterns, origins=origins, progress=progress)
        report.added, report.changed, report.unchanged, report.removed = (
            put.added,
            put.changed,
            put.unchanged,
            put.removed,
        )
    report.elapsed_s = perf_counter() - started
    return report


def _store_run(workspace: Workspace, got: Ingested, report: IngestReport) -> None:
    if got.run is None:
        return
    if workspace.storage.put_run(got.run, got.results):
        report.runs_added += 1
        report.results_added += len(got.results)
    else:
        report.runs_known += 1


def _choose(
    root: Path, paths: list[Path], formats: list[_Format], exclude: list[str], skipped: list[Skipped]
) -> Iterator[tuple[Path, _Format, bool]]:
    """Yield the files to read, each once, with the format that recognizes it and whether it was named outright."""
    seen: set[Path] = set()
    for path in paths:
        if path.is_dir():
            files: Iterator[tuple[Path, bool]] = ((file, False) for file in _walk(path, root, exclude, skipped))
        elif path.exists():
            files = iter([(path, True)])
        else:
            raise UnknownFormatError(
                f"there is no file {path}.", fix="check the path; it is relative to the current folder."
            )
        for file, named in files:
            resolved = file.resolve()
            if resolved in seen:
                continue
            seen.add(resolved)
            chosen = _recognized(file, formats, named=named)
            if chosen is not None:
                yield file, chosen, named


def _recognized(file: Path, formats: list[_Format], *, named: bool) -> _Format | None:
    candidates = [each for each in formats if each.may_read(file) and (named or each.found.spec.discover)]
    if candidates:
        try:
            head = _head(file)
        except (OSError, EOFError, zlib.error) as error:
            if not named:
                return None
            raise UnknownFormatError(f"{file} cannot be read: {error}.", fix="give a readable file.") from error
        for each in candidates:
            if each.recognize(file, head):
                return each
        if named:
            return candidates[0]  # its reader says best what is wrong with the content
    if named:
        names = ", ".join(f"{each.found.spec.name} ({' '.join(each.found.spec.suffixes)})" for each in formats)
        raise UnknownFormatError(f"{file} is of no known format.", fix=f"aqe reads {names}.")
    return None


def _head(file: Path) -> bytes:
    if file.suffix.lower() == ".gz":
        with gzip.open(file) as compressed:
            return compressed.read(_HEAD_BYTES)
    with file.open("rb") as plain:
        return plain.read(_HEAD_BYTES)


def _walk(folder: Path, root: Path, exclude: list[str], skipped: list[Skipped]) -> Iterator[Path]:
    """Yield the files below a folder in a stable order, without hidden, generated and virtual-environment folders."""

    def skip(error: OSError) -> None:
        reason = f"the folder cannot be read: {error.strerror}"
        skipped.append(Skipped(relative(Path(error.filename), root), reason))

    for current, folders, files in os.walk(folder, onerror=skip):
        here = Path(current)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _NEVER
            and not os.path.exists(here / name / "pyvenv.cfg")  # noqa: PTH110 -- Path.exists raises where it may not look
            and not _excluded(relative(here / name, root), exclude)
        )
        for name in sorted(files):
            if not _excluded(relative(here / name, root), exclude):
                yield here / name


def _excluded(path: str, exclude: list[str]) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in exclude)


def _vanished(workspace: Workspace, paths: list[Path], seen: set[str]) -> set[str]:
    """Return stored origins below the ingested folders whose file is gone."""
    folders = [relative(path, workspace.root) for path in paths if path.is_dir()]
    gone = set()
    for origin in workspace.storage.origins(workspace.namespace):
        below = any(folder in (".", origin) or origin.startswith(f"{folder}/") for folder in folders)
        if below and origin and origin not in seen and _is_gone(workspace.root / origin):
            gone.add(origin)
    return gone


def _is_gone(path: Path) -> bool:
    """Whether there is no such file for sure; where nobody may look, it is not known."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def relative(path: Path, root: Path) -> str:
    """Return a path relative to the root with forward slashes; unchanged if it lies elsewhere."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return path.as_posix()
