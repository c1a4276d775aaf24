"""Calls with the answers that they must have, which the library gives in this process."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints.demo.corpus import sentences

from lmscore.client import AsyncClient, Greedy, Hypothesis, NBestList, RescoreWeights, Sampling
from lmscore.models.decoding import parameters
from lmscore.models.decoding.generate import Finished, Token, generate
from lmscore.models.distribution import predict
from lmscore.models.language_model import BatchScores, LanguageModel, ScoreBatch, Texts
from lmscore.models.loading import fingerprint, load_model
from lmscore.models.network.placement import Placement

DEMO = Path(__file__).parents[2] / "checkpoints" / "demo"
DEMO_MODELS = {"ngram": DEMO / "trigram.arpa.gz", "lstm": DEMO / "lstm"}

NETWORK_NATS = 1e-4
"""A network's scores of a text may differ by so much; an n-gram model's do not differ."""

_STREAM_BATCH = 8


@dataclass(frozen=True)
class Case:
    """A call, and what is wrong with an answer to it: nothing, if that is empty."""

    method: str
    model: str
    ask: Callable[[AsyncClient], Awaitable[Any]]
    problem: Callable[[Any], str]


class Library:
    """The models that a server serves, in this process."""

    def __init__(self, paths: Mapping[str, Path], seed: int) -> None:
        placement = Placement("cpu", "float32", threads=1)
        self._paths = dict(paths)
        self._models = {name: load_model(path, placement=placement) for name, path in paths.items()}
        self._random = random.Random(seed)
        self._texts = [" ".join(words) for words in sentences() if len(words) <= 30]

    def cases(self, each: int) -> list[Case]:
        """So many calls of every method to every model."""
        makers = (
            self._score,
            self._score_stream,
            self._rescore,
            self._generate_greedily,
            self._generate_by_sampling,
            self._predict,
            self._tokenize,
        )
        made = [
            make(name, model)
            for name, model in self._models.items()
            for make in makers
            for _ in range(each)
        ]
        return [*made, *[self._list_models()] * each]

    def texts(self, count: int) -> list[str]:
        """Sentences; now and then an empty one, and words that no model knows."""
        texts = self._random.choices(self._texts, k=count)
        return [
            self._random.choice(("", "zzyzx ☂ the")) if i % 9 == 8 else text
            for i, text in enumerate(texts)
        ]

    def _score(self, name: str, model: LanguageModel[Any]) -> Case:
        texts = self.texts(self._random.randint(1, 20))
        context = self._random.choice(("", "the class"))
        tokens = self._random.random() < 0.3
        contexts = Texts.from_strings([context]) if context else None
        scores = model.score(ScoreBatch(Texts.from_strings(texts), contexts, per_token=tokens))

        async def ask(client: AsyncClient) -> Any:
            return await client.score(texts, model=name, context=context, tokens=tokens)

        return Case("Score", name, ask, lambda answer: _scores_problem(model, scores, answer))

    def _score_stream(self, name: str, model: LanguageModel[Any]) -> Case:
        texts = self.texts(5 * _STREAM_BATCH)
        scores = model.score(ScoreBatch(Texts.from_strings(texts)))

        async def ask(client: AsyncClient) -> Any:
            answers = client.score_stream(texts, model=name, batch_texts=_STREAM_BATCH)
            return [score async for answer in answers for score in answer]

        return Case("ScoreStream", name, ask, lambda answer: _scores_problem(model, scores, answer))

    def _rescore(self, name: str, model: LanguageModel[Any]) -> Case:
        lists = [
            NBestList(
                f"u{i}", [Hypothesis(t, {"am": self._random.random()}) for t in self.texts(5)]
            )
            for i in range(3)
        ]
        weights = [
            RescoreWeights(lm_weight=0.3, length_bonus=0.1),
            RescoreWeights(oov_penalty=2.0, feature_weights={"am": 5.0}),
        ]
        batches = [ScoreBatch(Texts.from_strings([h.text for h in n.hypotheses])) for n in lists]
        expected = [
            _Rescored(model.score(b), n, weights) for b, n in zip(batches, lists, strict=True)
        ]

        async def ask(client: AsyncClient) -> Any:
            return await client.rescore(lists, weights, model=name)

        def problem(answer: Any) -> str:
            if len(answer) != len(expected):
                return f"{len(answer)} lists in place of {len(expected)}"
            problems = (
                each.problem(ranked, _tolerance(model))
                for each, ranked in zip(expected, answer, strict=True)
            )
            return next(filter(None, problems), "")

        return Case("Rescore", name, ask, problem)

    def _generate_greedily(self, name: str, model: LanguageModel[Any]) -> Case:
        prompt = " ".join(self._random.choice(self._texts).split()[:3])
        settings = parameters.Decoding(max_tokens=12)
        return _generation(name, model, prompt, settings, Greedy(), {"max_tokens": 12})

    def _generate_by_sampling(self, name: str, model: LanguageModel[Any]) -> Case:
        prompt = " ".join(self._random.choice(self._texts).split()[:2])
        seed = self._random.getrandbits(64)
        settings = parameters.Decoding(
            parameters.Sampling(0.8, 40, 0.95), max_tokens=16, num_sequences=2, seed=seed
        )
        given = {"max_tokens": 16, "num_sequences": 2, "seed": seed}
        strategy = Sampling(temperature=0.8, top_k=40, top_p=0.95)
        return _generation(name, model, prompt, settings, strategy, given)

    def _predict(self, name: str, model: LanguageModel[Any]) -> Case:
        prompts = [" ".join(text.split()[:4]) for text in self.texts(3)]
        expected = predict(model, Texts.from_strings(prompts), 5)

        async def ask(client: AsyncClient) -> Any:
            return await client.predict(prompts, model=name, top_k=5)

        def problem(answer: Any) -> str:
            got = [[token.log_prob for token in prediction.next] for prediction in answer]
            entropies = [prediction.entropy for prediction in answer]
            return _far(got, expected.top_log_probs, _tolerance(model)) or _far(
                entropies, expected.entropies, _tolerance(model)
            )

        return Case("Predict", name, ask, problem)

    def _tokenize(self, name: str, model: LanguageModel[Any]) -> Case:
        texts = self.texts(4)
        tokens = model.tokenize(Texts.from_strings(texts))
        columns = (tokens.token_ids, tokens.begin_bytes, tokens.end_bytes, tokens.oov)
        expected = list(zip(*(column.tolist() for column in columns), strict=True))

        async def ask(client: AsyncClient) -> Any:
            return await client.tokenize(texts, model=name)

        def problem(answer: Any) -> str:
            got = [(t.id, t.begin_byte, t.end_byte, t.oov) for text in answer for t in text]
            same = [(i % 2**32, *rest) for i, *rest in expected] == got
            return "" if same and len(answer) == len(texts) else f"{got} in place of {expected}"

        return Case("Tokenize", name, ask, problem)

    def _list_models(self) -> Case:
        expected = sorted((name, fingerprint(path)) for name, path in self._paths.items())

        async def ask(client: AsyncClient) -> Any:
            return await client.list_models()

        def problem(answer: Any) -> str:
            got = [(model.identity.name, model.identity.fingerprint) for model in answer]
            return "" if got == expected else f"{got} in place of {expected}"

        return Case("ListModels", "", ask, problem)


def _tolerance(model: LanguageModel[Any]) -> float:
    return NETWORK_NATS if model.exclusive else 0.0


def _far(got: Any, expected: Any, tolerance: float) -> str:
    """What is wrong with numbers that may differ by so much."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if got.shape != expected.shape:
        return f"{got.shape} numbers in place of {expected.shape}"
    with np.errstate(invalid="ignore"):
        close = (got == expected) | (np.abs(got - expected) <= tolerance)
    return "" if close.all() else f"{got[~close][:3]} in place of {expected[~close][:3]}"


