"""The n-gram engine beside KenLM, in process: scoring, distributions, KenLM's own binaries.

    python -m benchmarks.ngram_scoring [--corpus FILE] [--model FILE.arpa --texts FILE]

Without a model, a 5-gram is estimated from the corpus, or from random text where none is given; the
corpus is then also the text that is scored. KenLM scores what it has read from the ARPA file, in
memory of its own, in a loop of Model.score as its users do; ours is the mapped .ngram file. Scoring
counts the joining of the strings into one buffer. KENLM_BIN, a folder with KenLM's build_binary,
adds the comparison with that and on its files.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.corpora import shuffled, some_lines, synthetic_corpus, train_ngrams
from benchmarks.peers import KENLM_ABSENT, module, program, program_absent
from benchmarks.result import Goal, Row, Samples, Section
from benchmarks.standalone import run_alone
from benchmarks.timing import rates, times

from lmscore.models.kenlm.model import KenlmModel
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts
from lmscore.models.loading import load_model
from lmscore.models.ngram.file import open_ngram
from lmscore.models.ngram.model import NgramModel

LOOP = "`kenlm.Model.score` in a loop"
BATCH = 1000  # texts of one call on KenLM's binaries


@dataclass(frozen=True)
class Sizes:
    tokens: int = 2_000_000  # of the random text
    words: int = 95_000
    order: int = 5
    tokens_scored: int = 1_000_000
    rounds: int = 7
    conversions: int = 3
    model: Path | None = None
    texts: Path | None = None
    corpus: Path | None = None


QUICK = Sizes(tokens=150_000, words=20_000, tokens_scored=100_000, rounds=3, conversions=1)


def measure(sizes: Sizes) -> Section:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arpa, texts = _model_and_texts(sizes, folder)
        mapped, binary = folder / "model.ngram", folder / "model.binary"
        load_model(arpa)  # so that conversion does not compile
        conversion = _conversion(arpa, mapped, binary, sizes.conversions)
        model = open_ngram(mapped)
        lines = some_lines(texts, sizes.tokens_scored)
        rows = [*_engine_rows(model, arpa, lines, sizes.rounds), conversion, _size(model, mapped)]
        rows += _binary_rows(binary, lines, sizes.rounds)
        entries, words = sum(model.ngram_counts), len(model.vocabulary)
    text = (
        f"A {sizes.order}-gram model of {entries:,} n-grams over {words:,} words, one thread each. "
        "Scoring counts the joining of the strings into one buffer."
    )
    return Section("The n-gram engine", text, tuple(rows))


def _model_and_texts(sizes: Sizes, folder: Path) -> tuple[Path, Path]:
    """An ARPA file, and what is to be scored with it."""
    if sizes.model is not None:
        if sizes.texts is None:
            raise SystemExit("--model needs --texts, what to score with it")
        return sizes.model, sizes.texts
    corpus = sizes.corpus or synthetic_corpus(folder / "corpus.txt", sizes.tokens, sizes.words)
    return train_ngrams(corpus, folder / "model.arpa", sizes.order), sizes.texts or corpus


def _engine_rows(model: NgramModel, arpa: Path, lines: list[str], rounds: int) -> Iterator[Row]:
    kenlm = module("kenlm")
    peer = None if kenlm is None else _quietly(kenlm, arpa)
    same, mixed = "text like the training text", "words shuffled in each line"
    yield _scoring(same, model, peer, lines, rounds, Goal(4.0))
    yield _scoring(mixed, model, peer, shuffled(lines), rounds, Goal(2.0))
    yield _threads(model, lines, rounds)
    yield _distribution(model, kenlm, peer, max(lines, key=len), rounds, Goal(50.0))


def _binary_rows(binary: Path, lines: list[str], rounds: int) -> Iterator[Row]:
    """The same of a file that KenLM's build_binary has written."""
    what = "KenLM's probing file"
    kenlm = module("kenlm")
    if kenlm is None or not binary.exists():
        why = KENLM_ABSENT if kenlm is None else program_absent("build_binary")
        yield Row(
            f"{what}: text like the training text", "tokens/s", (), LOOP, note=why, goal=Goal(1.5)
        )
        return
    load_model(binary)  # compiles
    ours, theirs = KenlmModel.open(binary), kenlm.Model(str(binary))
    first = f"{what}: text like the training text"
    yield _scoring(first, ours, theirs, lines, rounds, Goal(1.5), BATCH)
    yield _scoring(f"{what}: words shuffled", ours, theirs, shuffled(lines), rounds, None, BATCH)
    longest = max(lines, key=len)
    yield _distribution(ours, kenlm, theirs, longest, max(2, rounds // 2), None, f"{what}: ")


def _quietly(kenlm: Any, arpa: Path) -> Any:
    config = kenlm.Config()
    config.show_progress = False
    return kenlm.Model(str(arpa), config)


def _scoring(
    what: str,
    model: LanguageModel[Any],
    peer: Any | None,
    lines: list[str],
    rounds: int,
    goal: Goal | None,
    batch: int | None = None,
) -> Row:
    """What a caller has are strings: making one buffer of them counts."""
    step = batch or len(lines)
    parts = [lines[i : i + step] for i in range(0, len(lines), step)]
    tokens = sum(len(line.split()) + 1 for line in lines)

    def ours() -> None:
        for part in parts:
            model.score(ScoreBatch(Texts.from_strings(part)))

    def theirs() -> None:
        score = peer.score  # type: ignore[union-attr]
        for line in lines:
            score(line)

    candidates: dict[str, Callable[[], object]] = {"ours": ours}
    if peer is not None:
        candidates["kenlm"] = theirs
    seconds = times(rounds, candidates)
    our_rates, peer_rates = rates(tokens, seconds["ours"]), rates(tokens, seconds.get("kenlm", ()))
    return Row(what, "tokens/s", our_rates, LOOP, peer_rates, goal=goal, note=_why(peer))


def _why(peer: object | None) -> str:
    return KENLM_ABSENT if peer is None else ""


def _threads(model: NgramModel, lines: list[str], rounds: int) -> Row:
    whole = ScoreBatch(Texts.from_strings(lines))
    middle = len(lines) // 2
    halves = [ScoreBatch(Texts.from_strings(part)) for part in (lines[:middle], lines[middle:])]
    tokens = int(model.score(whole).token_counts.sum())
    with ThreadPoolExecutor(2) as pool:
        seconds = times(
            3 * rounds,  # both cores must be free at once
            {
                "one": lambda: model.score(whole),
                "two": lambda: list(pool.map(model.score, halves)),
            },
        )
    one, two = rates(tokens, seconds["one"]), rates(tokens, seconds["two"])
    return Row(
        "two threads, strings joined before", "tokens/s", two, "one thread", one, goal=Goal(1.8)
    )


def _distribution(
    model: LanguageModel[Any],
    kenlm: Any | None,
    peer: Any | None,
    line: str,
    rounds: int,
    goal: Goal | None,
    prefix: str = "",
) -> Row:
    """The distribution after four words, beside a query for every word of the vocabulary."""
    words = line.split()[:4]
    vocabulary = model.vocabulary
    state = model.initial_state(1)
    for word in words:
        state = model.advance(state, np.array([vocabulary.id(word)]))
    candidates: dict[str, Callable[[], object]] = {"ours": lambda: model.next_log_probs(state)}
    if kenlm is not None:
        names = vocabulary.tokens(range(len(vocabulary)))
        candidates["kenlm"] = _query_every_word(kenlm, peer, words, names)
    found = times(rounds, candidates)
    seconds: Samples = found["ours"]
    return Row(
        f"{prefix}next-word distribution", "s", seconds, "`BaseScore` of every word",
        found.get("kenlm", ()), less_is_better=True, goal=goal, note=_why(kenlm),
    )  # fmt: skip


def _query_every_word(
    kenlm: Any, peer: Any, words: list[str], names: list[str]
) -> Callable[[], object]:
    state, after = kenlm.State(), kenlm.State()
    peer.BeginSentenceWrite(state)
    for word in words:
        peer.BaseScore(state, word, after)
        state, after = after, state

    def query() -> None:
        score = peer.BaseScore
        for name in names:
            score(state, name, after)

    return query


def _conversion(arpa: Path, target: Path, binary: Path, rounds: int) -> Row:
    """Whole commands, start of the interpreter included."""
    convert = [sys.executable, "-m", "lmscore.models.commands.convert", str(arpa), str(target)]
    commands = {"ours": convert}
    if (builder := program("build_binary")) is not None:
        commands["kenlm"] = [str(builder), str(arpa), str(binary)]

    def runner(command: list[str]) -> Callable[[], object]:
        return lambda: subprocess.run(command, check=True, capture_output=True)

    runs = {name: runner(command) for name, command in commands.items()}
    seconds = times(rounds, runs, warm_up=rounds > 1)
    return Row(
        "converting the ARPA file", "s", seconds["ours"], "KenLM's `build_binary`",
        seconds.get("kenlm", ()), less_is_better=True, goal=Goal(0.5),
        note="" if builder else program_absent("build_binary"),
    )  # fmt: skip


def _size(model: NgramModel, mapped: Path) -> Row:
    each = mapped.stat().st_size / sum(model.ngram_counts)
    return Row("size of the `.ngram` file", "bytes an n-gram", (each,), goal=Goal(24, at_most=True))


if __name__ == "__main__":
    run_alone("ngram", measure, Sizes(), QUICK)
