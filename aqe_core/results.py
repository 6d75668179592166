"""The test results of a workspace, as ``ws.results``."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aqe_core.contracts.records import Run, TestResult
from aqe_core.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from aqe_core.contracts.records import ResultTable
    from aqe_core.ingest import IngestReport
    from aqe_core.workspace import Workspace

__all__ = ["Results"]


class Results:
    """Test results of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._ws = workspace
        self._storage = workspace.storage

    def __len__(self) -> int:
        """Return the number of results."""
        return self._storage.count_results()[1]

    def ingest(
        self, source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Iterable[TestResult]
    ) -> IngestReport:
        """Take result files, or results that the program made itself.

        Parameters
        ----------
        source : path, iterable of paths, or iterable of TestResult
            Results given directly are one run, that starts now.

        Returns
        -------
        IngestReport
            A run that is known already is counted as such and changes nothing.

        Raises
        ------
        IngestError
            A file cannot be used.
        InputError
            The items are neither all paths nor all results.
        """
        from aqe_core.ingest import IngestReport, ingest  # ingest imports much that rank does not need

        if isinstance(source, (str, Path)) or hasattr(source, "__fspath__"):
            return ingest(self._ws, [Path(source)], None)  # type: ignore[arg-type]  # narrowed by the test above
        items = list(source)
        results = [item for item in items if isinstance(item, TestResult)]
        if not results:
            return ingest(self._ws, [Path(item) for item in items], None)  # type: ignore[arg-type]  # all are paths
        if len(results) != len(items):
            raise InputError("results and paths are mixed.", fix="give either paths or TestResult records.")
        digest = hashlib.blake2b(repr((time.time_ns(), results)).encode(), digest_size=16).hexdigest()
        self._storage.put_run(Run(id=digest, source="(program)", tool="program", started_s=time.time()), results)
        return IngestReport(runs_added=1, results_added=len(results))

    def table(self) -> ResultTable:
        """Return all results as columns, oldest run first."""
        return self._storage.results()
