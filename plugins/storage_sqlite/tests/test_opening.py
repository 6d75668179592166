"""Opening, refusing to open, migrating, closing."""

from __future__ import annotations

import math
import os
import sys
import time
import zlib

import apsw
import numpy as np
import pytest
from aqe_storage_sqlite import database, schema, text_index
from aqe_storage_sqlite.connection import _translate, check_engine, is_safe
from aqe_storage_sqlite.plugin import aqe_storages
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern, Storage
from aqe_core.errors import (
    ConfigError,
    CorruptStorageError,
    FutureSchemaError,
    InputError,
    NoWorkspaceError,
    ReadOnlyError,
    StorageBusyError,
    StorageError,
)

PATTERN = Pattern(id="a", name="n", text="t")
OLD = Pattern(id="a", name="n", text="t", line=3, origin="o", markers=("m",), metadata={"k": 1})


def exactly(kind):
    """Match one class, not its subclasses."""
    return pytest.RaisesExc(kind, check=lambda error: type(error) is kind and error.message and error.fix)


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("3.51.2", False),
        ("3.51.3", True),
        ("3.54.1", True),
        ("4.0.0", True),
        ("3.50.6", False),
        ("3.50.7", True),
        ("3.50.12", True),
        ("3.51.0", False),
        ("3.44.5", False),
        ("3.44.6", True),
        ("3.45.9", False),
        ("3.40.1", False),
        ("3.6.0", False),
    ],
)
def test_engines_with_the_wal_reset_race_are_refused(version, safe):
    assert is_safe(version) is safe
    if safe:
        check_engine(version)
    else:
        with exactly(StorageError):
            check_engine(version)


def test_an_unsafe_engine_creates_nothing(path, monkeypatch):
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with exactly(StorageError):
        SqliteStorage(path)
    assert not path.exists()


def test_the_plugin_offers_it(path):
    (spec,) = aqe_storages()
    module, name = spec.factory.split(":")
    factory = getattr(sys.modules[module], name)
    assert factory is SqliteStorage
    with factory(path, read_only=False, timeout_s=1.0) as storage:
        assert isinstance(storage, Storage)
        assert storage.path == path
        assert not storage.read_only


def test_settings(storage, path):
    writer = storage._database._writer.connection
    with storage._database.read() as reader:
        for connection in (writer, reader):
            assert connection.execute("PRAGMA journal_mode").get == "wal"
            assert connection.execute("PRAGMA foreign_keys").get == 1
            assert connection.execute("PRAGMA trusted_schema").get == 0
            assert connection.execute("PRAGMA busy_timeout").get == 10_000
            assert connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, -1) == 1
        assert reader.readonly("main")
    assert writer.execute("PRAGMA journal_size_limit").get == 64 * 2**20
    assert writer.execute("PRAGMA synchronous").get == 1
    with SqliteStorage(path) as full:
        assert full._database._writer.connection.execute("PRAGMA synchronous").get == 2


def test_info(storage):
    storage.put_patterns("one", [PATTERN])
    info = storage.info()
    assert info["engine"] == "sqlite"
    assert info["version"] == apsw.sqlite_lib_version()
    assert info["schema_version"] == info["newest_schema_version"] == len(schema.MIGRATIONS)
    assert info["durability"] == "normal"
    assert info["size_bytes"] > 0
    assert info["counts"]["patterns"] == info["counts"]["namespaces"] == info["counts"]["journal"] == 1
    assert info["counts"]["runs"] == info["counts"]["results"] == info["counts"]["states"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "off"},
        {"durability": None},
        {"durability": "FULL; DROP TABLE patterns"},
        {"timeout_s": -1},
        {"timeout_s": math.nan},
        {"timeout_s": math.inf},
        {"timeout_s": "10"},
        {"timeout_s": True},
    ],
)
def test_wrong_options_create_nothing(path, options):
    with exactly(ConfigError):
        SqliteStorage(path, **options)
    assert not path.exists()


# -- places -----------------------------------------------------------------------------------------------------------


