"""Search through a workspace: the fusion, the modes, near copies, the text index behind it and what is kept of it."""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aqe_core
from aqe_core import config, searching
from aqe_core.contracts.embedder import Document
from aqe_core.contracts.pattern_store import NO_KEY, Hits
from aqe_core.contracts.text_index import WordMatch
from aqe_core.errors import CapabilityError, ConfigError, InputError, StorageBusyError
from aqe_core.events import capture
from aqe_core.searching import Ranked, Tuning, fuse
from aqe_core.snippets import snippet, words_by_field

WORDS = [
    "retry",
    "login",
    "cart",
    "total",
    "json",
    "parse",
    "mail",
    "timeout",
    "password",
    "error",
    "cache",
    "order",
    "cap",
    "delay",
]


def sentences(n, seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 12))) for _ in range(n)]


def filled(folder, n, seed=0):
    ws = aqe_core.open(folder)
    ws.patterns.add([{"name": f"test_{i}", "text": text, "n": i} for i, text in enumerate(sentences(n, seed))])
    return ws


def hits_of(ws, query, **options):
    return [(hit.pattern.id, hit.score, hit.lexical, hit.vector) for hit in ws.patterns.search(query, 20, **options)]


@pytest.mark.parametrize("mode", searching.MODES)
@pytest.mark.parametrize("n", [0, 1, 150])
def test_more_than_there_are_costs_no_room(tmp_path, monkeypatch, mode, n):
    asked = []
    with filled(tmp_path, n) as ws:
        for engine in (ws.patterns.store, ws.patterns.texts):
            search = type(engine).search
            monkeypatch.setattr(
                type(engine),
                "search",
                lambda self, query, k=10, *, search=search, **more: [asked.append(k), search(self, query, k, **more)][
                    1
                ],
            )
        all_of_them = ws.patterns.search("retry login", 2 * n + 1, mode=mode)
        for k in (10**7, 2**24):
            found = ws.patterns.search("retry login", k, mode=mode)
            assert found == all_of_them
            assert found == ws.patterns.search("retry login", k, mode=mode, dedupe=True) or n > 1
    assert max(asked) < 1000


# -- fusion ---------------------------------------------------------------------------------------------------------


def as_hits(found):
    return Hits(np.array([k for k, _ in found], np.uint64), np.array([s for _, s in found], np.float32))


def plain_fusion(words, vectors, tuning, depth):
    """The rule of `fuse`, key by key."""
    lists = []
    for found, zero in ((words, len(words.keys) < depth), (vectors, False)):
        scores = dict(zip(found.keys.tolist(), found.scores.tolist(), strict=True))
        listed = found.scores.tolist()[:depth]
        if not listed:
            lists.append({})
            continue
        low = 0.0 if zero else listed[-1]
        spread = listed[0] - low
        lists.append(
            {k: max(0.0, (s - low) / spread) if spread > 0 else float(s >= listed[0]) for k, s in scores.items()}
        )
    total = tuning.lexical_weight + tuning.vector_weight
    return sorted(
        (
            -(tuning.lexical_weight * lists[0].get(key, 0) + tuning.vector_weight * lists[1].get(key, 0)) / total,
            key,
        )
        for key in {*lists[0], *lists[1]}
    )


LISTS = st.dictionaries(st.integers(0, 40), st.integers(1, 8).map(lambda x: x / 4), max_size=12).map(
    lambda found: sorted(found.items(), key=lambda item: (-item[1], item[0]))
)


@given(LISTS, LISTS, st.sampled_from([(1.0, 0.5), (0.0, 1.0), (2.0, 0.0), (1.0, 3.0)]), st.integers(1, 12))
@settings(max_examples=80, deadline=None)
def test_fusion_is_the_weighted_mean_of_scaled_scores(one, other, weights, depth):
    words, vectors = as_hits(one), as_hits(other)
    tuning = Tuning(lexical_weight=weights[0], vector_weight=weights[1])
    fused = fuse(words, vectors, tuning, depth)
    expected = plain_fusion(words, vectors, tuning, depth)
    assert dict(zip(fused.keys, fused.scores, strict=True)) == pytest.approx({k: -s for s, k in expected})
    assert sorted(zip(fused.keys, fused.scores, strict=True), key=lambda hit: (-hit[1], hit[0])) == [
        *zip(fused.keys, fused.scores, strict=True)
    ]
    for known, values in zip((dict(one), dict(other)), (fused.lexical, fused.vector), strict=True):
        assert {k: v for k, v in zip(fused.keys, values, strict=True) if v is not None} == known
    assert fuse(words, vectors, tuning, depth, 3) == fused.first(3)


