"""The page on the file format names every table and column that a new file has, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest
from aqe_storage_sqlite import blocks, points, schema
from aqe_storage_sqlite.storage import SqliteStorage

PAGE = (Path(__file__).parents[2] / "docs" / "file-format.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def columns(tmp_path_factory):
    """Column names by table, of a file that was just made."""
    path = tmp_path_factory.mktemp("format") / "aqe.db"
    SqliteStorage(path).close()
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        tables = connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow' AND name NOT LIKE 'sqlite%'"
        )
        return {
            name: [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))]
            for (name,) in tables.fetchall()
        }
    finally:
        connection.close()


def documented():
    sections = re.split(r"^#+ ", PAGE, flags=re.MULTILINE)
    found = {}
    for section in sections:
        title = re.match(r"`(\w+)`\n", section)
        if title:
            found[title[1]] = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    return found


def test_every_table_and_column_is_described(columns):
    described = documented()
    assert set(described) == set(columns)
    for table, names in columns.items():
        assert sorted(described[table]) == sorted(names), table


def test_shadow_tables_are_named(tmp_path):
    with SqliteStorage(tmp_path / "aqe.db") as storage, storage._database.read() as connection:
        shadows = [name for (name,) in connection.execute("SELECT name FROM pragma_table_list WHERE type = 'shadow'")]
    assert shadows
    assert [name for name in shadows if f"`{name}`" not in PAGE] == []


def test_the_numbers_are_the_code_s():
    assert f"schema version {len(schema.MIGRATIONS)};" in PAGE
    assert f"`{schema.APPLICATION_ID:#x}`" in PAGE
    assert f"{points.BLOCK:,}" in PAGE
    for name, number in blocks.CODECS.items():
        assert f"{number} {name}" in PAGE