def test_missing_folder(tmp_path):
    with exactly(NoWorkspaceError):
        SqliteStorage(tmp_path / "missing" / "aqe.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with exactly(NoWorkspaceError):
        SqliteStorage(tmp_path / "file" / "aqe.db")


def test_a_folder_where_the_file_should_be(tmp_path):
    with exactly(StorageError):
        SqliteStorage(tmp_path)


@pytest.mark.parametrize("wrong", ["a\0b", None, 3])
def test_not_a_path(wrong):
    with exactly(InputError):
        SqliteStorage(wrong)


def test_reading_a_missing_file_does_not_create_it(path):
    with exactly(NoWorkspaceError):
        SqliteStorage(path, read_only=True)
    assert list(path.parent.iterdir()) == []


def test_reading_an_empty_file(path):
    path.touch()
    with exactly(NoWorkspaceError):
        SqliteStorage(path, read_only=True)
    assert path.stat().st_size == 0


def test_an_empty_file_becomes_ours(path):
    path.touch()
    with SqliteStorage(path) as storage:
        assert storage.put_patterns("n", [PATTERN]).added == 1


@pytest.mark.parametrize("name", ["a b.db", "ü?x=1#y%41.db", ":memory:", "file:x"])
def test_odd_names(tmp_path, name):
    path = tmp_path / name
    with SqliteStorage(path) as storage:
        storage.put_patterns("n", [PATTERN])
    assert path.is_file()
    with SqliteStorage(path, read_only=True) as storage:
        assert storage.count_patterns("n") == 1


def test_a_link_and_its_file_share_one_lock(tmp_path, path, storage):
    (tmp_path / "link.db").symlink_to(path)
    with (
        SqliteStorage(tmp_path / "link.db", timeout_s=0) as other,
        storage._database.alone(),
        pytest.raises(StorageBusyError, match=f"pid {os.getpid()} on host"),
    ):
        other.put_patterns("n", [PATTERN])


# -- files that are not ours ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_of_another_program_is_left_alone(path, read_only):
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t (x)").fetchall()
    connection.close()
    before = path.read_bytes()
    with exactly(StorageError):
        SqliteStorage(path, read_only=read_only)
    assert path.read_bytes() == before


def test_another_application_id(path):
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA application_id = 7").fetchall()
    connection.close()
    with pytest.raises(StorageError, match="0x7"):
        SqliteStorage(path)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("content", [b"x", b"hello" * 5000, b"SQLite format 3\0" + b"\xff" * 8000])
def test_garbage(path, content, read_only):
    path.write_bytes(content)
    with exactly(CorruptStorageError):
        SqliteStorage(path, read_only=read_only)
    assert path.read_bytes() == content


def filled(path, n=300):
    with SqliteStorage(path) as storage:
        patterns = [Pattern(id=f"{i}", name="n", text="text " * 50) for i in range(n)]
        keys = storage.put_patterns("n", patterns).keys
        storage.put_vectors("n", keys, np.ones((n, 64)), "f")
    return keys


def test_a_log_that_goes_while_the_file_is_opened(path, monkeypatch):
    """Who closes it last removes the log, at any moment: also between asking whether there is one, and how long."""
    filled(path)
    exists, stat = type(path).exists, type(path).stat

    def gone(its, **given):
        if its.name.endswith("-wal"):
            raise FileNotFoundError(its)
        return stat(its, **given)

    monkeypatch.setattr(type(path), "exists", lambda its, **given: its.name.endswith("-wal") or exists(its, **given))
    monkeypatch.setattr(type(path), "stat", gone)
    for read_only in (False, True):
        with SqliteStorage(path, read_only=read_only) as storage:
            assert storage.count_patterns("n")


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_truncated_file(path, fraction):
    filled(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with exactly(CorruptStorageError), SqliteStorage(path) as storage:
        storage.pattern_keys("n")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_file(path, read_only):
    filled(path)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 1000").fetchall()
    connection.close()
    with exactly(FutureSchemaError):
        SqliteStorage(path, read_only=read_only)


# -- migrations -------------------------------------------------------------------------------------------------------


def file_of_version(path, version):
    """Make the file that aqe made when it knew that many migrations."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    for script in schema.MIGRATIONS[:version]:
        connection.execute(script).fetchall()
    if version:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(
            "INSERT INTO namespaces VALUES (1, 'n');"
            "INSERT INTO patterns (key, namespace, id, content_hash, line, name, path, class_name, origin, markers, "
            "metadata, docstring, text) VALUES (7, 1, 'a', ?, 3, 'n', '', '', 'o', '[\"m\"]', '{\"k\":1}', '', 't')",
            (OLD.content_hash(),),
        ).fetchall()
        connection.execute(
            "INSERT INTO journal (namespace, written, key) VALUES (1, 1, 7);"
            "INSERT INTO runs (id, source, tool, started_s) VALUES ('r', 's', 'junit', 2);"
            "INSERT INTO tests VALUES (1, 't'); INSERT INTO results VALUES (1, 0, 1, 2, 0.5, 'm')"
        ).fetchall()
    if version >= schema.CHECKSUMS_SINCE:
        rows = b'["r","s","junit",2.0]', b'["t",2,0.5,"m"]'  # version 6 sums columns; only its storage does so
        connection.execute("UPDATE journal SET crc32 = ?", (zlib.crc32(b"1 1 7"),))
        connection.execute("UPDATE runs SET crc32 = ?", (zlib.crc32(b"".join(rows)),))
    if version >= schema.POINTS_SINCE:
        text_index.rebuild(connection)
    connection.close()


def tables(path):
    connection = apsw.Connection(str(path))
    try:
        return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("version", range(len(schema.MIGRATIONS) + 1))
def test_each_older_file_becomes_a_current_one(path, tmp_path, version, check_sound):
    file_of_version(path, version)
    with SqliteStorage(path) as storage:
        assert storage.info()["schema_version"] == len(schema.MIGRATIONS)
        if version:
            (pattern,) = storage.get_patterns("n", [7])
            assert pattern == OLD
            assert [key for key, _ in storage.search_text("n", "t", 1)] == [7]
            assert storage.changes_since("n", 0).written.tolist() == [7]
            assert storage.count_results() == (1, 1)
            assert storage.put_patterns("n", [OLD]).unchanged == 1
        storage.put_patterns("n", [PATTERN])
    assert not SqliteStorage.maintenance(path).verify().findings
    check_sound(path)
    SqliteStorage(tmp_path / "new.db").close()
    assert tables(path) == tables(tmp_path / "new.db")


def test_the_next_migration_runs_once(path, monkeypatch):
    filled(path)
    monkeypatch.setattr(
        schema, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT ''")
    )
    with pytest.raises(StorageError, match="open it once for writing"):
        SqliteStorage(path, read_only=True)
    for _ in range(2):
        with SqliteStorage(path) as storage:
            assert storage.info()["schema_version"] == len(schema.MIGRATIONS)
            assert storage.count_patterns("n") == 300
            with storage._database.read() as connection:
                assert connection.execute("SELECT count(*) FROM pragma_table_info('runs') WHERE name = 'note'").get == 1


def test_a_failing_migration_undoes_itself(path, monkeypatch):
    filled(path)
    before = tables(path)
    newer = (
        *schema.MIGRATIONS,
        "CREATE TABLE half (x ANY) STRICT",
        "DROP TABLE results; CREATE TABLE runs (x ANY) STRICT",
    )
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", newer)
        with exactly(StorageError):
            SqliteStorage(path)
    assert [name for name, _ in tables(path)] == sorted([name for name, _ in before] + ["half"])


def test_a_file_that_left_wal_mode_comes_back(path):
    filled(path)
    connection = apsw.Connection(str(path))
    assert connection.execute("PRAGMA journal_mode = DELETE").get == "delete"
    connection.close()
    with SqliteStorage(path, read_only=True) as storage:
        assert storage.count_patterns("n") == 300
    with SqliteStorage(path) as storage:
        assert storage._database._writer.connection.execute("PRAGMA journal_mode").get == "wal"


def test_no_write_ahead_log_to_be_had(path, monkeypatch):
    real = apsw.Connection.execute

    class Stubborn:
        get = "delete"

    class Connection(apsw.Connection):
        def execute(self, statements, *rest):
            return Stubborn() if statements == "PRAGMA journal_mode = WAL" else real(self, statements, *rest)

    monkeypatch.setattr(apsw, "Connection", Connection)
    with pytest.raises(StorageError, match="write-ahead log"):
        SqliteStorage(path)


# -- read-only --------------------------------------------------------------------------------------------------------


def test_read_only_refuses_every_write(path):
    keys = filled(path)
    with SqliteStorage(path, read_only=True) as storage:
        assert storage.read_only
        assert storage.count_patterns("n") == 300
        for write in (
            lambda: storage.put_patterns("n", [PATTERN]),
            lambda: storage.remove_patterns("n", keys[:1]),
            lambda: storage.put_vectors("n", keys[:1], np.ones((1, 64)), "f"),
        ):
            with exactly(ReadOnlyError):
                write()
        assert storage.count_patterns("n") == 300
    assert not path.with_name("aqe.db.lock").exists() or path.with_name("aqe.db.lock").stat().st_size


def test_a_reader_sees_what_a_writer_adds(path):
    filled(path)
    with SqliteStorage(path, read_only=True) as reader, SqliteStorage(path) as writer:
        version = reader.data_version()
        writer.put_patterns("n", [PATTERN])
        assert reader.count_patterns("n") == 301
        assert reader.data_version() != version


def test_a_folder_that_cannot_be_written(shared_folder, without_rights):
    shared_folder.chmod(0o555)
    with without_rights():
        with exactly(ReadOnlyError):
            SqliteStorage(shared_folder / "aqe.db")
        assert list(shared_folder.iterdir()) == []


def test_a_file_that_cannot_be_written(shared_folder, without_rights):
    path = shared_folder / "aqe.db"
    filled(path)
    path.chmod(0o444)
    shared_folder.chmod(0o555)
    with without_rights(), exactly(ReadOnlyError):
        SqliteStorage(path)


def test_a_lock_file_that_cannot_be_written(shared_folder, without_rights):
    path = shared_folder / "aqe.db"
    filled(path)
    path.chmod(0o666)
    shared_folder.chmod(0o777)
    for name in ("aqe.db.turn", "aqe.db.lock"):
        (shared_folder / name).chmod(0o444)
    with without_rights(), SqliteStorage(path) as storage:
        assert storage.count_patterns("n") == 300
        with exactly(ReadOnlyError):
            storage.put_patterns("n", [PATTERN])


def test_a_lock_file_that_is_a_folder(path):
    path.with_name("aqe.db.turn").mkdir()
    with pytest.raises(StorageError, match="lock file"):
        SqliteStorage(path)


def test_reading_in_a_folder_that_cannot_be_written(shared_folder, without_rights):
    path = shared_folder / "aqe.db"
    filled(path)
    shared_folder.chmod(0o555)
    with without_rights():
        reader = SqliteStorage(path, read_only=True)
        assert reader.count_patterns("n") == 300
        version = reader.data_version()
        assert reader.data_version() == version
    shared_folder.chmod(0o755)
    with SqliteStorage(path) as writer:
        writer.put_patterns("n", [PATTERN])
        shared_folder.chmod(0o555)
        with without_rights():
            assert reader.count_patterns("n") == 301  # through the log of the writer
            assert reader.data_version() != version
        shared_folder.chmod(0o755)
        writer.put_patterns("n", [Pattern(id="b", name="n", text="t")])
    shared_folder.chmod(0o555)
    with without_rights():
        assert reader.count_patterns("n") == 302  # and without it again
        reader.close()


LEAVE_A_LOG = """
import os, sys
from pathlib import Path
from aqe_core.contracts import Pattern
from aqe_storage_sqlite.storage import SqliteStorage
storage = SqliteStorage(Path(sys.argv[1]))
storage.put_patterns("n", [Pattern(id="a", name="n", text="t")])
os._exit(0)
"""


def test_a_log_without_its_index_where_none_can_be_made(shared_folder, without_rights, run_python):
    path = shared_folder / "aqe.db"
    assert run_python(LEAVE_A_LOG, path).wait() == 0
    (shared_folder / "aqe.db-shm").unlink()
    shared_folder.chmod(0o555)
    with without_rights(), pytest.raises(ReadOnlyError, match=r"aqe\.db-wal"):
        SqliteStorage(path, read_only=True)
    shared_folder.chmod(0o755)
    with SqliteStorage(path, read_only=True) as storage:
        assert storage.count_patterns("n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("warm", [True, False])
def test_a_file_that_vanishes_or_is_replaced(tmp_path, path, read_only, warm):
    filled(path)
    filled(tmp_path / "other.db")
    with SqliteStorage(path, read_only=read_only) as storage:
        uses = (storage.last_seq, storage.data_version, lambda: storage.find_patterns("n", ["a"]))
        if warm:  # connections that are kept
            for use in uses:
                use()
        path.rename(tmp_path / "moved.db")
        time.sleep(2 * database._LOOK_EVERY_S)  # for as long `data_version` may not have looked
        for use in (lambda: storage.put_patterns("n", [PATTERN]), *uses):
            with pytest.raises(StorageError, match="removed or replaced"):
                use()
        (tmp_path / "other.db").rename(path)
        for use in (lambda: storage.count_patterns("n"), *uses):
            with pytest.raises(StorageError, match="removed or replaced"):
                use()


def test_a_file_that_is_replaced_while_a_reader_connects(tmp_path, path, monkeypatch):
    filled(path)
    filled(tmp_path / "other.db")
    with SqliteStorage(path) as storage:
        connect = storage._database._connect_reader

        def replace():
            path.rename(tmp_path / "moved.db")
            (tmp_path / "other.db").rename(path)
            return connect()

        monkeypatch.setattr(storage._database, "_connect_reader", replace)
        with pytest.raises(StorageError, match="removed or replaced"):
            storage.count_patterns("n")
        assert not storage._database._idle


# -- closing ----------------------------------------------------------------------------------------------------------


def test_closing_leaves_one_file(path):
    filled(path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["aqe.db", "aqe.db.lock", "aqe.db.turn"]


def test_closing_beside_another_process_folds_the_log_in(path):
    with SqliteStorage(path) as other:
        other.count_patterns("n")
        filled(path)
        assert path.with_name("aqe.db-wal").stat().st_size == 0


def test_after_close(path):
    storage = SqliteStorage(path)
    storage.put_patterns("n", [PATTERN])
    iterator = storage.iter_patterns("n")
    storage.data_version()
    storage.close()
    storage.close()
    for use in (
        lambda: storage.count_patterns("n"),
        lambda: storage.put_patterns("n", []),
        storage.data_version,
        lambda: next(iterator),
        storage.info,
    ):
        with pytest.raises(StorageError, match="closed"):
            use()


def test_closing_while_a_reader_is_at_work(path):
    storage = SqliteStorage(path)
    with storage._database.read() as connection:
        storage.close()
        assert connection.execute("SELECT count(*) FROM patterns").get == 0
    assert not storage._database._idle
    with pytest.raises(StorageError, match="closed"):
        storage.count_patterns("n")


def test_the_pool_keeps_few_readers(storage):
    managers = [storage._database.read() for _ in range(12)]
    for manager in managers:
        manager.__enter__()
    for manager in managers:
        manager.__exit__(None, None, None)
    assert 0 < len(storage._database._idle) <= 8


def test_one_statement_fails_as_others_do(storage):
    storage.put_patterns("n", [PATTERN])
    assert storage.find_patterns("n", [PATTERN.id]) == [PATTERN]
    for sql, error in (
        ("SELECT no_such_column FROM patterns", StorageError),
        ("SELECT CAST(x'ff' AS TEXT)", Exception),
    ):
        with pytest.raises(error) as raised:
            storage._database.read_row(sql, ())
        assert isinstance(raised.value, StorageError)
    assert not storage._database._idle  # what failed is not lent again
    assert storage.find_patterns("n", [PATTERN.id, "nowhere"]) == [PATTERN, None]
    assert storage.find_patterns("n", ["nowhere"]) == [None]


# -- errors of SQLite -------------------------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing(storage, check_sound):
    storage.put_patterns("n", [PATTERN])
    writer = storage._database._writer.connection
    writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').get}").fetchall()
    with pytest.raises(StorageError, match="full"):
        storage.put_patterns("n", [Pattern(id=str(i), name="n", text="t" * 1000) for i in range(1000)])
    assert storage.count_patterns("n") == 1
    writer.execute("PRAGMA max_page_count = 1000000").fetchall()
    storage.put_patterns("n", [Pattern(id="b", name="n", text="t" * 1000)])
    check_sound(storage.path)


def test_a_value_too_large(storage):
    storage._database._writer.connection.limit(apsw.SQLITE_LIMIT_LENGTH, 10_000)
    with exactly(InputError):
        storage.put_patterns("n", [Pattern(id="b", name="n", text="t" * 20_000)])
    assert storage.count_patterns("n") == 0


def test_a_table_that_somebody_dropped(path):
    with SqliteStorage(path) as storage:
        storage._database._writer.connection.execute("DROP TABLE state_arrays; DROP TABLE states").fetchall()
        with pytest.raises(StorageError, match="no such table"):
            storage.load_state("x")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (apsw.BusyError, StorageBusyError),
        (apsw.LockedError, StorageBusyError),
        (apsw.ReadOnlyError, ReadOnlyError),
        (apsw.CantOpenError, StorageError),
        (apsw.FullError, StorageError),
        (apsw.IOError, StorageError),
        (apsw.CorruptError, CorruptStorageError),
        (apsw.NotADBError, CorruptStorageError),
        (apsw.TooBigError, InputError),
        (apsw.MisuseError, StorageError),
    ],
)
def test_what_sqlite_raises(raised, expected, path):
    error = _translate(raised("why"), path)
    assert type(error) is expected
    assert error.message
    assert error.fix


MOUNTS = """\
22 1 4095:77 / / rw,relatime - ext4 /dev/vda rw
36 22 {device} / /mnt rw shared:5 master:1 - {type} server:/export rw
"""


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_refused(path, monkeypatch, kind):
    SqliteStorage(path).close()
    device = path.stat().st_dev
    mounts = path.with_name("mounts")
    mounts.write_text(MOUNTS.format(device=f"{os.major(device)}:{os.minor(device)}", type=kind))
    monkeypatch.setattr("aqe_storage_sqlite.connection._MOUNTS", str(mounts))
    with pytest.raises(StorageError, match=rf"network file system \({kind}\)"):
        SqliteStorage(path)
    with SqliteStorage(path, read_only=True) as storage:
        assert storage.info()["file_system"] == kind


@pytest.mark.parametrize("mounts", ["", "22 1\n", "22 1 0:999999 / / rw - nfs x rw\n", None])
def test_a_file_system_that_nothing_tells_of_is_taken_for_local(path, monkeypatch, mounts):
    described = path.with_name("mounts")
    if mounts is not None:
        described.write_text(mounts)
    monkeypatch.setattr("aqe_storage_sqlite.connection._MOUNTS", str(described))
    with SqliteStorage(path) as storage:
        assert storage.info()["file_system"] == ""


def test_the_log_has_a_size(path):
    with SqliteStorage(path) as storage:
        storage.put_patterns("n", [Pattern(id="a", name="n", text="t")])
        info = storage.info()
    assert 0 < info["log_bytes"] < info["size_bytes"]


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    with exactly(InputError) as caught:
        SqliteStorage(tmp_path / "\udcff.db")
    assert "not UTF-8" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
