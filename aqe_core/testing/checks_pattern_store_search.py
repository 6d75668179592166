"""Checks of pattern stores, part 2: what is found, in which order, with which scores."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.pattern_store import NO_KEY, Hits
from aqe_core.errors import CapabilityError
from aqe_core.testing.checks_pattern_store import DIMS, filled, metrics
from aqe_core.testing.data import clustered_vectors, scattered_keys, tied_vectors
from aqe_core.testing.expect import close, equal, raises, require, same_array
from aqe_core.testing.kit import Context, check
from aqe_core.testing.oracles import exact_scores, exact_top_k, recall_at_k, score_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 1e-5
"""Of a score, relative to the largest magnitude involved (the contract's number)."""

MOST_TOLERANCE = 0.01
"""A store may not declare more: scores would not mean much."""


def well_formed(hits: Any, shape: tuple[int, ...], what: str) -> None:
    """Require shapes, dtypes, padding at the end, distinct keys, falling scores, and ties in ascending order of key."""
    require(isinstance(hits, Hits), f"{what}: search returns a {type(hits).__name__}, expected Hits")
    equal((hits.keys.shape, hits.scores.shape), (shape, shape), f"{what}: shapes of (keys, scores)")
    equal((str(hits.keys.dtype), str(hits.scores.dtype)), ("uint64", "float32"), f"{what}: dtypes of (keys, scores)")
    for keys, scores in zip(np.atleast_2d(hits.keys), np.atleast_2d(hits.scores), strict=True):
        missing = keys == np.uint64(NO_KEY)
        require(not np.isnan(scores).any(), f"{what}: a score is NaN")
        require((scores[missing] == -np.inf).all(), f"{what}: NO_KEY is not beside -inf")
        require((np.diff(missing.astype(int)) >= 0).all(), f"{what}: NO_KEY stands before a key")
        found, values = keys[~missing], scores[~missing]
        equal(len({*found.tolist()}), len(found), f"{what}: number of distinct keys")
        require((values[:-1] >= values[1:]).all(), f"{what}: scores do not fall: {values}")
        tied = values[:-1] == values[1:]
        require((found[:-1][tied] < found[1:][tied]).all(), f"{what}: equal scores, but keys {found} do not rise")


def matches_scan(
    hits: Any,
    queries: NDArray[np.float32],
    keys: NDArray[np.uint64],
    rows: NDArray[np.float32],
    k: int,
    metric: str,
    what: str,
) -> None:
    """Require the answer of the exact scan; rows of equal score, within the tolerance, may change places."""
    well_formed(hits, (len(queries), k), what)
    n = min(k, len(keys))
    require((hits.keys[:, :n] != np.uint64(NO_KEY)).all(), f"{what}: fewer than {n} keys found")
    require((hits.keys[:, n:] == np.uint64(NO_KEY)).all(), f"{what}: more than {n} keys found")
    if not len(queries) or not n:
        return
    _, best = exact_top_k(queries, keys, rows, n, metric)
    order = np.argsort(keys)
    places = np.minimum(np.searchsorted(keys, hits.keys[:, :n], sorter=order), len(keys) - 1)
    require((keys[order][places] == hits.keys[:, :n]).all(), f"{what}: a key was never stored")
    scores = np.take_along_axis(exact_scores(queries, rows, metric), order[places], axis=1)
    allowed = TOLERANCE * score_scale(queries, rows, metric).max(axis=1, keepdims=True)
    close(hits.scores[:, :n], scores, allowed, f"{what}: scores of the keys found")
    close(scores, best, 2.0 * allowed, f"{what}: scores of the keys found, beside those of the best keys,")


@check("pattern_store")
def check_shapes(kit: Context) -> None:
    """One vector gives shape (k,), a matrix of m rows (m, k), also for m of 0 and 1; k is 10 when absent.

    If this fails, look at how the axis added to a single query is taken away again.
    """
    for dim in DIMS:
        store, _, rows = filled(kit, dim=dim)
        well_formed(store.search(rows[0], k=3), (3,), "one query")
        well_formed(store.search(rows[:1], k=3), (1, 3), "a matrix of one query")
        well_formed(store.search(rows[:5], k=3), (5, 3), "five queries")
        well_formed(store.search(rows[:0], k=3), (0, 3), "no queries")
        well_formed(store.search(rows[0]), (10,), "k absent")
        well_formed(store.search(rows[:2], np.int64(4)), (2, 4), "k as a NumPy integer, by position")


@check("pattern_store")
def check_padding(kit: Context) -> None:
    """When k exceeds the number of rows, the rest is `NO_KEY` with -inf, and every row is there.

    If this fails, look at argpartition with k above n - 1, and at the fill values of the answer.
    """
    store, keys, rows = filled(kit, 3)
    for given, shape in ((rows[0], (8,)), (rows, (3, 8))):
        hits = store.search(given, k=8)
        well_formed(hits, shape, "k of 8 in 3 rows")
        for found in np.atleast_2d(hits.keys):
            equal(sorted(found.tolist()), [*keys.tolist(), *[NO_KEY] * 5], "keys found, sorted")


@check("pattern_store")
def check_scores(kit: Context) -> None:
    """A score is the value of the metric for the query and the row, within 1e-5 of the largest magnitude.

    If this fails, look at the formula (l2 is minus the squared distance) and at the precision of its sums.
    """
    for metric in metrics(kit):
        for dim in DIMS:
            store, keys, rows = filled(kit, 40, dim=dim, metric=metric)
            queries = clustered_vectors(9, dim, seed=11)
            hits = store.search(queries, k=5)
            well_formed(hits, (9, 5), metric)
            places = np.searchsorted(keys, hits.keys)
            scores = np.take_along_axis(exact_scores(queries, rows, metric), places, axis=1)
            scale = np.take_along_axis(score_scale(queries, rows, metric), places, axis=1)
            close(hits.scores, scores, TOLERANCE * scale, f"scores by {metric} in {dim} dimensions")


@check("pattern_store", needs="cosine in metrics")
def check_cosine_of_tiny_and_huge_rows(kit: Context) -> None:
    """Cosine looks at directions only, for rows of any length that float32 can hold.

    If this fails, look at squared lengths in float32: they underflow below 1e-23 and overflow above 1e19.
    """
    rows = clustered_vectors(6, 8, seed=12)
    scales = np.array([1e-30, 1e-25, 1.0, 1e10, 1e25, 1e30], np.float32)[:, None]
    plain, scaled = kit.make(dim=8, metric="cosine"), kit.make(dim=8, metric="cosine")
    keys = np.arange(6, dtype=np.uint64)
    plain.add(keys, rows)
    scaled.add(keys, rows * scales)
    for query in (rows[0], rows[3] * np.float32(1e-30), rows[5] * np.float32(1e30)):
        hits, wanted = scaled.search(query, k=6), plain.search(query, k=6)
        close(hits.scores, wanted.scores, TOLERANCE, "scores of rows of all lengths")
        same_array(hits.keys, wanted.keys, "keys of rows of all lengths")


@check("pattern_store", needs="l2 in metrics")
def check_l2_of_equal_rows(kit: Context) -> None:
    """A row is at distance 0 from itself, and no score is above 0.

    If this fails, look at |q|^2 - 2 q x + |x|^2: rounding makes it negative, so it needs a bound at 0.
    """
    store, _, rows = filled(kit, 40, dim=33, metric="l2")
    hits = store.search(rows, k=1)
    close(
        hits.scores[:, 0],
        np.zeros(40),
        TOLERANCE * score_scale(rows, rows, "l2").diagonal(),
        "score of a row by itself",
    )
    require((store.search(rows, k=40).scores <= 0.0).all(), "a score is above 0")


@check("pattern_store", needs="exact")
def check_exact_scan(kit: Context) -> None:
    """Answers equal the exact scan, for one query and for many, for small and large k.

    If this fails, look at the selection of the best k, at the ends of blocks, and at rows lost between blocks.
    """
    for metric in metrics(kit):
        for dim, n, m in ((8, 100, 20), (33, 1030, 24)):
            keys, rows = scattered_keys(n, seed=dim), clustered_vectors(n, dim, seed=dim)
            queries = clustered_vectors(m, dim, seed=dim + 1)
            store = kit.make(dim=dim, metric=metric)
            store.add(keys, rows)
            for k in (1, 10, n, n + 3):
                hits = store.search(queries, k=k)
                matches_scan(hits, queries, keys, rows, k, metric, f"{metric}, {n} rows, k {k}")


@check("pattern_store", needs="exact")
def check_batch_equals_singles(kit: Context) -> None:
    """A batch answers each query as it is answered alone.

    If this fails, look at what depends on the other queries of the batch: blocks, padding, precision.
    """
    for metric in metrics(kit):
        store, keys, rows = filled(kit, 300, dim=33, metric=metric)
        queries = clustered_vectors(70, 33, seed=14)
        batch = store.search(queries, k=7)
        singles = [store.search(query, k=7) for query in queries]
        for i, single in enumerate(singles):
            alone = Hits(single.keys[None, :], single.scores[None, :])
            matches_scan(alone, queries[i : i + 1], keys, rows, 7, metric, f"query {i} alone")
        matches_scan(batch, queries, keys, rows, 7, metric, "the batch")
        scale = score_scale(queries, rows, metric).max(axis=1, keepdims=True)
        close(batch.scores, np.stack([single.scores for single in singles]), TOLERANCE * scale, "scores of the batch")


@check("pattern_store", needs="exact")
def check_ties(kit: Context) -> None:
    """Rows that are exactly equal are found in ascending order of key, also where k cuts through them.

    If this fails, look at the last step: sort by (-score, key), and let all rows tied with the k-th take part.
    """
    for metric in metrics(kit):
        keys, rows = scattered_keys(60, seed=15), tied_vectors(60, 8, copies=12, seed=15)
        queries = np.unique(rows, axis=0)[::-1].copy()
        store = kit.make(dim=8, metric=metric)
        for part in np.array_split(np.arange(60), 7):
            store.add(keys[part], rows[part])
        for k in (1, 5, 12, 17, 60):
            wanted, _ = exact_top_k(queries, keys, rows, k, metric)
            same_array(store.search(queries, k=k).keys, wanted, f"keys of tied rows by {metric}, k {k}")
            same_array(store.search(queries[0], k=k).keys, wanted[0], f"the same for one query by {metric}, k {k}")


@check("pattern_store", needs="not exact")
def check_recall(kit: Context) -> None:
    """An approximate store finds at least 95 % of the ten nearest of 2,000 clustered rows.

    If this fails, look at the search width (ef, probes, trees): raise the engine's default.
    """
    for metric in metrics(kit):
        keys, rows = np.arange(2000, dtype=np.uint64), clustered_vectors(2000, 33, seed=16)
        queries = clustered_vectors(2100, 33, seed=16)[-100:]
        store = kit.make(dim=33, metric=metric)
        store.add(keys, rows)
        wanted, _ = exact_top_k(queries, keys, rows, 10, metric)
        recall = recall_at_k(store.search(queries, k=10).keys, wanted)
        require(recall >= 0.95, f"recall@10 by {metric} is {recall:.3f}, expected at least 0.95")


@check("pattern_store")
def check_scores_of_many(kit: Context) -> None:
    """Scores of 1,500 rows of 160 dimensions are as accurate as the capability ``score_tolerance`` says.

    If this fails, look at what is kept of the vectors: if less than float32, declare how far scores may be off.
    """
    tolerance = kit.capabilities.score_tolerance
    require(0.0 < tolerance <= MOST_TOLERANCE, f"score_tolerance is {tolerance}, but must be above 0, up to 0.01")
    for metric in metrics(kit):
        keys, rows = np.arange(1500, dtype=np.uint64), clustered_vectors(1500, 160, seed=18)
        queries = clustered_vectors(1520, 160, seed=18)[-20:]
        store = kit.make(dim=160, metric=metric)
        store.add(keys, rows)
        hits = store.search(queries, k=10)
        well_formed(hits, (20, 10), metric)
        for query, found, scores in zip(queries, hits.keys, hits.scores, strict=True):
            near = rows[found.astype(int)]
            scale = score_scale(query, near, metric)[0]
            close(scores, exact_scores(query, near, metric)[0], tolerance * scale, f"scores by {metric} of many rows")


@check("pattern_store", needs="filtered")
def check_among(kit: Context) -> None:
    """With ``among`` only those keys are returned, and k of them whenever k are stored; unknown ones are passed over.

    If this fails, look at filters applied after the k best were chosen, and at repeated or unknown keys in the filter.
    """
    for metric in metrics(kit):
        store, keys, rows = filled(kit, 80, metric=metric)
        queries = clustered_vectors(6, 8, seed=17)
        for chosen in (keys[::7], keys[70:][::-1], keys[:1], keys):
            given = np.concatenate([chosen, chosen[:3], np.array([1, 2**64 - 2], np.uint64)])
            inside = np.isin(keys, chosen)
            for k in (1, 5, 100):
                hits = store.search(queries, k=k, among=given)
                matches_scan_or_subset(kit, hits, queries, keys[inside], rows[inside], k, metric)
                alone = store.search(queries[0], k=k, among=given.tolist())
                equal(alone.keys.shape, (k,), "shape of a filtered answer for one query")


@check("pattern_store", needs="filtered")
def check_among_nothing(kit: Context) -> None:
    """An empty ``among``, or one of unknown keys, finds nothing; None means no filter.

    If this fails, look at "if among:" where "if among is not None:" is meant.
    """
    store, keys, rows = filled(kit)
    for nothing in ([], np.empty(0, np.uint64), [5, 6]):
        hits = store.search(rows[:2], k=4, among=nothing)
        same_array(hits.keys, np.full((2, 4), NO_KEY, np.uint64), "keys found among nothing")
        same_array(hits.scores, np.full((2, 4), -np.inf, np.float32), "scores found among nothing")
    same_array(store.search(rows[0], k=20, among=None).keys, store.search(rows[0], k=20).keys, "keys among None")
    equal(len(store), len(keys), "len after filtered searches")


@check("pattern_store", needs=("filtered", "mutable"))
def check_among_after_remove(kit: Context) -> None:
    """A removed key is not found, even if ``among`` names it.

    If this fails, look at the map from keys to places: it must forget removed keys.
    """
    store, keys, rows = filled(kit)
    store.remove(keys[:5])
    hits = store.search(rows[0], k=10, among=keys[:8])
    equal(sorted(hits.keys.tolist()), [*keys[5:8].tolist(), *[NO_KEY] * 7], "keys found among removed and stored ones")


@check("pattern_store", needs="not filtered")
def check_unfiltered_refuses(kit: Context) -> None:
    """A store that is not filtered refuses ``among`` and says so.

    If this fails, look at an ignored keyword: the answer would silently contain what was excluded.
    """
    store, keys, rows = filled(kit)
    raises(CapabilityError, lambda: store.search(rows[0], k=3, among=keys[:4]), "among of a store that is not filtered")


def matches_scan_or_subset(kit: Context, hits: Any, queries: Any, keys: Any, rows: Any, k: int, metric: str) -> None:
    """Require the exact scan of an exact store; of another the right number of the right keys."""
    if kit.capabilities.exact:
        matches_scan(hits, queries, keys, rows, k, metric, f"{k} among {len(keys)} keys")
        return
    well_formed(hits, (len(queries), k), "a filtered answer")
    found = hits.keys[hits.keys != np.uint64(NO_KEY)]
    require(np.isin(found, keys).all(), "a key outside the filter was found")
    equal(found.size, len(queries) * min(k, len(keys)), "number of keys found with a filter")
