"""Networks score as torch.nn and log_softmax do in float64, whatever else is in the batch."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscore.models.distribution import event_details, predict
from lmscore.models.errors import TokenIdError
from lmscore.models.language_model import ScoreBatch, Texts, TokenSequences
from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.model import UNKNOWN_LOG_PROB
from tests.models.network.networks import (
    END,
    KINDS,
    UNKNOWN,
    checkpoint_of,
    config_of,
    expected_log_probs,
    expected_score,
    model_of,
    named,
)

NATS = 1e-4
"""How much a text's score may differ in float32."""

token_lists = st.lists(st.lists(st.integers(1, 19), max_size=7), min_size=1, max_size=12)
every_kind = pytest.mark.parametrize("config", KINDS, ids=named)


def sequences(items: list[list[int]]) -> TokenSequences:
    offsets = np.concatenate(([0], np.cumsum([len(item) for item in items], dtype=np.int64)))
    return TokenSequences(np.array([i for item in items for i in item], np.int64), offsets)


def texts(items: list[list[int]]) -> Texts:
    return Texts.from_strings([" ".join(f"w{i - 2}" if i > 1 else "?" for i in x) for x in items])


@every_kind
@settings(max_examples=12)
@given(items=token_lists, seed=st.integers(0, 2**31))
def test_a_text_has_the_score_that_pytorch_gives(
    config: NetworkConfig, items: list[list[int]], seed: int
) -> None:
    checkpoint = checkpoint_of(config, seed)
    expected = [expected_score(checkpoint, [*item, END]) for item in items]

    scores = model_of(checkpoint).score(ScoreBatch(texts(items)))

    assert scores.log_probs == pytest.approx(expected, abs=NATS)
    assert scores.token_counts.tolist() == [len(item) + 1 for item in items]
    assert scores.oov_counts.tolist() == [item.count(UNKNOWN) for item in items]


@settings(max_examples=25)
@given(
    kind=st.sampled_from(["rnn", "gru", "lstm", "feedforward"]),
    hidden=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    embedding=st.integers(1, 40),
    vocabulary=st.integers(2, 3000),
    tied=st.booleans(),
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    seed=st.integers(0, 2**31),
)
def test_sizes_do_not_matter(
    kind: str,
    hidden: list[int],
    embedding: int,
    vocabulary: int,
    tied: bool,
    lengths: list[int],
    seed: int,
) -> None:
    sizes = (*hidden[:-1], embedding) if tied else tuple(hidden)
    config = config_of(
        kind, vocabulary_size=vocabulary, embedding_size=embedding, hidden_sizes=sizes, tied=tied
    )
    checkpoint = checkpoint_of(config, seed)
    rng = np.random.default_rng(seed)
    items = [rng.integers(0, vocabulary, length).tolist() for length in lengths]
    expected = [expected_score(checkpoint, [*item, END]) for item in items]

    scores = model_of(checkpoint).score(ScoreBatch(sequences(items)))

    assert scores.log_probs == pytest.approx(expected, abs=NATS)


@every_kind
@pytest.mark.parametrize("rows", [1, 2, 5, 17])
def test_little_memory_gives_the_same_scores(config: NetworkConfig, rows: int) -> None:
    rng = np.random.default_rng(rows)
    items = [rng.integers(1, 20, length).tolist() for length in (0, 3, 40, 1, 9, 9, 16, 17, 18)]
    items += [items[2][:20], items[2], [*items[4], 5]]
    contexts = texts(
        [rng.integers(2, 20, length).tolist() for length in (7, 0, 5, 1, 2, 8, 1, 1, 1, 4, 4, 33)]
    )
    checkpoint = checkpoint_of(config)
    for dtype, tolerance in (("float32", NATS), ("float64", 1e-10)):
        whole = model_of(checkpoint, dtype).score(ScoreBatch(texts(items), contexts))
        pieces = model_of(checkpoint, dtype, rows).score(ScoreBatch(texts(items), contexts))
        assert pieces.log_probs == pytest.approx(whole.log_probs, abs=tolerance)


@every_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scores_do_not_depend_on_the_batch(config: NetworkConfig, dtype: str) -> None:
    rng = np.random.default_rng(3)
    items = [rng.integers(1, 20, rng.integers(0, 12)).tolist() for _ in range(60)]
    items += items[:10]
    model = model_of(checkpoint_of(config), dtype)

    together = model.score(ScoreBatch(texts(items))).log_probs
    alone = [model.score(ScoreBatch(texts([item]))).log_probs[0] for item in items]

    assert together == pytest.approx(alone, abs=NATS)
    assert together[:10].tolist() == together[60:].tolist()


