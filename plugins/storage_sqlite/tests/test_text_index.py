"""The text index finds what a scan of all words finds, and stays in step with the patterns."""

from __future__ import annotations

import math
import re
import tempfile
from pathlib import Path

import apsw
import numpy as np
import pytest
from aqe_storage_sqlite import schema, text_index
from aqe_storage_sqlite.storage import SqliteStorage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aqe_core.contracts import Pattern
from aqe_core.errors import CorruptStorageError, InputError


def pattern(id_, name="n", text="t", **fields):
    return Pattern(id=id_, name=name, text=text, **fields)


def words_of(text):
    """Split as the documentation says, by hand and not by regular expression."""
    words, word = [], ""
    for position, letter in enumerate(text):
        before, after = text[position - 1 : position], text[position + 1 : position + 2]
        inner = letter.isupper() and (
            (before.islower() or before.isdigit()) or (before.isupper() and position and after.islower())
        )
        if inner or not letter.isalnum():
            words.append(word)
            word = ""
        if letter.isalnum():
            word += letter.lower()
    return [word for word in [*words, word] if word]


def holds(words, phrase):
    return any(words[start : start + len(phrase)] == phrase for start in range(len(words) - len(phrase) + 1))


def fits(item, query):
    phrases = [phrase for phrase in map(words_of, query.split()) if phrase]
    return any(holds(words_of(item.name), phrase) or holds(words_of(item.text), phrase) for phrase in phrases)


LETTERS = st.text(alphabet='abAB1_ ."*-', max_size=24)
IDENTIFIERS = st.sampled_from(
    [
        "retry",
        "test_retry",
        "retryBackoff",
        "HTTPServer",
        "getURL",
        "get",
        "url",
        "X2Y",
        "NEAR",
        "AND",
        "name:",
        '"',
        "(",
        "*",
    ]
)
TEXTS = LETTERS | st.lists(IDENTIFIERS, max_size=6).map(" ".join)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.tuples(TEXTS, TEXTS), max_size=8), query=TEXTS)
def test_it_finds_what_a_scan_finds(tmp_path_factory, texts, query):
    given_ = [pattern(str(number), name, text) for number, (name, text) in enumerate(texts)]
    with SqliteStorage(tmp_path_factory.mktemp("db") / "aqe.db", durability="normal") as storage:
        keys = storage.put_patterns("n", given_).keys.tolist()
        storage.put_patterns("other", given_)
        found = storage.search_text("n", query, 100)
        assert sorted(key for key, _ in found) == [
            key for key, item in zip(keys, given_, strict=True) if fits(item, query)
        ]
        assert found == sorted(found, key=lambda hit: (-hit[1], hit[0]))
        assert all(math.isfinite(score) and score > 0 for _, score in found)
        for k in (1, 2, 5):
            assert storage.search_text("n", query, k) == found[:k]


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60), query=st.text(max_size=60))
def test_no_text_is_syntax(tmp_path_factory, text, query):
    with SqliteStorage(tmp_path_factory.mktemp("db") / "aqe.db", durability="normal") as storage:
        (key,) = storage.put_patterns("n", [pattern("a", "zq", text)]).keys.tolist()
        assert {found for found, _ in storage.search_text("n", query, 3)} <= {key}
        assert [found for found, _ in storage.search_text("n", f"{query} zq", 3)] == [key]


SYNTAX = (
    "", " ", '"', '""', "'", "*", "a*b", "(", ")", "NEAR(a b)", "-", "^", "^x", "name:x", "{name}:x", "x AND", "NOT",
    "\0", "+", "OR OR", "--", ";", "pla*", "NOT x",
)  # fmt: skip


@pytest.mark.parametrize("query", SYNTAX)
def test_what_would_be_syntax_is_only_text(storage, query):
    (key,) = storage.put_patterns("n", [pattern("a", "name", "plain")]).keys.tolist()
    assert storage.search_text("n", query, 3) == []
    for mixed in (f"{query} name", f"name {query}", f"name\0{query}"):
        assert [found for found, _ in storage.search_text("n", mixed, 3)] == [key]


@pytest.mark.parametrize(
    ("text", "query", "found"),
    [
        ("def test_retry_backoff(): ...", "backoff", True),
        ("def test_retry_backoff(): ...", "test_retry_backoff", True),
        ("def test_retry(): backoff()", "retry_backoff", True),  # in a row, whatever parts them
        ("def test_backoff_retry(): ...", "retry_backoff", False),
        ("retryBackoff", "retry_backoff", True),
        ("retryBackoff", "retrybackoff", False),
        ("HTTPServerError", "server", True),
        ("HTTPServerError", "HTTPServer", True),
        ("getURL", "url", True),
        ("Café", "cafe", True),
        ("cafe", "CAFÉ", True),
        ("sha256", "sha", False),
        ("a.b.c", "b", True),
        ("x\0hidden", "hidden", True),
        ("поиск", "Поиск", True),
    ],
)
def test_words(storage, text, query, found):
    storage.put_patterns("n", [pattern("a", text=text)])
    assert bool(storage.search_text("n", query, 1)) is found


