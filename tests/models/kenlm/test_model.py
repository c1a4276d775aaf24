"""What a model from a KenLM binary does beside scoring texts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lmscore.models.errors import CapabilityError, ModelFormatError, TokenIdError
from lmscore.models.kenlm.binary import KenlmBinary
from lmscore.models.kenlm.model import KenlmModel
from lmscore.models.language_model import NgramDescription, ScoreBatch, Texts, TokenSequences
from lmscore.models.loading import load_model

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ["plain.probing", "plain.trie", "plain.array", "bigrams.probing", "bigrams.trie"]


def model_of(name: str) -> KenlmModel:
    return KenlmModel.open(FIXTURES / f"{name}.bin")


def ids_of(model: KenlmModel, *texts: str) -> TokenSequences:
    tokens = model.tokenize(Texts.from_strings(list(texts)))
    return TokenSequences(tokens.token_ids, tokens.offsets)


@pytest.mark.parametrize("kind", ["probing", "trie", "quantized_array"])
def test_loading_recognizes_a_kenlm_binary(kind: str) -> None:
    model = load_model(FIXTURES / f"plain.{kind}.bin")

    assert isinstance(model, KenlmModel)
    assert model.description.structure == NgramDescription(4, (30, 90, 132, 144))
    assert model.description.vocabulary_size == len(model.vocabulary) == 30
    assert model.description.has_unknown
    assert model.description.parameter_count == 2 * (30 + 90 + 132) + 144
    assert model.description.memory_bytes == (FIXTURES / f"plain.{kind}.bin").stat().st_size


@pytest.mark.parametrize("kind", ["probing", "trie"])
def test_a_missing_unk_shows_as_the_floor_that_build_binary_set(kind: str) -> None:
    description = model_of(f"without_unk.{kind}").description

    assert not description.has_unknown
    assert description.unknown_log_prob == -100 * math.log(10)


@pytest.mark.parametrize("name", NAMES)
def test_words_and_ids_belong_together(name: str) -> None:
    vocabulary = model_of(name).vocabulary
    words = vocabulary.tokens(range(len(vocabulary)))

    assert set((FIXTURES / "corpus.txt").read_text().split()) < set(words)
    assert [vocabulary.id(word) for word in words if word != "<s>"] == [
        i for i in range(len(words)) if i != vocabulary.bos_id
    ]
    assert words[vocabulary.bos_id] == "<s>"
    assert words[vocabulary.eos_id] == "</s>"
    assert words[vocabulary.unk_id] == "<unk>"
    assert vocabulary.id("submarine") == vocabulary.id("\ud800") == vocabulary.unk_id
    with pytest.raises(IndexError):
        vocabulary.token(len(vocabulary))


@pytest.mark.parametrize("name", NAMES)
def test_token_ids_score_as_their_text(name: str) -> None:
    model = model_of(name)
    texts = ["we left the boat", "", "the submarine left"]

    by_text = model.score(ScoreBatch(Texts.from_strings(texts), per_token=True))
    by_id = model.score(ScoreBatch(ids_of(model, *texts), per_token=True))

    assert by_id.log_probs.tolist() == by_text.log_probs.tolist()
    assert by_id.tokens is not None
    assert by_text.tokens is not None
    assert by_id.tokens.token_ids.tolist() == by_text.tokens.token_ids.tolist()
    assert by_id.tokens.begin_bytes is None


def test_an_id_that_is_no_event_is_refused() -> None:
    model = model_of("plain.trie")

    for bad in (-1, len(model.vocabulary), model.vocabulary.bos_id):
        items = TokenSequences(np.array([3, 4, bad]), np.array([0, 1, 3]))
        with pytest.raises(TokenIdError) as refusal:
            model.score(ScoreBatch(items))
        assert (refusal.value.text_index, refusal.value.position) == (1, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize(
    "context", ["", "we", "she said we waited for the boat", "a <s> submarine"]
)
def test_a_context_conditions_and_is_not_scored(name: str, bos: bool, context: str) -> None:
    model = model_of(name)
    texts = Texts.from_strings(["in the rain", "left", ""])
    shared = Texts.from_strings([context])

    scores = model.score(ScoreBatch(texts, shared, bos=bos, per_token=True))
    each = model.score(ScoreBatch(texts, Texts.from_strings([context] * 3), bos=bos))
    whole = model.score(
        ScoreBatch(Texts.from_strings([f"{context} in the rain"]), bos=bos, per_token=True)
    )

    assert whole.tokens is not None
    assert scores.tokens is not None
    assert scores.tokens.log_probs[:4].tolist() == whole.tokens.log_probs[-4:].tolist()
    assert scores.token_counts.tolist() == [4, 2, 1]
    assert each.log_probs.tolist() == scores.log_probs.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_stepping_through_a_text_scores_as_the_text(name: str) -> None:
    model = model_of(name)
    items = ids_of(model, "the café was closed before we left", "we left the submarine in the rain")
    tokens = model.score(ScoreBatch(items, eos=False, per_token=True)).tokens
    assert tokens is not None

    states = model.initial_state(2)
    steps = []
    for column in items.ids.reshape(2, 7).T:
        steps.append(model.next_log_probs(states)[np.arange(2), column])
        states = model.advance(states, column)

    assert np.array(steps).T.ravel().tolist() == tokens.log_probs.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_reading_sequences_is_reading_their_tokens_one_by_one(name: str) -> None:
    model = model_of(name)
    sequences = [[5, 6], [], [7], [8, 9, 10, 11, 12, 13], [14, 15, 16]]
    offsets = np.cumsum([0, *map(len, sequences)])
    ids = np.array([token_id for each in sequences for token_id in each])

    begins = model.concatenate([model.initial_state(3), model.initial_state(2, bos=False)])
    read = model.read_tokens(begins, TokenSequences(ids, offsets))
    twice = model.read_tokens(read, TokenSequences(ids, offsets))

    for i, each in enumerate(sequences):
        state = model.gather(begins, np.array([i]))
        for token_id in each:
            state = model.advance(state, np.array([token_id]))
        assert read[i].tolist() == state[0].tolist()
        for token_id in each:
            state = model.advance(state, np.array([token_id]))
        assert twice[i].tolist() == state[0].tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "context", ["", "the", "we left the", "東京 submarine rain", "up the hill"]
)
def test_a_distribution_sums_to_one_and_never_gives_a_sentence_start(
    name: str, context: str
) -> None:
    model = model_of(name)
    states = model.initial_state(1)
    for token_id in ids_of(model, context).ids:
        states = model.advance(states, np.array([token_id]))

    (row,) = model.next_log_probs(states)

    assert np.exp(row).sum() == pytest.approx(1, abs=1e-5)
    assert row[model.vocabulary.bos_id] == -np.inf


@pytest.mark.parametrize("kind", ["probing", "trie"])
def test_distributions_are_those_of_the_arpa_file(kind: str) -> None:
    binary, arpa = model_of(f"plain.{kind}"), load_model(FIXTURES / "plain.arpa")
    words = binary.vocabulary.tokens(range(len(binary.vocabulary)))
    same_ids = [
        arpa.vocabulary.bos_id if word == "<s>" else arpa.vocabulary.id(word) for word in words
    ]
    states = binary.initial_state(1), arpa.initial_state(1)

    for word in ("before", "the", "sun", "submarine", "we"):
        ours, theirs = binary.next_log_probs(states[0]), arpa.next_log_probs(states[1])
        assert ours[0].tolist() == theirs[0, same_ids].tolist()
        states = (
            binary.advance(states[0], np.array([binary.vocabulary.id(word)])),
            arpa.advance(states[1], np.array([arpa.vocabulary.id(word)])),
        )


@pytest.mark.parametrize("kind", ["probing", "trie"])
def test_without_stored_words_scoring_works_and_naming_says_why_not(kind: str) -> None:
    wordless, worded = model_of(f"plain.{kind}_wordless"), model_of(f"plain.{kind}")
    batch = ScoreBatch(Texts.from_strings(["we left the boat", "東京 submarine"]))

    assert (wordless.vocabulary.has_words, worded.vocabulary.has_words) == (False, True)
    assert wordless.score(batch).log_probs.tolist() == worded.score(batch).log_probs.tolist()
    with pytest.raises(CapabilityError, match="built without words"):
        wordless.vocabulary.token(5)
    with pytest.raises(CapabilityError, match="built without words"):
        wordless.next_log_probs(wordless.initial_state(1))
    with pytest.raises(CapabilityError, match="built without words"):
        wordless.text_decoder(b"")
    assert isinstance(load_model(FIXTURES / f"plain.{kind}_wordless.bin"), KenlmModel)


def test_states_and_ids_of_another_model_are_refused() -> None:
    model = model_of("plain.trie")

    with pytest.raises(ValueError, match="token id"):
        model.advance(model.initial_state(1), np.array([30]))
    with pytest.raises(ValueError, match="state"):
        model.next_log_probs(np.full((1, 3), 30, np.uint32))


def test_texts_of_words_by_the_million_bytes_are_scored() -> None:
    model = model_of("plain.probing")
    long_word = "x" * 1_000_000

    scores = model.score(
        ScoreBatch(Texts.from_strings([f"the {long_word} boat\0the", "\0\t\r\n "]))
    )

    assert scores.token_counts.tolist() == [5, 1]
    assert scores.oov_counts.tolist() == [1, 0]


def test_a_probability_that_is_not_a_number_is_not_returned() -> None:
    path = FIXTURES / "plain.trie.bin"
    file = np.fromfile(path, np.uint8)
    tables = KenlmBinary.read(file, path).tables
    file[tables.unigrams : tables.unigrams + 4] = 0xFF  # of <unk>

    model = KenlmModel(KenlmBinary.read(file, path))

    with pytest.raises(ModelFormatError, match="not a number"):
        model.score(ScoreBatch(Texts.from_strings(["submarine"])))
