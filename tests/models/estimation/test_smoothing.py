"""Every smoothing against what it must be."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmscore.models.estimation.discounts import DiscountWarning, katz_discounts
from lmscore.models.estimation.smoothing import SMOOTHINGS
from lmscore.models.estimation.training import TrainingSettings, train
from lmscore.models.measures import measure
from lmscore.models.ngram.arpa import read_arpa
from lmscore.models.ngram.from_table import model_from_table
from tests.models.estimation.trained import (
    FIXTURES,
    SENTENCES,
    as_backoff,
    assert_same_entries,
    distribution,
    train_file,
    train_lines,
)

WORDS = ["a", "b", "c", "d", "é"]
CORPORA = st.lists(st.lists(st.sampled_from(WORDS), max_size=8), min_size=1, max_size=12).filter(
    any
)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    sentences=CORPORA,
    order=st.integers(1, 5),
    variant=st.sampled_from(["", "cut", "pruned", "unk"]),
)
def test_every_distribution_sums_to_one(
    smoothing: str, sentences: list[list[str]], order: int, variant: str
) -> None:
    lines = [" ".join(sentence) for sentence in sentences]
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "heldout.txt").write_text("a b b c\nnew d\n")
        table = train_lines(
            folder,
            lines,
            order=order,
            smoothing=smoothing,
            added=0.3,
            heldout=folder / "heldout.txt",
            cutoffs=(0, 0, 1, 1)[:order] if variant == "cut" else (),
            prune_threshold=0.05 if variant == "pruned" else 0.0,
            least_count=2 if variant == "unk" else 1,
        )
    model = as_backoff(table)
    unseen = itertools.product([*WORDS[:2], "<unk>"], repeat=2)
    contexts = {(), ("<s>",), *unseen, *(ngram for ngram in model.probs if "</s>" not in ngram)}
    for context in contexts:
        known = tuple(word if (word,) in model.probs else "<unk>" for word in context)
        assert distribution(
            model, known[-(order - 1) :] if order > 1 else ()
        ).sum() == pytest.approx(1, abs=2e-5), known


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_modified_kneser_ney_equals_lmplz(order: int) -> None:
    table, _ = train_file(SENTENCES, order=order)

    assert_same_entries(table, read_arpa(FIXTURES / f"order{order}.arpa"), 2e-6)


def test_cutoffs_equal_those_of_lmplz() -> None:
    table, _ = train_file(SENTENCES, order=4, cutoffs=(0, 0, 1, 2))

    assert_same_entries(table, read_arpa(FIXTURES / "cutoffs.arpa"), 2e-6)


def test_discounts_that_cannot_be_computed_are_replaced_with_a_warning(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("one word\n")

    with pytest.warns(DiscountWarning, match=r"too few \d-grams"):
        _, report = train([corpus], TrainingSettings(order=2))

    assert report.notes["discounts"] == [[0.5, 1.0, 1.5]] * 2


class TestToyCorpus:
    """The worked example: relative frequencies of three sentences."""

    LINES = ("i love cats", "i love dogs", "cats chase mice")

    @pytest.mark.parametrize(
        ("context", "word", "prob"),
        [
            ("<s>", "i", 2 / 3),
            ("<s>", "cats", 1 / 3),
            ("<s> i", "love", 1),
            ("i love", "cats", 1 / 2),
            ("love cats", "</s>", 1),
            ("i love", "mice", 0),
            ("never seen", "cats", 2 / 12),
        ],
    )
    def test_probabilities(self, tmp_path: Path, context: str, word: str, prob: float) -> None:
        table = train_lines(tmp_path, list(self.LINES), order=3, smoothing="maximum-likelihood")
        model = as_backoff(table)
        known = tuple(w if (w,) in model.probs else "<unk>" for w in context.split())

        assert 10 ** float(model.prob(known, word)) == pytest.approx(prob)

    def test_an_unseen_sentence_is_impossible_unless_smoothed(self, tmp_path: Path) -> None:
        for smoothing, impossible in (("maximum-likelihood", True), ("additive", False)):
            table = train_lines(tmp_path, list(self.LINES), order=3, smoothing=smoothing)

            measures = measure(model_from_table(table), [(b"i love mice\n", b"i love mice\n")])

            assert math.isinf(measures.perplexity) is impossible


class TestAdditiveCharacters:
    """0.1 added to every count, against the closed form."""

    TRAIN = "the cat sat on the mat\nthe dog sat\n"
    VALIDATION = "a cat\nthe zoo\n"

    @pytest.mark.parametrize("order", [1, 2])
    @pytest.mark.parametrize("text", [TRAIN, VALIDATION])
    def test_perplexity(self, tmp_path: Path, order: int, text: str) -> None:
        lines = self.TRAIN.splitlines()
        table = train_lines(
            tmp_path, lines, order=order, smoothing="additive", added=0.1, tokens="characters"
        )
        segmented = " ".join(text.replace(" ", "▁")).encode()

        found = measure(model_from_table(table), [(text.encode(), segmented)])

        assert found.perplexity == pytest.approx(self.closed_form(text, order), rel=1e-6)
        assert found.characters == len(text)

    def closed_form(self, text: str, order: int) -> float:
        """exp of the mean of -ln (c(h, w) + 0.1) / (c(h) + 0.1 V), line feeds being ends."""
        vocabulary = [*sorted({*self.TRAIN}), "<unk>"]
        counts = np.zeros((len(vocabulary), len(vocabulary)))

        def events(data: str) -> list[tuple[int, int]]:
            ids = [vocabulary.index(c) if c in vocabulary else len(vocabulary) - 1 for c in data]
            return list(itertools.pairwise([vocabulary.index("\n"), *ids]))

        for before, after in events(self.TRAIN):
            counts[before, after] += 1
        if order == 1:
            counts[:] = counts.sum(axis=0)
        probs = (counts + 0.1) / (counts.sum(axis=1, keepdims=True) + 0.1 * len(vocabulary))
        return float(np.exp(-np.mean([np.log(probs[event]) for event in events(text)])))


def test_witten_bell_leaves_as_much_as_there_were_kinds_of_words(tmp_path: Path) -> None:
    table = train_lines(tmp_path, ["a b", "a b", "a c"], order=2, smoothing="witten-bell")
    model = as_backoff(table)

    # After a: b twice, c once; two kinds. Below: 9 events of 4 kinds, evenly over 5.
    below = 2 / 13 + 4 / 13 / 5
    assert 10 ** model.backoffs["a",] == pytest.approx(2 / 5)
    assert 10 ** model.probs["a", "b"] == pytest.approx(2 / 5 + 2 / 5 * below)


def test_kneser_ney_counts_what_precedes() -> None:
    words = [line.split() for line in SENTENCES.read_text().splitlines()]
    pairs = {pair for line in words for pair in itertools.pairwise(["<s>", *line, "</s>"])}
    preceded = Counter(word for _, word in pairs)
    n1, n2 = (list(preceded.values()).count(n) for n in (1, 2))
    table, report = train_file(SENTENCES, order=2, smoothing="kneser-ney")

    discount = n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
    left = discount * len(preceded) / len(pairs)
    uniform = 1 / (len(preceded) + 1)  # with <unk>

    assert report.notes["discounts"][0] == [pytest.approx(discount)]
    model = as_backoff(table)
    for word, count in preceded.items():
        expected = (count - discount) / len(pairs) + left * uniform
        assert 10 ** model.probs[word,] == pytest.approx(expected, rel=1e-5)


def test_katz_discounts_follow_good_and_turing() -> None:
    n = [0, 1000, 400, 200, 120, 80, 55]
    counts = np.repeat(np.arange(7), n)
    trusted = 6 * 55 / 1000

    found = katz_discounts(2, counts)

    for r in range(1, 6):
        corrected = (r + 1) * n[r + 1] / n[r]
        kept = (corrected / r - trusted) / (1 - trusted)
        assert found[r] == pytest.approx(r - r * kept)
    assert found[0] == found[6] == 0


def test_katz_gives_unseen_words_what_the_seen_ones_leave() -> None:
    table, _ = train_file(SENTENCES, order=2, smoothing="katz")
    model = as_backoff(table)
    words = [word for word in model.words if word != "<s>"]
    seen = [word for word in words if ("old", word) in model.probs]

    left = 1 - sum(10 ** model.probs["old", word] for word in seen)
    below = sum(10 ** model.probs[word,] for word in words if word not in seen)

    assert 0 < left < 1
    assert 10 ** model.backoffs["old",] == pytest.approx(left / below, rel=1e-5)
