"""The n-gram engine beside kenlm, in process: scoring, distributions, converting, opening, size.

    python benchmarks/ngram_scoring.py [--corpus FILE] [--build-binary PATH]
    python benchmarks/ngram_scoring.py --model FILE.arpa --texts FILE [--rounds N]

Without a model, a 5-gram is estimated from the corpus, or from random text where none is given; the
corpus is then also the text that is scored. kenlm scores what it has read from the ARPA file, in
memory of its own; ours is the mapped .ngram file. Rounds alternate, so that a busy machine slows
all alike; the best round of each counts. KenLM's build_binary is timed if its path is given.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kenlm
import numpy as np

from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts
from lmscore.models.loading import load_model
from lmscore.models.ngram.file import open_ngram
from lmscore.models.ngram.model import NgramModel

TOKENS_SCORED = 1_000_000
GOALS = {
    "text like the training text": 4.0,
    "words shuffled in each line": 2.0,
    "two threads beside one": 1.8,
    "from KenLM's own probing binary": 1.5,
    "distribution, beside a query a word": 50.0,
}


def synthetic_corpus(path: Path, tokens: int = 2_000_000, words: int = 95_000) -> Path:
    """Text in which frequent words, and words that follow one another, are so by Zipf's law."""
    generator = np.random.default_rng(1)
    ranks = np.minimum(generator.zipf(1.25, tokens), words) - 1
    # Half of the words are a function of the two before them, so that long n-grams recur.
    chosen = generator.random(tokens) < 0.5
    for i in np.flatnonzero(chosen[2:]) + 2:
        ranks[i] = (ranks[i - 1] * 31 + ranks[i - 2] * 17 + ranks[i] % 7) % words
    with path.open("w") as file:
        for line in np.array_split(ranks, tokens // 18):
            file.write(" ".join(f"w{rank}" for rank in line) + "\n")
    return path


def best_times(rounds: int, candidates: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of the best round of each."""
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def texts_to_score(path: Path) -> tuple[list[str], list[str]]:
    """Lines of a file in random order, about as many tokens as are wanted; and words shuffled."""
    lines = path.read_text().splitlines()
    rng = random.Random(1)
    rng.shuffle(lines)
    mean = max(1, sum(map(len, map(str.split, lines[:1000]))) // min(len(lines), 1000))
    lines = lines[: TOKENS_SCORED // mean]
    shuffled = []
    for line in lines:
        words = line.split()
        rng.shuffle(words)
        shuffled.append(" ".join(words))
    return lines, shuffled


def report(what: str, ours: str, peer: str, ratio: float) -> None:
    goal = f"   goal {GOALS[what]:g}" if what in GOALS else ""
    print(f"{what:40} {ours:>18} {peer:>18} {ratio:8.2f} x{goal}")


def measure_scoring(
    what: str, model: LanguageModel[Any], peer: Any, lines: list[str], rounds: int
) -> None:
    texts = Texts.from_strings(lines)
    tokens = int(model.score(ScoreBatch(texts)).token_counts.sum())

    def peer_loop() -> None:
        score = peer.score
        for line in lines:
            score(line)

    best = best_times(
        rounds,
        # What a caller has are strings: making one buffer of them counts.
        {"ours": lambda: model.score(ScoreBatch(Texts.from_strings(lines))), "kenlm": peer_loop},
    )
    rates = {name: tokens / seconds / 1e6 for name, seconds in best.items()}
    ratio = best["kenlm"] / best["ours"]
    report(what, f"{rates['ours']:.1f} M tokens/s", f"{rates['kenlm']:.1f} M tokens/s", ratio)


def measure_threads(model: NgramModel, lines: list[str], rounds: int) -> None:
    whole = ScoreBatch(Texts.from_strings(lines))
    middle = len(lines) // 2
    halves = [ScoreBatch(Texts.from_strings(part)) for part in (lines[:middle], lines[middle:])]
    with ThreadPoolExecutor(2) as pool:
        best = best_times(
            10 * rounds,  # both cores must be free at once
            {
                "one": lambda: model.score(whole),
                "two": lambda: list(pool.map(model.score, halves)),
            },
        )
    tokens = int(model.score(whole).token_counts.sum())
    one, two = (tokens / best[name] / 1e6 for name in ("one", "two"))
    ratio = best["one"] / best["two"]
    report("two threads beside one", f"{two:.1f} M tokens/s", f"{one:.1f} M tokens/s", ratio)


def measure_distribution(model: NgramModel, peer: Any, line: str, rounds: int) -> None:
    words = line.split()[:4]
    vocabulary = model.vocabulary
    state = model.initial_state(1)
    peer_state, after = kenlm.State(), kenlm.State()
    peer.BeginSentenceWrite(peer_state)
    for word in words:
        state = model.advance(state, np.array([vocabulary.id(word)]))
        peer.BaseScore(peer_state, word, after)
        peer_state, after = after, peer_state
    names = vocabulary.tokens(range(len(vocabulary)))

    def query_every_word() -> None:
        query = peer.BaseScore
        for name in names:
            query(peer_state, name, after)

    best = best_times(
        rounds, {"ours": lambda: model.next_log_probs(state), "kenlm": query_every_word}
    )
    micro = {name: f"{seconds * 1e6:.0f} µs" for name, seconds in best.items()}
    ratio = best["kenlm"] / best["ours"]
    report("distribution, beside a query a word", micro["ours"], micro["kenlm"], ratio)


def measure_conversion(arpa: Path, target: Path, build_binary: Path | None) -> None:
    """Whole commands, start of the interpreter included; the second run of each counts at best."""
    convert = [sys.executable, "-m", "lmscore.models.commands.convert", str(arpa), str(target)]
    commands = {"ours": convert}
    if build_binary is not None:
        commands["kenlm"] = [str(build_binary), str(arpa), str(target.with_suffix(".binary"))]

    def runner(command: list[str]) -> Callable[[], object]:
        return lambda: subprocess.run(command, check=True, capture_output=True)

    best = best_times(3, {name: runner(command) for name, command in commands.items()})
    peer = best.get("kenlm", float("nan"))
    report(
        "converting the ARPA file", f"{best['ours']:.2f} s", f"{peer:.2f} s", peer / best["ours"]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="an ARPA file")
    parser.add_argument("--texts", type=Path, help="a text a line, to score")
    parser.add_argument("--corpus", type=Path, help="a text a line, to make a 5-gram from")
    parser.add_argument("--build-binary", type=Path, help="KenLM's converter")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arpa = given.model
        texts = given.texts
        if arpa is None:
            corpus = given.corpus or synthetic_corpus(folder / "corpus.txt")
            texts = texts or corpus
            arpa = folder / "model.arpa"
            train = [sys.executable, "-m", "lmscore.models.commands.train", "ngram"]
            command = [*train, "--order", "5", str(corpus), str(arpa)]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        if texts is None:
            parser.error("give --texts")
        compare(arpa, texts, folder, given.build_binary, given.rounds)


def compare(arpa: Path, texts: Path, folder: Path, build_binary: Path | None, rounds: int) -> None:
    print(f"{'':40} {'lmscore':>18} {'kenlm':>18}")
    mapped = folder / "model.ngram"
    load_model(arpa)  # so that conversion does not compile
    measure_conversion(arpa, mapped, build_binary)
    start = time.perf_counter()
    model = open_ngram(mapped)
    opened = time.perf_counter() - start
    peer = kenlm.Model(str(arpa))
    lines, shuffled = texts_to_score(texts)
    measure_scoring("text like the training text", model, peer, lines, rounds)
    measure_scoring("words shuffled in each line", model, peer, shuffled, rounds)
    measure_threads(model, lines, rounds)
    if build_binary is not None:
        binary = load_model(mapped.with_suffix(".binary"))
        measure_scoring("from KenLM's own probing binary", binary, peer, lines, rounds)
    measure_distribution(model, peer, max(lines, key=len), rounds)
    entries = sum(model.ngram_counts)
    size = mapped.stat().st_size
    print(
        f"{entries:,} n-grams over {len(model.vocabulary):,} words: {size / entries:.1f} bytes each"
    )
    print(f"opening: {opened * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
