"""Memory that models and scoring take, each in a process of its own.

    python -m benchmarks.memory [--texts 10000] [--tokens N] [--units N]

What counts is the peak of resident memory above that of the same program before: a network that
scores many texts at once, and an n-gram model beside KenLM's. `--batch-tokens` bounds the first.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpora import some_lines, synthetic_corpus, train_ngrams
from benchmarks.machine import ROOT
from benchmarks.peers import KENLM_ABSENT, module
from benchmarks.result import Row, Section
from benchmarks.standalone import run_alone
from benchmarks.timing import in_turns


@dataclass(frozen=True)
class Sizes:
    texts: tuple[int, ...] = (2_500, 10_000)  # that a network scores in one call
    batch_tokens: tuple[int, ...] = (2_048, 8_192)  # distinct prefixes computed at once
    units: int = 650
    layers: int = 2
    vocabulary: int = 10_000
    tokens: int = 1_000_000  # of the text of the n-gram model, which it scores as well
    words: int = 95_000
    rounds: int = 1


QUICK = Sizes(
    texts=(300,), batch_tokens=(2_048,), units=64, vocabulary=1_000, tokens=20_000, words=5_000,
    rounds=1,
)  # fmt: skip


def measure(sizes: Sizes) -> Section:
    rows = [*network_rows(sizes), *ngram_rows(sizes)]
    text = (
        "Peaks of resident memory above that of the program with its code loaded, each in a "
        f"process of its own. {sizes.texts[-1]:,} texts in one "
        "call take no more than so many distinct prefixes at once need, however many texts there "
        "are; the server's `--max-batch-tokens` sets it."
    )
    return Section("Memory", text, tuple(rows))


def network_rows(sizes: Sizes) -> Iterator[Row]:
    for batch_tokens in sizes.batch_tokens:
        shape = {"units": sizes.units, "layers": sizes.layers, "vocabulary": sizes.vocabulary}
        for texts in sizes.texts:
            job = {**shape, "texts": texts, "batch_tokens": batch_tokens}
            found = in_turns(sizes.rounds, {"": _in_process("network", job)})[""]
            what = f"{texts:,} texts scored by an LSTM, {batch_tokens:,} prefixes at once"
            yield Row(what, "bytes", found, less_is_better=True)


def ngram_rows(sizes: Sizes) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = synthetic_corpus(folder / "corpus.txt", sizes.tokens, sizes.words)
        arpa = train_ngrams(corpus, folder / "m.arpa", 5)
        mapped = train_ngrams(corpus, folder / "m.ngram", 5)
        size = mapped.stat().st_size
        jobs = {
            "open": ("opening", mapped),
            "score": ("scoring", mapped),
            "arpa": ("scoring", arpa),
        }
        if module("kenlm") is not None:
            jobs["kenlm"] = ("kenlm", arpa)
        texts = {"texts": str(corpus)}
        run = {k: _in_process(v, {"model": str(p), **texts}) for k, (v, p) in jobs.items()}
        found = in_turns(sizes.rounds, run)
    peer, theirs = "`kenlm.Model` of the ARPA file", found.get("kenlm", ())
    what = f"a `.ngram` file of {size / 2**20:.0f} MiB"
    yield Row(f"{what}, opened", "bytes", found["open"], less_is_better=True)
    note = "" if theirs else KENLM_ABSENT
    for name, told in (("score", f"{what}, texts scored"), ("arpa", "its ARPA file, texts scored")):
        yield Row(told, "bytes", found[name], peer, theirs, less_is_better=True, note=note)


def _in_process(what: str, job: Mapping[str, object]) -> Callable[[], float]:
    def run() -> float:
        command = [sys.executable, __file__, "--job", what, json.dumps(job)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        return float(done.stdout)

    return run


def resident() -> int:
    """Bytes of memory that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_of(run: Callable[[], object]) -> int:
    """How many bytes of resident memory it adds at most."""
    before = most = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = run()
    done.set()
    watcher.join()
    most = max(most, resident())
    del kept
    return most - before


def score_with_network(texts: int, batch_tokens: int, **shape: int) -> int:
    from benchmarks.networks import Shape, made_up_lists, workload

    from lmscore.models.network.model import NetworkModel
    from lmscore.models.network.placement import Placement

    work = workload(Shape(**shape), made_up_lists(max(1, texts // 100)))
    model = NetworkModel(work.checkpoint, Placement("cpu", "float32", 2, batch_tokens))
    model.score(work.of(work.ids[:10]).batch)
    batch = work.batch
    return peak_of(lambda: model.score(batch))


def open_ngrams(model: str, texts: str) -> int:  # noqa: ARG001 - it scores none
    from lmscore.models.ngram.file import open_ngram

    return peak_of(lambda: open_ngram(Path(model)))


def score_with_ngrams(model: str, texts: str) -> int:
    from lmscore.models.language_model import ScoreBatch, Texts
    from lmscore.models.loading import load_model

    lines = some_lines(Path(texts), 200_000)
    # What is compiled is loaded once, whatever the model.
    demo = load_model(ROOT / "checkpoints/demo/trigram.arpa.gz")
    demo.score(ScoreBatch(Texts.from_strings(lines[:10])))

    def run() -> object:
        loaded = load_model(Path(model))
        for i in range(0, len(lines), 1000):
            loaded.score(ScoreBatch(Texts.from_strings(lines[i : i + 1000])))
        return loaded

    return peak_of(run)


def score_with_kenlm(model: str, texts: str) -> int:
    kenlm: Any = module("kenlm")
    lines = some_lines(Path(texts), 200_000)
    config = kenlm.Config()
    config.show_progress = False

    def run() -> object:
        loaded = kenlm.Model(model, config)
        for line in lines:
            loaded.score(line)
        return loaded

    return peak_of(run)


JOBS: dict[str, Callable[..., int]] = {
    "network": score_with_network,
    "opening": open_ngrams,
    "scoring": score_with_ngrams,
    "kenlm": score_with_kenlm,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        print(JOBS[sys.argv[2]](**json.loads(sys.argv[3])))
    else:
        run_alone("memory", measure, Sizes(), QUICK)
