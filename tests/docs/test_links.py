"""Links between pages resolve, and the decision records are numbered and listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ADR = ROOT / "docs" / "adr"


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{target} is not there"
        assert there.is_relative_to(ROOT), f"{target} is outside the repository"
        assert not anchor or anchor in anchors(there), f"{target}: no such heading"


def test_every_page_is_linked_from_another():
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page))
        if not re.match(r"[a-z]+:|#", target)
    }
    assert {page for page in PAGES if page not in linked} <= {ROOT / "README.md"}


def test_decision_records_have_no_gaps_and_are_listed():
    records = sorted(path for path in ADR.glob("*.md") if path.name != "README.md")
    assert [path.name[:4] for path in records] == [f"{n:04d}" for n in range(1, len(records) + 1)]
    index = (ADR / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\d{4}[^)]*)\)", index) == [path.name for path in records]
    for path in records:
        text = path.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        assert f"[{title}]({path.name})" in index
        sections = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
        assert sections == ["Context", "Decision", "Alternatives", "Consequences"], path.name


def test_pages_name_no_machine_and_no_registry():
    registries = ["py" + "pi.org", "python" + "hosted", "conda.ana" + "conda"]
    folders = [f"/{name}/" for name in ("home", "root", "Users")]
    hosts = re.compile("|".join(map(re.escape, registries + folders)))
    for page in PAGES:
        assert not hosts.search(page.read_text(encoding="utf-8")), page
