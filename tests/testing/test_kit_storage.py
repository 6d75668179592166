"""Storages that are wrong in one known way each are caught by the checks that should catch it."""

from __future__ import annotations

import contextlib

import attrs
import numpy as np
import pytest
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.errors import NotFoundError
from aqe_core.testing import checks
from aqe_core.testing.kit import run_check


class NoFile(SqliteStorage):
    @property
    def path(self):
        return super().path.with_suffix(".elsewhere")


class LosesDocstring(SqliteStorage):
    def put_patterns(self, namespace, patterns, *, origins=()):
        return super().put_patterns(namespace, [attrs.evolve(p, docstring="") for p in patterns], origins=origins)


class WritesAgain(SqliteStorage):
    def put_patterns(self, namespace, patterns, *, origins=()):
        report = super().put_patterns(namespace, patterns, origins=origins)
        return attrs.evolve(report, changed=report.changed + report.unchanged, unchanged=0)


class IgnoresOrigins(SqliteStorage):
    def put_patterns(self, namespace, patterns, *, origins=()):
        return super().put_patterns(namespace, patterns)


class CountsRequested(SqliteStorage):
    def remove_patterns(self, namespace, keys):
        super().remove_patterns(namespace, keys)
        return len(keys)


class OneNamespace(SqliteStorage):
    def count_patterns(self, namespace):
        return sum(super(OneNamespace, self).count_patterns(each) for each in ("one", "two"))


class IgnoresWhere(SqliteStorage):
    def pattern_keys(self, namespace, where=None):
        return super().pattern_keys(namespace)


class HalfPrecision(SqliteStorage):
    def put_vectors(self, namespace, keys, vectors, fingerprint, **options):
        super().put_vectors(namespace, keys, np.asarray(vectors).astype(np.float16), fingerprint, **options)


class KeepsOldVectors(SqliteStorage):
    def put_vectors(self, namespace, keys, vectors, fingerprint, **options):
        super().put_vectors(namespace, keys, vectors, fingerprint)


class RunsTwice(SqliteStorage):
    def put_run(self, run, results):
        super().put_run(run, results)
        return True


class ForgetsSeq(SqliteStorage):
    def load_state(self, name):
        found = super().load_state(name)
        return None if found is None else (found[0], 0)


class TellsRemovedAsWritten(SqliteStorage):
    def changes_since(self, namespace, seq):
        changes = super().changes_since(namespace, seq)
        return changes._replace(written=np.union1d(changes.written, changes.removed))


class ForgetsAtClose(SqliteStorage):
    def close(self):
        with contextlib.suppress(Exception):  # closed or read-only
            super().remove_patterns("default", super().pattern_keys("default"))
        super().close()


class WritesReadOnly(SqliteStorage):
    def put_patterns(self, namespace, patterns, *, origins=()):
        return None if self.read_only else super().put_patterns(namespace, patterns, origins=origins)


class OneTransactionPerPattern(SqliteStorage):
    def put_patterns(self, namespace, patterns, *, origins=()):
        for pattern in patterns:
            report = super().put_patterns(namespace, [pattern])
        return report


class LosesReads(SqliteStorage):
    def get_patterns(self, namespace, keys):
        found = super().get_patterns(namespace, keys)
        if any("test_3.py" in pattern.path for pattern in found):
            raise NotFoundError("gone")
        return found


CAUGHT_BY = {
    NoFile: "protocol",
    LosesDocstring: "put_and_get",
    WritesAgain: "put_again",
    IgnoresOrigins: "origins",
    CountsRequested: "remove",
    OneNamespace: "namespaces",
    IgnoresWhere: "iter_and_where",
    HalfPrecision: "vectors",
    KeepsOldVectors: "vectors_of_changed_patterns",
    RunsTwice: "results",
    ForgetsSeq: "states",
    TellsRemovedAsWritten: "journal",
    ForgetsAtClose: "reopen",
    WritesReadOnly: "read_only",
    OneTransactionPerPattern: "all_or_nothing",
    LosesReads: "threads",
}


@pytest.mark.parametrize(("engine", "name"), CAUGHT_BY.items(), ids=[engine.__name__ for engine in CAUGHT_BY])
def test_fault_is_caught(engine, name):
    one = next(one for one in checks("storage") if one.name == name)
    assert run_check(one, SqliteStorage, None).status == "passed"
    assert run_check(one, engine, None).status == "failed"


def test_every_check_catches_a_fault():
    assert {*CAUGHT_BY.values()} == {one.name for one in checks("storage")}
