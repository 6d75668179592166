"""The page reader, against what SQLite itself reads, and against lies."""

from __future__ import annotations

import random
from contextlib import closing

import apsw
import pytest
from aqe_storage_sqlite.pages import Cell, DamageError, PageFile, log_of, unusable_frames

ROWS = [
    (number, text * repeat, data * repeat, real)
    for number, (text, repeat, data, real) in enumerate(
        (text, repeat, data, real)
        for text in ("", "é", "words ")
        for repeat in (0, 1, 40, 700, 4000)
        for data in (b"", b"\x00\xff\x80")
        for real in (0.0, -1.5, 1e300)
    )
]
INTEGERS = [0, 1, -1, 127, -128, 2**15, -(2**23), 2**31, 2**47, -(2**47) - 1, 2**63 - 1, -(2**63)]


@pytest.fixture(params=[512, 4096, 65536])
def made(request, tmp_path):
    """A file of a page size, with all of its commits in the log or none, and its tables' rows."""
    path = tmp_path / "some.db"
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(f"PRAGMA page_size = {request.param}; PRAGMA journal_mode = WAL").fetchall()
        connection.wal_autocheckpoint(0)
        connection.execute(
            "CREATE TABLE a (x INTEGER PRIMARY KEY, y TEXT, z BLOB, r REAL) STRICT;"
            "CREATE TABLE w (p INTEGER, q TEXT, t TEXT, PRIMARY KEY (p, q)) STRICT, WITHOUT ROWID;"
        ).fetchall()
        with connection:
            connection.executemany("INSERT INTO a VALUES (?, ?, ?, ?)", ROWS)
            connection.executemany("INSERT INTO w VALUES (?, ?, ?)", [(i, "k" * (i % 9), "t" * i) for i in range(900)])
            connection.executemany("INSERT INTO w VALUES (?, 'i', NULL)", [(i,) for i in INTEGERS if i > 900 or i < 0])
            connection.executemany("INSERT INTO a VALUES (?, NULL, NULL, NULL)", [(i,) for i in INTEGERS if i < 0])
        logged = path.read_bytes(), log_of(path).read_bytes()
        rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in "aw"}
    return request.param, (logged, (path.read_bytes(), b"")), rows


def read(file, root, *, index):
    found = []
    for page in file.walk(root, index=index, seen=set()):
        assert isinstance(page, int), page
        for cell in file.cells(page):
            assert isinstance(cell, Cell), cell
            found.append(cell)
    return found


def test_it_reads_what_sqlite_reads(made):
    size, variants, rows = made
    for data, log in variants:
        file = PageFile(data, log)
        assert file.page_size == size
        roots = {cell.values[1]: cell.values[3] for cell in read(file, 1, index=False)}
        table = [(cell.rowid, *cell.values[1:]) for cell in read(file, roots["a"], index=False)]
        assert sorted(table, key=lambda row: row[0]) == rows["a"]
        index = [cell.values for cell in read(file, roots["w"], index=True)]
        assert sorted(index, key=lambda row: row[:2]) == sorted(rows["w"], key=lambda row: row[:2])


def test_free_pages(tmp_path):
    path = tmp_path / "some.db"
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE a (x)").fetchall()
        connection.executemany("INSERT INTO a VALUES (?)", [("x" * 900,) for _ in range(200)])
        connection.execute("DELETE FROM a").fetchall()
        count = connection.execute("PRAGMA freelist_count").get
    assert count > 20
    assert len(PageFile(path.read_bytes()).free_pages()) == count


def test_nothing_goes_in_circles_or_out_of_bounds(made):
    _, variants, _ = made
    data = variants[1][0]
    rng = random.Random(3)
    for _ in range(60):
        copy = bytearray(data[: rng.choice((len(data), rng.randrange(len(data))))])
        for _ in range(rng.choice((1, 20, 400)) if copy else 0):
            copy[rng.randrange(len(copy))] = rng.randrange(256)
        file = PageFile(bytes(copy))
        steps = 0
        for root in range(min(file.count + 2, 40)):
            for index in (False, True):
                seen = set()
                for page in file.walk(root, index=index, seen=seen):
                    steps += 1
                    if isinstance(page, int):
                        steps += sum(1 for _ in file.cells(page))
                assert len(seen) <= file.count
        file.free_pages()
        assert steps < 2_000_000


def test_an_empty_file_has_no_pages():
    file = PageFile(b"")
    assert file.count == 0
    with pytest.raises(DamageError, match="no page 1"):
        file.page(1)


def test_the_log_counts_up_to_its_first_damage(tmp_path):
    path = tmp_path / "some.db"
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.wal_autocheckpoint(0)
        connection.execute("CREATE TABLE a (x INTEGER)").fetchall()
        for number in range(5):
            connection.execute("INSERT INTO a VALUES (?)", (number,)).fetchall()
        data, log = path.read_bytes(), bytearray(log_of(path).read_bytes())
        assert unusable_frames(path) == 0
    frame = 24 + 4096
    frames = (len(log) - 32) // frame
    other = tmp_path / "other.db"
    for position in range(frames):
        damaged = bytearray(log)
        damaged[32 + position * frame + 24 + 4000] ^= 1
        log_of(other).write_bytes(damaged)
        assert unusable_frames(other) == frames - position
        file = PageFile(data, bytes(damaged))
        values = [cell.values[0] for cell in read(file, 2, index=False)] if position > 2 else []
        assert values == list(range(position - 2)) or position <= 2
    damaged = bytearray(log)
    damaged[5] ^= 1
    log_of(other).write_bytes(damaged)
    assert unusable_frames(other) == frames
    log_of(other).write_bytes(b"short")
    assert unusable_frames(other) == 1
