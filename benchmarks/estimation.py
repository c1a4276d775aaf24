"""Estimating a 5-gram modified Kneser-Ney model, beside KenLM's scoring loop and lmplz.

    python benchmarks/estimation.py [--lmplz PATH] [CORPUS]

lmplz is given 2 GB and writes an ARPA file. CORPUS has one sentence a line; without one, it is the
text of Python's own library, words and punctuation apart, up to the number of tokens asked for.
Prints tokens a second, and ratios.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lmscore.models.estimation.threads import CORES
from lmscore.models.estimation.training import TrainingSettings, train
from lmscore.models.ngram.arpa_writer import write_arpa

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--lmplz", default=shutil.which("lmplz"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = arguments.corpus or write_corpus(folder / "corpus.txt", arguments.tokens)
        compare(corpus, arguments.order, arguments.lmplz, folder)


def compare(corpus: Path, order: int, lmplz: str | None, folder: Path) -> None:
    settings = TrainingSettings(order=order)
    table, report = train([corpus], settings)  # compiles
    print(f"{report.tokens} tokens, {report.ngrams_kept} {order}-grams, {CORES} cores")
    arpa = folder / "ours.arpa"
    write_arpa(table, arpa)
    del table

    def estimate() -> None:
        train([corpus], settings)

    def estimate_and_write() -> None:
        write_arpa(train([corpus], settings)[0], arpa)

    candidates: dict[str, Callable[[], object]] = {
        "estimating, in memory": estimate,
        "estimating and writing ARPA": estimate_and_write,
    }
    if lmplz:
        candidates["lmplz"] = lambda: run_lmplz(lmplz, corpus, order, folder)
    if (loop := kenlm_scoring(arpa, corpus)) is not None:
        candidates["kenlm.Model.score"] = loop
    times = best_seconds(candidates)
    show({name: report.tokens / seconds for name, seconds in times.items()})


def best_seconds(candidates: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Rounds alternate, so that a busy machine slows all alike; the best of each counts."""
    best = dict.fromkeys(candidates, math.inf)
    for _ in range(ROUNDS):
        for name, work in candidates.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def run_lmplz(lmplz: str, corpus: Path, order: int, folder: Path) -> None:
    command = [lmplz, "--discount_fallback", "-o", str(order), "-S", "2G", "-T", str(folder)]
    with corpus.open("rb") as text, (folder / "lmplz.arpa").open("wb") as arpa:
        subprocess.run(command, stdin=text, stdout=arpa, stderr=subprocess.DEVNULL, check=True)


def kenlm_scoring(arpa: Path, corpus: Path) -> Callable[[], object] | None:
    """A loop that scores the corpus with the model estimated from it, if kenlm is installed."""
    try:
        import kenlm
    except ModuleNotFoundError:
        return None
    config = kenlm.Config()
    config.show_progress = False
    model = kenlm.Model(str(arpa), config)
    lines = corpus.read_text().splitlines()
    return lambda: [model.score(line) for line in lines]


def show(rates: dict[str, float]) -> None:
    for name, rate in rates.items():
        print(f"{name:<32} {rate / 1e6:6.2f} M tokens/s")
    goals = {"lmplz": 3.0, "kenlm.Model.score": 0.42}
    for name, goal in goals.items():
        if name in rates:
            for ours in list(rates)[:2]:
                print(f"{ours} / {name}: {rates[ours] / rates[name]:.2f} (goal {goal})")


def write_corpus(path: Path, tokens: int) -> Path:
    """So many tokens of the sources of Python's library, a line of them a sentence."""
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for words in library_lines():
            if written >= tokens:
                break
            file.write(" ".join(words) + "\n")
            written += len(words)
    return path


def library_lines() -> Iterator[list[str]]:
    folders = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")]
    for folder in folders:
        for source in sorted(Path(folder).rglob("*.py")):
            text = source.read_text(encoding="utf-8", errors="ignore")
            for line in text.split("\n"):
                if words := re.findall(r"\w+|[^\w\s]+", line):
                    yield words


if __name__ == "__main__":
    main()
