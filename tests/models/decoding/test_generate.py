"""Text from prompts in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmscore.models.decoding.generate import Finished, Place, Token, generate
from lmscore.models.decoding.parameters import Beam, Decoding, Sampling
from lmscore.models.decoding.rows import FinishReason
from lmscore.models.errors import ParameterError
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts
from lmscore.models.loading import load_model
from tests.models.decoding.table_model import TableModel

DEMO = Path(__file__).parents[3] / "checkpoints/demo/trigram.arpa.gz"


@pytest.fixture(scope="module")
def demo() -> LanguageModel[Any]:
    return load_model(DEMO)


def texts_of(
    model: LanguageModel[Any], prompts: list[str], settings: Decoding
) -> dict[Place, tuple[str, list[Token], Finished]]:
    tokens: dict[Place, list[Token]] = {}
    texts: dict[Place, str] = {}
    ends: dict[Place, Finished] = {}
    for event in generate(model, prompts, settings):
        assert event.place not in ends
        texts[event.place] = texts.get(event.place, "") + event.text
        if isinstance(event, Token):
            tokens.setdefault(event.place, []).append(event)
        else:
            ends[event.place] = event
    return {place: (texts[place], tokens[place], end) for place, end in ends.items()}


@pytest.mark.parametrize("strategy", [Sampling(0.8), Sampling(top_p=0.9), Beam(4, 1.0, 2)])
def test_prompt_and_text_have_the_score_that_generation_reports(
    demo: LanguageModel[Any], strategy: Sampling | Beam
) -> None:
    prompts = ["the", "", "a list of "]
    generated = texts_of(demo, prompts, Decoding(strategy, max_tokens=10, seed=2))

    assert len(generated) == len(prompts) * (2 if isinstance(strategy, Beam) else 1)
    for place, (text, tokens, end) in generated.items():
        assert end.token_count == len(tokens)
        assert end.log_prob == pytest.approx(sum(token.log_prob for token in tokens))
        batch = ScoreBatch(
            Texts.from_strings([text]),
            contexts=Texts.from_strings([prompts[place.prompt]]),
            eos=end.reason == FinishReason.END_OF_TEXT,
        )
        assert end.log_prob == pytest.approx(demo.score(batch).log_probs[0], abs=1e-9)


def test_the_same_seed_gives_the_same_text(demo: LanguageModel[Any]) -> None:
    settings = Decoding(Sampling(), max_tokens=15, seed=5, num_sequences=3)
    first, again = (texts_of(demo, ["it"], settings) for _ in range(2))

    assert first == again
    assert len({text for text, _, _ in first.values()}) == 3


def test_a_drawn_seed_gives_the_text_again(demo: LanguageModel[Any]) -> None:
    ((text, _, end),) = texts_of(demo, ["it"], Decoding(Sampling(), max_tokens=15)).values()

    again = texts_of(demo, ["it"], Decoding(Sampling(), max_tokens=15, seed=end.seed))

    assert again[Place(0, 0)][0] == text


def test_a_stop_string_ends_the_text_before_it(demo: LanguageModel[Any]) -> None:
    settings = Decoding(Sampling(), max_tokens=40, min_tokens=5, seed=1, num_sequences=8)
    whole = texts_of(demo, ["the"], settings)
    stop = b" o"

    stopped = texts_of(demo, ["the"], Decoding(**{**_settings(settings), "stop_strings": (stop,)}))

    assert any(end.reason == FinishReason.STOP for _, _, end in stopped.values())
    for place, (text, tokens, end) in stopped.items():
        full = whole[place][0]
        least = len(" ".join(full.split()[:5])) + 1  # until five words no stop string may end
        found = full.encode().find(stop, max(0, least - len(stop) + 1))
        assert text == (full if found < 0 else full[:found])
        assert (end.reason == FinishReason.STOP) == (found >= 0)
        assert [token.token_id for token in tokens] == [
            token.token_id for token in whole[place][1][: len(tokens)]
        ]


def _settings(settings: Decoding) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in Decoding.__slots__}


def test_a_stop_string_ends_the_texts_of_a_beam() -> None:
    settings = Decoding(Beam(20, 0.0, 10), max_tokens=4, stop_strings=(b"b c", b"d"))
    generated = texts_of(TableModel.random(8, letters=4), ["a"], settings)

    assert FinishReason.STOP in {end.reason for _, _, end in generated.values()}
    for text, tokens, end in generated.values():
        words = " ".join("?$?abcd"[token.token_id] for token in tokens)
        assert text.strip() == words.split("b c")[0].split("d")[0].split("$")[0].strip()
        assert (end.reason == FinishReason.STOP) == (words.endswith("b c") or words[-1] == "d")
        assert end.score == pytest.approx(end.log_prob)


def test_a_stop_token_is_no_part_of_the_text() -> None:
    probs = np.zeros((6, 6))
    probs[:, 4] = 1.0
    probs[4, [4, 5]] = 0.0, 1.0
    settings = Decoding(stop_token_ids=(5,))

    ((text, tokens, end),) = texts_of(TableModel(probs), ["a"], settings).values()

    assert text == " b"
    assert [token.token_id for token in tokens] == [4, 5]
    assert end.reason == FinishReason.STOP


def test_alternatives_come_with_their_token(demo: LanguageModel[Any]) -> None:
    ((_, tokens, _),) = texts_of(demo, ["the"], Decoding(max_tokens=3, alternatives=2)).values()

    assert tokens
    for token in tokens:
        assert len(token.alternatives) == 2
        assert token.alternatives[0] == (token.token_id, token.log_prob)  # it is the likeliest


@pytest.mark.parametrize("prompts", [["a"], []])
def test_a_bad_token_id_is_refused_at_once(demo: LanguageModel[Any], prompts: list[str]) -> None:
    with pytest.raises(ParameterError, match="stop_token_ids"):
        generate(demo, prompts, Decoding(stop_token_ids=(10**9,)))


def test_a_prompt_is_penalized_for_all_of_its_own_words_alone() -> None:
    model = TableModel.random(8, letters=4)
    settings = Decoding(repetition_penalty=5.0, max_tokens=1, min_tokens=1)
    prompts = [f"{first} {last}" for first in "abcd" for last in "abcd"]

    together = texts_of(model, prompts, settings)
    alone = [next(iter(texts_of(model, [prompt], settings).values())) for prompt in prompts]
    assert [together[Place(i, 0)][0] for i in range(16)] == [text for text, _, _ in alone]


def test_without_prompts_there_are_no_texts(demo: LanguageModel[Any]) -> None:
    assert list(generate(demo, [], Decoding())) == []


def test_equal_prompts_have_texts_of_their_own() -> None:
    settings = Decoding(Sampling(), seed=3, num_sequences=3, min_tokens=30, max_tokens=30)
    generated = texts_of(TableModel.random(8, letters=4), ["a", "a", "a"], settings)

    assert len({text for text, _, _ in generated.values()}) == 9