@every_kind
@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("eos", [True, False])
def test_contexts_condition_and_are_not_scored(config: NetworkConfig, bos: bool, eos: bool) -> None:
    checkpoint = checkpoint_of(config)
    items, contexts = [[3, 4], [5], [], [3]], [[7, 8], [9], [3, 3, 3], []]
    before = [END] * bos
    expected = [
        expected_score(checkpoint, [*item, *[END] * eos], [*before, *context])
        for item, context in zip(items, contexts, strict=True)
    ]
    shared = [expected_score(checkpoint, [*item, *[END] * eos], [*before, 7, 8]) for item in items]

    model = model_of(checkpoint)
    own = model.score(ScoreBatch(texts(items), texts(contexts), bos=bos, eos=eos))
    same = model.score(ScoreBatch(texts(items), texts([[7, 8]]), bos=bos, eos=eos))

    assert own.log_probs == pytest.approx(expected, abs=NATS)
    assert same.log_probs == pytest.approx(shared, abs=NATS)


def test_a_context_of_all_items_is_in_memory_once() -> None:
    model = model_of(checkpoint_of(config_of("gru")), rows=512)
    context, items = [2, 3, 4, 5] * 500, [[i % 18 + 2] for i in range(1000)]
    model.score(ScoreBatch(texts(items), texts([[7]])))

    tracemalloc.start()
    model.score(ScoreBatch(texts(items), texts([context])))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 * len(context) * len(items) / 8


@every_kind
def test_states_advance_as_texts_are_read(config: NetworkConfig) -> None:
    checkpoint = checkpoint_of(config)
    model = model_of(checkpoint)
    items = [[3, 4, 5], [6], [], [3, 4, 7]]
    states = model.initial_state(3)
    for token in (3, 4, 5):
        states = model.advance(states, np.full(3, token))
    read = model.read(texts(items))

    rows = [expected_log_probs(checkpoint, [END, *item])[-1].numpy() for item in items]
    assert model.next_log_probs(read) == pytest.approx(np.stack(rows), abs=NATS)
    assert model.next_log_probs(states) == pytest.approx(np.stack([rows[0]] * 3), abs=NATS)
    gathered = model.gather(read, np.array([2, 0, 0]))
    assert model.next_log_probs(gathered) == pytest.approx(
        np.stack([rows[i] for i in (2, 0, 0)]), abs=NATS
    )
    joined = model.concatenate([read, gathered])
    assert model.next_log_probs(joined) == pytest.approx(
        np.stack([rows[i] for i in (0, 1, 2, 3, 2, 0, 0)]), abs=NATS
    )


@every_kind
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_distributions_sum_to_one(config: NetworkConfig, dtype: str) -> None:
    model = model_of(checkpoint_of(config), dtype)
    states = model.read(texts([[], [3], [4, 5, 6], [19] * 30]))

    log_probs = model.next_log_probs(states).astype(np.float64)

    assert log_probs.shape == (4, 20)
    assert np.exp(log_probs).sum(1) == pytest.approx(1, abs=1e-5)


@every_kind
def test_a_score_is_the_product_of_predictions(config: NetworkConfig) -> None:
    model = model_of(checkpoint_of(config), "float64")
    items = [[3, 4, 5, 3, 3], [8], []]
    scores = model.score(ScoreBatch(texts(items), per_token=True))
    for item, log_prob in zip(items, scores.log_probs, strict=True):
        total, states = 0.0, model.initial_state(1)
        for token in (*item, END):
            total += model.next_log_probs(states)[0, token]
            states = model.advance(states, np.array([token]))
        assert log_prob == pytest.approx(total, abs=1e-9)


@every_kind
def test_full_detail_agrees_with_the_distributions(config: NetworkConfig) -> None:
    checkpoint = checkpoint_of(config)
    model = model_of(checkpoint)
    items = [[3, 4, 5], [], [6, 6]]
    batch = ScoreBatch(texts(items), per_token=True)
    tokens = model.score(batch).tokens
    assert tokens is not None

    details = event_details(model, batch, tokens, 4)

    rows = [row for item in items for row in expected_log_probs(checkpoint, [END, *item])[1:]]
    for i, (row, token) in enumerate(zip(rows, tokens.token_ids.tolist(), strict=True)):
        assert tokens.log_probs[i] == pytest.approx(row[token].item(), abs=NATS)
        assert details.ranks[i] == 1 + (row > row[token]).sum().item()
        assert details.distributions.entropies[i] == pytest.approx(
            -(row.exp() * row).sum().item(), abs=NATS
        )
        assert details.distributions.top_ids[i].tolist() == row.topk(4).indices.tolist()


