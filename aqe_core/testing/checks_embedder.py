"""Checks of embedders: unit rows, determinism, fingerprints, fitted state, threads, and no network."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from aqe_core.contracts.embedder import Document, Embedder
from aqe_core.errors import InputError
from aqe_core.state import EngineState
from aqe_core.testing.expect import close, equal, raises, require, run_threads, same_array
from aqe_core.testing.kit import Context, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

DOCUMENTS = (
    Document("test_retry_is_capped", "def test_retry_is_capped(): assert delays(attempts=9)[-1] == MAX_DELAY_S"),
    Document("test_retry_gives_up", "def test_retry_gives_up(): with raises(Timeout): retry(always_failing)"),
    Document("test_login_rejects_wrong_password", "assert login('ada', 'wrong').status == 401"),
    Document("test_parse_json_empty_object", "assert parse('{}') == {}"),
    Document("test_cart_total_with_discount", "cart.add(item, 3); assert cart.total == Decimal('26.97')"),
    Document("test_checkout_sends_mail", "checkout(cart); assert outbox[0].subject == 'Thank you'"),
)

ODD_TEXTS = (
    "",
    " ",
    "\n\t",
    "!?;",
    "\0",
    "ä",
    "日本語のテスト",
    "a\u0308",
    "\ud800",
    "🙂" * 50,
    "x" * 100_000,
    "a " * 20_000,
)
"""Texts that must not end in an error, nor in a row of zeros."""


def well_formed(rows: Any, n: int, dim: int, what: str) -> None:
    """Require float32 rows of unit length."""
    require(isinstance(rows, np.ndarray), f"{what}: a {type(rows).__name__} is returned, expected an ndarray")
    equal((rows.shape, str(rows.dtype)), ((n, dim), "float32"), f"{what}: (shape, dtype)")
    close(np.linalg.norm(rows.astype(np.float64), axis=1), np.ones(n), 1e-5, f"{what}: lengths of the rows")


def both(embedder: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the vectors of the documents, and of their names as queries."""
    return embedder.embed(DOCUMENTS), embedder.embed_queries([document.name for document in DOCUMENTS])


def fitted(kit: Context) -> Any:
    """Return an embedder fitted to the documents."""
    embedder = kit.make()
    embedder.fit(DOCUMENTS)
    return embedder


@check("embedder")
def check_protocol(kit: Context) -> None:
    """It fulfils the protocol, and names its dimension and fingerprint.

    If this fails, look at the names and signatures in aqe_core.contracts.embedder.
    """
    embedder = kit.make()
    require(isinstance(embedder, Embedder), f"{type(embedder).__name__} lacks a method of Embedder")
    require(isinstance(embedder.dim, int) and embedder.dim > 0, f"dim is {embedder.dim!r}")
    require(isinstance(embedder.fingerprint, str) and embedder.fingerprint, "the fingerprint is empty or no text")


@check("embedder")
def check_unit_rows(kit: Context) -> None:
    """Rows are float32 of unit length, before and after fitting, also of no documents.

    If this fails, look at the normalization and at reshape of empty lists.
    """
    for embedder in (kit.make(), fitted(kit)):
        documents, queries = both(embedder)
        well_formed(documents, len(DOCUMENTS), embedder.dim, "documents")
        well_formed(queries, len(DOCUMENTS), embedder.dim, "queries")
        well_formed(embedder.embed([]), 0, embedder.dim, "no documents")
        well_formed(embedder.embed_queries([]), 0, embedder.dim, "no queries")


@check("embedder")
def check_odd_texts(kit: Context) -> None:
    """Empty, enormous and strange texts get rows of unit length too.

    If this fails, look at the division by the length of a row of zeros, and at encoding lone surrogates.
    """
    for embedder in (kit.make(), fitted(kit)):
        for text in ODD_TEXTS:
            well_formed(embedder.embed_queries([text]), 1, embedder.dim, f"query {text[:10]!r}")
            well_formed(embedder.embed([Document("", text)]), 1, embedder.dim, f"document {text[:10]!r}")
        embedder.fit([Document(text, text) for text in ODD_TEXTS])
        well_formed(embedder.embed_queries(ODD_TEXTS), len(ODD_TEXTS), embedder.dim, "odd texts, fitted to them")