def _scores_problem(model: LanguageModel[Any], scores: BatchScores, answer: Any) -> str:
    got = list(answer)
    counts = [[score.token_count, score.oov_count] for score in got]
    expected_counts = np.stack([scores.token_counts, scores.oov_counts], 1)
    log_probs = [score.log_prob for score in got]
    problem = _far(log_probs, scores.log_probs, _tolerance(model)) or _far(
        counts, expected_counts, 0
    )
    if problem or scores.tokens is None:
        return problem
    by_token = [token.log_prob for score in got for token in score.tokens]
    return _far(by_token, scores.tokens.log_probs, _tolerance(model))


class _Rescored:
    """What a list must come back as: the library's scores, and totals after the contract."""

    def __init__(
        self, scores: BatchScores, nbest: NBestList, weights: Sequence[RescoreWeights]
    ) -> None:
        self._scores = scores
        words = [
            len(hypothesis.text.split(" ")) if hypothesis.text else 0
            for hypothesis in nbest.hypotheses
        ]
        acoustic = [hypothesis.features["am"] for hypothesis in nbest.hypotheses]
        self._totals = [
            weight.lm_weight * scores.log_probs
            + weight.length_bonus * np.array(words)
            - weight.oov_penalty * scores.oov_counts
            + weight.feature_weights.get("am", 1.0) * np.array(acoustic)
            for weight in weights
        ]

    def problem(self, ranked: Any, tolerance: float) -> str:
        problem = _far(ranked.log_probs, self._scores.log_probs, tolerance)
        for ranking, totals in zip(ranked.rankings, self._totals, strict=True):
            # Sums in another order differ in their last bits.
            problem = problem or _far(ranking.totals, totals, tolerance + 1e-9)
            in_order = [ranking.totals[i] for i in ranking.order]
            if in_order != sorted(ranking.totals, reverse=True):
                problem = problem or f"order {ranking.order} of {ranking.totals}"
        return problem


def _generation(
    name: str,
    model: LanguageModel[Any],
    prompt: str,
    settings: parameters.Decoding,
    strategy: Greedy | Sampling,
    given: dict[str, Any],
) -> Case:
    expected = _texts_of(model, prompt, settings)

    async def ask(client: AsyncClient) -> Any:
        return await client.generate_texts(prompt, model=name, strategy=strategy, **given)

    def problem(answer: Any) -> str:
        got = [(text.token_ids, text.text, text.reason) for text in answer]
        if got != [text[:3] for text in expected]:
            return f"{got} in place of {expected}"
        log_probs = [text.log_prob for text in answer]
        return _far(log_probs, [text[3] for text in expected], max(_tolerance(model), 1e-9))

    return Case("Generate", name, ask, problem)


def _texts_of(
    model: LanguageModel[Any], prompt: str, settings: parameters.Decoding
) -> list[tuple[tuple[int, ...], str, str, float]]:
    """Token ids, text, why it ended, and log-probability of each text of a generation."""
    ids: dict[int, list[int]] = {}
    texts: dict[int, str] = {}
    ends: dict[int, Finished] = {}
    for event in generate(model, [prompt], settings):
        number = event.place.sequence
        texts[number] = texts.get(number, "") + event.text
        if isinstance(event, Token):
            ids.setdefault(number, []).append(event.token_id)
        else:
            ends[number] = event
    return [
        (tuple(ids.get(n, ())), texts[n], ends[n].reason.name.lower(), ends[n].log_prob)
        for n in sorted(ends)
    ]
