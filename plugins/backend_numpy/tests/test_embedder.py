"""The lexical embedder: its splitting, its arithmetic to the bit, its state, and what ends up near what."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import attrs
import numpy as np
import pytest
from aqe_backend_numpy import _rarity
from aqe_backend_numpy import embedder as module
from aqe_backend_numpy._shipped import load, shipped
from aqe_backend_numpy._subtokens import MAX_SUBTOKEN_CHARS, stem, subtokens
from aqe_backend_numpy.embedder import LexicalEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.contracts.embedder import Document, Embedder
from aqe_core.errors import BrokenPluginError, DimensionError, InputError
from aqe_core.state import EngineState

DOCUMENTS = [
    Document("test_retry_is_capped", "def test_retry_is_capped(): assert backoff(retries=9) == MAX_DELAY"),
    Document("test_retry_waits", "def test_retry_waits(clock): assert clock.slept == backoff(retries=2)"),
    Document("test_parse_header", "def test_parse_header(): assert parseHeader('a: b') == {'a': 'b'}"),
    Document("test_empty_header", "def test_empty_header(): assert parseHeader('') == {}"),
    Document("", "x = 1"),
]


@pytest.fixture
def fitted():
    embedder = LexicalEmbedder(dim=64)
    embedder.fit(DOCUMENTS)
    return embedder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTPServer2Error", "http server 2 error"),
        ("test_parse_URLs", "test pars url"),
        ("getHTTPResponseCode", "get http respons cod"),
        ("snake_case__twice_", "snak cas twic"),
        ("__init__", "init"),
        ("utf8 sha256sum 0x1F", "utf 8 sha 256 sum 0 x 1 f"),
        ("aB AB Ab ABc", "a b ab ab a bc"),
        ("x.y(z)[0] != 'it''s'", "x y z 0 it s"),
        ("ÄrgerÜberÖls straße", "ärger über öls straß"),
        ("ÖÄÜs ÖÄÜsachen", "öäü öä üsachen"),
        ("ПроверкаОшибок_два", "проверка ошибок два"),
        ("cafe\u0301 café", "café café"),
        ("ﬁle Ⅷ \uff12", "fil viii 2"),
        ("测试HTTP超时", "测 试 http 超 时"),
        ("テスト", "テ ス ト"),
        ("हिन्दी", "हिन्दी"),
        ("\u01c5ep", "džep"),
        ("\x00\n\t→ …", ""),
        ("", ""),
    ],
)
def test_splitting(text, expected):
    assert subtokens(text) == expected.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("raise raises raised raising", "rais"),
        ("retry retries retried", "retry"),
        ("stop stops stopped stopping", "stop"),
        ("match matches matched matching", "match"),
        ("class classes", "class"),
        ("error Errors ERROR", "error"),
        ("use", "use"),
        ("is", "is"),
        ("bed", "bed"),
        ("ring", "ring"),
        ("pass", "pass"),
        ("tree", "tre"),
        ("2048s", "2048s"),
    ],
)
def test_stems(words, expected):
    assert {stem(word) for word in words.split()} == {expected}


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_and_other_texts_are_split_alike(text):
    # A lone ideograph is a subtoken of its own and sends the text down the other path.
    assert subtokens(text + " 测") == [*subtokens(text), "测"]


@given(st.text())
def test_subtokens_are_lower_case_and_bounded(text):
    for subtoken in subtokens(text):
        assert subtoken == subtoken.lower()
        assert 1 <= len(subtoken) <= 2 * MAX_SUBTOKEN_CHARS  # lower-casing may lengthen: a dotted capital i


def test_long_runs_count_by_their_beginning():
    assert stem("a" * 1000) == "a" * MAX_SUBTOKEN_CHARS
    long = LexicalEmbedder().embed_queries(["0123456789" * 100, "0123456789" * 50])
    np.testing.assert_array_equal(long[0], long[1])


def test_it_is_an_embedder():
    embedder = LexicalEmbedder()
    assert isinstance(embedder, Embedder)
    assert embedder.dim == 384
    assert embedder.fingerprint == f"lexical/2/384/0.6/{shipped().digest}/unfitted"


def test_golden_signs():
    # Pins the algorithm: stored vectors of every earlier version depend on it.
    row = LexicalEmbedder(dim=12).embed_queries(["retry"])[0]
    assert row.dtype == np.float32
    assert "".join("+" if value > 0 else "-" for value in row) == "----+--+---+"
    np.testing.assert_allclose(np.abs(row), 12**-0.5, rtol=1e-6)


def test_golden_sum(fitted):
    digest = hashlib.sha256(fitted.embed(DOCUMENTS).astype("<f4").tobytes()).hexdigest()
    assert digest.startswith("b52e4e23c41648b1")
    assert fitted.fingerprint == f"lexical/2/64/0.6/hashed-{shipped().digest}/b716a69e5df92e06"


def raw_table():
    """The shipped files, read without the package's own code."""
    folder = resources.files("aqe_backend_numpy") / "data"
    lines = [line.split("\t") for line in (folder / "subtokens.txt").read_text("utf-8").splitlines()]
    rows = np.frombuffer((folder / "subtokens.npy").read_bytes()[128:], np.int8).reshape(len(lines), 256)
    n = json.loads((folder / "subtokens.json").read_text("utf-8"))["n_documents"]
    return {token: (row.tolist(), int(df)) for (token, df), row in zip(lines, rows, strict=True)}, n


