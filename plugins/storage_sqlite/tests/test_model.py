"""Any sequence of operations does what a dictionary does, through closing and reopening."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from aqe_storage_sqlite.storage import SqliteStorage
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aqe_core.contracts import Pattern

IDS = st.sampled_from([f"test_{number}" for number in range(40)])
NAMESPACES = st.sampled_from(["one", "two"])
FINGERPRINTS = {"short": 3, "long": 5}
GIVEN = st.lists(
    st.builds(
        Pattern,
        id=IDS,
        name=st.just("n"),
        text=st.sampled_from("abc"),
        line=st.integers(0, 3),
        origin=st.sampled_from("ABC"),
    ),
    max_size=25,
)


class Model(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "aqe.db"
        self.storage = SqliteStorage(self.path, durability="normal")
        self.patterns = {"one": {}, "two": {}}  # namespace -> key -> pattern
        self.vectors = {}  # key -> (fingerprint, vector)
        self.every_key = set()
        self.log = []  # (namespace, written, key)
        self.seed = 0

    def teardown(self):
        self.storage.close()
        self.folder.cleanup()

    @rule(namespace=NAMESPACES, given=GIVEN, origins=st.sets(st.sampled_from("ABCD")))
    def put(self, namespace, given, origins):
        known = self.patterns[namespace]
        by_id = {pattern.id: key for key, pattern in known.items()}
        report = self.storage.put_patterns(namespace, given, origins=origins)
        newest = {pattern.id: pattern for pattern in given}
        keys = {pattern.id: key for pattern, key in zip(given, report.keys.tolist(), strict=True)}
        written, unchanged = [], 0
        for id_, pattern in newest.items():
            key = keys[id_]
            if id_ in by_id:
                assert key == by_id[id_]
            else:
                assert key not in self.every_key
            if id_ in by_id and known[key].text == pattern.text:
                unchanged += 1
            else:
                written.append(key)
                self.vectors.pop(key, None)
            known[key] = pattern
        vanished = sorted(key for key, old in known.items() if old.origin in origins and old.id not in newest)
        self.forget(namespace, vanished)
        self.every_key.update(keys.values())
        assert report.written_keys.tolist() == sorted(written)
        assert report.removed_keys.tolist() == vanished
        assert report.added + report.changed == len(written)
        assert (report.unchanged, report.removed) == (unchanged, len(vanished))
        self.log += [(namespace, True, key) for key in sorted(written)]
        self.log += [(namespace, False, key) for key in vanished]

    def forget(self, namespace, keys):
        for key in keys:
            del self.patterns[namespace][key]
            self.vectors.pop(key, None)

    @rule(namespace=NAMESPACES, keys=st.lists(st.integers(0, 60), max_size=10))
    def remove(self, namespace, keys):
        there = sorted(set(keys) & set(self.patterns[namespace]))
        assert self.storage.remove_patterns(namespace, np.array(keys, np.uint64)) == len(there)
        self.forget(namespace, there)
        self.log += [(namespace, False, key) for key in there]

    @rule(
        namespace=NAMESPACES,
        keys=st.lists(st.integers(0, 60), max_size=30),
        fingerprint=st.sampled_from(sorted(FINGERPRINTS)),
    )
    def put_vectors(self, namespace, keys, fingerprint):
        self.seed += 1
        rows = np.random.default_rng(self.seed).standard_normal((len(keys), FINGERPRINTS[fingerprint]))
        rows = rows.astype(np.float32)
        self.storage.put_vectors(namespace, keys, rows, fingerprint)
        for key, row in zip(keys, rows, strict=True):
            if key in self.patterns[namespace]:
                self.vectors[key] = (fingerprint, row.tolist())

    @rule()
    def reopen(self):
        self.storage.close()
        self.storage = SqliteStorage(self.path, durability="normal")

    @precondition(lambda self: self.log)
    @rule(data=st.data(), namespace=NAMESPACES)
    def catch_up(self, data, namespace):
        seq = data.draw(st.integers(0, len(self.log)))
        last = {key: written for where, written, key in self.log[seq:] if where == namespace}
        found = self.storage.changes_since(namespace, seq)
        assert found.seq == len(self.log)
        assert found.written.tolist() == sorted(key for key, written in last.items() if written)
        assert found.removed.tolist() == sorted(key for key, written in last.items() if not written)

    @invariant()
    def agree(self):
        assert self.storage.last_seq() == len(self.log)
        for namespace, known in self.patterns.items():
            keys = sorted(known)
            assert self.storage.pattern_keys(namespace).tolist() == keys
            assert self.storage.get_patterns(namespace, keys) == [known[key] for key in keys]
            origins = [pattern.origin for pattern in known.values()]
            assert self.storage.origins(namespace) == {origin: origins.count(origin) for origin in sorted(set(origins))}
            for fingerprint in FINGERPRINTS:
                expected = [key for key in keys if self.vectors.get(key, ("",))[0] == fingerprint]
                found, rows = self.storage.load_vectors(namespace, fingerprint)
                assert found.tolist() == expected
                assert rows.tolist() == [self.vectors[key][1] for key in expected]


Model.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestModel = Model.TestCase
