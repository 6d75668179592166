"""The table's builder: what it takes for a test and for a licence, and that it makes the same bytes again."""

from __future__ import annotations

import email
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "subtoken_table"

MODULE = '''
class TestRetry:
    def test_is_capped(self):
        """Retry after a timeout is capped.

        More about it.
        """
        assert delays(attempts=9)[-1] == MAXIMUM_DELAY_S

    def test_gives_up(self):
        # gives up after so many attempts
        with raises(Timeout):
            retry(always_failing, attempts=NUMBER)

    def helper(self):
        pass

def test_short(): pass
'''

CODE = f"""
import sys, hashlib
sys.path.insert(0, {str(TOOL)!r})
import numpy as np
from corpus import chosen, prepare
from examples import Example
from training import Settings, Trainer
words = [f"w{{chr(97 + i)}}" for i in range(20)]
found = [
    Example(f"p{{i%3}}", f"g{{i%7}}", (words[i % 20],), tuple(words[i % n] for n in (5, 11)), (words[i % 13],), ())
    for i in range(200)
]
corpus = prepare(chosen(found, 50, np.random.default_rng(0)), 15)
trainer = Trainer(corpus, Settings(dim=48, n_hashed=16, n_steps=30, batch=32))
losses = []
before = trainer.vectors.copy()
trainer.train(lambda step, loss: losses.append(loss))
assert corpus.n_examples == 150
assert np.array_equal(before[:, :16], trainer.vectors[:, :16])
assert np.array_equal(before[15:], trainer.vectors[15:])
assert not np.array_equal(before[:15], trainer.vectors[:15])
print(hashlib.sha256(trainer.vectors.tobytes()).hexdigest())
"""


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(TOOL)
    for name in ("sources", "examples", "corpus", "training"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_only_the_vocabulary_is_trained_and_again_to_the_bit():
    made = [
        subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_examples_of_a_module(tool):
    from examples import functions

    found = list(functions(MODULE))
    assert [(each[0], each[1], each[4]) for each in found] == [
        ("TestRetry", "test_is_capped", "Retry after a timeout is capped."),
        ("TestRetry", "test_gives_up", "gives up after so many attempts"),
        ("", "test_short", ""),
    ]
    assert found[0][2:4] == ("def test_is_capped(self):", "assert delays(attempts=9)[-1] == MAXIMUM_DELAY_S")
    assert found[1][3].startswith("with raises(Timeout):")
    assert list(functions("def broken(:")) == []


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT", "MIT"),
        ("License-Expression: MIT AND BSD-3-Clause", "MIT AND BSD-3-Clause"),
        ("License-Expression: Apache-2.0 OR GPL-2.0-or-later", "Apache-2.0 OR GPL-2.0-or-later"),
        ("License-Expression: MIT AND LGPL-3.0-only", ""),
        ("License-Expression: LicenseRef-Own", ""),
        ("License: EPL-2.0 OR GPL-2.0-or-later", ""),
        ("License: Apache License, Version 2.0", "Apache License, Version 2.0"),
        ("License: BSD 3-Clause", "BSD 3-Clause"),
        ("License: MIT, but not for evil", ""),
        ("Classifier: License :: OSI Approved :: BSD License", "BSD"),
        ("License: MIT\nClassifier: License :: OSI Approved :: GNU General Public License (GPL)", ""),
        ("Name: nothing", ""),
    ],
)
def test_licences(tool, metadata, licence):
    from sources import permissive

    assert permissive(email.message_from_string(metadata)) == licence


def test_every_archive_is_pinned_once(tool):
    from sources import pinned

    names = [requirement.partition("==")[0].lower() for requirement in pinned().values()]
    assert len(names) == len(set(names)) > 100
    assert all(len(digest) == 64 for digest in pinned())