def reference(document, documents, dim, name_weight, learned):
    """The formula of the class's docstring, in plain Python."""
    table, n_table = raw_table()
    n = len(documents)
    df = {}
    for other in documents:
        for token in {*subtokens(other.name), *subtokens(other.text)}:
            df[token] = df.get(token, 0) + 1
    name, text = subtokens(document.name), subtokens(document.text)
    total = [0.0] * dim
    for token in {*name, *text}:
        tf = text.count(token)
        share = table.get(token, (None, 1))[1] / n_table
        own = max(df.get(token, 0), 1) if n else 0
        idf = math.log((n + 300 + 1) / (own + 300 * share + 1)) + 1
        weight = round(64 * idf * (tf * 2.2 / (tf + 1.2) + name_weight * (token in name)))
        bits = int.from_bytes(hashlib.shake_128(token.encode()).digest(8 + (dim + 7) // 8)[8:])
        vector = [1 if bits >> (-(-dim // 8) * 8 - 1 - i) & 1 else -1 for i in range(dim)]
        if learned:
            known = table[token][0] if token in table else [17 * sign for sign in vector[-256:]]
            vector = [24 * sign for sign in vector[:-256]] + known
        total = [value + weight * each for value, each in zip(total, vector, strict=True)]
    norm = math.sqrt(sum(value * value for value in total))
    return [value / norm for value in total]


@pytest.mark.parametrize(
    ("options", "fit", "learned"),
    [
        ({}, True, True),
        ({"dim": 300, "learned": True}, False, True),
        ({"learned": False}, True, False),
        ({"dim": 13, "name_weight": 0.25}, True, False),
        ({"dim": 65, "name_weight": 0}, False, False),
    ],
)
def test_equals_the_formula(options, fit, learned):
    embedder = LexicalEmbedder(**options)
    if fit:
        embedder.fit(DOCUMENTS)
    asked = [*DOCUMENTS, Document("unseen_name", "words words words that no document has, and retryqqq")]
    expected = [
        reference(each, DOCUMENTS if fit else [], embedder.dim, options.get("name_weight", 0.6), learned)
        for each in asked
    ]
    np.testing.assert_allclose(embedder.embed(asked), expected, rtol=0, atol=1e-6)


def test_queries_are_documents_without_a_name(fitted):
    texts = [document.text for document in DOCUMENTS]
    np.testing.assert_array_equal(fitted.embed_queries(texts), fitted.embed([Document("", text) for text in texts]))


def test_a_vector_does_not_depend_on_its_company(fitted, monkeypatch):
    together = fitted.embed(DOCUMENTS)
    monkeypatch.setattr(module, "_MAX_CACHED", 3)
    fresh = LexicalEmbedder(dim=64)
    fresh.fit(DOCUMENTS)
    np.testing.assert_array_equal(fresh.embed(DOCUMENTS[::-1])[::-1], together)
    for i, document in enumerate(DOCUMENTS):
        np.testing.assert_array_equal(fresh.embed([document])[0], together[i])


def test_the_cache_grows_and_is_begun_anew():
    embedder = LexicalEmbedder(dim=16)
    words = [f"w{a}{b}{c}" for a in "abcdefghij" for b in "abcdefghij" for c in "abcdefghij"]
    first = embedder.embed_queries(words)
    np.testing.assert_array_equal(embedder.embed_queries(words), first)
    assert len(np.unique(first, axis=0)) > 900


def test_the_same_in_every_process():
    code = (
        "import hashlib\n"
        "from aqe_backend_numpy.embedder import LexicalEmbedder\n"
        "e = LexicalEmbedder(); d = [('n%d' % (i % 7), 'text of Number%d' % i) for i in range(50)]; e.fit(d)\n"
        "print(e.fingerprint, hashlib.sha256(e.embed(d).tobytes()).hexdigest())\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(said) == 1


@pytest.mark.parametrize("text", ["", " \n", "→ !!", "\x00"])
def test_texts_without_words_share_one_vector(fitted, text):
    rows = np.vstack([fitted.embed_queries([text, "retry"]), fitted.embed([("", text)]), fitted.embed([(text, "")])])
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(rows[0], rows[3])
    np.testing.assert_array_equal(np.abs(rows[0]), np.float32(64) ** -0.5)
    assert not np.array_equal(rows[0], rows[1])


def test_words_that_cancel_out_give_no_zeros():
    embedder = LexicalEmbedder(dim=1)
    rows = embedder.embed_queries([f"{a} {b}" for a in "abcdef" for b in "abcdef"])
    np.testing.assert_array_equal(np.abs(rows), 1)
    assert LexicalEmbedder(dim=8, name_weight=0).embed([("name", "")]).any()


def test_shapes(fitted):
    assert fitted.embed([]).shape == fitted.embed_queries([]).shape == (0, 64)
    assert fitted.embed(DOCUMENTS).shape == (5, 64)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=200)), max_size=5), st.integers(1, 70))
def test_any_text_gives_finite_unit_rows(documents, dim):
    embedder = LexicalEmbedder(dim=dim)
    embedder.fit(documents[:3])
    rows = np.vstack([embedder.embed(documents), embedder.embed_queries([text for _, text in documents])])
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-6)


def test_enormous_texts():
    embedder = LexicalEmbedder(dim=16)
    words = " ".join(f"{a}{b}{c}x" for a in "abcdefghij" for b in "abcdefghij" for c in "abcdefghij")
    rows = embedder.embed_queries([words * 70, "a" * 10**6])
    assert np.isfinite(rows).all()
    read = _rarity.MAX_TEXT_CHARS
    np.testing.assert_array_equal(*embedder.embed_queries(["a " * read, "a " * read + "unread"]))


def test_lone_surrogates_and_unknown_scripts(fitted):
    assert np.isfinite(fitted.embed_queries(["\ud800abc", "a\udfff", "\U0010ffff", "𓀀𓀁"])).all()


def test_near_copies_are_nearer_than_strangers(fitted):
    stored = fitted.embed(DOCUMENTS)
    asked = fitted.embed_queries(["def test_retry_is_capped_too(): assert backoff(retry=8) == MAX_DELAY", "headers"])
    scores = asked @ stored.T
    assert scores[0].argmax() == 0
    assert scores[0, 0] > 0.7
    assert scores[0, 1] > scores[0, 3]
    assert set(np.argsort(-scores[1])[:2]) == {2, 3}


def test_rare_words_count_more_once_fitted():
    documents = [("", f"common words here w{i}") for i in range(50)] + [("", "common rarity")]
    plain, fitted = LexicalEmbedder(), LexicalEmbedder()
    fitted.fit(documents)
    query = ["common rarity"]
    target = [("", "rarity alone among many other things")]
    assert (fitted.embed_queries(query) @ fitted.embed(target).T).item() > (
        plain.embed_queries(query) @ plain.embed(target).T
    ).item()


def test_the_name_counts_more_with_its_weight():
    document = [("retry", "def retry capped delay sleep clock")]
    scores = []
    for name_weight in (0, 1, 5):
        embedder = LexicalEmbedder(name_weight=name_weight)
        scores.append((embedder.embed_queries(["retry"]) @ embedder.embed(document).T).item())
    assert scores == sorted(scores)
    assert scores[0] < scores[1] < scores[2]


def test_fit_does_not_depend_on_order(fitted):
    shuffled = list(DOCUMENTS)
    random.Random(5).shuffle(shuffled)
    other = LexicalEmbedder(dim=64)
    other.fit(shuffled)
    assert other.fingerprint == fitted.fingerprint
    np.testing.assert_array_equal(other.embed(DOCUMENTS), fitted.embed(DOCUMENTS))


def test_fit_replaces_what_was_fitted(fitted):
    fitted.fit(DOCUMENTS[:2])
    once = LexicalEmbedder(dim=64)
    once.fit(DOCUMENTS[:2])
    assert fitted.fingerprint == once.fingerprint
    fitted.fit([])
    assert fitted.fingerprint == LexicalEmbedder(dim=64).fingerprint


def test_the_fingerprint_changes_with_everything_that_matters(fitted):
    prints = {fitted.fingerprint}
    for options, documents in [
        ({"dim": 63}, DOCUMENTS),
        ({"dim": 64, "name_weight": 1.5}, DOCUMENTS),
        ({"dim": 64}, DOCUMENTS[1:]),
        ({"dim": 64}, [*DOCUMENTS, DOCUMENTS[0]]),
        ({"dim": 64}, []),
        ({"dim": 64}, [("", "alone")]),
    ]:
        embedder = LexicalEmbedder(**options)
        embedder.fit(documents)
        prints.add(embedder.fingerprint)
    assert len(prints) == 7


def test_the_table_is_capped_to_the_most_frequent(monkeypatch):
    monkeypatch.setattr(_rarity, "MAX_TERMS", 2)
    embedder = LexicalEmbedder()
    embedder.fit([("", "alpha beta gamma"), ("", "alpha beta"), ("", "alpha"), ("gamma", ""), ("", "beta")])
    state = embedder.export_state()
    assert sorted(state.arrays["df"]) == [3, 3]


def test_state_round_trip(fitted):
    state = fitted.export_state()
    assert state.kind == "embedder/lexical/1"
    assert state.manifest == {"n_documents": 5}
    other = LexicalEmbedder(dim=64)
    other.embed(DOCUMENTS)
    other.import_state(state)
    assert other.fingerprint == fitted.fingerprint
    np.testing.assert_array_equal(other.embed(DOCUMENTS), fitted.embed(DOCUMENTS))
    again = other.export_state()
    for name in ("keys", "df"):
        np.testing.assert_array_equal(again.arrays[name], state.arrays[name])
    other.import_state(LexicalEmbedder().export_state())
    assert other.fingerprint.endswith("unfitted")


def changed(state, **arrays):
    return attrs.evolve(state, arrays={**state.arrays, **arrays})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: attrs.evolve(s, kind="learner/q-learning/1"), "kind"),
        (lambda s: attrs.evolve(s, manifest={}), "n_documents"),
        (lambda s: attrs.evolve(s, manifest={"n_documents": True}), "n_documents"),
        (lambda s: attrs.evolve(s, manifest={"n_documents": -1}), "n_documents"),
        (lambda s: attrs.evolve(s, manifest={"n_documents": 1}), "df is not in"),
        (lambda s: attrs.evolve(s, arrays={}), "arrays"),
        (lambda s: changed(s, more=np.zeros(1)), "arrays"),
        (lambda s: changed(s, keys=[1, 2]), "arrays"),
        (lambda s: changed(s, keys=s.arrays["keys"].astype(np.int64)), "int64"),
        (lambda s: changed(s, df=s.arrays["df"][:-1]), "keys are"),
        (lambda s: changed(s, df=s.arrays["df"].astype(np.float32)), "float32"),
        (lambda s: changed(s, keys=s.arrays["keys"][None], df=s.arrays["df"][None]), "keys are"),
        (lambda s: changed(s, keys=s.arrays["keys"][::-1]), "ascending"),
        (lambda s: changed(s, keys=np.zeros_like(s.arrays["keys"])), "ascending"),
        (lambda s: changed(s, df=np.ones_like(s.arrays["df"])), "df is not in"),
        (
            lambda s: changed(s, keys=np.arange(200_001, dtype=np.uint64), df=np.full(200_001, 2, np.uint32)),
            "200001 entries",
        ),
    ],
)
def test_foreign_states_are_refused_and_change_nothing(fitted, change, complaint):
    before = fitted.fingerprint
    with pytest.raises(InputError, match=complaint) as caught:
        fitted.import_state(change(fitted.export_state()))
    assert caught.value.fix
    assert fitted.fingerprint == before


