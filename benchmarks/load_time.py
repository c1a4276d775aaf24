"""How long models take to open, the server to start, and the client to import.

    python -m benchmarks.load_time [--tokens N] [--units N]

Everything is opened from files that have just been written, so the disk has no part in it. The
server is timed as a program, from its start to its line "ready".
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client_import import import_rows
from benchmarks.corpora import synthetic_corpus, train_ngrams
from benchmarks.machine import ROOT
from benchmarks.peers import KENLM_ABSENT, module, program, program_absent
from benchmarks.result import Goal, Row, Section
from benchmarks.serving import server
from benchmarks.standalone import run_alone
from benchmarks.timing import times

KENLM_NAMES = {
    "kenlm arpa": "`kenlm.Model` of the same file",
    "kenlm binary": "`kenlm.Model` of its own binary",
}


@dataclass(frozen=True)
class Sizes:
    tokens: int = 1_000_000  # of the text whose 5-gram model is opened
    words: int = 95_000
    units: int = 650
    layers: int = 2
    vocabulary: int = 10_000
    rounds: int = 3
    import_rounds: int = 10


QUICK = Sizes(
    tokens=50_000, words=10_000, units=128, vocabulary=2_000, rounds=1, import_rounds=1
)  # fmt: skip


def measure(sizes: Sizes) -> Section:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [*ngram_rows(folder, sizes), *network_rows(folder, sizes), *start_rows(sizes)]
    rows += import_rows(sizes.import_rounds)
    text = (
        "Times until a model can answer. PyTorch's peer is `torch.load` of the weights alone, with "
        "`load_state_dict`; it hashes and checks nothing."
    )
    return Section("Load time", text, tuple(rows))


def ngram_rows(folder: Path, sizes: Sizes) -> Iterator[Row]:
    from lmscore.models.loading import load_model
    from lmscore.models.ngram.file import open_ngram

    corpus = synthetic_corpus(folder / "corpus.txt", sizes.tokens, sizes.words)
    arpa, mapped = train_ngrams(corpus, folder / "m.arpa", 5), folder / "m.ngram"
    _run(sys.executable, "-m", "lmscore.models.commands.convert", str(arpa), str(mapped))
    kenlm, entries = module("kenlm"), sum(open_ngram(mapped).ngram_counts)
    of = f"{entries:,} n-grams"
    candidates: dict[str, Callable[[], object]] = {
        "mapped": lambda: open_ngram(mapped),
        "checked": lambda: load_model(mapped),
        "arpa": lambda: load_model(arpa),
    }
    if kenlm is not None:
        candidates["kenlm arpa"] = lambda: _kenlm(kenlm, arpa)
    binary = folder / "m.binary"
    if kenlm is not None and (builder := program("build_binary")) is not None:
        _run(str(builder), str(arpa), str(binary))
        candidates |= {
            "binary": lambda: load_model(binary),
            "kenlm binary": lambda: _kenlm(kenlm, binary),
        }
    found = times(sizes.rounds, candidates)
    goal = Goal(0.05, at_most=True)
    opened = f"opening a `.ngram` file, {of}"
    yield Row(opened, "s", found["mapped"], less_is_better=True, goal=goal)
    why = program_absent("build_binary") if kenlm else KENLM_ABSENT
    peers = ((f"{opened}, and fingerprint", "checked", "kenlm binary", why),
             (f"reading an ARPA file, {of}", "arpa", "kenlm arpa", KENLM_ABSENT),
             (f"opening a KenLM binary, {of}", "binary", "kenlm binary", why))  # fmt: skip
    for what, ours, peer, absent in peers:
        theirs, name = found.get(peer, ()), KENLM_NAMES[peer]
        note = "" if theirs else absent
        yield Row(what, "s", found.get(ours, ()), name, theirs, less_is_better=True, note=note)


def network_rows(folder: Path, sizes: Sizes) -> Iterator[Row]:
    import torch
    from benchmarks.networks import Shape, write_network

    from lmscore.models.loading import load_model
    from lmscore.models.network.module import NetworkModule

    shape = Shape(sizes.units, sizes.layers, sizes.vocabulary)
    module = write_network(folder / "lstm", shape)
    weights = folder / "weights.pt"
    torch.save(module.state_dict(), weights)

    def plain() -> None:
        other = NetworkModule(shape.config)
        other.load_state_dict(torch.load(weights, weights_only=True))

    found = times(
        max(2, sizes.rounds), {"ours": lambda: load_model(folder / "lstm"), "torch": plain}
    )
    what, peer = f"loading an LSTM, {shape}", "`torch.load`"
    yield Row(what, "s", found["ours"], peer, found["torch"], less_is_better=True)


def start_rows(sizes: Sizes) -> Iterator[Row]:
    models = {"n-gram": "trigram.arpa.gz", "LSTM": "lstm"}

    def start(path: Path) -> Callable[[], object]:
        def run() -> None:
            with server(path):
                pass

        return run

    demo = ROOT / "checkpoints/demo"
    found = times(sizes.rounds, {k: start(demo / v) for k, v in models.items()}, warm_up=False)
    for kind, seconds in found.items():
        what = f"starting and stopping a server of the demo {kind}"
        yield Row(what, "s", seconds, less_is_better=True)


def _kenlm(kenlm: Any, path: Path) -> object:
    config = kenlm.Config()
    config.show_progress = False
    return kenlm.Model(str(path), config)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    run_alone("loading", measure, Sizes(), QUICK)
