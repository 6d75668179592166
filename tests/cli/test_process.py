"""The program as a process: streams, pipes, signals, terminals."""

from __future__ import annotations

import json
import os
import selectors
import shlex
import signal
import subprocess
import sys
import time

import pytest

from aqe_core import __version__

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and terminals")


def test_version(process):
    done = process("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"aqe {__version__}\n", "")


def test_a_whole_session(process, project, results):
    for args, code in [
        (["quickstart"], 0),
        (["search", "retry"], 0),
        (["rank"], 0),
        (["analyze"], 0),
        (["backends"], 0),
        (["explain", "embedder"], 0),
        (["doctor"], 0),
        (["serch"], 2),
        (["search", "x", "--learner", "numpy"], 2),
        (["search", "x", "--pattern-store", "gpu"], 1),
    ]:
        text = process(*args, cwd=project)
        assert text.returncode == code, text.stderr
        assert "\x1b" not in text.stdout + text.stderr
        assert "Traceback" not in text.stderr
        document = process(*args, "--json", cwd=project)
        assert document.returncode == code
        assert document.stderr == ""
        assert ("error" in json.loads(document.stdout)) == (code != 0)


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("verb", "code"), [("ingest", 0), ("rank", 0), ("rank --json", 0), ("serch", 2)])
def test_closed_streams_are_no_error(environ, ingested, closed, verb, code):
    command = f"{shlex.quote(sys.executable)} -m aqe_core {verb} {closed}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=ingested, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr


def test_names_cannot_give_orders_to_the_terminal(process, project):
    evil = "\x1b]0;title\x07\x9b31m\u2028"
    cases = "".join(f'<testcase classname="c" name="t[{code}]" time="1"/>' for code in ("&#155;31m", "&#x2028;"))
    (project / "junit.xml").write_text(f"<testsuite>{cases}</testsuite>")
    lines = [{"id": f"t{evil}", "name": f"test_{evil}", "text": f"x\tretry {evil}", "docstring": evil}]
    (project / "patterns.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for args in (["ingest", "patterns.jsonl"], ["ingest"], ["search", "retry"], ["rank"], ["analyze"], ["quickstart"]):
        done = process(*args, cwd=project)
        assert done.returncode == 0, done.stderr
        assert not {"\x1b", "\x07", "\x9b", "\u2028"} & {*done.stdout, *done.stderr}
    assert "patterns:t\\x1b]0;title\\x07\\x9b31m\\u2028" in process("search", "retry", cwd=project).stdout
    assert "\x1b" not in process("ingest", f"missing{evil}", cwd=project).stderr


@posix
@pytest.mark.parametrize("args", [["rank"], ["rank", "--names"], ["rank", "--json"]])
def test_a_reader_that_leaves_is_no_error(environ, ingested, args):
    (ingested / "tests" / "test_many.py").write_text("".join(f"def test_{i}():\n    pass\n" for i in range(3000)))
    subprocess.run([sys.executable, "-m", "aqe_core", "ingest"], cwd=ingested, env=environ, check=True, timeout=60)
    child = subprocess.Popen(
        [sys.executable, "-m", "aqe_core", *args],
        cwd=ingested,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with child:
        child.stdout.close()
        errors = child.stderr.read()
    assert (child.returncode, errors) == (141, b"")


@posix
def test_an_interrupted_ingest_leaves_a_sound_workspace(environ, process, project):
    for i in range(500):
        tests = "".join(f"def test_case_{i}_{j}():\n    assert {j} == {j}\n\n" for j in range(10))
        (project / "tests" / f"test_generated_{i}.py").write_text(tests)
    # Whoever is started in the background may ignore Ctrl-C, and so do those whom he starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "aqe_core", "ingest"],
            cwd=project,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    # The file is there once reading begins, which takes a second for so many files.
    deadline = time.monotonic() + 60
    while not (project / ".aqe" / "aqe.db").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    out, errors = child.communicate(timeout=60)
    assert (child.returncode, out, errors) == (130, "", "aqe: error: interrupted; nothing is half done.\n")
    checks = json.loads(process("doctor", "--json", cwd=project).stdout)["checks"]
    assert [each["status"] for each in checks if each["name"] == "workspace"] == ["ok"]
    report = json.loads(process("ingest", "--json", cwd=project).stdout)
    assert report["added"] + report["unchanged"] == 5_003
    found = json.loads(process("search", "retry timeout", "--json", "-k", "1", cwd=project).stdout)
    assert found["hits"][0]["name"] == "test_retry_is_capped_after_a_timeout"


@posix
def test_on_a_terminal_there_are_colour_and_progress(environ, project, results):
    code, out, errors = on_terminal(["quickstart"], project, environ)
    assert code == 0
    assert "\x1b[" in out
    assert "reading" in errors
    code, out, errors = on_terminal(["ingest", "--json"], project, environ)
    assert json.loads(out)["unchanged"] == 3


def on_terminal(args, cwd, environ):
    """Run with standard output and standard error on two terminals; return the exit code and what each showed."""
    import pty  # not on every platform

    out, out_end = pty.openpty()
    errors, errors_end = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "aqe_core", *args],
        cwd=cwd,
        env={**environ, "TERM": "xterm-256color"},
        stdout=out_end,
        stderr=errors_end,
    )
    os.close(out_end)
    os.close(errors_end)
    shown = {out: b"", errors: b""}
    with selectors.DefaultSelector() as selector:
        for stream in shown:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(timeout=60):
                try:
                    data = os.read(key.fd, 65536)
                except OSError:  # the other end is closed
                    data = b""
                shown[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return child.wait(timeout=60), shown[out].decode(), shown[errors].decode()
