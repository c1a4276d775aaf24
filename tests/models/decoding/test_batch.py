"""Sequences that advance together: each is what it is alone, and ends when it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmscore.models.decoding import beam, selection
from lmscore.models.decoding.batch import DecodingBatch, warm_up
from lmscore.models.decoding.parameters import Beam, Decoding, Greedy, Sampling, Strategy
from lmscore.models.decoding.rows import FinishReason, NewSequence, Rows
from lmscore.models.errors import ParameterError
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts, TokenSequences
from lmscore.models.loading import load_model
from tests.models.backoff import normalized_backoff
from tests.models.decoding.table_model import BOS, EOS, UNK, TableModel

Generated = dict[int, list[tuple[int, float]]]


@pytest.fixture(scope="module")
def ngrams(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel[Any]:
    path = tmp_path_factory.mktemp("model") / "model.arpa"
    return load_model(normalized_backoff(5, order=3, words=30).write(path))


def start(batch: DecodingBatch[Any], model: LanguageModel[Any], *new: NewSequence) -> list[int]:
    ids: list[int] = batch.add(model.initial_state(len(new)), new).tolist()
    return ids


def run(batch: DecodingBatch[Any]) -> tuple[Generated, dict[int, FinishReason]]:
    """Step until all have ended."""
    tokens: Generated = {}
    reasons = {}
    while len(batch):
        result = batch.step()
        for i, sequence_id in enumerate(result.sequence_ids.tolist()):
            pair = (int(result.token_ids[i]), float(result.log_probs[i]))
            tokens.setdefault(sequence_id, []).append(pair)
            if result.reasons[i]:
                reasons[sequence_id] = FinishReason(int(result.reasons[i]))
    return tokens, reasons


def alone(model: LanguageModel[Any], new: NewSequence) -> list[tuple[int, float]]:
    batch = DecodingBatch(model)
    (sequence_id,) = start(batch, model, new)
    return run(batch)[0][sequence_id]


STRATEGIES: list[Strategy] = [
    Greedy(),
    Sampling(),
    Sampling(1.4, 5, 0.9, 0.02),
    Sampling(top_p=0.7),
    Sampling(top_k=3),
    Beam(3, 0.5, 2),
]


def some_sequence(random: np.random.Generator, i: int) -> NewSequence:
    strategy = STRATEGIES[random.integers(len(STRATEGIES))]
    few = 0 if isinstance(strategy, Beam) else int(random.integers(3))
    settings = Decoding(
        strategy,
        max_tokens=int(random.integers(3, 25)),
        min_tokens=int(random.integers(3)),
        repetition_penalty=float(random.choice([1.0, 1.3])),
        banned_token_ids=tuple(random.integers(3, 20, random.integers(3)).tolist()),
        alternatives=few,
    )
    return NewSequence(settings, seed=i, index=int(random.integers(3)))


@pytest.mark.parametrize("seed", range(3))
def test_texts_do_not_depend_on_who_joins_leaves_or_is_cancelled(
    ngrams: LanguageModel[Any], seed: int
) -> None:
    random = np.random.default_rng(seed)
    watched = NewSequence(Decoding(Sampling(1.1, top_p=0.95), max_tokens=30, min_tokens=20), 42)
    expected = alone(ngrams, watched)
    waiting = [some_sequence(random, i) for i in range(50)]
    batch = DecodingBatch(ngrams)
    others = dict(zip(start(batch, ngrams, *waiting[:10]), waiting[:10], strict=True))
    (watched_id,) = start(batch, ngrams, watched)
    tokens: Generated = {}
    cancelled = set()
    waiting = waiting[10:]
    while len(batch):
        result = batch.step()
        for i, sequence_id in enumerate(result.sequence_ids.tolist()):
            pair = (int(result.token_ids[i]), float(result.log_probs[i]))
            tokens.setdefault(sequence_id, []).append(pair)
        joining, waiting = waiting[:3], waiting[3:]
        if joining:
            others |= zip(start(batch, ngrams, *joining), joining, strict=True)
        if random.random() < 0.4:
            cancelled.add(int(random.choice(sorted(others))))
            batch.remove(sorted(cancelled))

    assert tokens[watched_id] == expected
    for sequence_id, new in others.items():
        if sequence_id not in cancelled and not isinstance(new.settings.strategy, Beam):
            assert tokens[sequence_id] == alone(ngrams, new)


@given(st.integers(0, 10**6))
def test_texts_that_were_suspended_go_on_as_if_they_had_not_been(seed: int) -> None:
    random = np.random.default_rng(seed)
    model = TableModel.random(seed, letters=20)
    new = [some_sequence(random, i) for i in range(6)]
    plain = [i for i, each in enumerate(new) if not isinstance(each.settings.strategy, Beam)]
    expected = {i: alone(model, new[i]) for i in plain}

    batch = DecodingBatch(model)
    ids = start(batch, model, *new)
    got: Generated = {}
    away: list[Any] = []
    while len(batch) or away:
        for i in random.permutation(len(away)).tolist()[: random.integers(3)]:
            batch.resume(away[i])
            away[i] = None
        away = [each for each in away if each is not None]
        some = [i for i in batch.sequence_ids if random.random() < 0.2]
        away += [batch.suspend(some[::2]), batch.suspend(some[1::2])] if some else []
        result = batch.step()
        for i, sequence_id in enumerate(result.sequence_ids.tolist()):
            pair = (int(result.token_ids[i]), float(result.log_probs[i]))
            got.setdefault(sequence_id, []).append(pair)

    assert got == {ids[i]: tokens for i, tokens in expected.items()}


class Failing(TableModel):
    """A table that cannot be read for a while, before or after the tokens are chosen."""

    fails = ""

    def next_log_probs(self, states: NDArray[np.int64]) -> NDArray[np.float64]:
        if self.fails == "next_log_probs":
            raise MemoryError
        return super().next_log_probs(states)

    def advance(self, states: NDArray[np.int64], token_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.fails == "advance":
            raise MemoryError
        return super().advance(states, token_ids)


@pytest.mark.parametrize("method", ["next_log_probs", "advance"])
def test_a_step_that_fails_changes_nothing(method: str) -> None:
    beam_search = NewSequence(Decoding(Beam(4, 0.5, 3), max_tokens=9))
    drawn = NewSequence(Decoding(Sampling(), max_tokens=9, min_tokens=9, repetition_penalty=1.5))
    results = []
    for failing in (False, True):
        model = Failing(np.exp(TableModel.random(3, letters=8).table))
        batch = DecodingBatch(model)
        start(batch, model, beam_search, drawn)
        tokens: list[int] = []
        beams: dict[int, Any] = {}
        for step in range(9):
            if failing and step < 8:  # with the last one, nobody goes on
                model.fails = method
                with pytest.raises(MemoryError):
                    batch.step()
                model.fails = ""
            result = batch.step()
            tokens += result.token_ids.tolist()
            beams |= result.beams
        results.append((tokens, beams))

    assert results[0] == results[1]
    assert len(results[0][0]) == 9
    assert results[0][1]


def test_a_cancelled_sequence_frees_its_rows() -> None:
    model = TableModel.random(0)
    batch = DecodingBatch(model)
    long = Decoding(Sampling(), min_tokens=50)
    first, second = start(batch, model, NewSequence(long), NewSequence(long, 1))
    (beam,) = start(batch, model, NewSequence(Decoding(Beam(4), min_tokens=50)))
    batch.step()
    assert len(batch) > 3

    batch.remove([first, beam])

    assert len(batch) == 1
    assert batch.step().sequence_ids.tolist() == [second]


@pytest.mark.parametrize("strategy", [Greedy(), Sampling(0.7), Sampling(top_k=3, top_p=0.8)])
def test_log_probs_are_those_of_score(ngrams: LanguageModel[Any], strategy: Strategy) -> None:
    settings = Decoding(strategy, max_tokens=12, min_tokens=2, repetition_penalty=1.2)
    batch = DecodingBatch(ngrams)
    start(batch, ngrams, *(NewSequence(settings, 3, i) for i in range(20)))

    tokens, reasons = run(batch)

    assert set(reasons.values()) <= {FinishReason.END_OF_TEXT, FinishReason.LENGTH}
    for sequence_id, pairs in tokens.items():
        eos = reasons[sequence_id] == FinishReason.END_OF_TEXT
        ids = np.array([token_id for token_id, _ in pairs][: len(pairs) - eos], np.int64)
        items = TokenSequences(ids, np.array([0, len(ids)]))
        score = ngrams.score(ScoreBatch(items, eos=eos)).log_probs[0]
        assert sum(log_prob for _, log_prob in pairs) == pytest.approx(score, abs=1e-9)


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(0, 6))
def test_lengths_are_within_their_bounds(seed: int, max_tokens: int, min_tokens: int) -> None:
    model = TableModel.random(seed % 10)
    settings = Decoding(
        Sampling(),
        max_tokens=max_tokens,
        min_tokens=min(min_tokens, max_tokens),
        stop_token_ids=(3,),
    )
    batch = DecodingBatch(model)
    start(batch, model, *(NewSequence(settings, seed, i) for i in range(10)))

    tokens, reasons = run(batch)

    assert len(reasons) == 10
    for sequence_id, reason in reasons.items():
        ids = [token_id for token_id, _ in tokens[sequence_id]]
        assert not {3, EOS} & set(ids[:-1])
        assert not {BOS, UNK} & set(ids)
        assert len(ids) <= max_tokens
        if reason == FinishReason.LENGTH:
            assert len(ids) == max_tokens
            assert ids[-1] not in {3, EOS}
        else:
            assert ids[-1] == (EOS if reason == FinishReason.END_OF_TEXT else 3)
            assert len(ids) > settings.min_tokens


def test_greedy_takes_the_likeliest_token_that_is_allowed() -> None:
    model = TableModel.random(1, letters=5)
    settings = Decoding(min_tokens=8, max_tokens=8, banned_token_ids=(4,))

    pairs = alone(model, NewSequence(settings))

    assert len(pairs) == 8
    last = BOS
    for token_id, _ in pairs:
        allowed = [i for i in range(3, 8) if i != 4]
        assert token_id == max(allowed, key=lambda i: model.table[last, i])
        last = token_id


def test_the_unknown_word_comes_only_where_it_is_allowed() -> None:
    probs = np.full((4, 4), [0.0, 0.05, 0.9, 0.05])
    model = TableModel(probs)

    assert alone(model, NewSequence(Decoding(allow_unknown=True)))[0][0] == UNK
    assert UNK not in [token_id for token_id, _ in alone(model, NewSequence(Decoding()))]


def test_a_penalty_counts_prompt_and_generated_tokens() -> None:
    probs = np.full((6, 6), [0.0, 0.01, 0.01, 0.40, 0.33, 0.25])
    settings = Decoding(repetition_penalty=2.0, max_tokens=3)

    pairs = alone(TableModel(probs), NewSequence(settings, prompt_ids=np.array([3, 3, 3])))

    # 3 is penalized to 0.16, then 4 to 0.11 and 5 to 0.06.
    assert [token_id for token_id, _ in pairs] == [4, 5, 3]
    assert [log_prob for _, log_prob in pairs] == pytest.approx(np.log([0.33, 0.25, 0.40]))


def test_a_penalty_counts_generated_tokens_without_a_prompt() -> None:
    probs = np.full((6, 6), [0.0, 0.01, 0.01, 0.40, 0.33, 0.25])
    settings = Decoding(repetition_penalty=2.0, max_tokens=3)

    pairs = alone(TableModel(probs), NewSequence(settings))

    assert [token_id for token_id, _ in pairs] == [3, 4, 5]


@pytest.mark.parametrize(
    ("settings", "temperature"),
    [
        (Decoding(), 0.0),
        (Decoding(Sampling()), 1.0),
        (Decoding(Sampling(0.25)), 0.25),
        (Decoding(Sampling(0.2)), np.nan),  # too sharp
        (Decoding(Sampling(0.7, top_k=1)), 0.0),
        (Decoding(Sampling(top_k=2)), np.nan),
        (Decoding(Sampling(top_p=0.9)), np.nan),
        (Decoding(Sampling(min_p=0.1)), np.nan),
        (Decoding(Beam(2)), np.nan),
        (Decoding(alternatives=1), np.nan),
        (Decoding(repetition_penalty=2.0), np.nan),
        (Decoding(Sampling(), repetition_penalty=1.1), np.nan),
    ],
)
def test_rows_that_ask_for_a_token_alone_are_drawn_at_a_temperature(
    settings: Decoding, temperature: float
) -> None:
    vocabulary = TableModel.random(0).vocabulary
    rows = Rows.of([NewSequence(settings)], np.zeros(1, np.int64), vocabulary)

    np.testing.assert_array_equal(rows.draw_temperatures, [temperature])


def test_where_nothing_is_possible_the_text_ends() -> None:
    probs = np.zeros((4, 4))
    probs[:, EOS] = 1.0
    batch = DecodingBatch(TableModel(probs))
    start(batch, TableModel(probs), NewSequence(Decoding(min_tokens=1)))

    result = batch.step()

    assert result.reasons.tolist() == [FinishReason.DEAD_END]
    assert result.token_ids.tolist() == [-1]
    assert len(batch) == 0


def test_alternatives_are_the_models_likeliest_as_many_as_each_wants(
    ngrams: LanguageModel[Any],
) -> None:
    batch = DecodingBatch(ngrams)
    wanted = [0, 3, 1]
    start(batch, ngrams, *(NewSequence(Decoding(alternatives=n, min_tokens=1)) for n in wanted))

    alternatives = batch.step().alternatives

    log_probs = ngrams.next_log_probs(ngrams.initial_state(1))[0]
    order = np.argsort(-log_probs, kind="stable")
    assert alternatives is not None
    for row, n in enumerate(wanted):
        assert alternatives.token_ids[row].tolist() == [*order[:n].tolist(), *[-1] * (3 - n)]
        assert alternatives.log_probs[row, :n].tolist() == log_probs[order[:n]].tolist()


def test_a_batch_without_sequences_has_nothing_to_say() -> None:
    batch = DecodingBatch(TableModel.random(0))

    assert len(batch.step().sequence_ids) == 0


def test_a_token_id_beyond_the_vocabulary_lets_nobody_join() -> None:
    model = TableModel.random(0)
    batch = DecodingBatch(model)
    bad = NewSequence(Decoding(banned_token_ids=(99,)))

    with pytest.raises(ParameterError, match=r"banned_token_ids\[0\]"):
        start(batch, model, NewSequence(Decoding()), bad)

    assert len(batch) == 0


@pytest.mark.parametrize("name", ["plain.arpa", "plain.probing.bin", "plain.trie.bin"])
def test_states_that_were_put_together_are_those_they_were(name: str) -> None:
    model = load_model(Path(__file__).parents[1] / "kenlm/fixtures" / name)
    words = [word for word in model.vocabulary.tokens(range(9)) if not word.startswith("<")]
    parts = [model.read(Texts.from_strings(texts)) for texts in ([words[0], ""], [], words[1:4])]

    together = model.next_log_probs(model.concatenate(parts))

    apart = [model.next_log_probs(part) for part in parts if len(part)]
    np.testing.assert_array_equal(together, np.concatenate(apart))


def test_after_warming_up_nothing_is_left_to_compile() -> None:
    model = TableModel.random(2)
    model.table = model.table.astype(np.float32)
    loops: list[Any] = [selection._select, beam._fill]  # noqa: SLF001 compiled functions

    warm_up(model)
    compiled = [len(loop.signatures) for loop in loops]
    filters = Sampling(0.7, 3, 0.9, 0.1)
    batch = DecodingBatch(model)
    start(batch, model, NewSequence(Decoding(filters)), NewSequence(Decoding(Beam(3, 1.0, 2))))
    run(batch)

    assert all(compiled)
    assert [len(loop.signatures) for loop in loops] == compiled
