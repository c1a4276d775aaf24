"""KenLM's own binaries read by lmscore, beside the kenlm package, one thread each.

    python benchmarks/kenlm_binary.py FILE.bin… --texts FILE [--count N] [--rounds N]

Scoring: kenlm.Model.score for each text in a loop, against one lmscore batch for every thousand
texts; as given, and with the words shuffled within each text. Distributions: one kenlm query for
every word, against one call. Rounds alternate, so that a busy machine slows both alike; the best
round of each counts. Goal: 1.5 times kenlm on the probing format.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kenlm
import numpy as np

from lmscore.models.kenlm.model import KenlmModel
from lmscore.models.language_model import NgramDescription, ScoreBatch, Texts
from lmscore.models.loading import load_model

BATCH = 1000
CONTEXTS = 5


def seconds(run: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def best(rounds: int, *candidates: Callable[[], Any]) -> list[float]:
    """The shortest time of each candidate, in seconds; they take turns."""
    times = [[seconds(candidate) for candidate in candidates] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def compare_scoring(model: KenlmModel, peer: Any, texts: list[str], rounds: int) -> str:
    batches = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]

    def theirs() -> list[float]:
        return [peer.score(text) for text in texts]

    def ours() -> list[float]:
        scores = [model.score(ScoreBatch(Texts.from_strings(batch))) for batch in batches]
        return [log_prob for part in scores for log_prob in part.log_probs]

    assert np.allclose(ours(), np.array(theirs()) * math.log(10), rtol=1e-5)
    tokens = sum(len(text.split()) + 1 for text in texts)
    kenlm_time, our_time = best(rounds, theirs, ours)
    return (
        f"kenlm {tokens / kenlm_time / 1e6:5.2f} M tokens/s, "
        f"lmscore {tokens / our_time / 1e6:5.2f} M tokens/s: {kenlm_time / our_time:.2f} times"
    )


def compare_distributions(model: KenlmModel, peer: Any, texts: list[str], rounds: int) -> str:
    words = model.vocabulary.tokens(range(len(model.vocabulary)))
    contexts = [text.split()[:4] for text in texts[:CONTEXTS]]
    states, peer_states = model.initial_state(CONTEXTS), []
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

    kenlm_time, our_time = best(rounds, theirs, lambda: model.next_log_probs(states))
    return (
        f"kenlm {kenlm_time / CONTEXTS * 1e3:.1f} ms, "
        f"lmscore {our_time / CONTEXTS * 1e3:.2f} ms: {kenlm_time / our_time:.0f} times"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--count", type=int, default=50_000, help="texts to score")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    random.seed(1)
    lines = options.texts.read_text().splitlines()
    texts = random.sample(lines, min(options.count, len(lines)))
    shuffled = [" ".join(random.sample(words, len(words))) for words in map(str.split, texts)]
    for path in options.models:
        load_model(path)  # so that the time below is not that of compiling
        begin = time.perf_counter()
        model = KenlmModel.open(path)
        opened = time.perf_counter() - begin
        peer = kenlm.Model(str(path))
        structure = model.description.structure
        assert isinstance(structure, NgramDescription)
        entries = sum(structure.ngram_counts)
        print(f"{path.name}: {entries / 1e6:.1f} M n-grams, opened in {opened * 1e3:.0f} ms")
        print("  as given:     ", compare_scoring(model, peer, texts, options.rounds))
        print("  shuffled:     ", compare_scoring(model, peer, shuffled, options.rounds))
        if model.vocabulary.has_words:
            rounds = max(2, options.rounds // 2)
            print("  distribution: ", compare_distributions(model, peer, texts, rounds))


if __name__ == "__main__":
    main()