def test_a_name_counts_more_and_rare_words_too(storage):
    keys = storage.put_patterns(
        "n",
        [
            pattern("a", "upload", "sends the file"),
            pattern("b", "download", "upload it again"),
            pattern("c", "delete", "the file goes"),
            pattern("d", "rename", "the file stays"),
        ],
    ).keys.tolist()
    assert [key for key, _ in storage.search_text("n", "upload", 9)] == keys[:2]
    assert storage.search_text("n", "file upload", 1)[0][0] == keys[0]


def test_ties_go_to_the_smaller_key_however_few_are_asked_for(storage):
    keys = storage.put_patterns("n", [pattern(str(number), "same", "same") for number in range(50)]).keys.tolist()
    for k in (1, 7, 50, 99):
        assert [key for key, _ in storage.search_text("n", "same", k)] == keys[:k]


COMMON = ("the", "test", "assert", "client", "retry", "upload", "gammaDelta", "rare", "odd")


@settings(max_examples=60, deadline=None)
@given(
    chances=st.lists(st.sampled_from([0.01, 0.1, 0.3, 0.6, 0.95, 1]), min_size=len(COMMON), max_size=len(COMMON)),
    query=st.lists(st.sampled_from([*COMMON, "gamma_delta", "gone", "=="]), max_size=6).map(" ".join),
    seed=st.integers(0, 99),
    spaces=st.sampled_from(["n", "nm"]),
)
def test_passing_over_what_cannot_be_best_changes_nothing(tmp_path_factory, chances, query, seed, spaces):
    """However frequent the words are; 9 times each at most, so that scores come near to what is most."""
    draw = np.random.default_rng(seed)
    n_texts = 60
    texts = [
        " ".join(draw.permutation(np.repeat(COMMON, (draw.random(len(COMMON)) < chances) * draw.integers(1, 10))))
        for _ in range(n_texts)
    ]
    with SqliteStorage(tmp_path_factory.mktemp("db") / "aqe.db", durability="normal") as storage:
        for space in spaces:
            storage.put_patterns(space, [pattern(f"{space}{n}", "a b", text) for n, text in enumerate(texts)])
        with pytest.MonkeyPatch.context() as patch:
            for k in (1, 3, 10, 99):
                patch.setattr(text_index, "_MANY", math.inf)
                everything = storage.search_text("n", query, k)
                patch.setattr(text_index, "_MANY", 0)
                assert storage.search_text("n", query, k) == everything  # to the last bit


def test_an_index_that_has_lost_count_is_told(storage, monkeypatch):
    monkeypatch.setattr(text_index, "_MANY", 0)
    keys = storage.put_patterns("n", [pattern(str(n), "the test") for n in range(9)]).keys.tolist()
    with storage._database.alone() as connection:
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        connection.execute("DELETE FROM pattern_words_docsize WHERE id > ?", (keys[3],))
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    with pytest.raises(CorruptStorageError):
        storage.search_text("n", "the test", 9)


def test_frequent_words_alone_are_not_looked_at(storage, monkeypatch):
    monkeypatch.setattr(text_index, "_MANY", 0)
    texts = ["the test"] * 90 + ["the test odd"] * 9 + ["odd"]
    keys = storage.put_patterns("n", [pattern(str(n), "a", text) for n, text in enumerate(texts)]).keys.tolist()
    found = []
    with storage._database.read() as connection:
        phrases = text_index._phrases_found(connection, "test odd the")
        assert [count for count, _ in phrases] == [10, 99, 99]
        narrower, left_out = text_index._narrowed(connection, phrases, 5)
        for match in narrower:
            found += connection.execute("SELECT rowid FROM pattern_words(?)", (match,)).fetchall()
    assert sorted(found) == [(key,) for key in keys[-10:]]  # each once
    best = storage.search_text("n", "test odd the", 5)
    assert best[-1][1] >= left_out
    assert [key for key, _ in best] == [keys[-1], *keys[90:94]]


