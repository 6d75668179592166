"""Reading an SQLite file page by page, without SQLite: what a repair needs where SQLite refuses.

Every number in the file is taken for a lie: a page is looked at once, a length is compared with what is there. The
format is that of https://sqlite.org/fileformat2.html, and so are the names.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Cell", "DamageError", "PageFile", "log_bytes", "log_of", "unusable_frames"]

INTERIOR_INDEX, INTERIOR_TABLE, LEAF_INDEX, LEAF_TABLE = 2, 5, 10, 13
_B_TREE = frozenset((INTERIOR_INDEX, INTERIOR_TABLE, LEAF_INDEX, LEAF_TABLE))
_PAGE_SIZE = 4096
"""The page size of our files, where the header does not say."""

_WAL_MAGIC = (0x377F0682, 0x377F0683)

Value = None | int | float | str | bytes


class DamageError(Exception):
    """A page or record that cannot be what it should be."""


class Cell(NamedTuple):
    """One record of a b-tree: ``rowid`` is None where the tree has none."""

    page: int
    number: int
    rowid: int | None
    values: tuple[Value, ...]


class PageFile:
    """The pages of a file, with the commits in its log over them.

    Parameters
    ----------
    data : bytes
        The database file.
    log : bytes
        Its write-ahead log.
    """

    def __init__(self, data: bytes, log: bytes = b"") -> None:
        self._data = data
        self.page_size = _page_size(data)
        self._frames, _ = _frames(log, self.page_size)
        self._log = log
        reserved = data[20] if len(data) >= 100 else 0
        self._usable = self.page_size - (reserved if reserved <= self.page_size - 480 else 0)
        self.count = max([-(-len(data) // self.page_size), *self._frames])

    def page(self, number: int) -> bytes:
        """Return a page; one that was cut off is filled up with zeros."""
        start = self._frames.get(number)
        if start is not None:
            return self._log[start : start + self.page_size]
        if not 1 <= number <= self.count:
            raise DamageError(f"there is no page {number}")
        start = (number - 1) * self.page_size
        return self._data[start : start + self.page_size].ljust(self.page_size, b"\0")

    def kind(self, number: int) -> int:
        """Return the kind of b-tree page; 0 for any other page."""
        kind = self.page(number)[_header_at(number)]
        return kind if kind in _B_TREE else 0

    def header(self, offset: int) -> int:
        """Return one of the 4-byte numbers in the file's header."""
        return int.from_bytes(self.page(1)[offset : offset + 4], "big")

    def free_pages(self) -> set[int]:
        """Return the pages that hold nothing any more, as far as their list can be read."""
        found: set[int] = set()
        trunk = self.header(32)
        while 1 <= trunk <= self.count and trunk not in found:
            found.add(trunk)
            page = self.page(trunk)
            following, count = struct.unpack_from(">II", page)
            if count <= self._usable // 4 - 2:
                found.update(struct.unpack_from(f">{count}I", page, 8))
            trunk = following
        return found

    def walk(self, root: int, *, index: bool, seen: set[int]) -> Iterator[int | tuple[int, str]]:
        """Yield the pages with records below a root in their order; a page that is damaged with the reason.

        ``seen`` grows by the pages that were looked at; none is looked at twice.
        """
        leaf, interior = (LEAF_INDEX, INTERIOR_INDEX) if index else (LEAF_TABLE, INTERIOR_TABLE)
        left = [root]
        while left:
            number = left.pop()
            if number in seen:
                yield number, "it belongs to two trees, or to one twice"
                continue
            try:
                kind = self.kind(number)
                if kind == leaf:
                    seen.add(number)
                    yield number
                elif kind == interior:
                    seen.add(number)
                    if index:
                        yield number
                    left.extend(reversed(self._children(number)))
                else:
                    yield number, "it is no page of this tree"
            except (DamageError, struct.error) as error:
                yield number, str(error)

    def _children(self, number: int) -> list[int]:
        page = self.page(number)
        at = _header_at(number)
        children = [int.from_bytes(page[start : start + 4], "big") for start in self._starts(number)]
        return [*children, int.from_bytes(page[at + 8 : at + 12], "big")]

    def _starts(self, number: int) -> tuple[int, ...]:
        page = self.page(number)
        at = _header_at(number)
        count = int.from_bytes(page[at + 3 : at + 5], "big")
        first = at + (12 if page[at] in {INTERIOR_INDEX, INTERIOR_TABLE} else 8)
        if first + 2 * count > self._usable:
            raise DamageError(f"it says that it has {count} cells")
        return struct.unpack_from(f">{count}H", page, first)

    def cells(self, number: int) -> Iterator[Cell | tuple[int, str]]:
        """Yield the records of a page; in place of a damaged one its number and the reason."""
        try:
            starts = self._starts(number)
        except DamageError as error:
            yield -1, str(error)
            return
        for position, start in enumerate(starts):
            try:
                yield self._cell(number, position, start)
            except (DamageError, struct.error, IndexError, UnicodeDecodeError) as error:
                yield position, str(error)

    def _cell(self, number: int, position: int, start: int) -> Cell:
        page = self.page(number)[: self._usable]
        kind = page[_header_at(number)]
        if kind == INTERIOR_INDEX:
            start += 4
        length, start = _varint(page, start)
        rowid = None
        if kind == LEAF_TABLE:
            unsigned, start = _varint(page, start)
            rowid = unsigned - (1 << 64) if unsigned >> 63 else unsigned
        return Cell(number, position, rowid, _record(self._payload(page, start, length, table=kind == LEAF_TABLE)))

    def _payload(self, page: bytes, start: int, length: int, *, table: bool) -> bytes:
        if length > self._usable * self.count:
            raise DamageError(f"it says that it is {length} bytes long")
        usable = self._usable
        largest = usable - 35 if table else (usable - 12) * 64 // 255 - 23
        local = length
        if length > largest:
            smallest = (usable - 12) * 32 // 255 - 23
            local = smallest + (length - smallest) % (usable - 4)
            local = local if local <= largest else smallest
        payload = page[start : start + local]
        if len(payload) < local:
            raise DamageError("it reaches over the end of its page")
        if local == length:
            return payload
        parts, missing = [payload], length - local
        following = int.from_bytes(page[start + local : start + local + 4], "big")
        passed: set[int] = set()
        while missing > 0:
            if following in passed:
                raise DamageError("its overflow pages go in a circle")
            passed.add(following)
            overflow = self.page(following)[:usable]
            parts.append(overflow[4 : 4 + missing])
            missing -= len(parts[-1])
            following = int.from_bytes(overflow[:4], "big")
        return b"".join(parts)


