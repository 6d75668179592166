"""verify, backup, restore, compact, repair, export and import of a whole file."""

from __future__ import annotations

import filecmp
import json
import os
import sys
import threading
from contextlib import closing

import apsw
import numpy as np
import pytest
from aqe_storage_sqlite import backup, files, schema
from aqe_storage_sqlite.maintenance import SqliteMaintenance
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern, Run, StorageMaintenance, TestResult
from aqe_core.errors import (
    CorruptStorageError,
    FutureSchemaError,
    InputError,
    MalformedFileError,
    MissingExtraError,
    NotFoundError,
    NoWorkspaceError,
    ReadOnlyError,
    StorageBusyError,
    StorageError,
)
from aqe_core.state import EngineState

COUNT = 300


def fill(path, count=COUNT):
    with SqliteStorage(path, durability="normal") as storage:
        patterns = [
            Pattern(id=f"t{i}", name=f"test_{i}", text="words " * (i % 30), line=i, origin="o") for i in range(count)
        ]
        keys = storage.put_patterns("n", patterns).keys
        storage.put_vectors("n", keys, np.random.default_rng(1).random((count, 32), dtype=np.float32), "f")
        for number in range(4):
            results = [TestResult(test=f"T{i}", outcome="passed", duration_s=i / 3, message="é") for i in range(50)]
            storage.put_run(Run(id=f"r{number}", source="s", started_s=number + 0.5), results)
        storage.save_state("learner", EngineState(kind="k", manifest={"a": 1}, arrays={"q": np.arange(99.0)}), seq=2)
        storage.append_points("cpu", np.arange(50.0), np.arange(50.0))


@pytest.fixture
def care(path):
    fill(path)
    return SqliteMaintenance(path, timeout_s=1)


