"""What outside judges of the workspace call: each function is one task done through the public interface."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

_NAME = re.compile(r"\bdef\s+(\w+)")
_DEPTH = 20


def write_rankings(data_dir: str | Path, out_file: str | Path) -> None:
    """Rank a retrieval collection's queries by searching a workspace, as JSON Lines of ``task``, ``q`` and ``ids``.

    ``data_dir`` holds ``retrieval.docs.jsonl.gz`` (id, text) and ``retrieval.A.jsonl.gz`` and ``retrieval.B.jsonl.gz``
    (q, text, and perhaps the id of a document to exclude).
    """
    import aqe_core

    folder = Path(data_dir)
    with (
        tempfile.TemporaryDirectory() as project,
        aqe_core.open(project) as ws,
        Path(out_file).open("w", encoding="utf-8") as out,
    ):
        ws.patterns.add(
            {"id": str(row["id"]), "name": _name(row["text"]), "text": row["text"]}
            for row in _rows(folder / "retrieval.docs.jsonl.gz")
        )
        for task in ("A", "B"):
            for row in _rows(folder / f"retrieval.{task}.jsonl.gz"):
                found = [int(hit.pattern.id) for hit in ws.patterns.search(row["text"], k=_DEPTH)]
                ids = [each for each in found if each != row.get("exclude", -1)]
                out.write(json.dumps({"task": task, "q": row["q"], "ids": ids}) + "\n")


def _name(text: str) -> str:
    found = _NAME.search(text)
    return found[1] if found else text.strip().splitlines()[0][:200]


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
