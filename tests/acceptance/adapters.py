"""What outside evaluators call: the only place that knows their interfaces. Everything is imported when it is used."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from aqe_core.contracts.embedder import Document

# -- test ranking: an evaluator with CycleView (tests, duration, features) and Feedback (verdict, duration)

BUDGET = 0.5
"""Share of a cycle's time that the evaluator's official protocol allows."""


class _EvaluatedRanker:
    """The built-in ranker behind ``rank(view)`` and ``observe(view, feedback)``."""

    def __init__(self, seed: int) -> None:
        import aqe_core

        self._ranker = aqe_core.open_ranker("numpy", seed=seed)
        self._last: tuple[Any, Any] = (None, None)

    def _candidates(self, view: Any) -> Any:
        from aqe_core.contracts import Candidates

        if self._last[0] is not view:  # the view that was ranked is observed next
            budget_s = BUDGET * float(view.duration.sum())
            self._last = (
                view,
                Candidates(
                    view.tests,
                    duration_s=view.duration,
                    context=view.features,
                    budget_s=budget_s if budget_s > 0.0 else None,
                ),
            )
        return self._last[1]

    def rank(self, view: Any) -> Any:
        """Return item indices, first to run first."""
        return self._ranker.rank(self._candidates(view)).order

    def observe(self, view: Any, feedback: Any) -> None:
        """Learn from verdicts: 1 failed, 0 passed, -1 not executed."""
        from aqe_core.contracts import Outcomes

        outcomes = Outcomes(feedback.verdict == 1, ran=feedback.verdict >= 0, duration_s=feedback.duration)
        self._ranker.observe(self._candidates(view), outcomes)


def make_ranker(seed: int) -> _EvaluatedRanker:
    """Return a fresh ranker for a prequential evaluator of test prioritization."""
    return _EvaluatedRanker(seed)


# -- retrieval: words to a test, and code to its siblings

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


# -- search: an evaluator that takes an embedder as a class without arguments, and gives it texts of tests


class DefaultEmbedder:
    """The embedder that a workspace uses unless told otherwise, over texts that begin with a test's signature."""

    def __init__(self) -> None:
        import aqe_core

        self._embedder = aqe_core.open_embedder()

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from the collection."""
        self._embedder.fit(_documents(texts))

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed the collection: shape (n, dim)."""
        return self._embedder.embed(_documents(texts))

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed what is asked."""
        return self._embedder.embed_queries(texts)


def _documents(texts: Sequence[str]) -> list[Document]:
    from aqe_core.contracts.embedder import Document

    return [Document(found[1] if (found := _NAME.search(text)) else "", text) for text in texts]
