"""JUnit XML of pytest, surefire, jest, go and their like to test results."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING
from xml.parsers import expat

from aqe_core.contracts.ingest import Ingested
from aqe_core.contracts.records import Run
from aqe_core.errors import MalformedFileError
from aqe_ingest_tests._files import open_regular, relative_name, too_large
from aqe_ingest_tests._junit_suite import Suite, WrongDocumentError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["read", "recognize"]

MAX_BYTES = 64 * 2**20

MAX_TAG_BYTES = 4 * 2**20

_CHUNK_BYTES = 2**20

_PROLOG = re.compile(r"\ufeff?(?>\s+|<\?.*?\?>|<!--.*?-->)*+", re.DOTALL)
_ROOT = re.compile(r"<(?:[\w.-]+:)?testsuites?[\s/>]")


def recognize(path: Path, head: bytes) -> bool:
    """Say whether the name ends in ``.xml`` and the root element is ``testsuites`` or ``testsuite``.

    A document type before the root does not hide it, so that `read` can say why it is refused.
    """
    if not path.name.lower().endswith(".xml"):
        return False
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = head.decode("utf-16" if wide else "utf-8-sig", "replace")
    prolog = _PROLOG.match(text)
    start = prolog.end() if prolog else 0
    if text.startswith("<!DOCTYPE", start):
        return _ROOT.search(text, start) is not None
    return _ROOT.match(text, start) is not None


def read(path: Path, *, root: Path, max_bytes: int = MAX_BYTES) -> Ingested:
    """Read the results of one run.

    A test is named ``classname::name``; without a class name, after its suite. A ``failure`` makes it failed, an
    ``error`` error, ``skipped`` (or a status that says so) skipped, and anything else passed. Repeated names stay:
    pytest writes a test that fails and whose teardown fails twice. Of a test that surefire ran again until it passed
    (``flakyFailure``, ``flakyError``), each failed attempt is a result of its own before the passed one.

    The run starts at the earliest ``timestamp`` of a suite (UTC where it names no zone), else when the file was last
    modified. Its id is the hash of the file's bytes.

    Parameters
    ----------
    path : Path
    root : Path
        The run's source is relative to it.
    max_bytes : int
        Larger files are refused before they are read.

    Raises
    ------
    MalformedFileError
        It is not well-formed XML, not JUnit, or hostile: with a document type or entities, or nested too deeply.
    FileTooLargeError, IngestError

    Notes
    -----
    Memory: a few MiB and the results. Tags and comments of more than 4 MiB are refused, and more than 2 million
    elements.
    """
    name = relative_name(path, root)
    suite = Suite(name)
    with open_regular(path, name, max_bytes) as file:
        modified_s = os.fstat(file.fileno()).st_mtime
        digest = _parse(file, name, suite, max_bytes)
    started_s = modified_s if suite.started_s is None else suite.started_s
    run = Run(id=digest, source=name, tool=suite.tool, started_s=started_s)
    return Ingested(run=run, results=tuple(suite.results), skipped=suite.notes.skipped(name))


def _parse(file: BinaryIO, name: str, suite: Suite, max_bytes: int) -> str:
    """Feed the file to the suite and return the hash of its bytes."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = suite.start
    parser.EndElementHandler = suite.end
    parser.CharacterDataHandler = suite.text
    # Refusing the document type refuses every entity: internal ones (bombs) and external ones (files, addresses).
    parser.StartDoctypeDeclHandler = suite.refuse_doctype
    digest = hashlib.blake2b(digest_size=16)
    total = 0
    try:
        while chunk := file.read(_CHUNK_BYTES):
            total += len(chunk)
            if total > max_bytes:
                raise too_large(name, "grew while it was read", max_bytes)
            digest.update(chunk)
            parser.Parse(chunk, False)
            # Expat scans an unfinished tag anew with every chunk, and hands over its attributes all at once.
            if total - parser.CurrentByteIndex > MAX_TAG_BYTES:
                raise too_large(name, "has a tag or comment", MAX_TAG_BYTES)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise MalformedFileError(
            f"{name}:{error.lineno}: not well-formed XML: {expat.ErrorString(error.code)}.",
            fix="let the test runner write the file again; it may have been cut off.",
        ) from error
    except WrongDocumentError as error:
        raise MalformedFileError(f"{name}:{parser.CurrentLineNumber}: {error}.", fix=error.fix) from error
    except (ValueError, LookupError) as error:
        if suite.begun:
            raise
        # Before the first element only the declared encoding can be wrong so: unknown, or of several bytes.
        raise MalformedFileError(f"{name}: its encoding cannot be read: {error}.", fix="write it as UTF-8.") from error
    return digest.hexdigest()