def test_a_state_is_copied(fitted):
    arrays = {name: array.copy() for name, array in fitted.export_state().arrays.items()}
    other = LexicalEmbedder(dim=64)
    other.import_state(EngineState(kind="embedder/lexical/1", manifest={"n_documents": 5}, arrays=arrays))
    before = other.embed(DOCUMENTS)
    arrays["keys"][:] = 0
    other.fit([])
    other.import_state(fitted.export_state())
    np.testing.assert_array_equal(other.embed(DOCUMENTS), before)
    with pytest.raises(ValueError, match="read-only"):
        other.export_state().arrays["df"][0] = 7


@pytest.mark.parametrize("dim", [0, -1, 4097, 1.5, None])
def test_bad_dim(dim):
    with pytest.raises(DimensionError):
        LexicalEmbedder(dim=dim)


@pytest.mark.parametrize("name_weight", [-0.1, math.nan, math.inf, "3", None])
def test_bad_name_weight(name_weight):
    with pytest.raises(InputError, match="name_weight"):
        LexicalEmbedder(name_weight=name_weight)


@pytest.mark.parametrize("documents", ["text", [("a",)], ["ab"], [("a", 1)], [(None, "a")], [("a", "b", "c")]])
def test_bad_documents(fitted, documents):
    before = fitted.fingerprint
    for method in (fitted.embed, fitted.fit):
        with pytest.raises(InputError, match="item 0") as caught:
            method(documents)
        assert caught.value.fix
    assert fitted.fingerprint == before


