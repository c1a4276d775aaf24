"""Scores of n-gram models against kenlm, to the last bit, and against the definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmscore.models.errors import TokenIdError
from lmscore.models.language_model import (
    BatchScores,
    NgramDescription,
    ScoreBatch,
    Texts,
    TokenSequences,
)
from lmscore.models.loading import load_model
from lmscore.models.ngram import model as ngram_model
from lmscore.models.ngram.arpa import read_arpa
from lmscore.models.ngram.build import DuplicateEntryError, build_automaton
from lmscore.models.ngram.excess import UnigramSums, unigram_sums
from lmscore.models.ngram.model import NgramModel
from lmscore.models.ngram.table import OrderTable
from tests.models.backoff import Backoff, normalized_backoff, random_backoff, random_texts

LN10 = math.log(10)
Save = Callable[[Backoff], NgramModel]


@pytest.fixture(scope="module")
def kenlm() -> ModuleType:
    module: ModuleType = pytest.importorskip("kenlm", reason="kenlm is compiled from source")
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model_of(folder: Path) -> Callable[[Backoff], NgramModel]:
    """Makes models; each overwrites the file of the one before."""

    def load(backoff: Backoff) -> NgramModel:
        model = load_model(backoff.write(folder / "model.arpa"))
        assert isinstance(model, NgramModel)
        return model

    return load


def scored(model: NgramModel, texts: list[str], **settings: Any) -> BatchScores:
    settings.setdefault("per_token", True)
    return model.score(ScoreBatch(Texts.from_strings(texts), **settings))


SHAPES = {
    "whole": {},
    "bigrams": {"order": 2},
    "unknown missing": {"with_unknown": False},
    "five words long": {"order": 5, "words": 3, "density": 0.5},
    "suffixes pruned": {"order": 4, "words": 4, "density": 0.5, "drop_suffixes": 0.5},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_every_event_equals_kenlm_to_the_last_bit(
    kenlm: ModuleType, folder: Path, model_of: Save, shape: str, seed: int
) -> None:
    backoff = random_backoff(seed, **SHAPES[shape])  # type: ignore[arg-type]
    model = model_of(backoff)
    peer = kenlm.Model(str(folder / "model.arpa"))
    for text in random_texts(backoff, seed):
        tokens = scored(model, [text]).tokens
        assert tokens is not None
        assert tokens.matched_orders is not None
        expected = _kenlm_events(kenlm, peer, text)
        assert tokens.log_probs.tolist() == [np.float64(prob) * LN10 for prob, _, _ in expected]
        assert tokens.matched_orders.tolist() == [length for _, length, _ in expected]
        assert tokens.oov.tolist() == [oov for _, _, oov in expected]


def _kenlm_events(kenlm: ModuleType, peer: Any, text: str) -> list[tuple[float, int, bool]]:
    """What full_scores gives; that one splits at more than KenLM's own tools do."""
    state, after = kenlm.State(), kenlm.State()
    peer.BeginSentenceWrite(state)
    events = []
    for word in [*(w for w in text.split(" ") if w), "</s>"]:
        score = peer.BaseFullScore(state, word, after)
        events.append((score.log_prob, score.ngram_length, score.oov))
        state, after = after, state
    return events


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("eos", [True, False])
@pytest.mark.parametrize(
    "shape",
    [
        {"order": 1},
        {"order": 4, "words": 3, "density": 0.6},
        {"order": 4, "words": 4, "density": 0.5, "drop_prefixes": 0.5},
        {"order": 4, "words": 4, "density": 0.5, "drop_prefixes": 0.5, "drop_suffixes": 0.5},
    ],
)
def test_every_event_equals_the_definition(
    model_of: Save, shape: dict[str, Any], bos: bool, eos: bool
) -> None:
    backoff = random_backoff(7, **shape)
    model = model_of(backoff)
    texts = random_texts(backoff, 8)
    scores = scored(model, texts, bos=bos, eos=eos)
    assert scores.tokens is not None
    expected = [backoff.events(text, bos=bos, eos=eos) for text in texts]
    assert scores.tokens.offsets.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    flat = [float(prob) * LN10 for events in expected for prob in events]
    assert scores.tokens.log_probs.tolist() == flat


