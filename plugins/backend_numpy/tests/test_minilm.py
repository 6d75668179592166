"""MiniLM from installed packages: what its vectors say, and what happens where the packages are not, or are others."""

from __future__ import annotations

import numpy as np
import pytest
from aqe_backend_numpy import minilm

from aqe_core.contracts.embedder import Document
from aqe_core.errors import BrokenPluginError, InputError, MissingExtraError
from aqe_core.testing import EmbedderConformance


@pytest.fixture(scope="module")
def embedder():
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("tokenizers", reason="the extra onnx is not installed")
    try:
        return minilm.MiniLMEmbedder(max_tokens=32)
    except MissingExtraError as error:
        pytest.skip(str(error))


class TestMiniLM(EmbedderConformance):
    from aqe_core.contracts import EmbedderCapabilities

    capabilities = EmbedderCapabilities(kind="semantic")

    @pytest.fixture(autouse=True)
    def _installed(self, embedder):
        """Skip where the extra is not installed."""

    def make(self, **options):
        return minilm.MiniLMEmbedder(**{"max_tokens": 32, **options})


def test_paraphrases_are_near(embedder):
    rows = embedder.embed_queries(["the file is removed", "deletes a document from disk", "rotate the polygon"])
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2


def test_a_vector_does_not_depend_on_its_company(embedder):
    texts = [f"{word} {other}" for word in ("retry", "parse", "login") for other in ("header", "timeout", "user", "")]
    together = embedder.embed_queries(texts)
    for i, text in enumerate(texts):
        np.testing.assert_allclose(embedder.embed_queries([text])[0], together[i], atol=1e-6)


def test_documents_are_name_and_text(embedder):
    np.testing.assert_array_equal(embedder.embed([Document("a", "b")]), embedder.embed_queries(["a\nb"]))


def test_only_so_many_word_pieces_are_read(embedder):
    rows = embedder.embed_queries(["word " * 40, "word " * 40 + "polygon"])
    np.testing.assert_array_equal(rows[0], rows[1])
    longer = minilm.MiniLMEmbedder(max_tokens=64)
    assert longer.fingerprint != embedder.fingerprint
    assert not np.array_equal(*longer.embed_queries(["word " * 40, "word " * 40 + "polygon"]))


@pytest.mark.parametrize(
    "options", [{"max_tokens": 7}, {"max_tokens": 513}, {"max_tokens": "many"}, {"threads": 0}, {"threads": True}]
)
def test_wrong_options(options):
    with pytest.raises(InputError, match="must be an integer in"):
        minilm.MiniLMEmbedder(**options)


def test_wrong_input(embedder):
    for wrong in ("text", [1], [b"x"]):
        with pytest.raises(InputError):
            embedder.embed_queries(wrong)
    with pytest.raises(InputError):
        embedder.embed([("a", "b", "c")])


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A package that has a file of the name expected, with other content."""
    (tmp_path / "fake_minilm").mkdir()
    (tmp_path / "fake_minilm" / "model.onnx").write_bytes(b"not a model")
    monkeypatch.syspath_prepend(tmp_path)


def test_files_that_are_not_the_ones_expected(elsewhere, monkeypatch):
    monkeypatch.setitem(minilm._FILES, "model", ("fake_minilm", "model.onnx", "0" * 64))
    with pytest.raises(BrokenPluginError, match="SHA-256"):
        minilm._content("model")
    monkeypatch.setitem(minilm._FILES, "model", ("fake_minilm", "other.onnx", "0" * 64))
    with pytest.raises(BrokenPluginError, match="cannot be read"):
        minilm._content("model")
    monkeypatch.setitem(minilm._FILES, "model", ("no_such_package", "model.onnx", "0" * 64))
    with pytest.raises(MissingExtraError, match="no_such_package"):
        minilm._content("model")


def test_without_the_packages(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"lacks a package") as caught:
        minilm.MiniLMEmbedder()
    assert "[onnx]" in caught.value.fix
