"""The conformance kit from the command line."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from aqe_core.cli.app import program

WRONG = '''
import numpy as np
from aqe_core.testing.backends import BruteForceStore

class Forgetful(BruteForceStore):
    """Loses the last row."""

    def search(self, queries, k=10, *, among=None):
        hits = super().search(queries, k, among=among)
        return type(hits)(hits.keys[..., ::-1], hits.scores[..., ::-1])

class Right(BruteForceStore):
    pass
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "stores.py"
    path.write_text(WRONG)
    return path


def test_a_conforming_backend(aqe, aqe_json, file):
    text = aqe("check", f"file:{file}:Right", "--kind", "pattern-store").stdout
    assert text.startswith("pattern store file:")
    assert text.rstrip().endswith("skipped: ok")
    assert "failed" not in text
    document = aqe_json("check", f"file:{file}:Right", "--kind", "pattern_store")
    assert set(document) == {"ok", "reports"}
    assert document["ok"] is True
    assert set(document["reports"][0]) == {"kind", "engine", "aqe_version", "api_version", "ok", "counts", "checks"}
    assert set(document["reports"][0]["checks"][0]) == {
        "name", "status", "message", "advice", "traceback", "duration_s",
    }  # fmt: skip


def test_a_failing_backend_is_told_where_to_look(aqe, aqe_json, file):
    args = ["check", f"file:{file}:Forgetful", "--kind", "pattern-store"]
    text = aqe(*args, code=1).stdout
    assert "  failed    scores: " in text
    assert "\n            If this fails, look at " in text
    assert "NOT OK" in text
    assert "  passed" not in text
    verbose = CliRunner().invoke(program, [*args, "-v"]).stdout
    assert "  passed    " in verbose
    assert "Traceback (most recent call last)" in verbose
    assert aqe_json(*args, code=1)["ok"] is False


def test_every_kind_of_an_installed_backend(aqe_json):
    document = aqe_json("check", "lexical")
    assert [report["kind"] for report in document["reports"]] == ["embedder"]
    assert document["ok"] is True


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (["nope"], 1, "plugin-unknown"),
        (["gpu"], 1, "plugin-missing-extra"),
        (["numpy", "--kind", "colour"], 2, "usage"),
        (["lexical", "--kind", "learner"], 1, "plugin-unknown"),
        (["file:a.py:B"], 2, "usage"),
        (["file:a.py:B", "--kind", "learner"], 1, "plugin-unknown"),
    ],
)
def test_what_cannot_be_checked(aqe_json, args, code, error):
    assert aqe_json("check", *args, code=code)["error"]["code"] == error