def test_a_hybrid_score_is_made_of_its_visible_parts(tmp_path):
    with filled(tmp_path, 50) as ws:
        hits = ws.patterns.search("retry timeout", 50)
        lexical = {h.pattern.key: h.score for h in ws.patterns.search("retry timeout", 50, mode="lexical")}
        vector = {h.pattern.key: h.score for h in ws.patterns.search("retry timeout", 50, mode="vector")}
    assert len(hits) == len(vector) == 50
    assert {h.pattern.key: h.lexical for h in hits if h.lexical is not None} == lexical
    assert {h.pattern.key: h.vector for h in hits} == vector
    top, low, high = max(lexical.values()), min(vector.values()), max(vector.values())
    for hit in hits:
        scaled = ((hit.lexical or 0.0) / top + 0.5 * (hit.vector - low) / (high - low)) / 1.5
        assert hit.score == pytest.approx(scaled, abs=1e-6)
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)


def test_of_a_large_collection_the_best_by_words_get_vector_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "_SCANNED", 100)
    with filled(tmp_path, 300) as ws:
        by_words = {hit.pattern.id: hit.score for hit in ws.patterns.search("retry json", 100, mode="lexical")}
        vector = {hit.pattern.id: hit.score for hit in ws.patterns.search("retry json", 300, mode="vector")}
        narrow = hits_of(ws, "retry json")
        assert [(by_words[hit[0]], vector[hit[0]]) for hit in narrow] == [hit[2:] for hit in narrow]
        few = hits_of(ws, "zebra")  # nobody has the word: all are scanned
        assert len(few) == 20
        assert few[0][2] is None


# -- modes and tuning -----------------------------------------------------------------------------------------------


def test_the_first_answer_needs_the_vectors_of_the_best_by_words_only(tmp_path):
    aqe = {"embedder": "lexical", "text_index": "numpy", "pattern_store": "numpy"}
    queries = ["retry json", "zyxw", "test_7 mail"]  # the second has no word to be found by
    with aqe_core.open(tmp_path, **aqe) as ws:
        texts = sentences(1500)
        ws.patterns.add([{"name": f"test_{i}", "text": text} for i, text in enumerate(texts)])
        expected = [hits_of(ws, query) for query in queries]
    for query, hits in zip(queries, expected, strict=True):
        with aqe_core.open(tmp_path, **aqe) as ws:
            assert hits_of(ws, query) == hits
            assert ws.patterns._embedded.is_loaded == (query == "zyxw")
            assert hits_of(ws, query) == hits  # of all vectors
            assert ws.patterns._embedded.is_loaded
    with aqe_core.open(tmp_path, **aqe) as ws:
        # Written to storage, and not embedded yet: a vector is missing.
        changed = ws.patterns.get("test_7")
        ws.storage.put_patterns(ws.namespace, [attrs.evolve(changed, text=f"{changed.text} retry json", key=None)])
        hits = hits_of(ws, "test_7 retry json")
        assert ws.patterns._embedded.is_loaded
        assert hits == hits_of(ws, "test_7 retry json")
        assert hits[0][0] == "test_7"