def _header_at(number: int) -> int:
    return 100 if number == 1 else 0


def _page_size(data: bytes) -> int:
    """Return the page size that the header states, unless more pages make sense with our own."""
    stated = int.from_bytes(data[16:18], "big") if len(data) >= 18 else 0
    stated = 65536 if stated == 1 else stated
    if stated == _PAGE_SIZE or not 512 <= stated <= 65536 or stated & (stated - 1):
        return _PAGE_SIZE
    if stated * int.from_bytes(data[28:32], "big") == len(data):
        return stated

    def share(size: int) -> float:
        starts = range(size, len(data), size)
        return sum(data[start] in _B_TREE for start in starts) / max(len(starts), 1)

    return stated if share(stated) >= share(_PAGE_SIZE) else _PAGE_SIZE


def _varint(data: bytes, start: int) -> tuple[int, int]:
    value = 0
    for position in range(start, start + 8):
        value = value << 7 | data[position] & 0x7F
        if data[position] < 0x80:
            return value, position + 1
    return value << 8 | data[start + 8], start + 9


_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def _record(payload: bytes) -> tuple[Value, ...]:
    end, start = _varint(payload, 0)
    if end > len(payload):
        raise DamageError(f"it says that its head is {end} bytes long")
    position = end
    values: list[Value] = []
    while start < end:
        kind, start = _varint(payload, start)
        value, position = _value(payload, kind, position)
        values.append(value)
    return tuple(values)


def _value(payload: bytes, kind: int, start: int) -> tuple[Value, int]:
    if kind == 0:
        return None, start
    if kind in {8, 9}:
        return kind - 8, start
    if kind in {10, 11}:
        raise DamageError(f"it has a value of kind {kind}, which does not exist")
    size = _INTEGERS.get(kind) or (8 if kind == 7 else (kind - 12) // 2)
    data = payload[start : start + size]
    if len(data) < size:
        raise DamageError("a value reaches over its end")
    if kind in _INTEGERS:
        return int.from_bytes(data, "big", signed=True), start + size
    if kind == 7:
        return float(struct.unpack(">d", data)[0]), start + size
    return (data.decode() if kind % 2 else data), start + size


# -- the log ---------------------------------------------------------------------------------------------------------


def log_of(path: Path) -> Path:
    """Return the name of a file's write-ahead log."""
    return path.with_name(path.name + "-wal")


def log_bytes(path: Path) -> int:
    """Return the size of a file's log, 0 without one: whoever closes the file last removes it, at any moment."""
    try:
        return log_of(path).stat().st_size
    except FileNotFoundError:
        return 0


def unusable_frames(path: Path) -> int:
    """Return how many frames of a file's log are of its current round but come after a damaged one."""
    try:
        log = log_of(path).read_bytes()
    except OSError:
        return 0
    size = int.from_bytes(log[8:12], "big") if len(log) >= 32 else 0
    return _frames(log, size)[1] if 512 <= size <= 65536 else int(len(log) > 0)


def _frames(log: bytes, page_size: int) -> tuple[dict[int, int], int]:
    """Return where the committed pages stand in the log, by page, and how many frames cannot be used.

    A frame counts if it carries the salt of the header and its checksum, which goes on from the one before it, fits;
    what follows the last commit does not count.
    """
    if len(log) < 32 or struct.unpack_from(">I", log)[0] not in _WAL_MAGIC:
        return {}, 0
    magic, _, size = struct.unpack_from(">III", log)
    order = ">" if magic & 1 else "<"
    state = _checksum(log[:24], (0, 0), order)
    if size != page_size or state != struct.unpack_from(">II", log, 24):
        return {}, max(1, (len(log) - 32) // (page_size + 24))
    salt = log[16:24]
    committed: dict[int, int] = {}
    pending: dict[int, int] = {}
    starts = range(32, len(log) - page_size - 23, page_size + 24)
    for position, start in enumerate(starts):
        state = _checksum(log[start : start + 8], state, order)
        state = _checksum(log[start + 24 : start + 24 + page_size], state, order)
        if log[start + 8 : start + 16] != salt or state != struct.unpack_from(">II", log, start + 16):
            later = (log[at + 8 : at + 16] == salt for at in starts[position:])
            return committed, sum(later)
        number, size_after = struct.unpack_from(">II", log, start)
        pending[number] = start + 24
        if size_after:
            committed.update((page, at) for page, at in pending.items() if page <= size_after)
            pending.clear()
    return committed, 0


def _checksum(data: bytes, state: tuple[int, int], order: str) -> tuple[int, int]:
    """Return the log's own checksum, a Fibonacci-weighted sum of 32-bit words."""
    first, second = state
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for position in range(0, len(words), 2):
        first = first + words[position] + second & 0xFFFFFFFF
        second = second + words[position + 1] + first & 0xFFFFFFFF
    return first, second
