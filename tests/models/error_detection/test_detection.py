"""Errors, misfits and alternatives of a model whose probabilities are known."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.error_detection.candidates import likely_words
from lmscore.models.error_detection.checking import CheckedTexts, CheckSettings, check_texts
from lmscore.models.error_detection.detection import Criterion
from lmscore.models.error_detection.spelling import Neighbours, neighbours
from lmscore.models.errors import CapabilityError
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts
from lmscore.models.loading import load_model
from tests.server.character_network import character_network

ln = math.log
TEXTS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6).map(" ".join)


@pytest.fixture(scope="module")
def tiny(tiny_arpa: Path) -> LanguageModel[Any]:
    return load_model(tiny_arpa)


def check(
    model: LanguageModel[Any],
    *texts: str,
    criterion: Criterion = "surprisal",
    threshold: float = math.inf,
    alternatives: int = 10,
    spelling: bool = False,
) -> CheckedTexts:
    batch = ScoreBatch(Texts.from_strings(list(texts)), per_token=True)
    return check_texts(model, batch, CheckSettings(criterion, threshold, alternatives, spelling))


def log_prob(model: LanguageModel[Any], text: str) -> float:
    return float(model.score(ScoreBatch(Texts.from_strings([text]))).log_probs[0])


def test_words_beyond_the_threshold_are_found_and_neighbours_are_one_span(
    tiny: LanguageModel[Any],
) -> None:
    # p(b|<s>) = 2/3 * 0.3, p(b|b) = 5/8 * 0.3, p(a|b) = 5/8 * 0.4, p(b|a) = 0.5
    checked = check(tiny, "b b a b", "a b", threshold=-ln(0.4), alternatives=0)

    [span] = [span for span in checked.spans if span.text == 0]
    assert [(word.begin, word.end) for word in span.words] == [(0, 1), (2, 3), (4, 5)]
    assert span.surprisal == pytest.approx(-ln(5 / 8 * 0.3), abs=1e-5)
    assert [span.text for span in checked.spans] == [0]


def test_unknown_words_are_found_whatever_the_threshold_and_ends_never_are(
    tiny: LanguageModel[Any],
) -> None:
    [span] = check(tiny, "a c").spans
    everything = check(tiny, "a b", threshold=-math.inf, alternatives=0).spans

    assert (span.begin, span.end, span.oov) == (2, 3, True)
    assert [(span.begin, span.end) for span in everything] == [(0, 3)]


def test_a_misfit_is_what_both_sides_of_a_word_say_beside_the_word_alone(
    tiny: LanguageModel[Any],
) -> None:
    figures = check(tiny, "a b", criterion="misfit").unexpectedness

    # After <unk>, b and </s> have p = 0.3 and p(</s>|b) = 0.5; after a p(b|a) = 0.5.
    of_a = ln(0.4) - ln(0.6) + ln(0.3 * 0.5) - ln(0.5 * 0.5)
    of_b = ln(0.3) - ln(0.5) + ln(0.2) - ln(0.5)
    assert figures.tolist() == pytest.approx([of_a, of_b, 0.0], abs=1e-5)


@given(TEXTS)
def test_a_misfit_does_not_depend_on_what_else_is_checked(
    tiny: LanguageModel[Any], text: str
) -> None:
    alone = check(tiny, text, criterion="misfit", alternatives=0).unexpectedness
    among = check(tiny, "b a", text, "", criterion="misfit", alternatives=0)

    begin = among.words.offsets[1]
    assert among.unexpectedness[begin : begin + len(alone)].tolist() == alone.tolist()


@given(TEXTS)
def test_an_alternative_gains_what_the_whole_text_gains(
    tiny: LanguageModel[Any], text: str
) -> None:
    alone = {"a": ln(0.4), "b": ln(0.3), "c": ln(0.1)}
    checked = check(tiny, text, threshold=0.6)

    for span, alternatives in zip(checked.spans, checked.alternatives, strict=True):
        assert [each.gain for each in alternatives] == sorted(
            (each.gain for each in alternatives), reverse=True
        )
        for each in alternatives:
            changed = f"{text[: span.begin]}{each.text}{text[span.end :]}"
            gain = log_prob(tiny, changed) - log_prob(tiny, text)
            kept, written = each.text.split(), text[span.begin : span.end].split()
            if len(kept) < len(written):  # any words of it may have been left out
                left_out = combinations(written, len(written) - len(kept))
                gains = {gain + sum(alone[word] for word in words) for words in left_out}
                assert any(each.gain == pytest.approx(other, abs=1e-5) for other in gains)
            else:
                assert each.gain == pytest.approx(gain, abs=1e-6)
                assert each.gain > 0 or span.oov


def test_the_right_context_decides_between_alternatives(tmp_path: Path) -> None:
    # After x, p is likelier than q; but y follows q alone.
    path = tmp_path / "right.arpa"
    path.write_text(
        "\\data\\\nngram 1=8\nngram 2=3\n\n\\1-grams:\n-1\t<unk>\n-99\t<s>\t0\n-1\t</s>\n"
        "-1\tx\t0\n-1\tp\t-2\n-1\tq\t0\n-1\ty\t0\n-3\tz\t-1\n\n\\2-grams:\n"
        "-0.1\tx p\n-0.7\tx q\n-0.1\tq y\n\n\\end\\\n"
    )
    [found] = check(load_model(path), "x z y", threshold=6.5).alternatives

    assert (found[0].text, found[0].source) == ("q", "vocabulary")
    gain = ln(10) * ((-0.7 - 0.1) - (-3 - 1 - 1))
    assert found[0].gain == pytest.approx(gain, abs=1e-5)


def test_a_repeated_word_is_better_left_out(tmp_path: Path) -> None:
    path = tmp_path / "repeated.arpa"
    path.write_text(
        "\\data\\\nngram 1=5\nngram 2=2\n\n\\1-grams:\n-4\t<unk>\n-99\t<s>\t-1\n-0.5\t</s>\n"
        "-0.5\tx\t-2\n-0.5\ty\t-1\n\n\\2-grams:\n-0.1\tx y\n-0.1\ty </s>\n\n\\end\\\n"
    )
    [found] = check(load_model(path), "x x y", threshold=5.0).alternatives

    # Without it p(x|x) = 10^-2.5 is saved, and the word alone would have cost 10^-0.5.
    assert (found[0].text, found[0].source) == ("", "deletion")
    assert found[0].gain == pytest.approx(ln(10) * (2.5 - 0.5), abs=1e-5)


def test_misspelt_words_get_words_that_are_spelled_alike(tmp_path: Path) -> None:
    words = ["went", "want", "cinema", "the", "then"]
    path = tmp_path / "words.arpa"
    unigrams = "".join(f"-1\t{word}\n" for word in ("<unk>", "</s>", *words))
    path.write_text(f"\\data\\\nngram 1=8\n\n\\1-grams:\n-99\t<s>\n{unigrams}\n\\end\\\n")
    model = load_model(path)

    [near] = check(model, "wnet the", spelling=True).alternatives
    [likely] = check(model, "wnet the").alternatives
    assert [(each.text, each.source) for each in near] == [("went", "spelling")]
    assert {each.source for each in likely} == {"vocabulary"}
    assert {each.text for each in likely} == set(words)


@pytest.mark.parametrize(
    ("word", "near"),
    [("form", ["from"]), ("cinmea", ["cinema"]), ("cinema", []), ("xxxxx", []), ("fro", ["from"])],
)
def test_neighbours_are_one_or_two_edits_away(word: str, near: list[str]) -> None:
    assert Neighbours(["from", "cinema", "cinnamon"]).of(word) == near


def test_models_of_characters_find_words_and_have_no_list_of_them() -> None:
    model = character_network()
    prefixes = ScoreBatch(Texts.from_strings(["ab ", ""]))

    for found in likely_words(model, prefixes, 4):
        assert found
        assert all(word and b" " not in word for word in found)
    with pytest.raises(CapabilityError, match="characters"):
        neighbours(model)


def test_a_misfit_of_characters_is_beside_the_text_without_the_word() -> None:
    model = character_network()
    [figure] = check(model, "ab cd ef", criterion="misfit", alternatives=0).unexpectedness[1:2]

    def total(text: str, *, bos: bool = True, eos: bool = True) -> float:
        batch = ScoreBatch(Texts.from_strings([text]), bos=bos, eos=eos)
        return float(model.score(batch).log_probs[0])

    before, word = total("ab", eos=False), total("ab cd", eos=False)
    after = total("ab cd ef") - word
    without = total("ab ef") - before
    expected = total("cd", bos=False, eos=False) - (word - before) + without - after
    assert figure == pytest.approx(expected, abs=1e-4)


def test_a_word_that_is_impossible_here_is_the_worst_misfit(tmp_path: Path) -> None:
    path = tmp_path / "unsmoothed.arpa"
    path.write_text(
        "\\data\\\nngram 1=5\nngram 2=2\n\n\\1-grams:\n-4\t<unk>\n-99\t<s>\t0\n-0.5\t</s>\n"
        "-0.5\tx\t-inf\n-0.5\ty\t0\n\n\\2-grams:\n-0.1\tx y\n-0.1\ty </s>\n\n\\end\\\n"
    )
    checked = check(load_model(path), "x x y", criterion="misfit", threshold=100.0)

    assert not np.isnan(checked.unexpectedness).any()
    assert checked.unexpectedness[:2].max() == math.inf
    assert checked.alternatives[0][0].gain == math.inf