def test_modes(tmp_path):
    with filled(tmp_path, 30) as ws:
        assert hits_of(ws, "retry") == hits_of(ws, "retry", mode="hybrid")
        lexical, vector = (ws.patterns.search("retry", mode=mode) for mode in ("lexical", "vector"))
        assert all(hit.score == hit.lexical and hit.vector is None for hit in lexical)
        assert all(hit.score == hit.vector and hit.lexical is None for hit in vector)
        query = ws.patterns.embedder.embed_queries(["retry"])[0]
        assert ws.patterns.search(query) == vector
        assert ws.patterns.search("zebra", mode="lexical") == []
        for mode in ("hybrid", "lexical"):
            with pytest.raises(InputError, match="the query is no string"):
                ws.patterns.search(query, mode=mode)
        with pytest.raises(InputError, match=r"mode is 'lexcal'.*did you mean 'lexical'"):
            ws.patterns.search("retry", mode="lexcal")
        for k in (0, "3"):
            with pytest.raises(InputError, match="k is"):
                ws.patterns.search("retry", k)


def test_tuning_comes_from_the_configuration(tmp_path):
    (tmp_path / "aqe.toml").write_text('[search]\nmode = "lexical"\nlexical_weight = 2\nvector_weight = 0.25\n')
    with filled(tmp_path, 10) as ws:
        assert ws.patterns.tuning == Tuning("lexical", 2.0, 0.25)
        assert ws.patterns.search("retry")[0].vector is None
    with filled(tmp_path, 10) as ws:
        assert all(hit.score <= 1.0 for hit in ws.patterns.search("retry", mode="hybrid"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('mode = "lexcal"', r"aqe.toml:2: search.mode is 'lexcal'\. Fix: did you mean 'lexical'"),
        ("vector_weight = -1", r"search.vector_weight are 1.0 \(default\) and -1 \(aqe.toml:2\)"),
        ("vector_weight = nan", "must be in 0"),
        ("lexical_weight = 0\nvector_weight = 0", "one above 0"),
        ('vector_weight = "1"', "must be a number"),
        ("vector_weight = true", "must be a number"),
    ],
)
def test_wrong_tuning(tmp_path, text, message):
    (tmp_path / "aqe.toml").write_text(f"[search]\n{text}\n")
    with pytest.raises(ConfigError, match=message):
        Tuning.of(config.load(tmp_path, {}))


# -- filters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", searching.MODES)
@pytest.mark.parametrize("every", [1, 2, 7, 150])
def test_k_results_whenever_k_fit(tmp_path, monkeypatch, mode, every):
    monkeypatch.setattr(searching, "_SCANNED", 50)
    with aqe_core.open(tmp_path) as ws:
        ws.patterns.add([{"name": f"t{i}", "text": f"retry {t}", "n": i} for i, t in enumerate(sentences(600))])
        allowed = {"n": [*range(0, 600, every)]}
        fitting = len(allowed["n"])
        everything = ws.patterns.search("retry cart", 600, mode=mode)
        for k in (1, 10, 100):
            hits = ws.patterns.search("retry cart", k, where=allowed, mode=mode)
            assert len(hits) == min(k, fitting)
            if mode != "hybrid":  # of a hybrid score the scale depends on the list
                kept = [hit for hit in everything if hit.pattern.metadata["n"] % every == 0]
                assert hits == kept[:k]