def change(path, sql, *bindings):
    """Change a file behind aqe's back."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(sql, bindings).fetchall()


def ids(path):
    with SqliteStorage(path, read_only=True) as storage:
        return {pattern.id for batch in storage.iter_patterns("n") for pattern in batch}


def pages_with(path, text):
    data = path.read_bytes()
    return [at for at in range(0, len(data), 4096) if text in data[at : at + 4096]]


# -- verify -----------------------------------------------------------------------------------------------------------


def test_it_fulfils_the_contract(path):
    assert isinstance(SqliteStorage.maintenance(path, durability="full"), StorageMaintenance)
    assert not path.exists()


def test_a_sound_file_has_no_findings(care, path):
    before = path.read_bytes()
    report = care.verify()
    assert report.ok
    assert report.findings == ()
    assert report.rows["patterns"] == COUNT
    assert report.rows["results"] == 200
    assert report.schema_version == report.newest_schema_version == len(schema.MIGRATIONS)
    assert report.pending_migrations == ()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("sql", "severity", "check", "message"),
    [
        ("UPDATE patterns SET text = 'other' WHERE key = 9", "error", "patterns", "wrong checksum"),
        ("UPDATE patterns SET text = 'x', crc32 = NULL WHERE key = 9", "error", "patterns", "does not fit its hash"),
        ("UPDATE patterns SET line = line + 1 WHERE key = 9", "error", "patterns", "wrong checksum"),
        ("UPDATE results SET duration_s = 9 WHERE run = 2 AND position = 4", "error", "results", "wrong checksum"),
        ("UPDATE runs SET source = 'z' WHERE number = 1", "error", "results", "wrong checksum"),
        ("UPDATE runs SET crc32 = NULL; DELETE FROM results WHERE position = 3", "error", "results", "are missing"),
        ("UPDATE vector_blocks SET slots = 1 WHERE block = 2", "warning", "vectors", "checksum is wrong"),
        ("UPDATE vector_spaces SET dim = 31", "warning", "vectors", "vectors of 31 dimensions"),
        ("UPDATE states SET manifest = '{}'", "warning", "states", "checksum is wrong"),
        ("UPDATE journal SET key = 7 WHERE seq = 8", "warning", "journal", "checksum is wrong"),
        ("DELETE FROM journal WHERE seq = 8", "warning", "journal", "8 to 8 are missing"),
        ("DELETE FROM journal WHERE seq > 290", "warning", "journal", "should be 300"),
        ("UPDATE sqlite_sequence SET seq = 5 WHERE name = 'patterns'", "error", "counters", "were given"),
        ("DELETE FROM pattern_words WHERE rowid = 5", "warning", "text-index", "not in the text index: 5"),
        ("REPLACE INTO pattern_words (rowid, name, text) VALUES (5, 'a', 'b')", "warning", "text-index", "of other"),
        ("UPDATE point_blocks SET maximum = 3", "error", "points", "wrong checksum"),
        ("DELETE FROM runs WHERE number = 2", "error", "references", "not there"),
        ("DELETE FROM patterns WHERE key = 5", "warning", "vectors", "not there: [5]"),
        ("DROP INDEX patterns_by_origin", "error", "schema", "is missing"),
        ("CREATE TABLE mine (x)", "note", "schema", "not aqe's own"),
        ("PRAGMA user_version = 999", "error", "schema", "schema version 999"),
        ("PRAGMA user_version = -5", "error", "schema", "no aqe has written"),
        ("PRAGMA application_id = 1", "error", "schema", "another program"),
    ],
)
def test_every_kind_of_damage_has_a_finding(care, path, sql, severity, check, message):
    change(path, sql)
    report = care.verify()
    found = [each for each in report.findings if each.check == check and message in each.message]
    assert found, report.findings
    assert {each.severity for each in found} == {severity}
    assert report.ok == (severity == "note")
    assert severity == "note" or found[0].fix
    order = [("error", "warning", "note").index(each.severity) for each in report.findings]
    assert order == sorted(order)


def test_a_damaged_page_is_found(care, path):
    at = pages_with(path, b"words words")[2]
    data = bytearray(path.read_bytes())
    data[at : at + 60] = b"\xff" * 60
    path.write_bytes(data)
    report = care.verify()
    assert not report.sound
    assert "structure" in {each.check for each in report.findings}


def test_a_file_cut_off_or_of_something_else(care, path):
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    assert "middle of a page" in care.verify().findings[0].message
    path.write_bytes(b"this is no database at all" * 500)
    assert not care.verify().ok
    path.write_bytes(b"")
    assert care.verify().schema_version == 0
    path.unlink()
    with pytest.raises(NoWorkspaceError):
        care.verify()


def old_file(path, version):
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        for number in range(version):
            schema.apply(connection, number)
        connection.execute("INSERT INTO namespaces VALUES (1, 'n')").fetchall()


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS)))
def test_pending_migrations_are_shown_and_backed_up_before(path, version):
    old_file(path, version)
    care = SqliteMaintenance(path)
    report = care.verify()
    assert report.pending_migrations == tuple(range(version + 1, len(schema.MIGRATIONS) + 1))
    assert [each.check for each in report.findings] == ["migrations"]
    assert report.ok
    SqliteStorage(path).close()
    (kept,) = (path.parent / "backups").iterdir()
    assert f"version-{version}" in kept.name
    assert SqliteMaintenance(kept).verify().schema_version == version
    assert care.verify().pending_migrations == ()
    SqliteStorage(path).close()
    assert len(list((path.parent / "backups").glob("*.db"))) == 1


def test_a_damaged_file_is_not_migrated(path):
    old_file(path, 1)
    change(
        path,
        "INSERT INTO patterns (namespace, id, content_hash, line, name, path, class_name, origin, markers, metadata, "
        "docstring, text) VALUES (1, 'a', 'wrong', 0, '', '', '', '', '[]', '{}', '', '')",
    )
    before = path.read_bytes()
    with pytest.raises(CorruptStorageError, match="does not fit its hash"):
        SqliteStorage(path)
    assert path.read_bytes() == before
    assert list((path.parent / "backups").iterdir()) == []


# -- backup and restore -----------------------------------------------------------------------------------------------


def test_a_backup_is_the_file_as_it_was(care, path, tmp_path):
    made = care.backup()
    assert made.backup.parent == tmp_path / "backups"
    assert made.size_bytes == made.backup.stat().st_size
    assert made.rows == care.verify().rows
    assert ids(made.backup) == ids(path)
    assert [each.name for each in made.backup.parent.iterdir() if "draft" in each.name] == []


def test_a_backup_overwrites_nothing(care, tmp_path):
    target = tmp_path / "mine.db"
    care.backup(target)
    before = target.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        care.backup(target)
    assert target.read_bytes() == before
    with pytest.raises(InputError, match="no folder"):
        care.backup(tmp_path / "missing" / "x.db")


def test_another_file_of_that_name_that_comes_meanwhile_is_kept(care, tmp_path, monkeypatch):
    target = tmp_path / "mine.db"
    real = files.copy_of

    def copy_of(*args):
        real(*args)
        target.write_text("theirs")

    monkeypatch.setattr(files, "copy_of", copy_of)
    with pytest.raises(InputError, match="exists already"):
        care.backup(target)
    assert target.read_text() == "theirs"


def test_a_backup_where_there_are_no_hard_links(care, tmp_path, monkeypatch):
    def no_link(*_):
        raise OSError(1, "not here")

    monkeypatch.setattr(os, "link", no_link)
    made = care.backup(tmp_path / "mine.db")
    assert SqliteMaintenance(made.backup).verify().ok
    assert SqliteMaintenance(tmp_path / "aqe.db").restore(made.backup).replaced.exists()
    assert care.verify().ok


def test_a_backup_of_a_damaged_file_is_refused(care, path, tmp_path):
    change(path, "UPDATE patterns SET text = 'other' WHERE key = 9")
    with pytest.raises(CorruptStorageError, match="patterns 9"):
        care.backup(tmp_path / "mine.db")
    assert not (tmp_path / "mine.db").exists()
    with pytest.raises(NoWorkspaceError):
        SqliteMaintenance(tmp_path / "none.db").backup()


def test_a_backup_ends_although_others_write(care, path, tmp_path):
    stop = threading.Event()
    written = []

    def write():
        with SqliteStorage(path, durability="normal") as storage:
            while not stop.is_set():
                written.append(f"w{len(written)}")
                storage.put_patterns("n", [Pattern(id=written[-1], name="x", text="y")])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(written) < 5:
            pass
        for number in range(5):
            made = care.backup(tmp_path / f"{number}.db")
            there = ids(made.backup) - {f"t{i}" for i in range(COUNT)}
            assert there == set(written[: len(there)])  # a prefix: one moment, nothing of a later one
    finally:
        stop.set()
        writer.join()
    assert len(written) > 5


def test_restore_brings_back_and_keeps(care, path):
    made = care.backup()
    with SqliteStorage(path) as storage:
        storage.remove_patterns("n", [1, 2, 3])
        storage.put_patterns("n", [Pattern(id="new", name="new", text="new")])
    done = care.restore(made.backup)
    assert ids(path) == {f"t{i}" for i in range(COUNT)}
    assert "new" in ids(done.replaced)
    assert care.verify().ok
    assert SqliteMaintenance(done.replaced).verify().ok


def test_who_has_the_file_open_is_told_that_it_was_replaced(care, path):
    made = care.backup()
    with SqliteStorage(path) as storage:
        storage.put_patterns("n", [Pattern(id="new", name="new", text="new")])
        done = care.restore(made.backup)
        assert "new" in ids(done.replaced)
        with pytest.raises(StorageError, match="replaced"):
            storage.count_patterns("n")
        with SqliteStorage(path) as fresh:
            fresh.put_patterns("n", [Pattern(id="after", name="after", text="after")])
    assert "after" in ids(path)  # closing the old one took nothing away
    assert care.verify().ok


def test_restore_waits_for_a_writer_and_names_it(care, path, run_python):
    made = care.backup()
    code = (
        "import sys, time; from pathlib import Path; from aqe_storage_sqlite.lock import FileLock\n"
        "lock = FileLock(Path(sys.argv[1])); lock.acquire(time.monotonic() + 5); print('held', flush=True); input()"
    )
    holder = run_python(code, path)
    assert holder.stdout.readline() == "held\n"
    before = path.read_bytes()
    for what in (lambda: care.restore(made.backup), care.compact):
        with pytest.raises(StorageBusyError, match=f"pid {holder.pid}"):
            what()
    assert path.read_bytes() == before


def test_what_cannot_be_restored(care, path, tmp_path):
    made = care.backup(tmp_path / "b.db")
    before = path.read_bytes()
    with pytest.raises(NoWorkspaceError):
        care.restore(tmp_path / "none.db")
    with pytest.raises(InputError, match="the data file itself"):
        care.restore(path)
    change(made.backup, "UPDATE patterns SET text = 'other' WHERE key = 9")
    with pytest.raises(CorruptStorageError, match="wrong checksum"):
        care.restore(made.backup)
    (tmp_path / "other.db").write_bytes(b"")
    with pytest.raises(NoWorkspaceError, match="empty"):
        care.restore(tmp_path / "other.db")
    assert path.read_bytes() == before


def test_restore_where_there_is_nothing_or_only_damage(care, path, tmp_path):
    made = care.backup(tmp_path / "b.db")
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert care.restore(made.backup).replaced is None
    assert len(ids(path)) == COUNT
    path.write_bytes(b"nonsense" * 1000)
    path.with_name(path.name + "-wal").write_bytes(b"more nonsense")
    done = care.restore(made.backup)
    assert done.replaced.read_bytes() == b"nonsense" * 1000
    assert done.replaced.with_name(done.replaced.name + "-wal").read_bytes() == b"more nonsense"
    assert len(ids(path)) == COUNT


def test_a_folder_without_rights(shared_folder, without_rights):
    path = shared_folder / "aqe.db"
    fill(path, 5)
    shared_folder.chmod(0o555)
    with without_rights(), pytest.raises(ReadOnlyError):
        SqliteMaintenance(path).backup()


# -- compact ----------------------------------------------------------------------------------------------------------


def test_compact_gives_space_back(care, path, monkeypatch):
    monkeypatch.setattr(backup, "JOURNAL_KEPT", 100)
    with SqliteStorage(path) as storage:
        storage.remove_patterns("n", np.arange(1, 251))
        kept = ids(path)
        seq = storage.last_seq()
    change(path, "INSERT INTO tests (name) VALUES ('nobody')")
    done = care.compact()
    assert done.after_bytes < done.before_bytes * 0.7
    assert done.removed["journal"] == 450
    assert done.removed["tests"] == 1
    assert care.verify().ok
    assert ids(path) == kept
    with SqliteStorage(path) as storage:
        assert storage.last_seq() == seq
        assert storage.changes_since("n", 5) is None
        assert storage.changes_since("n", seq - 50).removed.size == 50
        assert len(storage.load_vectors("n", "f")[0]) == 50


def test_compact_beside_a_reader(care, path):
    with SqliteStorage(path, read_only=True) as storage:
        patterns = storage.iter_patterns("n", batch=10)
        next(patterns)
        care.compact()
        assert sum(map(len, patterns)) == COUNT - 10
    assert care.verify().ok


def test_a_damaged_file_is_not_compacted(care, path):
    change(path, "UPDATE patterns SET text = 'other' WHERE key = 9")
    before = path.read_bytes()
    with pytest.raises(CorruptStorageError):
        care.compact()
    assert path.read_bytes() == before


# -- repair -----------------------------------------------------------------------------------------------------------


def test_a_sound_file_is_left_alone(care, path):
    before = path.read_bytes()
    done = care.repair()
    assert done.damaged is None
    assert path.read_bytes() == before


def test_wrong_rows_are_listed_and_left_out(care, path):
    change(path, "UPDATE patterns SET text = 'other' WHERE key IN (9, 11)")
    change(path, "UPDATE results SET duration_s = 9 WHERE run = 2 AND position = 4")
    change(path, "UPDATE vector_blocks SET slots = 1 WHERE block = 2")
    change(path, "UPDATE states SET manifest = '{}'")
    change(path, "UPDATE point_blocks SET maximum = 3")
    before = path.read_bytes()
    done = care.repair()
    assert done.damaged.read_bytes() == before
    assert care.verify().ok
    assert ids(path) == {f"t{i}" for i in range(COUNT)} - {"t8", "t10"}
    lost = {(each.table, each.row.split()[0]) for each in done.lost}
    assert {("patterns", "9"), ("patterns", "11"), ("runs", "2"), ("point_blocks", "1")} <= lost
    assert len([each for each in done.lost if each.table == "results"]) == 50
    assert any("vectors are left out" in note for note in done.notes)
    assert any("'learner'" in note for note in done.notes)
    with SqliteStorage(path) as storage:
        assert storage.known_runs([f"r{i}" for i in range(4)]) == {"r0", "r2", "r3"}
        assert storage.load_state("learner") is None
        assert storage.last_seq() == 301  # every engine notices, and builds itself anew
        assert storage.changes_since("n", 300) is None
        again = storage.put_patterns("n", [Pattern(id="t8", name="x", text="y")])
        assert again.keys.tolist() == [COUNT + 1]  # a key is never given twice


def test_a_namespace_that_lost_its_name_keeps_its_patterns(care, path):
    change(path, "DELETE FROM namespaces")
    done = care.repair()
    assert done.lost == ()
    assert done.notes == ("the name of namespace 1 is lost; its patterns are now in 'recovered-1'",)
    with SqliteStorage(path) as storage:
        assert storage.count_patterns("recovered-1") == COUNT
        assert len(storage.load_vectors("recovered-1", "f")[0]) == COUNT


def damage_page(path, text, which=2):
    data = bytearray(path.read_bytes())
    at = pages_with(path, text)[which]
    data[at : at + 4096] = b"\xaa" * 4096
    path.write_bytes(data)


def test_a_lost_page_is_listed_row_by_row(care, path):
    damage_page(path, b"words words")
    done = care.repair()
    missing = {f"t{i}" for i in range(COUNT)} - ids(path)
    assert missing
    for each in missing:
        assert any(f"id '{each}'" in lost.row for lost in done.lost), each
    assert care.verify().ok


def test_the_schema_is_gone(care, path):
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\0" * 3996
    path.write_bytes(data)
    done = care.repair()
    assert ids_of_any(path) == {f"t{i}" for i in range(COUNT)}
    assert any("found outside of their table" in note for note in done.notes)
    assert done.lost
    assert care.verify().ok


def ids_of_any(path):
    with closing(apsw.Connection(str(path))) as connection:
        return {id_ for (id_,) in connection.execute("SELECT id FROM patterns")}


def test_commits_that_are_only_in_the_log_are_saved(path, tmp_path):
    with SqliteStorage(path) as storage:
        storage.put_patterns("n", [Pattern(id="a", name="a", text="x"), Pattern(id="b", name="b", text="y")])
        copy = tmp_path / "copy" / "aqe.db"
        copy.parent.mkdir()
        copy.write_bytes(path.read_bytes())
        copy.with_name("aqe.db-wal").write_bytes(path.with_name("aqe.db-wal").read_bytes())
    with closing(apsw.Connection(str(copy))) as connection:
        connection.wal_autocheckpoint(0)
        connection.execute("UPDATE patterns SET line = 5 WHERE key = 1").fetchall()
        log = copy.with_name("aqe.db-wal").read_bytes()
        data = copy.read_bytes()
    copy.write_bytes(data)
    copy.with_name("aqe.db-wal").write_bytes(log)
    copy.with_name("aqe.db-shm").unlink(missing_ok=True)
    done = SqliteMaintenance(copy).repair()
    assert ids(copy) == {"b"}
    assert [each.table for each in done.lost] == ["patterns"]


def test_what_cannot_be_repaired(care, path, tmp_path):
    path.write_bytes(b"nothing of ours" * 5000)
    with pytest.raises(CorruptStorageError, match="nothing of an aqe data file"):
        care.repair()
    assert path.read_bytes() == b"nothing of ours" * 5000
    fill(tmp_path / "new.db", 3)
    change(tmp_path / "new.db", f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    with pytest.raises(FutureSchemaError):
        SqliteMaintenance(tmp_path / "new.db").repair()
    with pytest.raises(NoWorkspaceError):
        SqliteMaintenance(tmp_path / "none.db").repair()


# -- export and import ------------------------------------------------------------------------------------------------


def same(first, second):
    names = sorted(each.name for each in first.iterdir())
    assert names == sorted(each.name for each in second.iterdir())
    _, different, errors = filecmp.cmpfiles(first, second, names, shallow=False)
    return set(different) | set(errors)


def test_a_round_trip_changes_nothing(care, tmp_path):
    done = care.export(tmp_path / "out")
    assert done.rows["patterns"] == COUNT
    lines = (tmp_path / "out" / "patterns.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"t{i}" for i in range(COUNT)]
    assert np.load(tmp_path / "out" / "state-1.npy").tolist() == list(range(99))
    (tmp_path / "b").mkdir()
    other = SqliteMaintenance(tmp_path / "b" / "aqe.db")
    assert other.import_(tmp_path / "out").rows == done.rows
    assert other.verify().ok
    other.export(tmp_path / "again")
    assert same(tmp_path / "out", tmp_path / "again") <= {"manifest.json"}  # which holds the time
    with SqliteStorage(tmp_path / "b" / "aqe.db") as storage:
        assert storage.search_text("n", "words", 3)
        assert storage.load_state("learner")[0].arrays["q"].tolist() == list(range(99))


def test_an_empty_workspace_can_take_an_import(care, tmp_path):
    care.export(tmp_path / "out")
    target = tmp_path / "empty.db"
    SqliteStorage(target).close()
    SqliteMaintenance(target).import_(tmp_path / "out")
    assert len(ids(target)) == COUNT
    with pytest.raises(InputError, match="holds data already"):
        SqliteMaintenance(target).import_(tmp_path / "out")


def test_what_cannot_be_exported(care, path, tmp_path):
    with pytest.raises(InputError, match="format"):
        care.export(tmp_path / "out", format="xls")
    with pytest.raises(InputError, match="exists already"):
        care.export(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        care.export(tmp_path / "no" / "out")
    with pytest.raises(NoWorkspaceError):
        SqliteMaintenance(tmp_path / "none.db").export(tmp_path / "out")
    change(path, "UPDATE patterns SET text = 'other' WHERE key = 9")
    with pytest.raises(CorruptStorageError):
        care.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def edit(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new", "error"),
    [
        ("patterns.jsonl", "test_7", "test_8", "was changed"),
        ("manifest.json", '"aqe-export/1"', '"aqe-export/9"', "not of an export"),
        ("manifest.json", '"schema_version": ', '"schema_version": 9', "update"),
        ("manifest.json", '"tables": {', '"tables": [{', "broken"),
        ("manifest.json", '"counters"', '"gone"', "broken"),
        ("manifest.json", '"patterns": {', '"pattrens": {', "'patterns' is missing"),
        ("manifest.json", '"tables": {', '"tables": {"others": {},', "'others' is unknown"),
    ],
)
def test_a_changed_export_is_refused(care, tmp_path, file, old, new, error):
    care.export(tmp_path / "out")
    edit(tmp_path / "out" / file, old, new)
    target = tmp_path / "new.db"
    with pytest.raises(MalformedFileError, match=error):
        SqliteMaintenance(target).import_(tmp_path / "out")
    assert not target.exists()
    assert not list(tmp_path.glob(".*draft*"))


def test_a_changed_array_is_refused(care, tmp_path):
    care.export(tmp_path / "out")
    np.save(tmp_path / "out" / "state-1.npy", np.arange(99.0)[::-1])
    with pytest.raises(MalformedFileError, match=r"state-1\.npy was changed"):
        SqliteMaintenance(tmp_path / "new.db").import_(tmp_path / "out")
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("change_it", ["UPDATE states SET crc32 = 0", "UPDATE state_arrays SET data = zeroblob(792)"])
def test_a_damaged_state_is_not_exported(care, path, tmp_path, change_it):
    with SqliteStorage(path) as storage:
        storage.save_state("sound", EngineState(kind="k", manifest={}, arrays={"a": np.arange(3)}), seq=1)
    change(path, f"{change_it} WHERE {'name' if 'states' in change_it else 'state'} = 'learner'")
    care.export(tmp_path / "out")
    SqliteMaintenance(tmp_path / "new.db").import_(tmp_path / "out")
    with SqliteStorage(tmp_path / "new.db", read_only=True) as storage:
        assert storage.load_state("learner") is None
        state, seq = storage.load_state("sound")
    assert (state.arrays["a"].tolist(), seq) == ([0, 1, 2], 1)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("not json", "row 0"),
        ("[1]", "row 0"),
        ('{"id": 1}', "KeyError"),
        ('{"id": 1, "name": {"base64": "!"}}', "Base64"),
        ('{"id": 1, "name": {"other": 1}}', "KeyError"),
        ('{"id": 1, "name": null}', "row 1"),
        ('{"id": "x", "name": "n"}', "row 1"),
        ("[" * 100_000, "row 0"),
    ],
)
def test_hostile_rows_are_refused(care, tmp_path, line, error):
    import hashlib

    care.export(tmp_path / "out")
    file = tmp_path / "out" / "namespaces.jsonl"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_text(line + "\n", encoding="utf-8")
    edit(tmp_path / "out" / "manifest.json", before, hashlib.sha256(file.read_bytes()).hexdigest())
    with pytest.raises(MalformedFileError, match=error):
        SqliteMaintenance(tmp_path / "new.db").import_(tmp_path / "out")
    assert not (tmp_path / "new.db").exists()


def test_an_import_of_nothing(tmp_path):
    with pytest.raises(NotFoundError, match="no export"):
        SqliteMaintenance(tmp_path / "new.db").import_(tmp_path)


def test_parquet_without_pyarrow_names_what_is_missing(care, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="pyarrow"):
        care.export(tmp_path / "out", format="parquet")
    assert not (tmp_path / "out").exists()


def test_a_round_trip_through_parquet(care, tmp_path):
    pytest.importorskip("pyarrow")
    care.export(tmp_path / "out", format="parquet")
    care.export(tmp_path / "plain")
    other = SqliteMaintenance(tmp_path / "b.db")
    other.import_(tmp_path / "out")
    other.export(tmp_path / "again")
    assert same(tmp_path / "plain", tmp_path / "again") <= {"manifest.json"}