@check("embedder")
def check_rows_are_independent(kit: Context) -> None:
    """A text has the same vector alone and among others, in any order, again and again.

    If this fails, look at what a batch shares: padding, caches, normalization over the batch.
    """
    embedder = fitted(kit)
    documents, queries = both(embedder)
    for i, document in enumerate(DOCUMENTS):
        close(embedder.embed([document])[0], documents[i], 1e-5, f"document {i} alone")
        close(embedder.embed_queries([document.name])[0], queries[i], 1e-5, f"query {i} alone")
    close(embedder.embed(DOCUMENTS[::-1]), documents[::-1], 1e-5, "documents in reverse order")
    same_array(embedder.embed(DOCUMENTS), documents, "documents embedded once more")


@check("embedder")
def check_same_fingerprint_same_vectors(kit: Context) -> None:
    """Two embedders made and fitted alike have one fingerprint and the same vectors.

    If this fails, look at unseeded randomness, and at hash(), which differs between processes.
    """
    for make in (kit.make, partial(fitted, kit)):
        first, second = make(), make()
        equal(second.fingerprint, first.fingerprint, "fingerprint of a second embedder")
        for one, other in zip(both(first), both(second), strict=True):
            same_array(other, one, "vectors of a second embedder")


@check("embedder")
def check_embedding_changes_nothing(kit: Context) -> None:
    """Embedding neither changes the fingerprint nor later vectors; changing a returned array does neither.

    If this fails, look at counts that are updated by embed(), and at cached rows that are handed out.
    """
    embedder = fitted(kit)
    before, (documents, _) = embedder.fingerprint, both(embedder)
    kept = documents.copy()
    embedder.embed([Document("other", "words altogether")])
    if documents.flags.writeable:
        documents[:] = 0.0
    equal(embedder.fingerprint, before, "fingerprint after embedding")
    same_array(embedder.embed(DOCUMENTS), kept, "vectors after embedding others")


@check("embedder", needs="fits")
def check_fit_changes_fingerprint(kit: Context) -> None:
    """Fitting to another collection gives another fingerprint; fitting again to the first gives the first back.

    If this fails, look at the fingerprint: it must be a digest of the fitted state; and fit() must begin anew.
    """
    embedder = kit.make()
    fresh = embedder.fingerprint
    embedder.fit(DOCUMENTS)
    first, vectors = embedder.fingerprint, embedder.embed(DOCUMENTS)
    require(first != fresh, "the fingerprint is the same before and after fit")
    embedder.fit(DOCUMENTS[:2] * 3)
    require(embedder.fingerprint not in (first, fresh), "another collection has the fingerprint of the first")
    embedder.fit(DOCUMENTS)
    equal(embedder.fingerprint, first, "fingerprint after fitting to the first collection again")
    same_array(embedder.embed(DOCUMENTS), vectors, "vectors after fitting to the first collection again")


@check("embedder", needs="not fits")
def check_fit_does_nothing(kit: Context) -> None:
    """An embedder that does not fit is the same after fit().

    If this fails, look at the capability: one that learns from the collection must declare ``fits``.
    """
    fresh, after = kit.make(), fitted(kit)
    equal(after.fingerprint, fresh.fingerprint, "fingerprint after fit")
    for one, other in zip(both(fresh), both(after), strict=True):
        same_array(other, one, "vectors after fit")


@check("embedder")
def check_state(kit: Context) -> None:
    """An exported state, kept as JSON and arrays, makes a fresh embedder equal: fingerprint and vectors.

    If this fails, look at what the state leaves out, and at arrays of dtype object.
    """
    embedder = fitted(kit)
    state = embedder.export_state()
    for name, array in state.arrays.items():
        require(array.dtype != object, f"array {name!r} has dtype object")
    manifest = json.loads(json.dumps(dict(state.manifest), allow_nan=False))
    kept = EngineState(kind=state.kind, manifest=manifest, arrays={name: a.copy() for name, a in state.arrays.items()})
    fingerprint, (documents, queries) = embedder.fingerprint, both(embedder)
    embedder.fit(DOCUMENTS[:1])
    other = kit.make()
    other.import_state(kept)
    equal(other.fingerprint, fingerprint, "fingerprint after import")
    for found, wanted in zip(both(other), (documents, queries), strict=True):
        same_array(found, wanted, "vectors after import")