class Unfiltered:
    """A store that finds keys 0 .. n - 1 in order, and cannot filter."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def search(self, queries, k, *, among=None):
        if among is not None:
            raise CapabilityError("no")
        keys, scores = np.full(k, NO_KEY, np.uint64), np.full(k, -np.inf, np.float32)
        found = min(k, self.n)
        keys[:found], scores[:found] = np.arange(found), -np.arange(found)
        return Hits(keys, scores)


def test_a_store_that_cannot_filter_is_asked_for_more():
    store = Unfiltered(1000)
    among = np.array([990, 995, 999, 5000], np.uint64)
    assert searching.nearest(store, [0.0], 2, among).keys.tolist() == [990, 995]
    assert searching.nearest(store, [0.0], 9, among).keys.tolist() == [990, 995, 999]
    assert searching.nearest(store, [0.0], 3, np.arange(500, 1000, dtype=np.uint64)).keys.tolist() == [500, 501, 502]
    assert searching.nearest(store, [0.0], 3, np.empty(0, np.uint64)).keys.size == 0


# -- near copies ----------------------------------------------------------------------------------------------------


def test_near_copies_are_named_and_left_out(tmp_path):
    with aqe_core.open(tmp_path) as ws:
        ws.patterns.add([{"id": f"{i}", "name": "test_x", "text": sentences(3)[i % 3]} for i in range(30)])
        for mode in searching.MODES:
            hits = ws.patterns.search(" ".join(WORDS), 10, mode=mode, dedupe=True)
            groups = sorted(sorted([hit.pattern.id, *hit.copies], key=int) for hit in hits)
            assert groups == sorted([str(i) for i in range(first, 30, 3)] for first in range(3))
        assert len(ws.patterns.search(" ".join(WORDS), 10)) == 10
        one = ws.patterns.search(" ".join(WORDS), 1, dedupe=True)
        assert one[0].pattern == ws.patterns.search(" ".join(WORDS), 1)[0].pattern


def test_what_has_no_stored_vector_is_no_copy():
    found = searching.ranked_by_words(as_hits([(5, 3), (6, 2), (7, 1)]))
    rows = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    kept, copies = searching.without_copies(found, lambda _: (np.array([5, 7], np.uint64), rows), 5)
    assert (kept, copies) == (Ranked([5, 6], [3.0, 2.0], [3.0, 2.0], [None, None]), [[7], []])


# -- the text index follows the truth -------------------------------------------------------------------------------


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 15), st.sampled_from(sentences(12))),
            st.tuples(st.just("remove"), st.integers(0, 15), st.just("")),
            st.tuples(st.sampled_from(["search", "reopen"]), st.just(0), st.just("")),
        ),
        max_size=14,
    )
)
@settings(max_examples=8, deadline=None)
def test_incremental_equals_rebuilt(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("history")
    ws = aqe_core.open(folder)
    there = {}
    for verb, number, text in steps:
        if verb == "put":
            ws.patterns.add({"id": f"p{number}", "name": f"test_{text[:5]}", "text": text, "n": number})
            there[f"p{number}"] = text
        elif verb == "remove":
            ws.patterns.remove(f"p{number}")
            there.pop(f"p{number}", None)
        elif verb == "search":
            ws.patterns.search("retry")
        else:
            ws.close()
            ws = aqe_core.open(folder)
    assert {pattern.id: pattern.text for batch in ws.storage.iter_patterns("default") for pattern in batch} == there
    queries = ("retry json", "cart", "zebra", sentences(12)[3])
    answers = [hits_of(ws, query, mode=mode) for query in queries for mode in searching.MODES]
    narrow = [hits_of(ws, query, where={"n": {"$gte": 5}}) for query in queries]
    fit = ws.patterns.embedder.export_state()
    ws.close()
    # Built anew from the same truth, and from nothing but the patterns in the order of their keys.
    with aqe_core.open(folder) as anew:
        anew.patterns._texts._load = lambda _: False
        assert [hits_of(anew, query, mode=mode) for query in queries for mode in searching.MODES] == answers
        assert [hits_of(anew, query, where={"n": {"$gte": 5}}) for query in queries] == narrow
        patterns = [pattern for batch in anew.storage.iter_patterns("default") for pattern in batch]
    with aqe_core.open(tmp_path_factory.mktemp("fresh")) as fresh:
        fresh.patterns.embedder.import_state(fit)
        fresh.patterns._embedded._fitted_on = len(patterns)  # so that it is not fitted anew, to other documents
        fresh.patterns.add(patterns)
        assert [hits_of(fresh, query, mode=mode) for query in queries for mode in searching.MODES] == answers


def test_the_index_is_kept_and_caught_up(tmp_path, monkeypatch):
    with filled(tmp_path, 300) as ws:
        expected = hits_of(ws, "retry cart", mode="lexical")
    with aqe_core.open(tmp_path) as ws:
        monkeypatch.setattr(ws.patterns._texts, "_rebuild", None)  # would fail
        assert hits_of(ws, "retry cart", mode="lexical") == expected
        ws.patterns.add({"name": "test_zebra", "text": "zebra"})
        ws.patterns.remove(expected[0][0])
    with aqe_core.open(tmp_path) as ws:
        monkeypatch.setattr(ws.patterns._texts, "_rebuild", None)
        assert [hit[0] for hit in hits_of(ws, "zebra", mode="lexical")] == ["test_zebra"]
        assert expected[0][0] not in [hit[0] for hit in hits_of(ws, "retry cart", mode="lexical")]


@pytest.mark.parametrize("damage", ["kind", "manifest", "arrays", "seq", "more"])
def test_on_any_doubt_the_index_is_built_anew(tmp_path, damage):
    from aqe_core.state import EngineState

    with filled(tmp_path, 300) as ws:
        expected = hits_of(ws, "retry cart", mode="lexical")
        state, seq = ws.storage.load_state("text_index/default")
        changed = {"kind": state.kind, "manifest": dict(state.manifest), "arrays": dict(state.arrays)}
        if damage == "kind":
            changed["kind"] = "workspace/text_index/0"
        elif damage == "manifest":
            changed["manifest"] = {}
        elif damage == "arrays":
            changed["arrays"]["rows"] = changed["arrays"]["rows"] * 2
        elif damage == "seq":
            seq += 1_000_000
        else:  # a document that is not there, as after a lost removal
            index = aqe_core.open_text_index()
            index.add([999], [("", "retry cart")])
            changed["manifest"]["state"] = dict(index.export_state().manifest)
            changed["arrays"] = dict(index.export_state().arrays)
        ws.storage.save_state("text_index/default", EngineState(**changed), seq=seq)
    with aqe_core.open(tmp_path) as ws, capture() as events:
        assert hits_of(ws, "retry cart", mode="lexical") == expected
    assert any(event.name == "state-dropped" for event in events) == (damage in {"kind", "manifest", "arrays"})


def test_a_kept_index_is_compared_with_the_truth(tmp_path):
    with aqe_core.open(tmp_path) as ws:
        ws.patterns.add([{"name": f"test_{i}", "text": text} for i, text in enumerate(sentences(300))])
        hits_of(ws, "retry", mode="lexical")
        claim = ws.storage.load_state("text_index/default")[0].manifest["truth"]["patterns"]
        assert (claim["count"], claim["last_key"]) == (300, 300)
        ws.patterns.add([{"name": "later", "text": "retry"}])
        maintenance = ws.storage.maintenance(ws.storage.path)
        assert maintenance.verify().findings == ()
        with ws.storage._database.alone() as connection:  # a row is lost, and its neighbours in other tables
            for table, key in (("patterns", "key"), ("pattern_words", "rowid"), ("journal", "key")):
                connection.execute(f"DELETE FROM {table} WHERE {key} = 7").fetchall()
        messages = [found.message for found in maintenance.verify().findings if found.check == "states"]
        assert messages == ["it has 300 patterns of 'default', where there were 299 at its time"]


def test_an_index_that_cannot_be_kept_still_answers(tmp_path, monkeypatch):
    with aqe_core.open(tmp_path) as ws:
        real = ws.storage.save_state

        def save(name, state, *, seq=0):
            if name.startswith("text_index"):
                raise StorageBusyError("busy")
            real(name, state, seq=seq)

        monkeypatch.setattr(ws.storage, "save_state", save)
        ws.patterns.add([{"name": f"test_{i}", "text": text} for i, text in enumerate(sentences(300))])
        expected = hits_of(ws, "retry", mode="lexical")
    with aqe_core.open(tmp_path, read_only=True) as ws:
        assert hits_of(ws, "retry", mode="lexical") == expected
        assert ws.storage.load_state("text_index/default") is None


def test_another_text_index_can_be_chosen(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from aqe_core.testing.backend_text_index import PlainTextIndex\n"
        "from aqe_core.contracts import TextIndexCapabilities\n"
        "class Mine(PlainTextIndex):\n    capabilities = TextIndexCapabilities()\n"
    )
    with filled(tmp_path, 20) as ws:
        by_default = {hit[0] for hit in hits_of(ws, "retry", mode="lexical")}
    (tmp_path / "aqe.toml").write_text('[text_index]\nbackend = "file:mine.py:Mine"\n')
    with aqe_core.open(tmp_path) as ws:
        assert {hit[0] for hit in hits_of(ws, "retry", mode="lexical")} == by_default
        assert ws.patterns.texts.fingerprint == "test-plain/1"
    with aqe_core.open(tmp_path, text_index="numpy") as ws:
        assert ws.patterns.texts.fingerprint.startswith("bm25/")


# -- snippets -------------------------------------------------------------------------------------------------------


def found_in(text, *words):
    places = sorted((text.index(word), word) for word in words)
    return [WordMatch("text", at, at + len(word), (word,), float(len(word))) for at, word in places]


def test_a_snippet_is_the_line_that_tells_most():
    text = 'def test_a_longword():\n    short = 1\n    """longer\tand mid\nlonger'
    found = snippet(Document("test_a", text), found_in(text, "longword", "short", "longer", "mid"))
    assert found.text == "longer\tand mid"
    assert found.highlights == ((0, 6), (11, 14))
    assert snippet(Document("test_a", text), found_in(text, "longword")) is None
    assert snippet(Document("test_a", text), []) is None
    assert snippet(Document("", text), [WordMatch("name", 0, 3, ("def",), 1.0)]) is None


