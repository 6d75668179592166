"""aqe bench search: true recalls, honest choices, data from everywhere, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest

import aqe_core
from aqe_core.bench import search, search_data
from aqe_core.cli.bench_search import parse_backends, parse_sizes
from aqe_core.errors import InputError, MalformedFileError, MissingExtraError, UsageError

QUICK = ["bench", "search", "--rounds", "2", "--queries", "10", "--sizes", "200"]
HALF = '''
"""A store that finds every second row only, slowly, and one that takes any option."""

import time

from aqe_backend_numpy.store import NumpyPatternStore
from aqe_core.contracts import StoreCapabilities


class Half(NumpyPatternStore):
    def add(self, keys, vectors):
        super().add(keys[::2], vectors[::2])


class Slow(NumpyPatternStore):
    capabilities = StoreCapabilities(exact=True, filtered=True, checked=True)

    def __init__(self, *, dim, metric, pause_s=0.0, what="x", sure=True):
        super().__init__(dim=dim, metric=metric)
        self.pause_s = pause_s
        assert what in ("x", "y")
        assert isinstance(sure, bool)

    def search(self, queries, k=10, *, among=None):
        time.sleep(self.pause_s)
        return super().search(queries, k, among=among)

    def stats(self):
        return {"memory_bytes": 4000}


class Failing(NumpyPatternStore):
    def add(self, keys, vectors):
        from aqe_core.errors import InputError

        raise InputError("cannot.", fix="do not.")
'''


@pytest.fixture
def stores(tmp_path):
    (tmp_path / "stores.py").write_text(HALF, encoding="utf-8")
    return tmp_path


def choices_of(found, target):
    return {each["backend"]: each for each in found["facts"]["choices"] if each["target"] == target}


def test_recall_and_choices(aqe_json, stores):
    half, slow = "file:stores.py:Half", "file:stores.py:Slow"
    found = aqe_json(*QUICK, "--backends", f"numpy,{half},{slow}:pause_s=0.002,what=y,sure=false,{slow}:pause_s=0.01")
    measures = {(each["backend"], each["options"].get("pause_s")): each for each in found["measures"]}
    assert len(measures) == 4
    assert measures["numpy", None]["recall"] == 1.0
    assert 0.3 < measures[half, None]["recall"] < 0.7
    assert measures[slow, 0.002]["options"] == {"pause_s": 0.002, "what": "y", "sure": False}
    assert measures[slow, 0.002]["bytes_per_vector"] == 20
    for each in measures.values():
        assert each["size"] == 200
        assert 0 < each["calm_p50_us"] <= each["p50_us"] <= each["p99_us"]
        assert each["calm_p50_us"] <= each["calm_p99_us"]
        assert min(each["batch_per_s"], each["build_per_s"]) > 0
    best = choices_of(found, 0.95)
    assert set(best) == {"numpy", slow}
    assert best["numpy"]["ratio"] == 1.0
    assert best[slow]["options"]["pause_s"] == 0.002
    assert best[slow]["ratio"] == pytest.approx(best["numpy"]["p50_us"] / best[slow]["p50_us"])
    assert found["facts"]["data"].startswith("made vectors")
    assert (found["backend"], found["facts"]["dim"], found["facts"]["queries"]) == ("numpy", 384, 10)


def test_all_backends_by_default_and_absent_ones_named(aqe_json, aqe):
    found = aqe_json(*QUICK)
    measured = {each["backend"] for each in found["measures"]}
    absent = {each["backend"]: each["install"] for each in found["facts"]["absent"]}
    assert measured | set(absent) >= {"numpy", "native", "annoy", "hnswlib", "nmslib", "sqlite-vec", "usearch"}
    assert not measured & set(absent)
    assert all("pip install" in how for how in absent.values())
    table = aqe(*QUICK, "--backends", "numpy").stdout
    assert "Fastest at a recall" in table
    assert "1.00x" in table
    assert "10 queries, k = 10, 2 rounds" in table


def test_the_reference_takes_part_and_need_not_reach_the_recall(aqe_json, stores):
    found = aqe_json(*QUICK, "--backends", "numpy", "--reference", "file:stores.py:Half")
    assert len(found["measures"]) == 2
    assert [each["ratio"] for each in found["facts"]["choices"]] == [None, None]


def test_one_that_fails_is_left_out(aqe_json, stores):
    found = aqe_json(*QUICK, "--backends", "numpy,file:stores.py:Failing")
    assert found["facts"]["failed"] == {"file:stores.py:Failing": "cannot. Fix: do not."}
    assert {each["backend"] for each in found["measures"]} == {"numpy"}


def test_vectors_of_a_file(aqe_json, tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).normal(size=(300, 16)))
    found = aqe_json("bench", "search", "--rounds", "1", "--queries", "50", "--backends", "numpy", "--data", "mine.npy")
    assert [each["size"] for each in found["measures"]] == [270]
    assert (found["facts"]["queries"], found["facts"]["dim"], found["facts"]["data"]) == (30, 16, "mine.npy")


def test_vectors_of_the_workspace(aqe_json, tmp_path, monkeypatch):
    monkeypatch.setattr(search_data, "ENOUGH", 50)
    words = [f"{a} {b} is {c}" for a in ("login", "parser", "retry", "cache") for b in "abcde" for c in "klmno"]
    with aqe_core.open(tmp_path / ".") as ws:
        ws.patterns.add(words)
    found = aqe_json("bench", "search", "--rounds", "1", "--backends", "numpy")
    assert found["facts"]["data"] == "100 vectors of this workspace"
    assert [(each["size"], each["recall"]) for each in found["measures"]] == [(90, 1.0)]
    more = aqe_json(*QUICK, "--backends", "numpy")
    assert more["facts"]["data"] == "made vectors in clusters (the workspace has 100 vectors, too few)"


def test_equal_rows_count_as_each_other():
    rows = np.repeat(np.eye(4, dtype=np.float32), 20, axis=0)
    exact = aqe_core.open_store(dim=4)
    other = aqe_core.open_store(dim=4)
    exact.add(range(80), rows)
    other.add(range(10, 80), rows[10:])  # other copies of what is equally near
    queries = np.eye(4, dtype=np.float32)
    least = exact.search(queries, 10).scores[:, -1].astype(np.float64)
    assert search._recall(other, rows, queries, least, 10) == 1.0


def test_made_vectors_are_the_same_each_time():
    assert np.array_equal(search_data.made(100, 8), search_data.made(100, 8))
    assert not np.array_equal(search_data.made(100, 8), search_data.made(100, 8, seed=1))


def test_ladders_are_for_backends_without_settings():
    assert [each.options for each in search.contestants("hnswlib", {})] == [{"ef": 16}, {"ef": 64}, {"ef": 256}]
    assert [each.options for each in search.contestants("hnswlib", {"ef": 7})] == [{"ef": 7}]
    assert [each.options for each in search.contestants("numpy", {})] == [{}]


def test_progress_is_told():
    told = []
    rows = search_data.made(60, 8)
    entrants = [search.Contestant("numpy"), search.Contestant("numpy")]
    search.compare(
        rows[5:], rows[:5], [20, 55], entrants, reference="numpy", rounds=2, progress=lambda *each: told.append(each)
    )
    assert ("building 55", 1, 2) in told
    assert ("searching 20", 3, 4) in told


@pytest.mark.parametrize("text", ["", "numpy,", "a=1", "numpy,ef=64", ":ef=1"])
def test_backends_that_cannot_be_read(text):
    with pytest.raises(UsageError):
        parse_backends(text)


def test_what_is_said_on_the_command_line():
    assert parse_backends("a , file:x.py:Y:m=1.5,n=text") == [("a", {}), ("file:x.py:Y", {"m": 1.5, "n": "text"})]
    assert parse_sizes("20, 30,20") == (20, 30)
    for text in ("", "x", "-3", "1e3", "9" * 12):
        with pytest.raises(UsageError):
            parse_sizes(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rows", "5"],
        ["--backend", "numpy"],
        ["--sizes", "none"],
        ["--backends", "=,"],
        ["--data", "absent.npy"],
        ["--queries", "0"],
    ],
)
def test_wrong_use(aqe, arguments):
    assert "fix:" in aqe("bench", "search", *arguments, code=2).stderr
    assert "no option --sizes" in aqe("bench", "storage", "--sizes", "9", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--backends", "nowhere"], 1, "no pattern store named 'nowhere'"),
        (["--backends", "numpy:eff=3"], 2, "no option 'eff'"),
        (["--sizes", "5"], 2, "sizes"),
        (["--sizes", "2000000"], 2, "sizes"),
    ],
)
def test_what_cannot_be_measured(aqe, arguments, code, message):
    assert message in aqe(*QUICK, *arguments, code=code).stderr


def archived(path):
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))


def saved(array):
    def save(path):
        np.save(path, array, allow_pickle=True)

    return save


@pytest.mark.parametrize(
    "write",
    [
        saved(np.array([{"a": 1}], dtype=object)),
        saved(np.zeros(5)),
        saved(np.zeros((5, 3), dtype="U3")),
        saved(np.zeros((100, 8))),
        saved(np.full((100, 8), np.nan)),
        saved(np.full((100, 8), 1e300)),
        saved(np.ones((5, 8))),
        saved(np.ones((0, 8))),
        saved(np.ones((100, 5000))),
        lambda path: path.write_text("not an array"),
        lambda path: path.write_bytes(b""),
        archived,
    ],
)
def test_files_that_hold_no_vectors(tmp_path, write):
    write(tmp_path / "bad.npy")
    with pytest.raises((InputError, MalformedFileError)) as caught:
        search_data.load(None, tmp_path / "bad.npy", (), 10)  # no workspace is looked at
    assert caught.value.fix


def test_none_is_installed(monkeypatch):
    def absent(name, **_):
        raise MissingExtraError("not there.", fix="pip install it")

    rows = search_data.made(40, 8)
    exact = aqe_core.open_store(dim=8)
    monkeypatch.setattr(search, "open_store", lambda name, **options: exact if name == "numpy" else absent(name))
    with pytest.raises(MissingExtraError, match="none of the backends"):
        search.compare(rows, rows[:2], [20], [search.Contestant("x")] * 2, reference="x", rounds=1)


def test_too_few_rows_for_a_size(tmp_path):
    with pytest.raises(InputError, match="too few"):
        search_data._split(search_data.made(30, 8), (30,), 5, "here")