def test_every_token_can_be_predicted() -> None:
    checkpoint = checkpoint_of(config_of("lstm"))
    found = predict(model_of(checkpoint), texts([[3]]), 50)
    assert sorted(found.top_ids[0].tolist()) == list(range(20))


def test_bfloat16_stays_near() -> None:
    config = config_of("lstm", vocabulary_size=500, embedding_size=64, hidden_sizes=(64, 64))
    checkpoint = checkpoint_of(config)
    for tensor in checkpoint.tensors.values():
        tensor.mul_(0.2)
    rng = np.random.default_rng(0)
    items = sequences([rng.integers(2, 500, 10).tolist() for _ in range(20)])

    exact = model_of(checkpoint, "float64").score(ScoreBatch(items)).log_probs
    rough = model_of(checkpoint, "bfloat16").score(ScoreBatch(items)).log_probs

    assert rough == pytest.approx(exact, abs=0.01)
    assert not np.array_equal(rough, exact)


def test_a_word_outside_a_vocabulary_without_unknown_takes_the_floor() -> None:
    checkpoint = checkpoint_of(config_of("gru"), unknown=False)
    model = model_of(checkpoint)

    scores = model.score(ScoreBatch(Texts.from_strings(["w3 nowhere w4"]), per_token=True))

    assert scores.tokens is not None
    ids = scores.tokens.token_ids.tolist()
    assert ids == [4, -1, 5, END]
    expected = expected_score(checkpoint, ids, floor=UNKNOWN_LOG_PROB)
    assert scores.log_probs[0] == pytest.approx(expected, abs=NATS)
    assert scores.log_probs_excluding_oov[0] == pytest.approx(expected - UNKNOWN_LOG_PROB, abs=NATS)
    assert scores.oov_counts.tolist() == [1]
    assert not model.description.has_unknown
    assert model.description.unknown_log_prob == pytest.approx(-100 * math.log(10))


def test_places_are_bytes_of_the_text() -> None:
    model = model_of(checkpoint_of(config_of("rnn")))
    scores = model.score(ScoreBatch(Texts.from_strings(["w3  ümläut w4 ", ""]), per_token=True))
    assert scores.tokens is not None
    assert scores.tokens.begin_bytes is not None
    assert scores.tokens.end_bytes is not None
    assert scores.tokens.begin_bytes.tolist() == [0, 4, 13, 16, 0]
    assert scores.tokens.end_bytes.tolist() == [2, 12, 15, 16, 0]
    assert scores.tokens.oov.tolist() == [False, True, False, False, False]
    assert scores.tokens.matched_orders is None


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ([[3], [4, 20]], r"token_sequences\[1\].ids\[1\]: 20 is not an id .* 0 to 19"),
        ([[-1]], r"token_sequences\[0\].ids\[0\]: -1 is not an id"),
    ],
)
def test_an_id_outside_the_vocabulary_is_named(ids: list[list[int]], problem: str) -> None:
    with pytest.raises(TokenIdError, match=problem):
        model_of(checkpoint_of(config_of("gru"))).score(ScoreBatch(sequences(ids)))


def test_a_feed_forward_network_sees_no_further_than_its_window() -> None:
    config = config_of("feedforward", context_size=3)
    model = model_of(checkpoint_of(config), "float64")
    far, near = model.read(texts([[9, 8, 3, 4, 5], [3, 4, 5]]))[0]
    assert far.tolist() == near.tolist() == [3, 4, 5]
    structure = model.description.structure
    assert structure.context_size == 3  # type: ignore[union-attr]


def test_an_empty_batch_has_no_scores() -> None:
    model = model_of(checkpoint_of(config_of("lstm")))
    assert model.score(ScoreBatch(Texts.from_strings([]))).log_probs.tolist() == []


def test_many_threads_score_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = model_of(checkpoint_of(config_of("lstm")))
    batches = [ScoreBatch(texts([[i % 18 + 2, 3, 4]] * (i + 1))) for i in range(20)]
    expected = [model.score(batch).log_probs.tolist() for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: model.score(batch).log_probs.tolist(), batches))
    assert found == expected