@given(st.text(alphabet="ab \t", max_size=300), st.integers(0, 299), st.integers(1, 30), st.integers(20, 120))
@settings(deadline=None)
def test_a_snippet_fits_and_shows_the_first_match(filler, at, length, width):
    at = min(at, len(filler))
    text = f"{filler[:at]}{'x' * length}{filler[at:]}"
    found = snippet(Document("", text), [WordMatch("text", at, at + length, ("x",), 1.0)], width)
    start, end = found.highlights[0]
    assert len(found.text) <= width + 6
    assert set(found.text[start:end]) == {"x"}
    assert end - start == length or end == len(found.text.removesuffix("..."))


def test_words_by_field():
    matches = [WordMatch("text", 0, 3, ("b", "a"), 1.0), WordMatch("text", 5, 6, ("a",), 1.0)]
    assert words_by_field(matches) == {"name": [], "text": ["b", "a"]}


# -- quality --------------------------------------------------------------------------------------------------------

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.mark.skipif(not (SHARED / "bench" / "retrieval.py").exists(), reason="the retrieval collection is not here")
def test_rankings_of_a_sample_of_the_judged_collection(tmp_path):
    """A sixth of the documents with the queries about them: the real figures need the whole (docs/search.md)."""
    data = SHARED / "data" / "test-patterns"
    adapters = load(Path(__file__).parent / "acceptance" / "adapters.py")
    judge = load(SHARED / "bench" / "retrieval.py")
    rows = adapters._rows(data / "retrieval.docs.jsonl.gz")
    chosen = {row["id"]: i for i, row in enumerate(rows[::6])}
    write(tmp_path / "retrieval.docs.jsonl.gz", [{"id": i, "text": row["text"]} for i, row in enumerate(rows[::6])])
    for task in ("A", "B"):
        kept = []
        for row in adapters._rows(data / f"retrieval.{task}.jsonl.gz")[:600]:
            relevant = [chosen[each] for each in row["relevant"] if each in chosen]
            if relevant:
                exclude = chosen.get(row.get("exclude", -1), -1)
                kept.append({"q": len(kept), "text": row["text"], "relevant": relevant, "exclude": exclude})
        write(tmp_path / f"retrieval.{task}.jsonl.gz", kept)
    adapters.write_rankings(tmp_path, tmp_path / "out.jsonl")
    lists = {"A": [], "B": []}
    for line in (tmp_path / "out.jsonl").read_text().splitlines():
        row = json.loads(line)
        lists[row["task"]].append(row["ids"])
    figures = {task: judge.measure(lists[task], judge.Task(task, tmp_path)) for task in lists}
    assert figures["A"]["mrr10"] > 65
    assert figures["A"]["recall10"] > 75
    assert figures["B"]["mrr10"] > 55
    assert figures["B"]["ndcg10"] > 50


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path, rows):
    with gzip.open(path, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