def test_a_context_conditions_and_is_not_scored(model_of: Save) -> None:
    backoff = random_backoff(3)
    model = model_of(backoff)
    texts, contexts = random_texts(backoff, 1), random_texts(backoff, 2)
    each = scored(model, texts, contexts=Texts.from_strings(contexts))
    for i, (text, context) in enumerate(zip(texts, contexts, strict=True)):
        whole = backoff.events(f"{context} {text}")
        own = len(backoff.events(text))
        assert each.log_probs[i] == pytest.approx(sum(map(float, whole[-own:])) * LN10)
    shared = scored(model, texts, contexts=Texts.from_strings(["w1 w2"]))
    repeated = scored(model, texts, contexts=Texts.from_strings(["w1 w2"] * len(texts)))
    assert shared.log_probs.tolist() == repeated.log_probs.tolist()


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[NgramModel, list[str]]:
    backoff = random_backoff(11, order=4, words=8, density=0.5)
    path = backoff.write(tmp_path_factory.mktemp("whole") / "model.arpa")
    model = load_model(path)
    assert isinstance(model, NgramModel)
    return model, random_texts(backoff, 5, 200)


@given(data=st.data())
def test_a_score_does_not_depend_on_the_batch_nor_on_its_order(
    whole_model: tuple[NgramModel, list[str]], data: st.DataObject
) -> None:
    model, texts = whole_model
    alone = {text: scored(model, [text]).log_probs[0] for text in texts[:50]}
    batch = data.draw(st.lists(st.sampled_from(texts[:50]), max_size=60))
    for per_token in (True, False):
        together = scored(model, batch, per_token=per_token).log_probs
        assert together.tolist() == [alone[text] for text in batch]


def test_token_ids_score_as_their_texts(whole_model: tuple[NgramModel, list[str]]) -> None:
    model, texts = whole_model
    tokens = model.tokenize(Texts.from_strings(texts))
    by_ids = model.score(ScoreBatch(TokenSequences(tokens.token_ids, tokens.offsets)))
    by_text = scored(model, texts)
    assert by_ids.log_probs.tolist() == by_text.log_probs.tolist()
    assert by_ids.oov_counts.tolist() == by_text.oov_counts.tolist()


def test_a_text_longer_than_a_block_scores_like_its_tokens(
    whole_model: tuple[NgramModel, list[str]],
) -> None:
    model, texts = whole_model
    long = " ".join(texts * 20)
    in_blocks = scored(model, [texts[0], long, texts[1]], per_token=False)
    one_by_one = scored(model, [texts[0], long, texts[1]])
    assert in_blocks.log_probs.tolist() == one_by_one.log_probs.tolist()
    assert in_blocks.token_counts.tolist() == one_by_one.token_counts.tolist()


def test_an_id_that_is_no_event_is_named(whole_model: tuple[NgramModel, list[str]]) -> None:
    model, _ = whole_model
    vocabulary = model.vocabulary
    for bad in (-1, len(vocabulary), vocabulary.bos_id):
        ids = np.array([vocabulary.eos_id, vocabulary.unk_id, bad], np.int64)
        sequences = TokenSequences(ids, np.array([0, 1, 3]))
        with pytest.raises(TokenIdError, match=r"token_sequences\[1\].ids\[1\]: -?\d+ is "):
            model.score(ScoreBatch(sequences))


@pytest.mark.parametrize("text", ["", " ", "\0\t\r\n "])
def test_a_text_without_words_is_its_end(
    whole_model: tuple[NgramModel, list[str]], text: str
) -> None:
    model, _ = whole_model
    assert scored(model, [text]).token_counts.tolist() == [1]
    assert scored(model, [text], eos=False).perplexities.tolist() == [1.0]
    assert scored(model, []).log_probs.tolist() == []


def test_places_are_bytes_of_the_text_and_the_end_is_empty(tiny_arpa: Path) -> None:
    model = load_model(tiny_arpa)
    text = "a \t  été  b"
    tokens = model.score(ScoreBatch(Texts.from_strings(["b", text]), per_token=True)).tokens
    assert tokens is not None
    assert tokens.begin_bytes is not None
    assert tokens.end_bytes is not None
    encoded = text.encode()
    places = zip(tokens.begin_bytes[2:], tokens.end_bytes[2:], strict=True)
    assert [encoded[begin:end].decode() for begin, end in places] == ["a", "été", "b", ""]
    assert tokens.begin_bytes[-1] == len(encoded)
    assert tokens.oov.tolist() == [False, False, False, True, False, False]


