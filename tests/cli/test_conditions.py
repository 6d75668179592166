"""``--where`` as it is typed."""

from __future__ import annotations

import pytest

from aqe_core.cli.conditions import to_filter
from aqe_core.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "where"),
    [
        ([], {}),
        (["area=ui"], {"area": ["ui"]}),
        (["area=ui,api"], {"area": ["ui", "api"]}),
        (["level=3,true"], {"level": ["3", 3, "true", True]}),
        (["area!=ui"], {"$not": {"area": ["ui"]}}),
        (["line>=100"], {"line": {"$gte": 100}}),
        (["line<1e3"], {"line": {"$lt": 1000.0}}),
        (["day>2024-05-01"], {"day": {"$gt": "2024-05-01"}}),
        (["word<=true"], {"word": {"$lte": "true"}}),
        (["name=a=b"], {"name": ["a=b"]}),
        (["a=1", "a!=2"], {"$and": [{"a": ["1", 1]}, {"$not": {"a": ["2", 2]}}]}),
        (['{"$or": [{"a": 1}, {"b": 2}]}'], {"$or": [{"a": 1}, {"b": 2}]}),
    ],
)
def test_conditions_make_a_filter(typed, where):
    assert to_filter(tuple(typed)) == where


@pytest.mark.parametrize("typed", ["area", "=ui", ">3", "{", '{"a": }'])
def test_what_is_no_condition(typed):
    with pytest.raises(UsageError, match="--where"):
        to_filter((typed,))


def test_a_filter_that_is_refused_is_one_clear_error(aqe, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"name": "test_a", "text": "retry", "area": "ui"}\n')
    aqe("ingest", "p.jsonl")
    refused = aqe("search", "retry", "--where", '{"area": {"$gr": 1}}', code=2)
    assert "did you mean '$gt'" in refused.stderr
    assert "did you mean 'area'" in aqe("search", "retry", "--where", "arae=ui").stderr
