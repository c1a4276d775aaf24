"""A server with a model that can be worked out by hand, and that fails when told to.

A word of n characters has log-probability -n/2, the end of a text -1. A word with a digit in it is
out of vocabulary, and costs 5. The word "impossible" has probability 0, the word "refused" makes
its text an error.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from queue import SimpleQueue

import grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from lmscore.v1 import common_pb2, model_service_pb2, model_service_pb2_grpc
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1 import language_model_service_pb2_grpc as wire_grpc

FINGERPRINT = "ab" * 32
LONG_SECONDS = 60.0
"""For what is sure to come, on a machine that may stand still for a while."""
Context = grpc.ServicerContext


def ends_within(seconds: float, context: Context) -> bool:
    """Whether a call is over for its client by then."""
    over = threading.Event()
    if not context.add_callback(over.set):
        return True  # it was over before
    return over.wait(seconds)


@dataclass
class Failure:
    """How a call is made to end."""

    code: StatusCode
    message: str = "it was told to fail"
    details: list[Message] = field(default_factory=list)

    def end(self, context: Context) -> None:
        status = Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            status.details.add().Pack(detail)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(self.code, self.message)


@dataclass
class Behaviour:
    """What the server does, and what it saw; shared by its services."""

    models: list[str] = field(default_factory=lambda: ["fake"])
    loading: set[str] = field(default_factory=set)
    failures: deque[Failure] = field(default_factory=deque)  # of the next calls, one each
    delay_seconds: float = 0.0
    silent: bool = False  # no call gets an answer: each lasts until it is over for its client
    most_answers: dict[str, int] = field(default_factory=dict)  # after which a method is silent
    shuffle: Callable[[list[wire.ScoreStreamResponse]], None] | None = None
    shuffle_window: int = 1  # stream answers that are held back, shuffled and sent together
    stream_pause: threading.Event = field(default_factory=threading.Event)  # cleared: no answers
    calls: Counter[str] = field(default_factory=Counter)
    stream_requests: list[wire.ScoreRequest] = field(default_factory=list)
    stream_outlasts_requests: bool = False  # it ends with its client's interest, not its requests
    deadlines: list[float | None] = field(default_factory=list)  # seconds left, of each call
    stream_ends: SimpleQueue[str] = field(default_factory=SimpleQueue)
    generate_requests: list[wire.GenerateRequest] = field(default_factory=list)
    generate_messages: int | None = None  # messages of Generate, after which it ...
    generate_end: Failure | None = None  # ... fails, or hangs until it is cancelled
    tokens_per_message: int = 1
    running: int = 0  # Rescore calls
    most_running: int = 0
    together: int = 0  # Rescore calls that wait until as many have been running at once
    changed: threading.Condition = field(default_factory=threading.Condition)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)  # of each call
    busy_answers: int = 0  # in streams, to the next requests

    def enter(self, method: str, context: Context) -> None:
        self.calls[method] += 1
        self.deadlines.append(context.time_remaining())
        self.metadata.append(dict(context.invocation_metadata()))
        if self.failures:
            self.failures.popleft().end(context)
        time.sleep(self.delay_seconds)
        if self.silent or self.calls[method] > self.most_answers.get(method, sys.maxsize):
            ends_within(LONG_SECONDS, context)

    def wait_for_call(self, method: str) -> None:
        """Wait until such a call has come in."""
        give_up = time.monotonic() + LONG_SECONDS
        while not self.calls[method]:
            assert time.monotonic() < give_up, f"nobody called {method}"
            time.sleep(0.005)

    def end_of_stream(self) -> str:
        """How the next stream that ends does: well, cancelled, or left open."""
        return self.stream_ends.get(timeout=LONG_SECONDS)

    def choose(self, selector: common_pb2.ModelSelector, context: Context) -> None:
        if selector.name not in self.models:
            Failure(StatusCode.NOT_FOUND, f"there is no model {selector.name}").end(context)


@dataclass
class LanguageModelService(wire_grpc.LanguageModelServiceServicer):
    behaviour: Behaviour

    def Score(self, request: wire.ScoreRequest, context: Context) -> wire.ScoreResponse:
        self.behaviour.enter("Score", context)
        self.behaviour.choose(request.model, context)
        return score(request)

    def ScoreStream(
        self, request_iterator: Iterator[wire.ScoreStreamRequest], context: Context
    ) -> Iterator[wire.ScoreStreamResponse]:
        self.behaviour.enter("ScoreStream", context)
        ended = "cancelled"
        held: list[wire.ScoreStreamResponse] = []
        try:
            for request in request_iterator:
                self.behaviour.stream_requests.append(request.score)
                self.behaviour.stream_pause.wait(LONG_SECONDS)
                held.append(self._stream_answer(request))
                if len(held) >= self.behaviour.shuffle_window:
                    yield from self._shuffled(held)
                    held = []
            yield from self._shuffled(held)
            # A call's requests can end before it is known that the call was cancelled.
            if not self.behaviour.stream_outlasts_requests:
                ended = "well"
            elif not ends_within(LONG_SECONDS, context):
                ended = "left open"
        finally:
            self.behaviour.stream_ends.put(ended)

    def _stream_answer(self, request: wire.ScoreStreamRequest) -> wire.ScoreStreamResponse:
        answer = wire.ScoreStreamResponse(request_id=request.request_id)
        if self.behaviour.busy_answers:
            self.behaviour.busy_answers -= 1
            busy = item_error(StatusCode.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "it was told to be")
            answer.error.CopyFrom(busy)
            return answer
        if request.score.model.name in self.behaviour.models:
            answer.score.CopyFrom(score(request.score))
        else:
            message = f"there is no model {request.score.model.name}"
            answer.error.CopyFrom(item_error(StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", message))
        return answer

    def _shuffled(self, held: list[wire.ScoreStreamResponse]) -> Iterator[wire.ScoreStreamResponse]:
        if self.behaviour.shuffle:
            self.behaviour.shuffle(held)
        yield from held

    def DetectErrors(
        self, request: wire.DetectErrorsRequest, context: Context
    ) -> wire.DetectErrorsResponse:
        self.behaviour.enter("DetectErrors", context)
        self.behaviour.choose(request.model, context)
        return detect_errors(request)

    def Predict(self, request: wire.PredictRequest, context: Context) -> wire.PredictResponse:
        self.behaviour.enter("Predict", context)
        self.behaviour.choose(request.model, context)
        return predict(request)

    def Generate(
        self, request: wire.GenerateRequest, context: Context
    ) -> Iterator[wire.GenerateResponse]:
        self.behaviour.generate_requests.append(request)
        self.behaviour.enter("Generate", context)
        self.behaviour.choose(request.model, context)
        ended = "cancelled"
        try:
            messages = generate(request, self.behaviour.tokens_per_message)
            yield from islice(messages, self.behaviour.generate_messages)
            if self.behaviour.generate_end:
                self.behaviour.generate_end.end(context)
            if self.behaviour.generate_messages is None:
                ended = "well"
            elif not ends_within(LONG_SECONDS, context):
                ended = "left open"
        finally:
            self.behaviour.stream_ends.put(ended)

    def Rescore(self, request: wire.RescoreRequest, context: Context) -> wire.RescoreResponse:
        seen = self.behaviour
        with seen.changed:
            seen.running += 1
            seen.most_running = max(seen.running, seen.most_running)
            seen.changed.notify_all()
            seen.changed.wait_for(lambda: seen.most_running >= seen.together, LONG_SECONDS)
        try:
            self.behaviour.enter("Rescore", context)
            self.behaviour.choose(request.model, context)
            return rescore(request)
        finally:
            with seen.changed:
                seen.running -= 1

    def Tokenize(self, request: wire.TokenizeRequest, context: Context) -> wire.TokenizeResponse:
        self.behaviour.enter("Tokenize", context)
        self.behaviour.choose(request.model, context)
        response = wire.TokenizeResponse(model=identity(request.model.name))
        response.texts.extend(tokenize(i, text) for i, text in enumerate(request.texts))
        return response


@dataclass
class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    behaviour: Behaviour

    def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: Context
    ) -> model_service_pb2.ListModelsResponse:
        self.behaviour.enter("ListModels", context)
        models = [self._model(name) for name in self.behaviour.models]
        return model_service_pb2.ListModelsResponse(models=models)

    def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: Context
    ) -> model_service_pb2.GetModelResponse:
        self.behaviour.enter("GetModel", context)
        self.behaviour.choose(request.model, context)
        return model_service_pb2.GetModelResponse(model=self._model(request.model.name))

    def LoadModel(
        self, request: model_service_pb2.LoadModelRequest, context: Context
    ) -> model_service_pb2.LoadModelResponse:
        Failure(StatusCode.PERMISSION_DENIED).end(context)
        raise AssertionError

    def UnloadModel(
        self, request: model_service_pb2.UnloadModelRequest, context: Context
    ) -> model_service_pb2.UnloadModelResponse:
        Failure(StatusCode.PERMISSION_DENIED).end(context)
        raise AssertionError

    def SetLabel(
        self, request: model_service_pb2.SetLabelRequest, context: Context
    ) -> model_service_pb2.SetLabelResponse:
        Failure(StatusCode.PERMISSION_DENIED).end(context)
        raise AssertionError

    def _model(self, name: str) -> model_service_pb2.Model:
        if name in self.behaviour.loading:
            return model_service_pb2.Model(
                identity=common_pb2.ModelIdentity(name=name, version=1),
                state=model_service_pb2.MODEL_STATE_LOADING,
            )
        return model_service_pb2.Model(
            identity=identity(name),
            kind=model_service_pb2.MODEL_KIND_NGRAM,
            state=model_service_pb2.MODEL_STATE_READY,
            vocabulary_size=1000,
            parameter_count=2500,
            memory_bytes=20_000,
            tokenizer=model_service_pb2.TOKENIZER_KIND_WORDS,
            scoring_contract=model_service_pb2.ScoringContract(
                bos_token="<s>",
                eos_token="</s>",
                unknown_token="<unk>",
                has_unknown=True,
                unknown_log_prob=-5.0,
            ),
            ngram=model_service_pb2.NgramDescription(order=2, counts=[1000, 500]),
        )


# --- the model ---


def identity(name: str) -> common_pb2.ModelIdentity:
    return common_pb2.ModelIdentity(name=name, version=1, fingerprint=FINGERPRINT)


def item_error(
    code: StatusCode, reason: str, message: str, place: str = ""
) -> common_pb2.ItemError:
    return common_pb2.ItemError(code=code.value[0], reason=reason, message=message, field=place)


def is_oov(word: str) -> bool:
    return any(letter.isdigit() for letter in word)


def word_log_prob(word: str) -> float:
    if word == "impossible":
        return -math.inf
    return -5.0 if is_oov(word) else -len(word) / 2


def word_id(word: str) -> int:
    return sum(word.encode()) % 1000


def score(request: wire.ScoreRequest) -> wire.ScoreResponse:
    response = wire.ScoreResponse(model=identity(request.model.name))
    detailed = request.detail == wire.SCORE_DETAIL_TOKENS
    for i, text in enumerate(request.texts):
        response.scores.append(text_score(i, text, detailed, request.eos))
    for sequence in request.token_sequences:
        words = ["x" * token for token in sequence.ids]
        response.scores.append(text_score(0, " ".join(words), detailed, request.eos))
    return response


def text_score(index: int, text: str, detailed: bool, eos: bool) -> wire.TextScore:
    words = text.split()
    if "refused" in words:
        message = f"texts[{index}]: it has the word refused"
        return wire.TextScore(
            error=item_error(StatusCode.INVALID_ARGUMENT, "REFUSED", message, f"texts[{index}]")
        )
    log_probs = [word_log_prob(word) for word in words] + [-1.0] * eos
    oov = [is_oov(word) for word in words] + [False] * eos
    known = [each for each, unknown in zip(log_probs, oov, strict=True) if not unknown]
    answer = wire.TextScore(
        log_prob=sum(log_probs),
        log_prob_excluding_oov=sum(known),
        perplexity=math.exp(-sum(log_probs) / len(log_probs)) if log_probs else 1.0,
        perplexity_excluding_oov=math.exp(-sum(known) / len(known)) if known else 1.0,
        token_count=len(log_probs),
        oov_count=sum(oov),
    )
    if detailed:
        tokens = tokenize(index, text)
        end = len(text.encode())
        answer.tokens.tokens.extend([*tokens.tokens, *["</s>"] * eos])
        answer.tokens.token_ids.extend([*tokens.token_ids, *[0] * eos])
        answer.tokens.begin_bytes.extend([*tokens.begin_bytes, *[end] * eos])
        answer.tokens.end_bytes.extend([*tokens.end_bytes, *[end] * eos])
        answer.tokens.log_probs.extend(log_probs)
        answer.tokens.oov.extend(oov)
        answer.tokens.matched_orders.extend([1] * len(log_probs))
    return answer


def tokenize(index: int, text: str) -> wire.TokenizedText:
    tokenized = wire.TokenizedText()
    if "refused" in text.split():
        message = f"texts[{index}]: it has the word refused"
        tokenized.error.CopyFrom(
            item_error(StatusCode.INVALID_ARGUMENT, "REFUSED", message, f"texts[{index}]")
        )
        return tokenized
    data, end = text.encode(), 0
    for word in text.split():
        begin = data.index(word.encode(), end)
        end = begin + len(word.encode())
        tokenized.tokens.append(word)
        tokenized.token_ids.append(word_id(word))
        tokenized.begin_bytes.append(begin)
        tokenized.end_bytes.append(end)
        tokenized.oov.append(is_oov(word))
    return tokenized


def detect_errors(request: wire.DetectErrorsRequest) -> wire.DetectErrorsResponse:
    """Words with digits in them are unknown, and the only errors."""
    response = wire.DetectErrorsResponse(model=identity(request.model.name))
    for i, text in enumerate(request.texts):
        tokens, checked = tokenize(i, text), response.texts.add()
        places = zip(tokens.tokens, tokens.begin_bytes, tokens.end_bytes, tokens.oov, strict=True)
        for word, begin, end, unknown in places:
            if unknown:
                checked.spans.add(text=word, begin_byte=begin, end_byte=end, word_count=1, oov=True)
    return response


def predict(request: wire.PredictRequest) -> wire.PredictResponse:
    """After n words come n words "x", "xx" …, each as likely as it would be in a text."""
    response = wire.PredictResponse(model=identity(request.model.name))
    for prompt in request.prompts:
        words = ["x" * n for n in range(1, min(len(prompt.split()), request.top_k) + 1)]
        response.predictions.add(
            next=wire.LikelyTokens(
                tokens=words,
                token_ids=[word_id(word) for word in words],
                log_probs=[word_log_prob(word) for word in words],
            ),
            entropy=float(request.bos),
        )
    return response


def generate(request: wire.GenerateRequest, chunk: int) -> Iterator[wire.GenerateResponse]:
    """Text 0 is " a aa aaa" and so on, text 1 " b bb bbb", their tokens in turn.

    Each text is of max_tokens words, by default 3; the last word comes with its end.
    """
    count = request.beam.num_results if request.HasField("beam") else request.num_sequences or 1
    length = request.max_tokens or 3
    prompt = request.prompt.split()
    started = wire.GenerationStarted(
        model=identity(request.model.name),
        seed=request.seed if request.HasField("seed") else 42,
        prompt_token_count=len(prompt),
        prompt_oov_count=sum(map(is_oov, prompt)),
    )
    yield wire.GenerateResponse(started=started)
    tokens = [
        generated_token(request, sequence, step, length)
        for step in range(1, length + 1)
        for sequence in range(count)
    ]
    for i in range(0, len(tokens), chunk):
        part = tokens[i : i + chunk]
        yield wire.GenerateResponse(
            tokens=part,
            finished=[
                generation_finished(request, each.sequence, length)
                for each in part
                if len(each.token) == length
            ],
        )


def generated_token(
    request: wire.GenerateRequest, sequence: int, step: int, length: int
) -> wire.GeneratedToken:
    word = chr(ord("a") + sequence) * step
    likely = ["x" * n for n in range(1, request.alternatives + 1)]
    return wire.GeneratedToken(
        sequence=sequence,
        text="" if step == length else f" {word}",
        token_id=word_id(word),
        token=word,
        log_prob=word_log_prob(word),
        alternatives=wire.LikelyTokens(
            tokens=likely,
            token_ids=[word_id(each) for each in likely],
            log_probs=[word_log_prob(each) for each in likely],
        ),
    )


def generation_finished(
    request: wire.GenerateRequest, sequence: int, length: int
) -> wire.GenerationFinished:
    log_prob = -sum(range(1, length + 1)) / 2
    return wire.GenerationFinished(
        sequence=sequence,
        text=f" {chr(ord('a') + sequence) * length}",
        reason=wire.FINISH_REASON_LENGTH,
        log_prob=log_prob,
        token_count=length,
        score=log_prob / length**request.beam.length_penalty if request.HasField("beam") else None,
    )


def rescore(request: wire.RescoreRequest) -> wire.RescoreResponse:
    response = wire.RescoreResponse(model=identity(request.model.name))
    for i, nbest in enumerate(request.lists):
        answer = response.lists.add(id=nbest.id)
        scores = [text_score(0, each.text, False, True) for each in nbest.hypotheses]
        if any(each.HasField("error") for each in scores):
            answer.error.CopyFrom(
                item_error(
                    StatusCode.INVALID_ARGUMENT, "REFUSED", f"lists[{i}]: refused", f"lists[{i}]"
                )
            )
            continue
        answer.log_probs.extend(each.log_prob for each in scores)
        answer.token_counts.extend(each.token_count for each in scores)
        answer.oov_counts.extend(each.oov_count for each in scores)
        for weights in request.weights:
            factors = [weights.feature_weights.get(n, 1.0) for n in request.feature_names]
            totals = [
                weights.lm_weight * each.log_prob
                + weights.length_bonus * len(hypothesis.text.split())
                - weights.oov_penalty * each.oov_count
                + sum(f * v for f, v in zip(factors, hypothesis.features, strict=True))
                for each, hypothesis in zip(scores, nbest.hypotheses, strict=True)
            ]
            order = sorted(range(len(totals)), key=lambda j: -totals[j])
            answer.rankings.add(order=order, totals=totals)
    return response


# --- running it ---


@dataclass
class FakeServer:
    """The server, listening on a free port of this machine."""

    behaviour: Behaviour
    address: str
    grpc_server: grpc.Server


def start(
    behaviour: Behaviour, address: str = "127.0.0.1:0", *, share_port: bool = False
) -> FakeServer:
    options = [("grpc.so_reuseport", int(share_port))]
    server = grpc.server(ThreadPoolExecutor(max_workers=16), options=options)
    wire_grpc.add_LanguageModelServiceServicer_to_server(LanguageModelService(behaviour), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(behaviour), server)
    port = server.add_insecure_port(address)
    behaviour.stream_pause.set()
    server.start()
    return FakeServer(behaviour, f"127.0.0.1:{port}", server)
