"""verify, backup, restore, repair, compact, export and import."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click import Context

from aqe_core.cli.app import program
from aqe_core.errors import CapabilityError, ContractError
from aqe_core.maintenance import maintenance

TEXT = b"def test_retry_is_capped_after_a_timeout"


@pytest.fixture
def data(ingested):
    return ingested / ".aqe" / "aqe.db"


@pytest.fixture
def damaged(data):
    content = data.read_bytes()
    assert content.count(TEXT) == 1
    data.write_bytes(content.replace(TEXT, TEXT.upper()))
    return data


def keys(verb):
    text = program.get_command(Context(program), verb).help.partition("JSON keys:")[2]
    return {key.strip(" .\n") for key in re.sub(r"\([^()]*\)", "", text).split(",")}


def test_restore_and_import_print_the_documented_keys(aqe_json, ingested, tmp_path):
    aqe_json("backup", tmp_path / "b.db", "-C", ingested)
    assert set(aqe_json("restore", tmp_path / "b.db", "-C", ingested)) == keys("restore")
    aqe_json("export", tmp_path / "out", "-C", ingested)
    (tmp_path / "new").mkdir()
    assert set(aqe_json("import", tmp_path / "out", "-C", tmp_path / "new")) == keys("import")
    assert (tmp_path / "new" / ".aqe" / ".gitignore").read_text() == "*\n"
    found = aqe_json("search", "retry", "-C", tmp_path / "new")
    assert "test_retry_is_capped_after_a_timeout" in json.dumps(found)


def test_the_whole_way_there_and_back(aqe, ingested, tmp_path):
    assert aqe("verify", "-C", ingested).stdout.startswith("sound: ")
    made = aqe("backup", "-C", ingested).stdout
    backup = re.search(r"made: (\S+)", made)[1]
    assert aqe("verify", backup, "-C", ingested).stdout.startswith("sound: ")
    assert "kept: " in aqe("restore", backup, "-C", ingested).stdout
    assert "bytes after" in aqe("compact", "-C", ingested).stdout
    assert "nothing to repair" in aqe("repair", "-C", ingested).stdout
    assert "exported: " in aqe("export", tmp_path / "out", "-C", ingested).stdout
    (tmp_path / "new").mkdir()
    assert aqe("import", tmp_path / "out", "-C", tmp_path / "new").stdout.endswith("verified\n")


def test_damage_is_found_and_repaired(aqe, aqe_json, damaged, ingested):
    found = aqe_json("verify", "-C", ingested, code=1)
    assert found["ok"] is False
    assert [(each["severity"], each["table"], each["row"]) for each in found["findings"]] == [
        ("error", "patterns", "1")
    ]
    shown = aqe("verify", "-C", ingested, code=1).stdout
    assert "error: patterns (patterns 1): " in shown
    assert "fix: run `aqe repair`" in shown
    before = damaged.read_bytes()
    done = aqe_json("repair", "-C", ingested, code=1)
    assert Path(done["damaged"]).read_bytes() == before
    assert [each["table"] for each in done["lost"]] == ["patterns"]
    aqe("verify", "-C", ingested)
    assert "1 added" in aqe("ingest", "-C", ingested).stdout


def test_a_repair_says_what_was_lost(aqe, damaged, ingested):
    shown = aqe("repair", "-C", ingested, code=1).stdout
    assert "lost: patterns, 1 (" in shown
    assert shown.endswith("1 lost\n")


def test_errors_are_one_document(aqe, ingested, tmp_path):
    error = json.loads(aqe("restore", tmp_path / "none.db", "-C", ingested, "--json", code=1).stdout)["error"]
    assert error["code"] == "storage-no-workspace"
    assert error["fix"]
    error = json.loads(aqe("verify", "-C", tmp_path, "--json", code=1).stdout)["error"]
    assert "no file" in error["message"]


STORAGE = """
from aqe_core import hookimpl
from aqe_core.contracts.specs import EngineSpec
AQE_API = 1

class Plain: ...

class Wrong:
    maintenance = staticmethod(lambda path, **options: object())

@hookimpl
def aqe_storages():
    return [
        EngineSpec(name="plain", factory=__name__ + ":Plain"),
        EngineSpec(name="plain/wrong", factory=__name__ + ":Wrong"),
    ]
"""


@pytest.mark.parametrize(("name", "error"), [("plain", CapabilityError), ("plain/wrong", ContractError)])
def test_a_storage_that_offers_none(plugin, tmp_path, name, error):
    plugin("plain", STORAGE)
    (tmp_path / "aqe.toml").write_text(f'[storage]\nbackend = "{name}"\n')
    with pytest.raises(error, match="maintenance"):
        maintenance(tmp_path)