def test_namespaces_do_not_see_each_other(storage):
    (one,) = storage.put_patterns("one", [pattern("a", "shared")]).keys.tolist()
    (two,) = storage.put_patterns("two", [pattern("a", "shared")]).keys.tolist()
    assert [key for key, _ in storage.search_text("one", "shared", 9)] == [one]
    assert [key for key, _ in storage.search_text("two", "shared", 9)] == [two]
    assert storage.search_text("three", "shared", 9) == []


def test_only_the_first_words_of_a_long_query_count(storage):
    storage.put_patterns("n", [pattern("a", "last")])
    filler = [f"w{number}" for number in range(text_index.MAX_WORDS)]
    assert storage.search_text("n", " ".join([*filler[1:], "last"]), 1)
    assert not storage.search_text("n", " ".join([*filler, "last"]), 1)
    assert storage.search_text("n", " ".join([*filler[1:], *filler[1:], "last"]), 1)  # distinct ones


def test_bad_input(storage):
    for namespace, query, k in (
        (1, "q", 1),
        ("n", None, 1),
        ("n", b"q", 1),
        ("n", "q", 0),
        ("n", "q", "1"),
        ("n", "\ud800", 1),
    ):
        with pytest.raises(InputError) as caught:
            storage.search_text(namespace, query, k)
        assert caught.value.fix


def test_a_failed_write_leaves_the_index(storage, monkeypatch):
    storage.put_patterns("n", [pattern("a", "before")])

    def fail(*_, **__):
        raise RuntimeError

    monkeypatch.setattr("aqe_storage_sqlite.journal.append", fail)
    with pytest.raises(RuntimeError):
        storage.put_patterns("n", [pattern("a", "after")])
    assert storage.search_text("n", "before", 1)
    assert not storage.search_text("n", "after", 1)


# -- in step ----------------------------------------------------------------------------------------------------------


class Model(RuleBasedStateMachine):
    """Any sequence of writes leaves an index that answers as one that was made from the patterns anew."""

    WORDS = ("alpha", "beta", "gammaDelta", "epsilon_zeta")
    IDS = st.sampled_from([f"test_{number}" for number in range(12)])
    GIVEN = st.lists(
        st.builds(
            Pattern,
            id=IDS,
            name=st.sampled_from(WORDS),
            text=st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join),
            line=st.integers(0, 2),
            origin=st.sampled_from("AB"),
        ),
        max_size=8,
    )

    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        self.storage = SqliteStorage(Path(self.folder.name) / "aqe.db", durability="normal")
        self.patterns = {}  # key -> pattern

    def teardown(self):
        self.storage.close()
        self.folder.cleanup()

    @rule(given_=GIVEN, origins=st.sets(st.sampled_from("AB")))
    def put(self, given_, origins):
        report = self.storage.put_patterns("n", given_, origins=origins)
        self.patterns.update(zip(report.keys.tolist(), given_, strict=True))
        for key in report.removed_keys.tolist():
            del self.patterns[key]

    @rule(keys=st.lists(st.integers(0, 30), max_size=5))
    def remove(self, keys):
        self.storage.remove_patterns("n", np.array(keys, np.uint64))
        for key in keys:
            self.patterns.pop(key, None)

    @rule()
    def reopen(self):
        path = self.storage.path
        self.storage.close()
        self.storage = SqliteStorage(path, durability="normal")

    @rule()
    def merge(self):
        self.storage._database.write(text_index.optimize)

    @rule()
    def make_anew(self):
        before = self.found()
        self.storage._database.write(text_index.rebuild)
        assert self.found() == before

    def found(self):
        return {word: self.storage.search_text("n", word, 99) for word in (*self.WORDS, "delta", "zeta", "gone")}

    @invariant()
    def agree(self):
        for query, found in self.found().items():
            expected = [key for key, item in sorted(self.patterns.items()) if fits(item, query)]
            assert sorted(key for key, _ in found) == expected
        with self.storage._database.read() as connection:
            assert text_index.out_of_step(connection) == ([], [])
            assert text_index.is_whole(connection)


Model.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestModel = Model.TestCase


