"""Estimating a 5-gram modified Kneser-Ney model, beside KenLM's scoring loop and lmplz.

    python -m benchmarks.estimation [--corpus FILE] [--tokens N]

lmplz, of the folder KENLM_BIN or the path, is given 2 GB and writes an ARPA file. A corpus has one
sentence a line; without one, it is the text of Python's own library, words and punctuation apart,
up to the number of tokens asked for.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.corpora import library_corpus
from benchmarks.peers import KENLM_ABSENT, module, program, program_absent
from benchmarks.result import Goal, Row, Samples, Section
from benchmarks.standalone import run_alone
from benchmarks.timing import rates, times

from lmscore.models.estimation.threads import CORES
from lmscore.models.estimation.training import TrainingSettings, train
from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.models.loading import load_model
from lmscore.models.ngram.arpa_writer import write_arpa

COMPARED = 20_000  # lines that are scored with both models


@dataclass(frozen=True)
class Sizes:
    tokens: int = 2_000_000
    order: int = 5
    rounds: int = 5
    corpus: Path | None = None


QUICK = Sizes(tokens=100_000, rounds=3)


def measure(sizes: Sizes) -> Section:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = sizes.corpus or library_corpus(folder / "corpus.txt", sizes.tokens)
        settings = TrainingSettings(order=sizes.order)
        table, report = train([corpus], settings)
        write_arpa(table, folder / "ours.arpa")
        del table
        seconds = times(sizes.rounds, _candidates(corpus, settings, folder), warm_up=False)
        rate = {name: rates(report.tokens, each) for name, each in seconds.items()}
        rows = [*_rows(rate), _difference(corpus, folder)]
    text = (
        f"Order {sizes.order}, modified Kneser-Ney, {report.tokens:,} tokens of the sources of "
        f"Python's library, {report.ngrams_kept[-1]:,} n-grams of the highest order, {CORES} "
        "cores. `lmplz` always writes an ARPA file; `kenlm.Model.score` scores the text with the "
        "model."
    )
    return Section("Estimation", text, tuple(rows))


def _candidates(
    corpus: Path, settings: TrainingSettings, folder: Path
) -> dict[str, Callable[[], object]]:
    arpa = folder / "ours.arpa"
    candidates: dict[str, Callable[[], object]] = {
        "in memory": lambda: train([corpus], settings),
        "with an ARPA file written": lambda: write_arpa(train([corpus], settings)[0], arpa),
    }
    if (lmplz := program("lmplz")) is not None:
        candidates["lmplz"] = lambda: run_lmplz(lmplz, corpus, settings.order, folder)
    if (loop := _kenlm_scoring(arpa, corpus)) is not None:
        candidates["kenlm"] = loop
    return candidates


def _rows(rate: dict[str, Samples]) -> Iterator[Row]:
    for name in ("in memory", "with an ARPA file written"):
        lmplz, loop = rate.get("lmplz", ()), rate.get("kenlm", ())
        yield Row(
            name, "tokens/s", rate[name], "`lmplz`", lmplz, goal=Goal(3.0),
            note="" if lmplz else program_absent("lmplz"),
        )  # fmt: skip
        yield Row(
            name, "tokens/s", rate[name], "`kenlm.Model.score`", loop, goal=Goal(0.42),
            note="" if loop else KENLM_ABSENT,
        )  # fmt: skip


def run_lmplz(lmplz: Path, corpus: Path, order: int, folder: Path) -> None:
    command = [str(lmplz), "--discount_fallback", "-o", str(order), "-S", "2G", "-T", str(folder)]
    with corpus.open("rb") as text, (folder / "lmplz.arpa").open("wb") as arpa:
        subprocess.run(command, stdin=text, stdout=arpa, stderr=subprocess.DEVNULL, check=True)


def _kenlm_scoring(arpa: Path, corpus: Path) -> Callable[[], object] | None:
    """A loop that scores the corpus with the model estimated from it, if kenlm is installed."""
    kenlm = module("kenlm")
    if kenlm is None:
        return None
    config = kenlm.Config()
    config.show_progress = False
    model = kenlm.Model(str(arpa), config)
    lines = corpus.read_text().splitlines()
    return lambda: [model.score(line) for line in lines]


def _difference(corpus: Path, folder: Path) -> Row:
    """How far the two models are apart in the texts that they were estimated from."""
    what, unit, goal = "largest difference from lmplz's model", "nats a token", Goal(1e-5, True)
    theirs = folder / "lmplz.arpa"
    if not theirs.exists():
        return Row(what, unit, (), note=program_absent("lmplz"), goal=goal)
    lines = corpus.read_text().splitlines()[:COMPARED]
    batch = ScoreBatch(Texts.from_strings(lines), per_token=True)
    ours, other = (load_model(path).score(batch) for path in (folder / "ours.arpa", theirs))
    assert ours.tokens is not None
    assert other.tokens is not None
    apart = np.abs(ours.tokens.log_probs - other.tokens.log_probs).max()
    return Row(what, unit, (float(apart),), goal=goal)


if __name__ == "__main__":
    run_alone("estimation", measure, Sizes(), QUICK)
