"""Examples to numbers: the vocabulary, and each example's weighted bags of subtokens as sparse rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from aqe_backend_numpy.embedder import SATURATION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from examples import Example
    from numpy.typing import NDArray

MIN_PROJECTS = 2
MIN_TESTS = 3


class Rows(NamedTuple):
    """Sparse rows: of row i the columns ``columns[starts[i]:starts[i + 1]]`` and their weights."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]

    def dense(self, wanted: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return some rows as a matrix over just the columns that occur in them, and those columns, ascending."""
        sizes = self.starts[wanted + 1] - self.starts[wanted]
        ends = np.cumsum(sizes)
        places = np.arange(ends[-1]) + np.repeat(self.starts[wanted] - (ends - sizes), sizes)
        columns, inverse = np.unique(self.columns[places], return_inverse=True)
        matrix = np.zeros((len(wanted), len(columns)), np.float32)
        matrix[np.repeat(np.arange(len(wanted)), sizes), inverse] = self.weights[places]
        return matrix, columns


class Corpus(NamedTuple):
    """What is trained on; the first ``n_vocabulary`` of ``subtokens`` get a vector of their own.

    ``documents``, ``names``, ``bodies`` and ``descriptions`` have one row per example; ``groups`` numbers the file and
    class that it is from, and ``described`` lists the examples that have a description.
    """

    subtokens: list[str]
    n_vocabulary: int
    document_frequency: Counter[str]
    n_examples: int
    documents: Rows
    names: Rows
    bodies: Rows
    descriptions: Rows
    groups: NDArray[np.int64]
    described: NDArray[np.int64]


def chosen(found: Sequence[Example], per_project: int, generator: np.random.Generator) -> list[Example]:
    """Return at most so many examples of each project, described ones before others, in the order given."""
    by_project: dict[str, list[int]] = defaultdict(list)
    for i, example in enumerate(found):
        by_project[example.project].append(i)
    kept: list[int] = []
    for numbers in by_project.values():
        shuffled = [numbers[j] for j in generator.permutation(len(numbers))]
        kept += sorted(shuffled, key=lambda i: not found[i].described)[:per_project]
    return [found[i] for i in sorted(kept)]


def prepare(found: Sequence[Example], n_vocabulary: int) -> Corpus:
    """Choose the vocabulary (subtokens of most projects, then of most tests) and weigh bags as the embedder does."""
    tests: Counter[str] = Counter()
    projects: dict[str, set[str]] = defaultdict(set)
    for example in found:
        for subtoken in {*example.name, *example.code, *example.described}:
            tests[subtoken] += 1
            projects[subtoken].add(example.project)
    usual = [each for each, df in tests.items() if df >= MIN_TESTS and len(projects[each]) >= MIN_PROJECTS]
    usual.sort(key=lambda each: (-len(projects[each]), -tests[each], each))
    vocabulary = usual[:n_vocabulary]
    column = {subtoken: i for i, subtoken in enumerate([*vocabulary, *sorted(set(tests) - set(vocabulary))])}
    idf = {each: math.log((len(found) + 1) / (df + 1)) + 1 for each, df in tests.items()}

    def rows(bags: Iterable[tuple[tuple[str, ...], tuple[str, ...]]]) -> Rows:
        return _rows(bags, column, idf)

    numbers: dict[str, int] = {}
    return Corpus(
        subtokens=list(column),
        n_vocabulary=len(vocabulary),
        document_frequency=tests,
        n_examples=len(found),
        documents=rows((each.name, each.code) for each in found),
        names=rows(((), each.name) for each in found),
        bodies=rows(((), each.body) for each in found),
        descriptions=rows(((), each.described) for each in found),
        groups=np.array([numbers.setdefault(each.group, len(numbers)) for each in found]),
        described=np.flatnonzero([bool(each.described) for each in found]),
    )


def _rows(
    bags: Iterable[tuple[tuple[str, ...], tuple[str, ...]]], column: dict[str, int], idf: dict[str, float]
) -> Rows:
    """Return one row per pair (name, text), weighted as `LexicalEmbedder` weighs a document with name weight 1."""
    starts, columns, weights = [0], [], []
    for name, text in bags:
        counts = Counter(text)
        named = dict.fromkeys(name, 1)
        for subtoken in {**named, **counts}:
            tf = counts[subtoken]
            columns.append(column[subtoken])
            weights.append(idf[subtoken] * (tf * (SATURATION + 1) / (tf + SATURATION) + named.get(subtoken, 0)))
        starts.append(len(columns))
    return Rows(np.array(starts), np.array(columns, np.int32), np.array(weights, np.float32))
