"""What a plugin hands over: descriptions of engines and formats. Nothing is imported until it is used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqe_core.contracts.capabilities import Capabilities

__all__ = ["KINDS", "EngineSpec", "IngestSpec"]

KINDS = ("pattern_store", "learner", "ranker", "analyzer", "storage", "embedder", "text_index")
"""Kinds of engine; also the names of the config tables that choose them."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*(/[a-z0-9_-]+)?")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def _matches(pattern: re.Pattern[str], example: str) -> Callable[[object, attrs.Attribute[str], str], None]:
    def validate(_: object, attribute: attrs.Attribute[str], value: str) -> None:
        if not pattern.fullmatch(value):
            raise ValueError(f"{attribute.name} is {value!r}, but must look like {example!r}")

    return validate


def _empty_or_target(spec: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value:
        _matches(_TARGET, "aqe_backend_native.policy:make_policy")(spec, attribute, value)


@attrs.frozen(kw_only=True)
class EngineSpec:
    """One engine that a plugin offers.

    Attributes
    ----------
    name : str
        What users write in the config: lower case, ``family`` or ``family/engine``.
    factory : str
        ``module:callable``. Imported when the engine is bound, not before.
    capabilities : Capabilities or None
        What it can do. None only for storages.
    requires : tuple of str
        Modules that must be importable for it to run (checked without importing them).
    install : str
        The command that installs what ``requires`` needs.
    summary : str
        One line for ``aqe backends``.
    policy : str
        Of a learner, where it offers them: ``module:callable`` that makes a `PolicyLearner`.
    replay : str
        Of a learner, where it offers one: ``module:callable`` that makes a `Replay`.
    quantizer : str
        Of a pattern store, where its backend offers them: ``module:callable`` that makes a `Quantizer`.
    """

    name: str = attrs.field(validator=_matches(_NAME, "native"))
    factory: str = attrs.field(validator=_matches(_TARGET, "aqe_backend_native.store:Store"))
    capabilities: Capabilities | None = None
    requires: tuple[str, ...] = ()
    install: str = ""
    summary: str = ""
    policy: str = attrs.field(default="", validator=_empty_or_target)
    replay: str = attrs.field(default="", validator=_empty_or_target)
    quantizer: str = attrs.field(default="", validator=_empty_or_target)


@attrs.frozen(kw_only=True)
class IngestSpec:
    """One file format that a plugin reads.

    Attributes
    ----------
    name : str
        E.g. ``junit-xml``.
    suffixes : tuple of str
        Endings of file names that may be of this format, lower case, e.g. ``.xml``; ``.jsonl.gz`` counts too.
    recognizer : str
        ``module:callable`` of a `aqe_core.contracts.ingest.Recognizer`.
    reader : str
        ``module:callable`` of a `aqe_core.contracts.ingest.Reader`.
    discover : bool
        Whether files of this format are looked for when a folder is ingested; otherwise only files named outright.
    summary : str
    """

    name: str = attrs.field(validator=_matches(_NAME, "junit-xml"))
    suffixes: tuple[str, ...]
    recognizer: str = attrs.field(validator=_matches(_TARGET, "aqe_ingest_tests.junit:recognize"))
    reader: str = attrs.field(validator=_matches(_TARGET, "aqe_ingest_tests.junit:read"))
    discover: bool = True
    summary: str = ""