def test_only_five_bytes_separate_words(tiny_arpa: Path) -> None:
    model = load_model(tiny_arpa)
    for byte in range(128):
        words = len(model.tokenize(Texts.from_strings([f"a{chr(byte)}b"])).token_ids)
        assert words == (2 if chr(byte) in "\0\t\n\r " else 1)
    assert len(model.tokenize(Texts.from_strings(["a\xa0b\u2003c"])).token_ids) == 1


@pytest.mark.parametrize("word", ["<s>", "<unk>", "<UNK>", "A", "aa", "\ufffd"])
def test_what_is_not_an_event_is_unknown(tiny_arpa: Path, word: str) -> None:
    model = load_model(tiny_arpa)
    assert model.vocabulary.id(word) == model.vocabulary.unk_id
    assert model.tokenize(Texts.from_strings([word])).oov.tolist() == [True]


def test_the_end_of_text_may_be_the_likeliest_word(model_of: Save) -> None:
    backoff = random_backoff(3)
    backoff.probs["</s>",] = -0.001
    model = model_of(backoff)
    assert model.vocabulary.eos_id == 0
    texts = random_texts(backoff, 4)
    for per_token in (False, True):
        for eos in (False, True):
            scores = scored(model, texts, per_token=per_token, eos=eos)
            events = [backoff.events(text, eos=eos) for text in texts]
            assert scores.token_counts.tolist() == [len(each) for each in events]
            expected = [sum(map(float, each)) * LN10 for each in events]
            assert scores.log_probs.tolist() == pytest.approx(expected)


def test_the_end_of_text_may_be_written_out(tiny_arpa: Path) -> None:
    model = load_model(tiny_arpa)
    texts = Texts.from_strings(["b </s>"])
    written = model.score(ScoreBatch(texts, eos=False))
    implied = model.score(ScoreBatch(Texts.from_strings(["b"])))
    assert written.log_probs.tolist() == implied.log_probs.tolist()


@pytest.mark.parametrize("word", ["", "a b", " a", "a ", "a\0", "\ud800"])
def test_what_is_not_one_word_has_no_id(tiny_arpa: Path, word: str) -> None:
    vocabulary = load_model(tiny_arpa).vocabulary
    assert vocabulary.id(word) == vocabulary.unk_id


def test_ids_and_words_are_inverse(whole_model: tuple[NgramModel, list[str]]) -> None:
    vocabulary = whole_model[0].vocabulary
    ids = [i for i in range(len(vocabulary)) if i != vocabulary.bos_id]
    assert [vocabulary.id(word) for word in vocabulary.tokens(ids)] == ids
    assert vocabulary.token(vocabulary.bos_id) == "<s>"
    for bad in (-1, len(vocabulary)):
        with pytest.raises(IndexError):
            vocabulary.token(bad)


def test_a_text_worked_out_by_hand(tiny_arpa: Path) -> None:
    model = load_model(tiny_arpa)
    scores = model.score(ScoreBatch(Texts.from_strings(["a b", "b x"])))
    assert np.exp(scores.log_probs).tolist() == pytest.approx(
        [0.6 * 0.5 * 0.5, (2 / 3 * 0.3) * (5 / 8 * 0.1) * 0.2]
    )
    assert scores.perplexities.tolist() == pytest.approx(np.exp(-scores.log_probs / 3))
    assert scores.oov_counts.tolist() == [0, 1]
    assert math.exp(scores.log_probs_excluding_oov[1]) == pytest.approx(2 / 3 * 0.3 * 0.2)


def test_a_uniform_model_has_the_perplexity_of_its_size(model_of: Save) -> None:
    events = [*"abcdefghijklmnopqrstuvwxy", "</s>", "<unk>"]
    uniform = Backoff({("<s>",): -99.0})
    uniform.probs |= {(word,): -math.log10(27) for word in events}
    model = model_of(uniform)
    scores = scored(model, ["a b c", "z"])
    assert (-scores.log_probs / scores.token_counts).tolist() == pytest.approx(
        [3.296] * 2, abs=1e-3
    )
    assert scores.perplexities.tolist() == pytest.approx([27.0] * 2, rel=1e-5)


