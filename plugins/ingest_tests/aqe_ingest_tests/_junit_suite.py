"""The elements of a JUnit file to test results, one event at a time."""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime

from aqe_core.contracts.records import TestResult
from aqe_core.errors import FileTooLargeError
from aqe_ingest_tests._files import Notes

__all__ = ["Suite", "WrongDocumentError"]

MAX_DEPTH = 100
MAX_ELEMENTS = 2_000_000
MAX_NAME_CHARS = 1_000
MAX_MESSAGE_CHARS = 2_000

_OUTCOMES = {"failure": "failed", "error": "error", "skipped": "skipped"}
_RANK = {"passed": 0, "skipped": 1, "failed": 2, "error": 2}  # of two complaints of one rank the first counts
_FLAKY = {"flakyFailure": "failed", "flakyError": "error"}
_NOT_RUN = frozenset({"notrun", "disabled", "skipped", "ignored"})
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")


class WrongDocumentError(Exception):
    """The document is no JUnit file, or hostile."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class _Complaint:
    """An element inside a test that says how it went."""

    def __init__(self, outcome: str, attributes: dict[str, str]) -> None:
        self.outcome = outcome
        self.duration = attributes.get("time", "")
        self.message = attributes.get("message", "")[:MAX_MESSAGE_CHARS]
        self.body = ""

    @property
    def reason(self) -> str:
        """Its message; where that says nothing, the first line of its text that does."""
        message = self.message.strip()
        if message not in ("", "Failed"):  # go's test runners write "Failed", and the reason after "=== RUN ..."
            return message
        lines = (line.strip() for line in self.body.splitlines())
        return next((line for line in lines if line and not line.startswith(("===", "---"))), message)


class Suite:
    """Collects what a JUnit file says; its methods are handlers of an expat parser.

    Attributes
    ----------
    results : list of TestResult
    notes : Notes
    tool : str
    started_s : float or None
        Earliest timestamp of a suite.
    """

    def __init__(self, name: str) -> None:
        self.results: list[TestResult] = []
        self.notes = Notes()
        self.tool = "junit"
        self.started_s: float | None = None
        self._file = name
        self._elements = 0
        self._open: list[str] = []
        self._suites: list[str] = []
        self._case: dict[str, str] | None = None
        self._complaints: list[_Complaint] = []
        self._listening: _Complaint | None = None

    @property
    def begun(self) -> bool:
        """Whether an element was seen."""
        return self._elements > 0

    def refuse_doctype(self, name: str, *_: object) -> None:
        """Refuse a document type: JUnit files have none, and entities are declared in one."""
        raise WrongDocumentError(
            f"it declares a document type ({name:.100}), which may hide entities",
            "let the test runner write the file again, or take the declaration out if you trust the file",
        )

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Handle the start of an element."""
        tag = tag.rpartition(":")[2]
        if not self._open and tag not in ("testsuites", "testsuite"):
            raise WrongDocumentError(
                f"its root element is {tag[:100]!r}, but JUnit has 'testsuites' or 'testsuite'",
                "give a JUnit file, e.g. what pytest --junitxml=FILE writes",
            )
        if len(self._open) >= MAX_DEPTH:
            raise WrongDocumentError(
                f"elements are nested more than {MAX_DEPTH} deep", "give a file that a test runner wrote"
            )
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise FileTooLargeError(
                f"{self._file} has more than {MAX_ELEMENTS:,} elements.", fix="split the run into several files."
            )
        parent = self._open[-1] if self._open else ""
        self._open.append(tag)
        if tag == "testcase":
            self._case, self._complaints = attributes, []
        elif tag in ("testsuites", "testsuite"):
            self._suite(tag, attributes)
        elif parent == "testcase":
            outcome = _OUTCOMES.get(tag) or _FLAKY.get(tag)
            if outcome:
                self._listening = _Complaint(outcome if tag in _OUTCOMES else f"flaky {outcome}", attributes)
                self._complaints.append(self._listening)
        elif tag == "property":
            self.tool = _tool_of_property(attributes.get("name", "")) or self.tool

    def text(self, data: str) -> None:
        """Handle text: that of a complaint, up to a bound."""
        complaint = self._listening
        if complaint is not None and len(complaint.body) < MAX_MESSAGE_CHARS:
            complaint.body = (complaint.body + data).lstrip()[:MAX_MESSAGE_CHARS]

    def end(self, _: str) -> None:
        """Handle the end of an element."""
        tag = self._open.pop()
        if tag == "testcase":
            self._finish_case()
        elif tag == "testsuite":
            self._suites.pop()
        elif self._open and self._open[-1] == "testcase":
            self._listening = None

    def _suite(self, tag: str, attributes: dict[str, str]) -> None:
        name = attributes.get("name", "")
        if tag == "testsuite":
            self._suites.append(name)
        if name in ("pytest", "pytest tests"):
            self.tool = "pytest"
        elif tag == "testsuites" and name == "jest tests":
            self.tool = "jest"
        elif any("surefire" in value for key, value in attributes.items() if key.endswith("chemaLocation")):
            self.tool = "surefire"
        if "timestamp" in attributes:
            started_s = _unix_time(attributes["timestamp"])
            if started_s is None:
                self.notes.add(self._file, f"the timestamp {attributes['timestamp']!r:.100} is no ISO date")
            elif self.started_s is None or started_s < self.started_s:
                self.started_s = started_s

    def _finish_case(self) -> None:
        case, self._case, self._listening = self._case, None, None
        if case is None:  # it closes around another one, which was taken
            return
        test = self._name_of(case)
        if not test:
            self.notes.add(self._file, "a testcase without a name")
            return
        outcome, message = "passed", ""
        status = case.get("status", "").lower()
        if status in _NOT_RUN or case.get("result", "").lower() == "suppressed":
            outcome = "skipped"
        for complaint in self._complaints:
            if complaint.outcome.startswith("flaky "):
                self._add(test, complaint.outcome.removeprefix("flaky "), complaint.duration, complaint.reason)
            elif _RANK[complaint.outcome] > _RANK[outcome] or (complaint.outcome == outcome and not message):
                outcome, message = complaint.outcome, complaint.reason
        self._add(test, outcome, case.get("time", ""), message)

    def _name_of(self, case: dict[str, str]) -> str:
        name = case.get("name", "").strip()
        group = case.get("classname", self._suites[-1] if self._suites else "").strip()
        test = f"{group}::{name}" if group and name else name
        if len(test) <= MAX_NAME_CHARS:
            return test
        # Cut names must stay apart: parametrized tests often differ at the end only.
        digest = hashlib.blake2b(test.encode(), digest_size=8).hexdigest()
        return f"{test[: MAX_NAME_CHARS - 17]}~{digest}"

    def _add(self, test: str, outcome: str, duration: str, message: str) -> None:
        duration_s = _seconds(duration)
        if duration_s is None:
            self.notes.add(f"{self._file}: {test:.200}", f"the time {duration!r:.100} is taken as 0")
        self.results.append(TestResult(test=test, outcome=outcome, duration_s=duration_s or 0.0, message=message))


def _tool_of_property(name: str) -> str:
    return "go" if name == "go.version" else "surefire" if name.startswith("surefire.") else ""


def _seconds(text: str) -> float | None:
    """Return a duration in seconds: 0 for none, None for one that is no number of at least 0.

    The last of point and comma is the decimal mark, unless it occurs twice: surefire writes ``1,234.5`` or ``1.234,5``
    depending on its locale.
    """
    digits = re.sub(r"[\s'_\u00a0\u202f]", "", text).removesuffix("s")
    if not digits:
        return 0.0
    mark = max(".,", key=digits.rfind)
    if digits.count(mark) > 1:
        mark = " "
    digits = "".join("." if char == mark else "" if char in ".," else char for char in digits)
    value = float(digits) if _NUMBER.fullmatch(digits) else math.nan
    return value if 0 <= value < math.inf else None


def _unix_time(text: str) -> float | None:
    """Return the Unix time of an ISO 8601 date, UTC where it names no zone; None if it is none."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None
