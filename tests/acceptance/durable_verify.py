"""List the operations of `durable_write.py` that are stored, one number a line.

usage: durable_verify.py PATH

Exits with 1 if an operation is half applied or the file is not sound, and says so on standard error.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import apsw
from aqe_storage_sqlite.storage import SqliteStorage


def stored(storage: SqliteStorage) -> list[int]:
    """Return the numbers of the operations that are stored as a whole.

    Raises
    ------
    ValueError
        One is half applied.
    """
    texts: dict[int, list[str]] = defaultdict(list)
    for batch in storage.iter_patterns("durable"):
        for pattern in batch:
            texts[int(pattern.id.split()[0])].append(pattern.text)
    for number, found in texts.items():
        if len(found) != 3 or len(set(found)) != 1:
            raise ValueError(f"operation {number} is half applied: {found}")
    numbers = [number for number, found in texts.items() if found[0] in {"whole", "new"}]
    for batch in storage.iter_patterns("begun"):
        for note in batch:
            number = int(note.id)
            if number not in texts if note.name == "delete" else is_kept(storage, number):
                numbers.append(number)
    return numbers


def check_taken_over(storage: SqliteStorage) -> None:
    """Raise `ValueError` if a project that was taken over lacks its entry."""
    legacy = storage.legacy(namespace="durable")
    entries = {entry["key"] for entry in legacy.entries("durable")}
    for path, file in legacy.report()["files"].items():
        number = Path(path).parent.name
        if file["tables"].get("patterns", {}).get("rows") == 3 and number not in entries:
            raise ValueError(f"the migration {number} is half applied: {file}")


def is_kept(storage: SqliteStorage, number: int) -> bool:
    """Say whether an engine state is stored; raise `ValueError` if not as it was."""
    found = storage.load_state(str(number))
    if found is None:
        return False
    state, seq = found
    if seq != 0 or state.manifest != {"number": number} or (state.arrays["a"] != number).any():
        raise ValueError(f"state {number} is not as it was kept")
    return True


def check_sound(path: Path) -> None:
    """Raise `ValueError` unless SQLite finds the file sound."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        if (answer := connection.execute("PRAGMA integrity_check").get) != "ok":
            raise ValueError(f"the file is damaged: {answer}")
        if broken := connection.execute("PRAGMA foreign_key_check").fetchall():
            raise ValueError(f"rows refer to rows that are not there: {broken[:5]}")
    finally:
        connection.close()


def main() -> None:
    """Print the numbers."""
    path = Path(sys.argv[1])
    if not path.exists():  # killed before it was made
        return
    try:
        with SqliteStorage(path) as storage:
            check_sound(path)
            numbers = stored(storage)
            check_taken_over(storage)
    except ValueError as error:
        sys.exit(str(error))
    sys.stdout.writelines(f"{number}\n" for number in numbers)


if __name__ == "__main__":
    main()