def test_negative_log_likelihood_of_the_worked_example(model_of: Save) -> None:
    # The name "ada" between sentence marks, of which only the last is an event.
    probs = {("<s>", "a"): 0.13, ("a", "d"): 0.05, ("d", "a"): 0.50, ("d", "a", "</s>"): 0.20}
    ada = Backoff({(word,): math.log10(0.25) for word in ["a", "d", "</s>", "<unk>"]})
    ada.probs |= {("<s>",): -99.0} | {ngram: math.log10(p) for ngram, p in probs.items()}
    scores = scored(model_of(ada), ["a d a"])
    assert scores.tokens is not None
    assert np.exp(scores.tokens.log_probs).tolist() == pytest.approx([0.13, 0.05, 0.50, 0.20])
    assert -scores.log_probs[0] / scores.token_counts[0] == pytest.approx(1.835, abs=5e-4)
    assert scores.perplexities[0] == pytest.approx(math.exp(1.835), rel=5e-4)


def test_perplexity_of_the_worked_example(model_of: Save) -> None:
    share = math.exp(-2.51)
    words = Backoff({("<s>",): -99.0, ("<unk>",): math.log10(1 - 2 * share)})
    words.probs |= {(word,): math.log10(share) for word in ("a", "</s>")}
    scores = scored(model_of(words), ["a a a"])
    assert -scores.log_probs[0] / scores.token_counts[0] == pytest.approx(2.51, abs=1e-5)
    assert scores.perplexities.tolist() == pytest.approx([12.30], abs=5e-3)


def test_a_trigram_of_the_toy_corpus_scores_as_its_counts(model_of: Save) -> None:
    # Maximum likelihood for i love cats, i love dogs, cats chase mice. ARPA has one <s>: what
    # follows <s><s> is a bigram.
    third, half, nothing = math.log10(1 / 3), math.log10(1 / 2), -math.inf
    words = ["i", "love", "cats", "dogs", "chase", "mice"]
    counts = zip([*words, "</s>"], [2, 2, 2, 1, 1, 1, 3], strict=True)
    toy = Backoff({(word,): math.log10(count / 12) for word, count in counts})
    toy.probs |= {("<unk>",): nothing, ("<s>",): -99.0}
    toy.probs |= {("<s>", "i"): math.log10(2 / 3), ("<s>", "cats"): third, ("i", "love"): 0.0}
    toy.probs |= {("love", "cats"): half, ("love", "dogs"): half, ("cats", "</s>"): half}
    toy.probs |= {("cats", "chase"): half, ("dogs", "</s>"): 0.0}
    toy.probs |= {("chase", "mice"): 0.0, ("mice", "</s>"): 0.0}
    toy.probs |= {("<s>", "i", "love"): 0.0, ("<s>", "cats", "chase"): 0.0}
    toy.probs |= {("i", "love", "cats"): half, ("i", "love", "dogs"): half}
    toy.probs |= {("love", "cats", "</s>"): 0.0, ("love", "dogs", "</s>"): 0.0}
    toy.probs |= {("cats", "chase", "mice"): 0.0, ("chase", "mice", "</s>"): 0.0}
    toy.backoffs |= {ngram: nothing for ngram in toy.probs if len(ngram) < 3}
    scores = scored(model_of(toy), ["i love cats", "cats chase mice", "i love mice"])
    assert scores.tokens is not None
    assert np.exp(scores.tokens.log_probs).tolist() == pytest.approx(
        [2 / 3, 1, 1 / 2, 1, 1 / 3, 1, 1, 1, 2 / 3, 1, 0, 1]
    )
    assert scores.perplexities[:2].tolist() == pytest.approx([3 ** (1 / 4)] * 2)
    assert np.exp(scores.log_probs[2]) == 0
    assert scores.perplexities[2] == math.inf