def test_what_is_out_of_step_is_told_and_mended(storage, check_sound):
    keys = storage.put_patterns("n", [pattern(str(number), f"word{number}") for number in range(4)]).keys.tolist()

    def damage(connection):
        text_index.remove(connection, keys[1:2])
        text_index.put(connection, [(99, "name", "text")])

    storage._database.write(damage)
    with storage._database.read() as connection:
        assert text_index.out_of_step(connection) == (keys[1:2], [99])
    assert [key for key, _ in storage.search_text("n", "text t", 9)] == [keys[0], *keys[2:]]  # no pattern: not found
    storage._database.write(text_index.rebuild)
    with storage._database.read() as connection:
        assert text_index.out_of_step(connection) == ([], [])
    assert storage.search_text("n", "word1", 9)
    storage.close()
    check_sound(storage.path)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ([(1, "other", "some text")], False),
        ([(1, "name", "some texts")], False),
        ([(1, "name", "text some")], False),
        ([(1, "some text", "name")], False),
        ([(1, "name", "some text")], True),
        ([], True),
    ],
)
def test_an_index_of_other_texts_is_told(storage, wrong, found):
    storage.put_patterns("n", [pattern("a", "name", "some text"), pattern("b", "name", "other text")])
    storage._database.write(text_index.put, wrong)
    with storage._database.read() as connection:
        assert text_index.out_of_step(connection) == ([], [])
        assert text_index.is_whole(connection) is found


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_flipped_bits_in_the_index_are_seen(indexed, place, flip):
    """What bits mean nothing may be changed: then the answers are the same."""
    connection = apsw.Connection(":memory:")
    with connection.backup("main", indexed, "main") as backup:
        backup.step()
    number, data = connection.execute("SELECT id, block FROM pattern_words_data ORDER BY length(block) DESC").fetchone()
    changed = bytearray(data)
    changed[int(place * len(changed))] ^= flip
    connection.execute("UPDATE pattern_words_data SET block = ? WHERE id = ?", (bytes(changed), number))
    words = ["alpha", *(f"word{number}" for number in range(20))]
    if text_index.is_whole(connection):
        for word in words:
            assert text_index.search(connection, "n", word, 99) == text_index.search(indexed, "n", word, 99)
    connection.close()


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    path = tmp_path_factory.mktemp("indexed") / "aqe.db"
    with SqliteStorage(path) as storage:
        storage.put_patterns(
            "n", [pattern(str(number), f"word{number % 20}", "alpha " * (number % 7)) for number in range(60)]
        )
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    yield connection
    connection.close()


def test_what_a_savepoint_takes_back_leaves_the_index(storage):
    """Several writers' operations share a transaction; one that fails takes back its own part only."""
    storage.put_patterns("n", [pattern("a", "kept")])
    with storage._database.alone() as connection:
        connection.execute("BEGIN IMMEDIATE; SAVEPOINT one").fetchall()
        text_index.remove(connection, [1])
        text_index.put(connection, [(2, "taken", "back")])
        connection.execute("ROLLBACK TO one; RELEASE one; SAVEPOINT one").fetchall()
        text_index.put(connection, [(1, "kept", "t")])
        connection.execute("RELEASE one; COMMIT").fetchall()
    with storage._database.read() as connection:
        assert text_index.is_whole(connection)


def test_an_older_file_gets_its_index(path, check_sound):
    """Files from before the index have patterns, which the migration indexes."""
    item = pattern("a", "test_retryBackoff", "the text")
    with SqliteStorage(path) as storage:
        (key,) = storage.put_patterns("n", [item]).keys.tolist()
        with storage._database.read() as connection:
            row = connection.execute("SELECT * FROM patterns").fetchone()
            columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(patterns)")]
    path.unlink()
    connection = apsw.Connection(str(path))
    connection.execute(schema.MIGRATIONS[0]).fetchall()
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 1").fetchall()
    connection.execute("INSERT INTO namespaces VALUES (1, 'n')")
    old = [name for _, name, *_ in connection.execute("PRAGMA table_info(patterns)")]
    values = dict(zip(columns, row, strict=True)) | {"content_hash": item.content_hash()}
    connection.execute(
        f"INSERT INTO patterns ({', '.join(old)}) VALUES ({', '.join('?' * len(old))})",
        [values[name] for name in old],
    )
    connection.close()
    with SqliteStorage(path) as storage:
        assert [found for found, _ in storage.search_text("n", "backoff", 1)] == [key]
        assert storage.get_patterns("n", [key]) == [item]
    check_sound(path)


@given(
    st.lists(
        st.one_of(
            st.text(st.sampled_from("aAbB1_ .\0é"), max_size=9),
            st.text(max_size=5),
            st.sampled_from(["HTTPServer2X", "\ud800aB", "x" * 70 + "Y"]),
        ),
        max_size=9,
    ),
    st.integers(1, 40),
)
@settings(deadline=None)
def test_many_texts_are_parted_as_each_one(texts, times):
    assert list(text_index.parted_all(texts * times)) == [text_index.parted(text) for text in texts] * times


def test_the_oracle_splits_as_documented():
    assert words_of("test_retryBackoff HTTPServer2X") == ["test", "retry", "backoff", "http", "server2", "x"]
    assert re.sub(r"\W|_", " ", "a_b").split() == words_of("a_b")
