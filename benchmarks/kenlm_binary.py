"""KenLM's own binaries read by lmscore, beside the kenlm package, one thread each.

    python -m benchmarks.kenlm_binary --model FILE.bin --texts FILE [--count N] [--rounds N]

Scoring: kenlm.Model.score for each text in a loop, against one lmscore batch for every thousand
texts; as given, and with the words shuffled within each text. Distributions: one kenlm query for
every word, against one call.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.corpora import shuffled
from benchmarks.peers import KENLM_ABSENT, module
from benchmarks.result import Goal, Row, Section
from benchmarks.standalone import run_alone
from benchmarks.timing import rates, times

from lmscore.models.kenlm.model import KenlmModel
from lmscore.models.language_model import NgramDescription, ScoreBatch, Texts
from lmscore.models.loading import load_model

BATCH = 1000
CONTEXTS = 5


@dataclass(frozen=True)
class Sizes:
    model: Path | None = None  # a KenLM binary
    texts: Path | None = None  # a text a line
    count: int = 50_000  # texts to score
    rounds: int = 5


def measure(sizes: Sizes) -> Section:
    if sizes.model is None or sizes.texts is None:
        raise SystemExit("--model and --texts are missing: a KenLM binary, and a text a line")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    lines = sizes.texts.read_text().splitlines()
    texts = random.Random(1).sample(lines, min(sizes.count, len(lines)))
    load_model(sizes.model)  # so that the time below is not that of compiling
    begin = time.perf_counter()
    model = KenlmModel.open(sizes.model)
    opened = time.perf_counter() - begin
    structure = model.description.structure
    assert isinstance(structure, NgramDescription)
    entries = sum(structure.ngram_counts)
    rows = [Row("opening", "s", (opened,), less_is_better=True), *_rows(model, texts, sizes)]
    text = f"A file of {entries:,} n-grams, one thread; {BATCH:,} texts a call."
    return Section("A large KenLM binary", text, tuple(rows))


def _rows(model: KenlmModel, texts: list[str], sizes: Sizes) -> Iterator[Row]:
    kenlm: Any = module("kenlm")
    if kenlm is None:
        raise SystemExit(KENLM_ABSENT)
    peer, rounds = kenlm.Model(str(sizes.model)), sizes.rounds
    mixed = shuffled(texts)
    yield _scoring("text like the training text", model, peer, texts, rounds, Goal(1.5))
    yield _scoring("words shuffled", model, peer, mixed, rounds, None)
    if model.vocabulary.has_words:
        yield _distributions(model, kenlm, peer, texts, max(2, rounds // 2))


def _scoring(
    what: str, model: KenlmModel, peer: Any, texts: list[str], rounds: int, goal: Goal | None
) -> Row:
    batches = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]

    def theirs() -> list[float]:
        return [peer.score(text) for text in texts]

    def ours() -> list[float]:
        scores = [model.score(ScoreBatch(Texts.from_strings(batch))) for batch in batches]
        return [log_prob for part in scores for log_prob in part.log_probs]

    assert np.allclose(ours(), np.array(theirs()) * math.log(10), rtol=1e-5)
    tokens = sum(len(text.split()) + 1 for text in texts)
    found = times(rounds, {"ours": ours, "kenlm": theirs})
    ours_rates, their_rates = rates(tokens, found["ours"]), rates(tokens, found["kenlm"])
    return Row(what, "tokens/s", ours_rates, "`kenlm.Model.score`", their_rates, goal=goal)


def _distributions(model: KenlmModel, kenlm: Any, peer: Any, texts: list[str], rounds: int) -> Row:
    words = model.vocabulary.tokens(range(len(model.vocabulary)))
    contexts = [text.split()[:4] for text in texts[:CONTEXTS]]
    states, peer_states = model.initial_state(len(contexts)), []
    for i, context in enumerate(contexts):
        state, after = kenlm.State(), kenlm.State()
        peer.BeginSentenceWrite(state)
        for word in context:
            peer.BaseScore(state, word, after)
            state, after = after, state
            ids = np.array([model.vocabulary.id(word)])
            states[i] = model.advance(states[i : i + 1], ids)[0]
        peer_states.append(state)
    scratch = kenlm.State()

    def theirs() -> None:
        for state in peer_states:
            for word in words:
                peer.BaseScore(state, word, scratch)

    found = times(rounds, {"ours": lambda: model.next_log_probs(states), "kenlm": theirs})
    ours, others = (tuple(t / len(contexts) for t in found[n]) for n in ("ours", "kenlm"))
    peer_name = "`BaseScore` of every word"
    return Row("next-word distribution", "s", ours, peer_name, others, less_is_better=True)


if __name__ == "__main__":
    run_alone("kenlm-binary", measure, Sizes(), Sizes(count=1_000, rounds=2))