def test_impossible_texts_have_no_probability_and_infinite_perplexity(model_of: Save) -> None:
    # Maximum likelihood for i love cats, i love dogs, cats chase mice.
    third = math.log10(1 / 3)
    nothing = -math.inf
    words = ["i", "love", "cats", "dogs", "chase", "mice"]
    toy = Backoff({(word,): math.log10(1 / 7) for word in [*words, "</s>"]})
    toy.probs |= {("<unk>",): nothing, ("<s>",): -99.0}
    toy.probs |= {("<s>", "i"): math.log10(2 / 3), ("<s>", "cats"): third, ("i", "love"): 0.0}
    toy.probs |= {("love", "cats"): math.log10(1 / 2), ("love", "dogs"): math.log10(1 / 2)}
    toy.probs |= {("cats", "</s>"): math.log10(1 / 2), ("dogs", "</s>"): 0.0}
    toy.backoffs |= {(word,): nothing for word in [*words, "<s>"]}
    model = model_of(toy)
    scores = scored(model, ["i love dogs", "i love mice", "x"])
    assert math.exp(scores.log_probs[0]) == pytest.approx(2 / 3 * 1 / 2)
    assert scores.log_probs[1:].tolist() == [nothing, nothing]
    assert scores.perplexities[1:].tolist() == [math.inf, math.inf]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    order=st.integers(1, 5),
    words=st.integers(1, 5),
    data=st.data(),
)
def test_distributions_sum_to_one_for_every_context_met(
    model_of: Save, seed: int, order: int, words: int, data: st.DataObject
) -> None:
    backoff = normalized_backoff(seed, order=order, words=words)
    model = model_of(backoff)
    states = [model.initial_state(1), model.initial_state(1, bos=False)]
    word = st.sampled_from([*(w for w in backoff.words if w != "<s>"), "never-seen"])
    for text in data.draw(st.lists(st.lists(word, max_size=8).map(" ".join), max_size=10)):
        state = model.initial_state(1)
        for token_id in model.tokenize(Texts.from_strings([text])).token_ids:
            state = model.advance(state, np.array([token_id]))
            states.append(state)
    log_probs = model.next_log_probs(np.concatenate(states))
    assert np.exp(log_probs).sum(axis=1).tolist() == pytest.approx([1.0] * len(states), abs=1e-5)
    assert (log_probs[:, model.vocabulary.bos_id] == -np.inf).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_distribution_holds_the_scores_of_all_words(model_of: Save, shape: str) -> None:
    backoff = random_backoff(5, **SHAPES[shape])  # type: ignore[arg-type]
    model = model_of(backoff)
    vocabulary = model.vocabulary
    events = np.array([i for i in range(len(vocabulary)) if i != vocabulary.bos_id])
    for text in random_texts(backoff, 6, 10):
        tokens = model.tokenize(Texts.from_strings([text])).token_ids
        state = model.initial_state(1)
        for token_id in tokens:
            state = model.advance(state, np.array([token_id]))
        sequences = [np.append(tokens, event) for event in events]
        offsets = np.cumsum([0, *map(len, sequences)])
        batch = ScoreBatch(
            TokenSequences(np.concatenate(sequences), offsets), eos=False, per_token=True
        )
        scores = model.score(batch).tokens
        assert scores is not None
        expected = scores.log_probs[offsets[1:] - 1]
        assert model.next_log_probs(state)[0, events].tolist() == expected.tolist()


def test_the_description_counts_what_the_file_holds(tiny_arpa: Path) -> None:
    description = load_model(tiny_arpa).description
    assert description.structure == NgramDescription(2, (5, 3))
    assert description.parameter_count == 13
    assert description.vocabulary_size == 5
    assert description.has_unknown
    assert description.unknown_log_prob == pytest.approx(-LN10)
    assert description.memory_bytes > 0


def test_what_drawing_needs_is_kept_for_the_last_sixteen_temperatures(
    tiny_arpa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_arpa)
    computed = []

    def noted(unigrams: NDArray[np.float32], temperature: float) -> UnigramSums:
        computed.append(temperature)
        return unigram_sums(unigrams, temperature)

    monkeypatch.setattr(ngram_model, "unigram_sums", noted)
    temperatures = [1.0 + i / 10 for i in range(16)]
    for temperature in [*temperatures, *temperatures, 9.0, *temperatures[1:], temperatures[0]]:
        model.draw(
            model.initial_state(1), np.array([temperature]), np.empty((1, 0), int), np.zeros(1)
        )
    assert computed == [*temperatures, 9.0, temperatures[0]]


@given(length=st.integers(1, 3), data=st.data())
def test_an_ngram_that_stands_there_twice_is_named_by_its_later_row(
    folder: Path, length: int, data: st.DataObject
) -> None:
    table = read_arpa(random_backoff(4, words=4).write(folder / "model.arpa"))
    level = table.orders[length - 1]
    row = data.draw(st.integers(0, len(level) - 1))
    place = data.draw(st.integers(0, len(level)))
    rows = np.insert(np.arange(len(level)), place, row)
    table.orders[length - 1] = OrderTable(
        level.ids[rows], level.log10_probs[rows], level.log10_backoffs[rows]
    )

    with pytest.raises(DuplicateEntryError) as raised:
        build_automaton(table)

    assert (raised.value.length, raised.value.row) == (length, max(place, row + (place <= row)))