@pytest.mark.parametrize(("texts", "complaint"), [("text", "single string"), (["a", 1], "item 1"), (b"a", "single")])
def test_bad_queries(fitted, texts, complaint):
    with pytest.raises(InputError, match=complaint):
        fitted.embed_queries(texts)


def test_threads_get_the_same_vectors(fitted):
    expected = fitted.embed(DOCUMENTS)
    shared = LexicalEmbedder(dim=64)
    shared.fit(DOCUMENTS)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(lambda _: shared.embed(DOCUMENTS), range(50)):
            np.testing.assert_array_equal(rows, expected)


# -- the shipped table ----------------------------------------------------------------------------------------------


def copy_of_the_table(folder):
    for each in (resources.files("aqe_backend_numpy") / "data").iterdir():
        if each.name.startswith("subtokens."):
            (folder / each.name).write_bytes(each.read_bytes())
    return folder


def test_the_table_is_the_one_that_its_manifest_describes(tmp_path):
    table = load(copy_of_the_table(tmp_path))
    assert table.digest == shipped().digest
    assert table.vectors.shape == (len(table.row_of), 256)
    assert isinstance(table.vectors.base, np.memmap)
    assert max(table.df) <= table.n_documents
    manifest = json.loads((tmp_path / "subtokens.json").read_text())
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_the_vocabulary_is_of_subtokens():
    assert all(each == each.lower() and subtokens(each.upper()) for each in shipped().row_of)
    assert {"test", "rais", "retry", "http"} <= set(shipped().row_of)


