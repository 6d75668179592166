"""What the results say about the suite, judged by the workspace's analyzer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core.contracts.records import OUTCOMES

if TYPE_CHECKING:
    from aqe_core.contracts.analyzer import Description
    from aqe_core.workspace import Workspace

__all__ = ["Analysis", "FlakyTest", "SlowTest", "analyze"]

_SKIPPED = OUTCOMES.index("skipped")
_FAILED = (OUTCOMES.index("failed"), OUTCOMES.index("error"))


@attrs.frozen(kw_only=True)
class SlowTest:
    """A test by its duration: mean, 95th percentile and share of the suite's whole time."""

    test: str
    runs: int
    mean_s: float
    p95_s: float
    share: float


@attrs.frozen(kw_only=True)
class FlakyTest:
    """A test by how often its outcome changed between consecutive runs, with the 95 % interval of that rate."""

    test: str
    runs: int
    failures: int
    flips: int
    flip_rate: float
    low: float
    high: float


@attrs.frozen(kw_only=True)
class Analysis:
    """The state of the suite.

    Attributes
    ----------
    runs, results : int
        What it rests on; results without the skipped ones.
    outcomes : dict of str to int
        How many results had each outcome.
    duration : Description
        Of single results, in seconds.
    slowest : list of SlowTest
        Highest mean first, then by name.
    flakiest : list of FlakyTest
        Tests that changed outcome at least twice (one change is a break or a repair), highest lower bound of the rate
        first, then more changes, then by name.
    """

    runs: int
    results: int
    outcomes: dict[str, int]
    duration: Description
    slowest: list[SlowTest]
    flakiest: list[FlakyTest]

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``aqe analyze --json`` prints; what cannot be computed is null."""
        duration = self.duration
        numbers = {f"{name}_s": _number(getattr(duration, name)) for name in ("mean", "std", "min", "median", "max")}
        levels = {
            f"p{level * 100:g}_s": _number(q)
            for level, q in zip(duration.quantile_levels, duration.quantiles, strict=True)
        }
        return {
            "runs": self.runs,
            "results": self.results,
            "outcomes": self.outcomes,
            "duration": {"n": duration.n, **numbers, **levels},
            "slowest": [attrs.asdict(each) for each in self.slowest],
            "flakiest": [attrs.asdict(each) for each in self.flakiest],
        }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def analyze(workspace: Workspace, k: int) -> Analysis:
    """Judge the results; see `aqe_core.workspace.Workspace.analyze`."""
    table = workspace.storage.results()
    counts = np.bincount(table.outcome, minlength=len(OUTCOMES))
    ran = table.outcome != _SKIPPED
    test, duration_s = table.test[ran], table.duration_s[ran]
    failed = np.isin(table.outcome[ran], _FAILED)
    n = len(table.tests)
    times = workspace.analyzer.describe_groups(duration_s, test, n)
    flaky = workspace.analyzer.flakiness(failed, test, n)
    total_s = float(times.total.sum())
    slowest = sorted((i for i in range(n) if times.n[i]), key=lambda i: (-times.mean[i], table.tests[i]))[:k]
    flakiest = sorted(
        (i for i in range(n) if flaky.flips[i] > 1), key=lambda i: (-flaky.low[i], -flaky.flips[i], table.tests[i])
    )[:k]
    return Analysis(
        runs=len(np.unique(table.run)),
        results=int(ran.sum()),
        outcomes={name: int(count) for name, count in zip(OUTCOMES, counts, strict=True)},
        duration=workspace.analyzer.describe(duration_s),
        slowest=[
            SlowTest(
                test=table.tests[i],
                runs=int(times.n[i]),
                mean_s=float(times.mean[i]),
                p95_s=float(times.p95[i]),
                share=float(times.total[i]) / total_s if total_s else 0.0,
            )
            for i in slowest
        ],
        flakiest=[
            FlakyTest(
                test=table.tests[i],
                runs=int(flaky.runs[i]),
                failures=int(flaky.failures[i]),
                flips=int(flaky.flips[i]),
                flip_rate=float(flaky.flip_rate[i]),
                low=float(flaky.low[i]),
                high=float(flaky.high[i]),
            )
            for i in flakiest
        ],
    )
