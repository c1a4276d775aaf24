"""How well surprisal finds one wrong word in a sentence, for an n-gram and for a network.

    python benchmarks/error_detection.py --text FILE [--split FOLDER] [--lstm FOLDER]

A tenth of the lines of the text is held out: half of them calibrate the threshold, in half of them
one word is replaced by a random word of the same frequency band (as many occurrences in the
training text, to a factor of two). Sentences of three known words or more are used. An n-gram
model is estimated from the other lines; a network has to be trained on them beforehand, which
--split writes to FOLDER/train.txt.

Prints how often the replaced word ranks first in its sentence, beside a choice at random and beside
frequency alone; the area under the curve of true over false positives; precision and recall of
words beyond thresholds. Words are ranked by surprisal, by misfit, and in --gain-sentences of the
sentences also by what the text gains from the best other word in their place.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lmscore.models.error_detection.alternatives import find_alternatives
from lmscore.models.error_detection.calibration import calibrate
from lmscore.models.error_detection.detection import (
    Criterion,
    ErrorSpan,
    SuspectWord,
    scored_words,
    unexpectedness,
)
from lmscore.models.estimation.training import TrainingSettings, train
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts
from lmscore.models.loading import load_model
from lmscore.models.ngram.from_table import model_from_table

LOWEST_QUANTILE = 0.9
FEWEST_WORDS = 3


@dataclass(frozen=True)
class Sentence:
    """A sentence in which one word was replaced."""

    words: list[str]
    wrong: int  # its place

    @property
    def text(self) -> str:
        return " ".join(self.words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--split", type=Path, help="folder to write the parts of the text to")
    parser.add_argument("--lstm", type=Path, help="a network that was trained on train.txt")
    parser.add_argument("--order", type=int, default=4)
    parser.add_argument("--gain-sentences", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.split or Path(name)
        folder.mkdir(exist_ok=True)
        training, calibration, test = split(arguments.text, arguments.seed)
        corpus = folder / "train.txt"
        corpus.write_text("".join(f"{line}\n" for line in training))
        models: dict[str, LanguageModel[Any]] = {}
        settings = TrainingSettings(order=arguments.order)
        models[f"{arguments.order}-gram"] = model_from_table(train([corpus], settings)[0])
    if arguments.lstm:
        models["network"] = load_model(arguments.lstm)
    counts = Counter(word for line in training for word in line.split())
    for name, model in models.items():
        vocabulary = model.vocabulary
        known = {w: n for w, n in counts.items() if vocabulary.id(w) not in {-1, vocabulary.unk_id}}
        sentences = list(damaged(test, known, random.Random(arguments.seed)))
        print(f"\n{name}: {len(sentences)} sentences, {sum(len(s.words) for s in sentences)} words")
        report(model, sentences, known, calibration, arguments.gain_sentences)


def split(path: Path, seed: int) -> tuple[list[str], list[str], list[str]]:
    """Lines to train on, to calibrate with, and to test with; no line is in two of them."""
    lines = sorted({" ".join(line.split()) for line in path.read_text().splitlines()} - {""})
    random.Random(seed).shuffle(lines)
    tenth = len(lines) // 10
    return lines[tenth:], lines[: tenth // 2], lines[tenth // 2 : tenth]


def damaged(
    lines: Sequence[str], counts: dict[str, int], chance: random.Random
) -> Iterator[Sentence]:
    """Sentences of known words with one word replaced by another of its frequency band."""
    bands: defaultdict[int, list[str]] = defaultdict(list)
    for word in sorted(counts):
        bands[counts[word].bit_length()].append(word)
    for line in lines:
        words = line.split()
        if len(words) < FEWEST_WORDS or not all(word in counts for word in words):
            continue
        wrong = chance.randrange(len(words))
        band = bands[counts[words[wrong]].bit_length()]
        others = [word for word in band if word != words[wrong]]
        if others:
            yield Sentence([*words[:wrong], chance.choice(others), *words[wrong + 1 :]], wrong)


def report(
    model: LanguageModel[Any],
    sentences: list[Sentence],
    counts: dict[str, int],
    calibration: Sequence[str],
    gain_sentences: int,
) -> None:
    known_lines = [line for line in calibration if all(word in counts for word in line.split())]
    measured = calibrate(model, [Texts.from_strings(known_lines)])
    places = [sentence.wrong for sentence in sentences]
    chance = float(np.mean([1 / len(sentence.words) for sentence in sentences]))
    rarity = [-np.array([counts[word] for word in s.words], float) for s in sentences]
    print(f"  first by chance {chance:.3f}, by rarity {ranking(rarity, places)}")
    criteria: tuple[Criterion, ...] = ("surprisal", "misfit")
    for criterion in criteria:
        start = time.perf_counter()
        values = figures(model, sentences, criterion)
        seconds = time.perf_counter() - start
        rate = sum(map(len, values)) / seconds
        print(f"  by {criterion}: {ranking(values, places)}  ({rate:.0f} words/s)")
        for quantile, threshold in measured.quantiles[criterion].items():
            if quantile < LOWEST_QUANTILE:
                continue
            precision, recall = precision_and_recall(values, places, threshold)
            mark = " <- the default" if quantile == measured.quantile else ""
            print(
                f"    quantile {quantile:<6} threshold {threshold:6.2f} nats"
                f"  precision {precision:.3f}  recall {recall:.3f}{mark}"
            )
        if gain_sentences:
            part = ranking(values[:gain_sentences], places[:gain_sentences])
            print(f"    in {gain_sentences} sentences: {part}")
    if gain_sentences:
        start = time.perf_counter()
        gain = gains(model, sentences[:gain_sentences])
        seconds = time.perf_counter() - start
        part, rate = ranking(gain, places[:gain_sentences]), sum(map(len, gain)) / seconds
        print(f"  by the best alternative's gain, in those: {part}  ({rate:.0f} words/s)")


def figures(
    model: LanguageModel[Any], sentences: Sequence[Sentence], criterion: Criterion
) -> list[NDArray[np.float64]]:
    """What is held against the threshold of the words of each sentence, in nats."""
    texts = Texts.from_strings([sentence.text for sentence in sentences])
    batch = ScoreBatch(texts, per_token=True)
    words = scored_words(batch, model.score(batch))
    values = unexpectedness(model, batch, words, criterion)
    return [values[begin : end - 1] for begin, end in pairwise(words.offsets.tolist())]


def gains(model: LanguageModel[Any], sentences: Sequence[Sentence]) -> list[NDArray[np.float64]]:
    """What the text gains in nats from the best other word in the place of each word."""
    found = []
    for sentence in sentences:
        batch = ScoreBatch(Texts.from_strings([sentence.text]))
        spans = [ErrorSpan(0, (word,)) for word in places_of(sentence)]
        best = find_alternatives(model, batch, model.score(batch).log_probs, spans, 1)
        found.append(np.array([each[0].gain if each else 0.0 for each in best]))
    return found


def places_of(sentence: Sentence) -> Iterator[SuspectWord]:
    begin = 0
    for word in sentence.words:
        end = begin + len(word.encode())
        yield SuspectWord(begin, end, np.inf, np.inf, oov=False)
        begin = end + 1


Values = Sequence[NDArray[np.float64]]


def ranking(values: Values, places: Sequence[int]) -> str:
    return f"first {first(values, places):.3f}  AUC {auc(values, places):.3f}"


def first(values: Values, places: Sequence[int]) -> float:
    """Share of the sentences in which the wrong word has the highest value; ties count in part."""
    hits = [
        (of_sentence[place] == of_sentence.max()) / (of_sentence == of_sentence.max()).sum()
        for of_sentence, place in zip(values, places, strict=True)
    ]
    return float(np.mean(hits))


def auc(values: Values, places: Sequence[int]) -> float:
    """Chance that a wrong word has a higher value than a right one of any sentence."""
    ranks = rankdata(np.concatenate(list(values)))
    wrong = np.zeros(len(ranks), np.bool_)
    wrong[marked(values, places)] = True
    count = int(wrong.sum())
    above: float = ranks[wrong].sum() - count * (count + 1) / 2
    return above / (count * (len(ranks) - count))


def precision_and_recall(
    values: Values, places: Sequence[int], threshold: float
) -> tuple[float, float]:
    flat = np.concatenate(list(values))
    flagged = flat > threshold
    hits = int(flagged[marked(values, places)].sum())
    return hits / max(int(flagged.sum()), 1), hits / len(places)


def marked(values: Values, places: Sequence[int]) -> NDArray[np.int64]:
    """Where the wrong words are among all."""
    begins = np.cumsum([0, *(len(each) for each in values[:-1])])
    found: NDArray[np.int64] = begins + np.array(places)
    return found


if __name__ == "__main__":
    main()
