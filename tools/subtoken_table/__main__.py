"""Build the subtoken table of the lexical embedder.

    python tools/subtoken_table download FOLDER
    python tools/subtoken_table build FOLDER

The first fetches the pinned archives (0.5 GB); the second trains and writes the table, its vocabulary, its manifest and
its provenance into the package. The same archives give the same bytes on any x86-64 processor with AVX2.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sources import Archive

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "plugins" / "backend_numpy" / "aqe_backend_numpy" / "data"
# Sums in floating point depend on the instructions and threads that do them; these pin both.
PINNED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore::ImportWarning",  # of features that this processor lacks anyway
}


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("download", "build"))
    parser.add_argument("folder", type=Path, help="where the archives are, or shall be")
    parser.add_argument("--out", type=Path, default=DATA)
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in PINNED.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **PINNED})  # noqa: S606  # ourselves
    if arguments.command == "download":
        from sources import download

        arguments.folder.mkdir(parents=True, exist_ok=True)
        download(arguments.folder)
    else:
        build(arguments.folder, arguments.out)


def build(folder: Path, out: Path) -> None:
    """Train on the archives of a folder and write the table."""
    import numpy as np
    from corpus import chosen, prepare
    from examples import examples
    from sources import archives
    from training import Settings, Trainer

    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {what}", flush=True)  # noqa: T201  # progress of a script

    settings = Settings()
    used = archives(folder)
    found = [list(examples(archive)) for archive in used]
    say(f"{sum(map(len, found))} tests of {len(used)} projects")
    kept = chosen([each for tests in found for each in tests], settings.per_project, np.random.default_rng(0))
    corpus = prepare(kept, settings.n_vocabulary)
    say(f"{corpus.n_examples} tests kept, {len(corpus.described)} of them described, {len(corpus.subtokens)} subtokens")
    trainer = Trainer(corpus, settings)
    trainer.train(lambda step, losses: say(f"step {step} of {settings.n_steps}: {losses}"))
    learned = trainer.vectors[: corpus.n_vocabulary, settings.n_hashed :]
    vocabulary = corpus.subtokens[: corpus.n_vocabulary]
    lines = "".join(f"{each}\t{corpus.document_frequency[each]}\n" for each in vocabulary)
    write(out, quantized(learned, settings.n_hashed), lines, corpus.n_examples)
    counts = [(len(tests), sum(bool(each.described) for each in tests)) for tests in found]
    (out / "PROVENANCE.md").write_text(provenance(used, counts, corpus.n_examples), encoding="utf-8")
    say(f"written to {out}")


def quantized(learned: NDArray, n_hashed: int) -> NDArray:  # type: ignore[type-arg]  # float32 in, int8 out
    """Return the vectors as int8, scaled so that the median one is as long as the hashed part of any."""
    import numpy as np
    from aqe_backend_numpy.embedder import HASHED_UNIT

    wanted = HASHED_UNIT * np.sqrt(n_hashed)
    scale = wanted / np.median(np.sqrt(np.einsum("ij,ij->i", learned, learned)))
    return np.clip(np.rint(learned * scale), -127, 127).astype(np.int8)


def write(out: Path, table: NDArray, lines: str, n_documents: int) -> None:  # type: ignore[type-arg]  # int8
    """Write the three files that the embedder reads."""
    import numpy as np

    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "subtokens.npy", table, allow_pickle=False)
    (out / "subtokens.txt").write_text(lines, encoding="utf-8", newline="\n")
    files = {name: (out / name).read_bytes() for name in ("subtokens.npy", "subtokens.txt")}
    manifest = {
        "n_documents": n_documents,
        "crc32": {name: zlib.crc32(content) for name, content in files.items()},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    (out / "subtokens.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8", newline="\n")


def provenance(used: Sequence[Archive], counts: Sequence[tuple[int, int]], n_kept: int) -> str:
    """Return the page that names every source."""
    introduction = (HERE / "introduction.md").read_text("utf-8").format(n_projects=len(used), n_kept=n_kept)
    rows = [
        f"| {archive.name} | {archive.version} | {archive.licence} | {n_tests} | {n_described} | `{archive.sha256}` |"
        for archive, (n_tests, n_described) in zip(used, counts, strict=True)
    ]
    head = ["| project | version | licence | tests | described | SHA-256 of the archive |", "| --- " * 6 + "|"]
    return "\n".join([introduction, *head, *rows, ""])


if __name__ == "__main__":
    main()