@check("embedder")
def check_bad_state(kit: Context) -> None:
    """A state of something else is refused and changes nothing.

    If this fails, look at import_state: check the kind first, then everything that is used.
    """
    embedder = fitted(kit)
    fingerprint, vectors = embedder.fingerprint, embedder.embed(DOCUMENTS)
    good = embedder.export_state()
    bad = [
        EngineState(kind=kind, manifest=good.manifest, arrays=good.arrays) for kind in ("learner/x/1", good.kind + "0")
    ]
    if kit.capabilities.fits:
        bad.append(EngineState(kind=good.kind, manifest={}, arrays={}))
    for state in bad:
        raises(InputError, partial(embedder.import_state, state), f"import of a broken {state.kind}")
        equal(embedder.fingerprint, fingerprint, "fingerprint after a refused import")
        same_array(embedder.embed(DOCUMENTS), vectors, "vectors after a refused import")


@check("embedder")
def check_nearness(kit: Context) -> None:
    """A document's own name, asked as a query, is nearer to it than to most others.

    If this fails, look at embed() and embed_queries(): they must speak of the same space.
    """
    documents, queries = both(fitted(kit))
    nearest = (queries @ documents.T).argmax(axis=1)
    hits = int((nearest == np.arange(len(DOCUMENTS))).sum())
    require(hits >= len(DOCUMENTS) - 1, f"{hits} of {len(DOCUMENTS)} documents are nearest to their own name")


@check("embedder")
def check_large_batches(kit: Context) -> None:
    """Hundreds of documents get the vectors that each gets alone; a document may occur more than once.

    If this fails, look at where a batch is cut, and at caches that are full.
    """
    embedder = fitted(kit)
    many = [Document(f"{name}_{i}", f"{text} {i}") for i in range(60) for name, text in DOCUMENTS]
    rows = embedder.embed([*many, *many[:3]])
    well_formed(rows, len(many) + 3, embedder.dim, "many documents")
    for i in (0, 1, 63, 64, 127, 128, 255, 256, len(many) - 1):
        close(rows[i], embedder.embed([many[i]])[0], 1e-5, f"document {i} of {len(many)} alone")
    close(rows[-3:], rows[:3], 1e-5, "documents that occur twice")


@check("embedder")
def check_threads(kit: Context) -> None:
    """Calls from several threads return what they return alone: a search may come while a collection is embedded.

    If this fails, look at buffers and caches that calls share; a lock around a call is enough.
    """
    embedder = fitted(kit)
    documents, queries = both(embedder)
    failures: list[str] = []

    def work() -> None:
        for _ in range(5):
            found = both(embedder)
            close(found[0], documents, 1e-5, "documents embedded beside other threads")
            close(found[1], queries, 1e-5, "queries embedded beside other threads")

    run_threads([], [work] * 4, threading.Event(), failures)
    require(not failures, "; ".join(failures))


@check("embedder")
def check_no_network(kit: Context) -> None:
    """Nothing is looked for in a network: neither when it is made, nor when it fits or embeds.

    If this fails, look at libraries that fetch a model, or ask whether there is a newer one.
    """
    with _no_network() as tried:
        both(fitted(kit))
    require(not tried, f"it tried to reach {tried[:3]}")


@contextmanager
def _no_network() -> Iterator[list[str]]:
    """Refuse connections and look-ups inside the block, and note them."""
    tried: list[str] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        tried.append(str(arguments[-1] if isinstance(arguments[0], socket.socket) else arguments[0]))
        raise OSError("there is no network here")

    patches = [mock.patch.object(socket.socket, name, refuse) for name in ("connect", "connect_ex")]
    patches.append(mock.patch.object(socket, "getaddrinfo", refuse))
    for patch in patches:
        patch.start()
    try:
        yield tried
    finally:
        for patch in patches:
            patch.stop()
