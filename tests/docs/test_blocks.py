"""Every code block of the documentation is run, or says why not.

One page is one test: its blocks run in their order, in one empty folder, the Python ones in one namespace.

- ``python``: executed. ``pycon``: executed, the answers compared. ``console``: lines that begin with ``$`` are run, the
  lines below are compared with what they print (``...`` stands for anything). ``aqe`` is ``python -m aqe_core``.
- ``toml``: must be a valid configuration of aqe. ``text`` is not looked at.
- ``<!-- file: PATH -->`` above a block: the block is written to that file instead; ``append:`` adds to it.
- ``<!-- exits N -->`` above a console block: the last command ends so; without it all must end in 0.
- ``<!-- in a copy of this repository -->`` above a console block: that is where it runs.
- ``<!-- without other plugins -->`` above a console block: with those of this distribution only, whatever is installed.
- ``<!-- numbers may differ -->`` above a console block: any number stands for any other.
- ``<!-- not run: REASON -->`` above a block: it is not run. Where it says ``pip install -e FOLDER``, the metadata that
  the installer would write is written by hand, so that later blocks find the plugin.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from aqe_core.config import load

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LANGUAGES = {"python", "pycon", "console", "toml", "text", "xml", "sh"}
ALONE, COPY = "without other plugins", "in a copy of this repository"
DIRECTIVES = ("file:", "append:", "exits", "not run:", "numbers may differ", ALONE, COPY)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    language: str
    code: str
    line: int
    directives: dict[str, str]


def blocks_of(text: str) -> list[Block]:
    found: list[Block] = []
    directives: dict[str, str] = {}
    opened: tuple[str, str, int] | None = None
    code: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"(`{3,})(\w*)$", line)
        if opened is None and fence:
            opened, code = (fence[1], fence[2], number), []
        elif opened is not None and line == opened[0]:
            found.append(Block(opened[1], "\n".join(code) + "\n", opened[2], directives))
            opened, directives = None, {}
        elif opened is not None:
            code.append(line)
        elif comment := re.fullmatch(r"<!-- (.*) -->", line):
            name = next((each for each in DIRECTIVES if comment[1].startswith(each)), None)
            if name is not None:
                directives[name] = comment[1].removeprefix(name).strip()
        elif line.strip():
            directives = {}
    assert opened is None, f"a block is never closed: line {opened}"
    return found


class Page:
    """The folder, the namespace and the installed plugins of one page's run."""

    def __init__(self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name = name
        self.folder = folder
        self.here = folder / "work"
        self.here.mkdir()
        self.namespace: dict[str, object] = {"__name__": "__docs__"}
        self.monkeypatch = monkeypatch
        self.installed: list[str] = []
        self.copy: Path | None = None
        monkeypatch.chdir(self.here)

    def run(self, block: Block) -> None:
        where = f"{self.name}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: a block of language {block.language!r}"
        if "not run:" in block.directives:
            assert len(block.directives["not run:"].split()) > 2, f"{where}: say why it is not run"
            for folder in re.findall(r"pip install -e ([^\s\[]+)", block.code):
                if (self.here / folder / "pyproject.toml").exists():
                    self.install(self.here / folder)
        elif "file:" in block.directives:
            path = self.here / block.directives["file:"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
        elif "append:" in block.directives:
            with (self.here / block.directives["append:"]).open("a", encoding="utf-8") as file:
                file.write("\n\n" + block.code)
        elif block.language not in {"text", "xml"}:
            assert block.language != "sh", f"{where}: write console, with $ before each command"
            getattr(self, block.language)(block, where)

    def python(self, block: Block, where: str) -> None:
        padded = "\n" * block.line + block.code  # so that a traceback names the line of the page
        exec(compile(padded, str(self.name), "exec"), self.namespace)

    def pycon(self, block: Block, where: str) -> None:
        test = doctest.DocTestParser().get_doctest(block.code, self.namespace, where, self.name, block.line)
        assert test.examples, f"{where}: no >>> in it"
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        runner.run(test, out=said.append, clear_globs=False)
        self.namespace.update(test.globs)
        assert not runner.failures, "".join(said)

    def toml(self, block: Block, where: str) -> None:
        if "project" in tomllib.loads(block.code):
            return  # a whole pyproject.toml, of something else
        folder = self.folder / f"toml-{block.line}"
        folder.mkdir()
        name = "pyproject.toml" if "[tool.aqe" in block.code else "aqe.toml"
        (folder / name).write_text(block.code, encoding="utf-8")
        assert load(folder, {}).layers[0].leaves, f"{where}: sets nothing"

    def console(self, block: Block, where: str) -> None:
        steps = re.split(r"^\$ ", block.code, flags=re.MULTILINE)
        assert not steps.pop(0), f"{where}: begin with $ and a command"
        for number, step in enumerate(steps, 1):
            command, _, expected = step.partition("\n")
            wanted_rc = int(block.directives.get("exits", 0)) if number == len(steps) else 0
            if ALONE in block.directives:
                command = f"AQE_PLUGINS= {command}"
            rc, printed = self.command(command, self.repository() if COPY in block.directives else None)
            assert rc == wanted_rc, f"{where}: {command} ended with {rc}:\n{printed}"
            if "numbers may differ" in block.directives:
                expected, printed = (re.sub(r"\d+(\.\d+)*", "9", each) for each in (expected, printed))
            same = doctest.OutputChecker().check_output(expected, printed, FLAGS)
            assert same or not expected.strip(), f"{where}: {command} printed\n{printed}\ninstead of\n{expected}"

    def command(self, line: str, folder: Path | None) -> tuple[int, str]:
        words = shlex.split(line)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AQE_", "COV"))}
        environment |= {"NO_COLOR": "1", "COLUMNS": "120", "PYTHONIOENCODING": "utf-8"}
        environment["PYTHONPATH"] = os.pathsep.join([*self.installed, os.environ.get("PYTHONPATH", "")]).rstrip(
            os.pathsep
        )
        while re.match(r"[A-Z_]+=", words[0]):
            name, _, environment[name] = words.pop(0).partition("=")
        if words[0] == "cd":
            self.here = (self.here / words[1]).resolve()
            self.monkeypatch.chdir(self.here)
            return 0, ""
        programs = {"aqe": [sys.executable, "-m", "aqe_core"], "python": [sys.executable]}
        done = subprocess.run(
            [*programs[words[0]], *words[1:]],
            cwd=folder or self.here,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=300,
            text=True,
            encoding="utf-8",
            check=False,
        )
        return done.returncode, done.stdout

    def install(self, project: Path) -> None:
        """Write what ``pip install -e`` of a plugin would: its metadata, and its folder on the path."""
        about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        version = about.get("version", "0")
        folder = self.folder / "site" / f"{about['name'].replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {version}\n")
        groups = about["entry-points"]
        lines = [
            f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()) for group, points in groups.items()
        ]
        (folder / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
        sources = project / "src" if (project / "src").is_dir() else project
        for path in (str(folder.parent), str(sources)):
            if path not in self.installed:
                self.installed.append(path)
                self.monkeypatch.syspath_prepend(path)

    def repository(self) -> Path:
        """Return a copy of this repository's sources, for commands that write where they run."""
        if self.copy is None:
            self.copy = self.folder / "copy"
            unwanted = shutil.ignore_patterns(".*", "*.xml", "__pycache__", "*.egg-info", "build", "dist", "target")
            shutil.copytree(ROOT, self.copy, ignore=unwanted)
        return self.copy


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_blocks_run(path, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AQE_")]:
        monkeypatch.delenv(name)
    before = set(sys.modules)
    page = Page(path.relative_to(ROOT).as_posix(), tmp_path, monkeypatch)
    try:
        for block in blocks_of(path.read_text(encoding="utf-8")):
            page.run(block)
    finally:
        for name in set(sys.modules) - before:
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
                del sys.modules[name]


def test_every_page_is_found():
    assert len(PAGES) > 20


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```python\n1 / 0\n```\n", "division by zero"),
        ("```pycon\n>>> 1 + 1\n3\n```\n", "Failed example"),
        ("```pycon\n1 + 1\n```\n", "no >>>"),
        ("```console\n$ python -c pass\nhello\n```\n", "instead of"),
        ("```console\n$ python -c 'raise SystemExit(3)'\n```\n", "ended with 3"),
        ("<!-- exits 2 -->\n```console\n$ python -c pass\n```\n", "ended with 0"),
        ("```console\npython -c pass\n```\n", "begin with $"),
        ("```toml\n[learner]\nbackendd = 'x'\n```\n", "unknown key"),
        ("<!-- not run: no -->\n```python\n1\n```\n", "say why"),
        ("```sh\nls\n```\n", "write console"),
        ("```cobol\nx\n```\n", "of language"),
        ("```python\n", "never closed"),
    ],
)
def test_a_wrong_page_is_noticed(text, problem, tmp_path, monkeypatch):
    page = Page("page.md", tmp_path, monkeypatch)

    def run() -> None:
        for block in blocks_of(text):
            page.run(block)

    with pytest.raises(Exception, match=re.escape(problem)):
        run()


def test_a_right_page_passes(tmp_path, monkeypatch):
    text = (
        "<!-- file: a/b.txt -->\n```text\nhello\n```\n"
        "```python\nfrom pathlib import Path\nx = Path('a/b.txt').read_text()\n```\n"
        "```pycon\n>>> x\n'hello\\n'\n>>> y = 1\n```\n"
        "<!-- exits 4 -->\n```console\n$ A=1 python -c 'import os; print(os.environ[\"A\"], 2, 3)'\n1 ... 3\n"
        "$ cd a\n$ python -c 'print(open(\"b.txt\").read()); raise SystemExit(4)'\nhello\n```\n"
        "```python\nassert y == 1\n```\n"
    )
    page = Page("page.md", tmp_path, monkeypatch)
    for block in blocks_of(text):
        page.run(block)