def test_a_known_subtoken_counts_about_as_much_as_an_unknown_one():
    lengths = np.linalg.norm(shipped().vectors.astype(np.float64), axis=1)
    assert np.median(lengths) == pytest.approx(np.sqrt(256) * 17, rel=0.01)
    assert np.median(lengths) == pytest.approx(np.sqrt(128) * module.HASHED_UNIT, rel=0.01)


@pytest.mark.parametrize("name", ["subtokens.npy", "subtokens.txt", "subtokens.json"])
@pytest.mark.parametrize("fault", ["missing", "flipped", "cut", "empty"])
def test_a_damaged_table_is_told(tmp_path, name, fault):
    path = copy_of_the_table(tmp_path) / name
    content = bytearray(path.read_bytes())
    if fault == "missing":
        path.unlink()
    elif fault == "flipped":
        content[40] ^= 0x20
        path.write_bytes(content)
    else:
        path.write_bytes(content[:60] if fault == "cut" else b"")
    with pytest.raises(BrokenPluginError, match=r"subtoken table in .* cannot be used"):
        load(tmp_path)


def test_common_words_count_less_even_before_fitting():
    embedder = LexicalEmbedder()
    target = embedder.embed([("", "def test zigzag")])
    scores = (embedder.embed_queries(["zigzag", "def"]) @ target.T).ravel()
    assert scores[0] > scores[1] + 0.2


def test_words_of_one_meaning_are_near():
    learned, hashed = LexicalEmbedder(), LexicalEmbedder(learned=False)
    words = ["error", "exception", "fail", "polygon"]
    near, far = (embedder.embed_queries(words)[1:] @ embedder.embed_queries(words)[0] for embedder in (learned, hashed))
    assert min(near[0], near[1]) > near[2] + 0.1
    assert abs(far).max() < 0.2


@pytest.mark.parametrize(("dim", "learned"), [(256, True), (12, True), (384, 1), (384, "yes")])
def test_wrong_learned(dim, learned):
    with pytest.raises(InputError, match=r"learned is .* with dim"):
        LexicalEmbedder(dim=dim, learned=learned)


def test_a_query_alone_has_the_bits_that_it_has_in_a_batch():
    embedder = LexicalEmbedder()
    texts = ["retry after timeout, retry", "", "?", "def test_x(self): " + "x " * 400, "größe 日本語 DataFrame"]
    embedder.fit([("", text) for text in texts])
    batch = embedder.embed_queries(texts)
    for text, row in zip(texts, batch, strict=True):
        alone = embedder.embed_queries([text])
        assert alone.shape == (1, 384)
        assert alone.dtype == np.float32
        np.testing.assert_array_equal(alone[0], row)
