"""Every deliberately wrong engine is caught by the checks that should catch it, and every check catches one."""

from __future__ import annotations

import pytest

from aqe_core.testing import checks
from aqe_core.testing.faulty import faults
from aqe_core.testing.kit import run_check

FAULTS = faults()
CASES = [(fault, name) for fault in FAULTS for name in fault.caught_by]


@pytest.mark.parametrize(("fault", "name"), CASES, ids=[f"{fault.kind}-{fault}-{name}" for fault, name in CASES])
def test_fault_is_caught(fault, name):
    one = next(one for one in checks(fault.kind) if one.name == name)
    outcome = run_check(one, fault.engine, fault.capabilities)
    assert outcome.status == "failed", f"{fault.engine.__doc__} is not seen by {name}"
    assert outcome.message


@pytest.mark.parametrize("kind", ["pattern_store", "learner", "ranker", "analyzer", "embedder", "text_index"])
def test_every_check_catches_a_fault(kind):
    catching = {name for fault in FAULTS if fault.kind == kind for name in fault.caught_by}
    assert catching == {one.name for one in checks(kind)}


def test_faults_say_what_is_wrong():
    assert all((fault.engine.__doc__ or "").endswith(".") for fault in FAULTS)
    assert len({(fault.kind, str(fault)) for fault in FAULTS}) == len(FAULTS)
