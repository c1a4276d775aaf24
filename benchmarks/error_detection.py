"""How well surprisal finds one wrong word in a sentence, for an n-gram and for a network.

    python -m benchmarks.error_detection --text FILE [--split FOLDER] [--lstm FOLDER]

A tenth of the lines of the text is held out: half of them calibrate the threshold, in half of them
one word is replaced by a random word of the same frequency band (as many occurrences in the
training text, to a factor of two). Sentences of three known words or more are used. An n-gram
model is estimated from the other lines; a network has to be trained on them beforehand, which
--split writes to FOLDER/train.txt.

Told are how often the replaced word ranks first in its sentence, beside a choice at random and
beside frequency alone; the area under the curve of true over false positives; precision and recall
of words beyond thresholds. Words are ranked by surprisal, by misfit, and in --gain-sentences of the
sentences also by what the text gains from the best other word in their place.
"""

from __future__ import annotations

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
from benchmarks.result import Section, Table
from benchmarks.standalone import run_alone
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

QUANTILES = (0.95, 0.98, 0.99)
CRITERIA: tuple[Criterion, ...] = ("surprisal", "misfit")
FEWEST_WORDS = 3


@dataclass(frozen=True)
class Sentence:
    """A sentence in which one word was replaced."""

    words: list[str]
    wrong: int  # its place

    @property
    def text(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Sizes:
    text: Path | None = None
    split: Path | None = None  # folder to write the parts of the text to
    lstm: Path | None = None  # a network that was trained on train.txt of that folder
    order: int = 4
    gain_sentences: int = 300
    seed: int = 1


def measure(sizes: Sizes) -> Section:
    if sizes.text is None:
        raise SystemExit("--text is missing: a sentence a line")
    training, calibration, test = split(sizes.text, sizes.seed)
    counts = Counter(word for line in training for word in line.split())
    quality: list[tuple[str, ...]] = []
    speed: list[tuple[str, ...]] = []
    for name, model in _models(sizes, training).items():
        vocabulary = model.vocabulary
        known = {w: n for w, n in counts.items() if vocabulary.id(w) not in {-1, vocabulary.unk_id}}
        sentences = list(damaged(test, known, random.Random(sizes.seed)))
        told = Report(f"{name}, {len(sentences)} sentences", model, sentences, known)
        quality += told.chance()
        for criterion in CRITERIA:
            rows, rate = told.of(criterion, calibration)
            quality += rows
            speed.append((name, criterion, f"{rate:,.0f} words/s"))
        if sizes.gain_sentences:
            quality.append(told.gain(sizes.gain_sentences))
    columns = (
        "model",
        "by",
        "wrong word first",
        "AUC",
        *(f"precision, recall beyond {q}" for q in QUANTILES),
    )
    text = (
        f"{len(test):,} sentences to test, {len(training):,} to train on; in sentences of known "
        "words one word is replaced by a random word of the same frequency band. Precision and "
        "recall are of words beyond quantiles of the calibration's words."
    )
    tables = (Table(columns, tuple(quality)), Table(("model", "by", "speed"), tuple(speed)))
    return Section("Error detection", text, tables=tables)


def _models(sizes: Sizes, training: Sequence[str]) -> dict[str, LanguageModel[Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = sizes.split or Path(name)
        folder.mkdir(exist_ok=True)
        corpus = folder / "train.txt"
        corpus.write_text("".join(f"{line}\n" for line in training))
        settings = TrainingSettings(order=sizes.order)
        models: dict[str, LanguageModel[Any]] = {}
        models[f"{sizes.order}-gram"] = model_from_table(train([corpus], settings)[0])
    if sizes.lstm:
        models["network"] = load_model(sizes.lstm)
    return models


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


@dataclass(frozen=True)
class Report:
    """Rows of the table on one model."""

    name: str
    model: LanguageModel[Any]
    sentences: list[Sentence]
    counts: dict[str, int]

    @property
    def places(self) -> list[int]:
        return [sentence.wrong for sentence in self.sentences]

    def chance(self) -> Iterator[tuple[str, ...]]:
        """What ranking at random, and by frequency alone, would give."""
        blank = ("",) * len(QUANTILES)
        chance = float(np.mean([1 / len(sentence.words) for sentence in self.sentences]))
        rarity = [-np.array([self.counts[w] for w in s.words], float) for s in self.sentences]
        yield self.name, "chance", f"{chance:.3f}", "0.500", *blank
        yield self.name, "rarity", *ranking(rarity, self.places), *blank

    def of(
        self, criterion: Criterion, calibration: Sequence[str]
    ) -> tuple[list[tuple[str, ...]], float]:
        """The row of a criterion, and how many words a second it takes."""
        known = [line for line in calibration if all(word in self.counts for word in line.split())]
        thresholds = calibrate(self.model, [Texts.from_strings(known)]).quantiles[criterion]
        start = time.perf_counter()
        values = figures(self.model, self.sentences, criterion)
        rate = sum(map(len, values)) / (time.perf_counter() - start)
        beyond = (precision_and_recall(values, self.places, thresholds[q]) for q in QUANTILES)
        cells = (f"{precision:.2f}, {recall:.2f}" for precision, recall in beyond)
        return [(self.name, criterion, *ranking(values, self.places), *cells)], rate

    def gain(self, count: int) -> tuple[str, ...]:
        gain = gains(self.model, self.sentences[:count])
        what = f"gain of the best alternative ({len(gain)} sentences)"
        blank = ("",) * len(QUANTILES)
        return self.name, what, *ranking(gain, self.places[:count]), *blank


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


def ranking(values: Values, places: Sequence[int]) -> tuple[str, str]:
    """How often the wrong word comes first, and the area under the curve."""
    return f"{first(values, places):.3f}", f"{auc(values, places):.3f}"


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
    run_alone("error-detection", measure, Sizes(), Sizes(gain_sentences=20))
