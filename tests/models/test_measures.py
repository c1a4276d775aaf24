"""Measures against worked examples, KenLM's and SRILM's definitions."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lmscore.models.loading import load_model
from lmscore.models.measures import (
    NOTHING,
    Measures,
    characters_of,
    entropy,
    kl_divergence,
    lines_of,
    measure,
    perplexity,
    score_lines,
    to_bits,
)
from lmscore.models.windows import Windows, event_log_probs


def test_negative_log_likelihood_of_the_worked_example() -> None:
    log_prob = sum(map(math.log, (0.13, 0.05, 0.50, 0.20)))

    assert -log_prob / 4 == pytest.approx(1.835, abs=5e-4)
    assert perplexity(-2.51, 1) == pytest.approx(12.30, abs=5e-3)


def test_what_is_as_good_as_impossible_has_an_infinite_perplexity() -> None:
    assert perplexity(-1e5, 1) == math.inf


def test_nothing_is_not_perplexing() -> None:
    assert NOTHING.perplexity == NOTHING.perplexity_without_ends == 1.0
    assert NOTHING.cross_entropy_bits == NOTHING.bits_per_character == 0.0


def test_measures_of_a_single_event() -> None:
    found = Measures(1, 1, 0, 1, -math.log(8), -math.log(8))

    assert found.cross_entropy_nats == pytest.approx(math.log(8))
    assert found.bits_per_character == pytest.approx(3.0)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_lines_come_without_their_ends_and_only_those(end: bytes) -> None:
    lines = lines_of(b"\na b\r\nc\rd\n\r\n\re" + end)
    found = [lines.data[a:b].tobytes() for a, b in pairwise(lines.offsets.tolist())]

    assert found == [b"", b"a b", b"c\rd", b"", b"\re"]


@pytest.mark.parametrize(("kinds", "nats"), [(27, 3.296), (50257, 10.82)])
def test_a_uniform_distribution_is_as_perplexing_as_it_has_kinds(kinds: int, nats: float) -> None:
    assert entropy(np.full(kinds, 1 / kinds)) == pytest.approx(nats, abs=5e-3)
    assert perplexity(-math.log(kinds), 1) == pytest.approx(kinds)


def test_entropy_in_bits() -> None:
    assert to_bits(entropy([0.5, 0.3, 0.2, 0.0])) == pytest.approx(1.485, abs=5e-4)


def test_divergence_is_not_symmetric() -> None:
    assert kl_divergence([0.9, 0.1], [0.5, 0.5]) == pytest.approx(0.368, abs=5e-4)
    assert kl_divergence([0.5, 0.5], [0.9, 0.1]) == pytest.approx(0.511, abs=5e-4)
    assert kl_divergence([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert kl_divergence([1.0, 0.0], [0.5, 0.5]) == pytest.approx(math.log(2))


def test_measures_of_a_text_worked_by_hand(tiny_arpa: Path) -> None:
    text = b"a b\nnew\n"

    found = measure(load_model(tiny_arpa), [(text, text)])

    # p(a|<s>) p(b|a) p(</s>|b), then 2/3 p(<unk>) and p(</s>)
    known = math.log(0.6 * 0.5 * 0.5 * 0.2)
    unknown = math.log(2 / 3 * 0.1)
    assert (found.lines, found.events, found.oov_events, found.characters) == (2, 5, 1, 8)
    assert found.log_prob == pytest.approx(known + unknown, abs=1e-5)
    assert found.perplexity == pytest.approx(math.exp(-(known + unknown) / 5), rel=1e-5)
    assert found.perplexity_excluding_oov == pytest.approx(math.exp(-known / 4), rel=1e-5)
    assert found.perplexity_without_ends == pytest.approx(math.exp(-known / 2), rel=1e-5)
    assert found.cross_entropy_bits == pytest.approx(-(known + unknown) / 5 / math.log(2), rel=1e-5)
    assert found.bits_per_character == pytest.approx(-(known + unknown) / 8 / math.log(2), rel=1e-5)


@pytest.mark.parametrize(
    ("text", "lines", "characters"), [("", 0, 0), ("é\n", 1, 2), ("日本", 1, 3), ("a\r\n\n", 2, 3)]
)
def test_characters_count_the_ends_of_lines(text: str, lines: int, characters: int) -> None:
    assert characters_of(text.encode(), lines) == characters


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (3, 3), (5, 2), (100, 7)])
def test_windows_that_hold_the_context_change_nothing(
    tiny_arpa: Path, size: int, stride: int
) -> None:
    model = load_model(tiny_arpa)
    text = b"a b a\n\nb b a b ? a b b a a b a b\n"
    whole = score_lines(model, text)
    cut = score_lines(model, text, Windows(size, stride))

    assert cut.token_counts.tolist() == whole.token_counts.tolist()
    assert cut.oov_counts.tolist() == whole.oov_counts.tolist()
    if size - stride >= 1:  # a bigram model looks back at one token
        np.testing.assert_allclose(cut.log_probs, whole.log_probs, rtol=1e-12)
        np.testing.assert_allclose(
            cut.log_probs_excluding_oov, whole.log_probs_excluding_oov, rtol=1e-12
        )
    else:
        assert cut.log_probs[2] != whole.log_probs[2]


def test_windows_of_one_token_see_no_context(tiny_arpa: Path) -> None:
    model = load_model(tiny_arpa)
    ids = np.array([model.vocabulary.id(word) for word in ("a", "b", "b")])
    log_probs = event_log_probs(model, ids, Windows(1, 1))

    assert np.exp(log_probs) == pytest.approx([0.6, 0.3, 0.3, 0.2], abs=1e-5)


def test_a_stride_beyond_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="stride of 4"):
        Windows(3, 4)
