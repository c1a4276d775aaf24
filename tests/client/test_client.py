from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc import StatusCode

from lmscore.client import (
    ChannelSettings,
    Client,
    DeadlineExceededError,
    FieldViolation,
    Hypothesis,
    InvalidArgumentError,
    ItemError,
    LmscoreError,
    MessageTooLargeError,
    ModelNotFoundError,
    ModelNotReadyError,
    NBestList,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    RescoreWeights,
    ServerError,
    UnauthenticatedError,
    UnavailableError,
)
from lmscore.client.convert.scoring import score_request, scores
from lmscore.client.results import ModelIdentity, WordScore
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.client.conftest import TIMEOUT
from tests.client.fake_server import (
    FINGERPRINT,
    LONG_SECONDS,
    Behaviour,
    Failure,
    FakeServer,
    start,
)
from tests.client.patience import patiently


def test_score_gives_one_result_a_text_in_order(client: Client) -> None:
    answer = client.score(["ab abcd", "", "ab 12"])

    assert [score.log_prob for score in answer] == [-4.0, -1.0, -7.0]
    assert [score.token_count for score in answer] == [3, 1, 3]
    assert answer[0].perplexity == pytest.approx(math.exp(4 / 3))
    assert answer[2].oov_count == 1
    assert answer[2].log_prob_excluding_oov == -2.0
    assert answer[0].tokens == ()
    assert (answer.model.name, answer.model.version) == ("fake", 1)
    assert answer.model.fingerprint == FINGERPRINT


def test_tokens_have_places_surprisal_and_order(client: Client) -> None:
    (score,) = client.score(["é 42"], tokens=True)
    word, number, end = score.tokens

    assert (word.text, word.begin_byte, word.end_byte, word.surprisal) == ("é", 0, 2, 0.5)
    assert (number.text, number.begin_byte, number.end_byte, number.oov) == ("42", 3, 5, True)
    assert (end.text, end.matched_order, end.surprisal) == ("</s>", 1, 1.0)


def test_an_impossible_text_is_minus_infinity(client: Client) -> None:
    (score,) = client.score(["impossible"], tokens=True)

    assert score.log_prob == -math.inf
    assert score.perplexity == math.inf
    assert score.tokens[0].surprisal == math.inf


def test_one_bad_text_does_not_fail_the_others(client: Client) -> None:
    answer = client.score(["ab", "refused", "abcd"])

    assert answer[0].log_prob == -2.0
    assert answer[2].log_prob == -3.0
    assert answer.errors == {
        1: ItemError(
            StatusCode.INVALID_ARGUMENT, "REFUSED", "texts[1]: it has the word refused", "texts[1]"
        )
    }


def test_a_bad_text_is_raised_when_it_is_reached(client: Client) -> None:
    answer = client.score(["ab", "refused"])

    with pytest.raises(InvalidArgumentError, match="refused") as raised:
        list(answer)
    assert (raised.value.reason, raised.value.field) == ("REFUSED", "texts[1]")


def test_one_string_in_place_of_a_list_is_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="list of strings"):
        client.score("oops")


@pytest.mark.parametrize(
    "call",
    [
        lambda client, **settings: client.score(["a"], **settings),
        lambda client, **settings: client.score_tokens([[1]], **settings),
        lambda client, **settings: list(client.score_stream(["a"], **settings)),
        lambda client, **settings: client.rescore([], **settings),
        lambda client, **settings: client.predict(["a"], **settings),
        lambda client, **settings: client.tokenize(["a"], **settings),
        lambda client, **settings: client.get_model(**settings),
    ],
)
def test_a_misspelt_setting_is_refused(client: Client, call: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match=r"no setting 'token'.*'model'"):
        call(client, token=True)


def test_token_sequences_and_settings_reach_the_server(client: Client) -> None:
    answer = client.score_tokens([[2, 4], []], eos=False)

    assert [score.log_prob for score in answer] == [-3.0, 0.0]


def test_rescore_ranks_under_every_weight_setting(client: Client) -> None:
    lists = [
        NBestList("a", [Hypothesis("abcd", {"am": 0.0}), Hypothesis("ab", {"am": -0.9})]),
        NBestList("b", [Hypothesis("", {"am": -1.0})]),
    ]
    answer = client.rescore(lists, [RescoreWeights(), RescoreWeights(lm_weight=0.5)])

    assert [nbest.id for nbest in answer] == ["a", "b"]
    assert answer[0].log_probs == (-3.0, -2.0)
    assert answer[0].rankings[0].totals == pytest.approx((-3.0, -2.9))
    assert [ranking.best for ranking in answer[0].rankings] == [1, 0]
    assert answer[1].rankings[0].order == (0,)


@pytest.mark.parametrize(
    ("weights", "total"),
    [
        (RescoreWeights(lm_weight=0), 3.0),
        (RescoreWeights(lm_weight=0, length_bonus=2), 7.0),
        (RescoreWeights(lm_weight=0, oov_penalty=0.5), 2.5),
        (RescoreWeights(lm_weight=0, feature_weights={"x": -1}), 1.0),
        (RescoreWeights(), -4.0),
    ],
)
def test_every_weight_reaches_the_server(
    client: Client, weights: RescoreWeights, total: float
) -> None:
    lists = [NBestList("a", [Hypothesis("ab 1", {"y": 2.0, "x": 1.0})])]

    assert client.rescore(lists, [weights])[0].rankings[0].totals == (total,)


def test_features_are_sent_by_name_whatever_their_order(client: Client) -> None:
    hypotheses = [
        Hypothesis("ab", {"x": 1.0, "y": 10.0}),
        Hypothesis("ab", {"y": 10.0, "x": 1.0}),
    ]
    answer = client.rescore([NBestList("a", hypotheses)])

    assert len(set(answer[0].rankings[0].totals)) == 1


def test_hypotheses_with_different_features_are_refused(client: Client) -> None:
    hypotheses = [Hypothesis("a", {"x": 1.0}), Hypothesis("b", {"y": 1.0})]

    with pytest.raises(InvalidArgumentError, match=r"list a: .*'y'.*'x'"):
        client.rescore([NBestList("a", hypotheses)])


def test_tokenize_gives_tokens_with_places(client: Client) -> None:
    ((first, second),) = client.tokenize(["né 7"])

    assert (first.text, first.begin_byte, first.end_byte, first.oov) == ("né", 0, 3, False)
    assert (second.text, second.begin_byte, second.end_byte, second.oov) == ("7", 4, 5, True)


def test_models_are_described(client: Client) -> None:
    (model,) = client.list_models()

    assert (model.kind, model.state, model.tokenizer) == ("ngram", "ready", "words")
    assert model.ngram is not None
    assert (model.ngram.order, model.ngram.counts) == (2, (1000, 500))
    assert model.scoring_contract.unknown_log_prob == -5.0
    assert client.get_model() == model


def test_a_request_says_no_more_than_its_settings() -> None:
    model = ModelSelector(name="m")

    assert score_request(["a"], "m", {}) == wire.ScoreRequest(
        model=model, texts=["a"], detail=wire.SCORE_DETAIL_NONE, bos=True, eos=True
    )
    assert score_request(["a"], "m", {"alternatives": 0, "words": True}) == wire.ScoreRequest(
        model=model, texts=["a"], detail=wire.SCORE_DETAIL_NONE, bos=True, eos=True, words=True
    )
    assert score_request(["a"], "m", {"tokens": True, "bos": False}) == wire.ScoreRequest(
        model=model, texts=["a"], detail=wire.SCORE_DETAIL_TOKENS, bos=False, eos=True
    )
    assert score_request(["a"], "m", {"alternatives": 2, "eos": False}) == wire.ScoreRequest(
        model=model, texts=["a"], detail=wire.SCORE_DETAIL_FULL, bos=True, eos=False, alternatives=2
    )


def test_words_are_told_where_the_answer_has_them() -> None:
    words = wire.WordScores(
        words=["a", "</s>"],
        log_probs=[-1.0, -2.0],
        oov=[True, False],
        begin_bytes=[0, 1],
        end_bytes=[1, 1],
        token_counts=[2, 1],
    )
    response = wire.ScoreResponse(scores=[wire.TextScore(words=words), wire.TextScore()])
    with_words, without = scores(response)

    assert with_words.words == (
        WordScore("a", -1.0, oov=True, begin_byte=0, end_byte=1, token_count=2),
        WordScore("</s>", -2.0, oov=False, begin_byte=1, end_byte=1, token_count=1),
    )
    assert without.words == ()


# --- errors ---


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda client: client.score(["a", "\ud800"]), "texts[1]"),
        (lambda client: list(client.score_stream(["a", "\ud800"])), "texts[1]"),
        (lambda client: client.score(["a"], context="\ud800"), "context"),
        (lambda client: client.score(["a"], model="\ud800"), "model.name"),
        (lambda client: client.score(["a"], version=-1), "model.version"),
        (lambda client: client.score(["a"], alternatives=2**32), "alternatives"),
        (lambda client: client.score_tokens([[1], [-1]]), "token_sequences[1]"),
        (lambda client: client.score_tokens([[2**40]]), "token_sequences[0]"),
        (lambda client: client.tokenize(["\ud800"]), "texts[0]"),
        (lambda client: client.predict(["\ud800"]), "prompts[0]"),
        (lambda client: client.predict([""], top_k=-1), "top_k"),
        (lambda client: client.rescore([NBestList("a", [Hypothesis("\ud800")])]), "lists[0]"),
        (
            lambda client: client.rescore([], [RescoreWeights(feature_weights={"\ud800": 1.0})]),
            "weights[0].feature_weights[0]",
        ),
    ],
)
def test_what_no_message_can_hold_names_its_field(
    client: Client, call: Callable[[Client], object], field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        call(client)
    assert raised.value.field == field
    assert str(raised.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.score(["a"]),
        lambda client: list(client.score_stream(["a"])),
        lambda client: list(client.rescore_stream([NBestList("a", [Hypothesis("ab")])])),
        lambda client: client.wait_until_ready(),
    ],
)
def test_a_closed_client_says_so(server: FakeServer, call: Callable[[Client], object]) -> None:
    closed = Client(server.address)
    closed.close()

    with pytest.raises(LmscoreError, match="the client is closed") as raised:
        call(closed)
    assert raised.value.code is StatusCode.CANCELLED


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (StatusCode.INVALID_ARGUMENT, InvalidArgumentError),
        (StatusCode.NOT_FOUND, ModelNotFoundError),
        (StatusCode.FAILED_PRECONDITION, ModelNotReadyError),
        (StatusCode.RESOURCE_EXHAUSTED, OverloadedError),
        (StatusCode.DEADLINE_EXCEEDED, DeadlineExceededError),
        (StatusCode.UNAUTHENTICATED, UnauthenticatedError),
        (StatusCode.PERMISSION_DENIED, PermissionDeniedError),
        (StatusCode.INTERNAL, ServerError),
        (StatusCode.DATA_LOSS, ServerError),
        (StatusCode.UNIMPLEMENTED, LmscoreError),
    ],
)
def test_a_code_has_its_class(
    server: FakeServer, client: Client, code: StatusCode, expected: type[LmscoreError]
) -> None:
    server.behaviour.failures.append(Failure(code, "told\nso"))

    with pytest.raises(LmscoreError, match="told so") as raised:
        client.score(["a"])
    assert type(raised.value) is expected
    assert raised.value.code is code
    assert (raised.value.reason, raised.value.field) == ("", "")


def test_details_of_the_status_are_kept(server: FakeServer, client: Client) -> None:
    details = [
        ErrorInfo(reason="QUEUE_FULL", domain="lmscore", metadata={"incident": "f00"}),
        RetryInfo(retry_delay=Duration(seconds=100, nanos=500_000_000)),
        BadRequest(
            field_violations=[
                BadRequest.FieldViolation(field="texts[3]", description="too long"),
                BadRequest.FieldViolation(field="model.name", description="empty"),
            ]
        ),
    ]
    server.behaviour.failures.append(Failure(StatusCode.RESOURCE_EXHAUSTED, details=[*details]))
    with pytest.raises(OverloadedError) as raised:
        client.score(["a"])

    error = raised.value
    assert (error.reason, error.retry_after_seconds) == ("QUEUE_FULL", 100.5)
    assert (error.incident, error.field) == ("f00", "texts[3]")
    assert error.violations[1] == FieldViolation("model.name", "empty")


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", QuotaExceededError),
        (StatusCode.CANCELLED, "DRAIN_TIMEOUT", UnavailableError),
    ],
)
def test_some_reasons_have_a_class_of_their_own(
    server: FakeServer,
    client: Client,
    code: StatusCode,
    reason: str,
    expected: type[LmscoreError],
) -> None:
    details = [ErrorInfo(reason=reason, domain="lmscore")]
    server.behaviour.failures.append(Failure(code, details=[*details]))
    with pytest.raises(expected) as raised:
        list(client.score_stream(["a"]))

    assert (raised.value.code, raised.value.reason) == (code, reason)


def test_details_that_are_none_are_passed_over(server: FakeServer, client: Client) -> None:
    class Garbled(Failure):
        def end(self, context: Any) -> None:
            context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
            context.abort(self.code, self.message)

    server.behaviour.failures.append(Garbled(StatusCode.INTERNAL, "broken"))

    with pytest.raises(ServerError, match="broken"):
        client.score(["a"])


def test_unavailable_is_tried_again(server: FakeServer, client: Client) -> None:
    server.behaviour.failures.extend([Failure(StatusCode.UNAVAILABLE)] * 3)

    assert client.score(["ab"])[0].log_prob == -2.0
    assert server.behaviour.calls["Score"] == 4


def test_other_errors_are_not_tried_again(server: FakeServer, client: Client) -> None:
    server.behaviour.failures.append(Failure(StatusCode.INTERNAL))

    with pytest.raises(ServerError):
        client.score(["ab"])
    assert server.behaviour.calls["Score"] == 1


def test_retries_can_be_switched_off(server: FakeServer) -> None:
    server.behaviour.failures.append(Failure(StatusCode.UNAVAILABLE, "draining"))
    settings = ChannelSettings(max_attempts=1)

    with (
        Client(server.address, model="fake", channel=settings) as client,
        pytest.raises(UnavailableError, match=f"{server.address}: draining"),
    ):
        client.score(["ab"])
    assert server.behaviour.calls["Score"] == 1


def test_nobody_there_is_unavailable() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        client.list_models()


def test_every_call_has_a_deadline(server: FakeServer, client: Client) -> None:
    client.score(["a"])
    client.list_models(timeout=3000)

    first, second = server.behaviour.deadlines
    assert first is not None
    assert TIMEOUT / 2 < first < TIMEOUT * 2  # gRPC rounds up
    assert second is not None
    assert 1500 < second < 6000


def test_a_slow_answer_exceeds_the_deadline(server: FakeServer, client: Client) -> None:
    server.behaviour.silent = True

    with pytest.raises(DeadlineExceededError):
        client.score(["a"], timeout=0.1)


def test_a_message_over_the_limit_is_told_from_overload(server: FakeServer) -> None:
    settings = ChannelSettings(max_message_bytes=1000)

    with (
        Client(server.address, model="fake", channel=settings) as client,
        pytest.raises(MessageTooLargeError),
    ):
        client.score(["a" * 2000])


# --- streams ---


def test_a_stream_keeps_the_order_when_answers_overtake(server: FakeServer, client: Client) -> None:
    server.behaviour.shuffle = list.reverse
    server.behaviour.shuffle_window = 4
    texts = ["a" * i for i in range(1, 24)]

    answers = list(client.score_stream(texts, batch_texts=2))

    assert [len(answer) for answer in answers] == [2] * 11 + [1]
    assert [score.log_prob for answer in answers for score in answer] == [
        -i / 2 - 1 for i in range(1, 24)
    ]
    assert server.behaviour.end_of_stream() == "well"


def test_a_stream_reads_ahead_no_more_than_it_may(client: Client) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield "ab"

    most_ahead = given = 0
    for answer in client.score_stream(texts(), batch_texts=5, max_in_flight=3):
        most_ahead = max(most_ahead, read - given)
        given += len(answer)
    assert given == 100
    assert most_ahead <= 3 * 5 + 1  # the text that a batch no longer had a place for


def test_long_texts_make_small_batches(client: Client) -> None:
    texts = [f"{'a' * 999} " * 400] * 5

    assert [len(answer) for answer in client.score_stream(texts)] == [2, 2, 1]


def test_a_stream_of_nothing_gives_nothing(client: Client) -> None:
    assert list(client.score_stream([])) == []


def test_bad_texts_of_a_stream_stand_in_their_place(client: Client) -> None:
    (answer,) = client.score_stream(["ab", "refused"])

    assert answer[0].log_prob == -2.0
    assert list(answer.errors) == [1]


def test_a_request_of_a_stream_without_an_answer_is_raised(client: Client) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere") as raised:
        list(client.score_stream(["a"], model="nowhere"))
    assert raised.value.reason == "MODEL_NOT_FOUND"


def test_a_stream_that_gets_no_answer_is_given_up(server: FakeServer, client: Client) -> None:
    server.behaviour.stream_pause.clear()

    with pytest.raises(DeadlineExceededError, match=r"0\.2 s"):
        list(client.score_stream(["a"], timeout=0.2))


@pytest.mark.parametrize("seconds", [1e10, 1e300, math.inf])
def test_a_timeout_may_be_longer_than_clocks_count(client: Client, seconds: float) -> None:
    assert len(client.score(["a"], timeout=seconds)) == 1
    assert len(list(client.score_stream(["a"], timeout=seconds))) == 1


def test_slow_input_does_not_exceed_a_streams_timeout(client: Client) -> None:
    def texts(seconds: float) -> Iterator[str]:
        for _ in range(2):
            time.sleep(1.5 * seconds)
            yield "ab"

    def score(seconds: float) -> None:
        slow = texts(seconds)
        answers = client.score_stream(slow, batch_texts=1, max_in_flight=1, timeout=seconds)
        assert len(list(answers)) == 2

    patiently(score)


def test_a_broken_stream_is_unavailable(server: FakeServer) -> None:
    server.behaviour.failures.append(Failure(StatusCode.UNAVAILABLE, "draining"))
    settings = ChannelSettings(max_attempts=1)

    with (
        Client(server.address, model="fake", channel=settings) as client,
        pytest.raises(UnavailableError, match="draining"),
    ):
        list(client.score_stream(["a"]))


def test_an_abandoned_stream_is_cancelled_and_leaves_no_thread(
    server: FakeServer, client: Client
) -> None:
    server.behaviour.stream_outlasts_requests = True
    before = threading.active_count()
    answers = client.score_stream(["a"] * 50_000, batch_texts=1, max_in_flight=2)
    next(answers)
    answers.close()  # type: ignore[attr-defined]  # an iterator to callers, a generator to us

    assert server.behaviour.end_of_stream() == "cancelled"
    give_up = time.monotonic() + LONG_SECONDS
    while threading.active_count() > before + 1 and time.monotonic() < give_up:
        time.sleep(0.01)  # the server's own thread pool may keep one
    assert threading.active_count() <= before + 1


def test_an_error_of_the_callers_texts_is_the_callers(client: Client) -> None:
    def texts() -> Iterator[str]:
        yield "a"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(client.score_stream(texts()))


def test_rescore_stream_keeps_order_and_bounds_what_runs(
    server: FakeServer, client: Client
) -> None:
    server.behaviour.delay_seconds = 0.01
    server.behaviour.together = 2
    lists = [
        NBestList(str(i), [Hypothesis("a" * n, {"score": 0.0}) for n in range(1, 4)])
        for i in range(20)
    ]
    answers = list(client.rescore_stream(lists, batch_hypotheses=6, max_in_flight=3))

    assert [nbest.id for answer in answers for nbest in answer] == [str(i) for i in range(20)]
    assert {len(answer) for answer in answers} == {2}
    assert 1 < server.behaviour.most_running <= 3


def test_rescore_stream_tries_again(server: FakeServer, client: Client) -> None:
    server.behaviour.failures.append(Failure(StatusCode.UNAVAILABLE))
    lists = [NBestList("a", [Hypothesis("ab", {"score": 0.0})])]

    assert len(list(client.rescore_stream(lists))) == 1


def too_large(field: str) -> Failure:
    violation = BadRequest.FieldViolation(field=field, description="too many")
    details: list[Message] = [BadRequest(field_violations=[violation])]
    return Failure(StatusCode.INVALID_ARGUMENT, f"{field}: too many", details)


def test_a_list_too_large_for_a_request_fails_alone(server: FakeServer, client: Client) -> None:
    server.behaviour.failures.append(too_large("lists: hypotheses"))
    lists = [NBestList(name, [Hypothesis("ab")] * 2) for name in "ab"]
    answers = list(client.rescore_stream(lists, batch_hypotheses=1, max_in_flight=1))

    assert [len(answer.errors) for answer in answers] == [1, 0]
    with pytest.raises(InvalidArgumentError, match="too many"):
        answers[0][0]
    assert answers[1][0].id == "b"
    assert answers[0].model == ModelIdentity(answers[1].model.name, 0, "")  # none has answered


@pytest.mark.parametrize(("field", "batch"), [("weights[0]", 1), ("lists: hypotheses", 4)])
def test_a_request_that_fails_by_more_than_one_list_is_raised(
    server: FakeServer, client: Client, field: str, batch: int
) -> None:
    server.behaviour.failures.append(too_large(field))
    lists = [NBestList(name, [Hypothesis("ab")] * 2) for name in "ab"]

    with pytest.raises(InvalidArgumentError, match="too many"):
        list(client.rescore_stream(lists, batch_hypotheses=batch))


def test_rescore_stream_raises_what_a_request_ends_with(client: Client) -> None:
    lists = [NBestList("a", [Hypothesis("ab", {"score": 0.0})])]

    with pytest.raises(ModelNotFoundError):
        list(client.rescore_stream(lists, model="nowhere"))


@pytest.mark.parametrize(
    ("field", "message", "problem"),
    [
        ("texts[3]", "texts[3]: too long", "too long"),
        ("lists[3].hypotheses[2]", "lists[3].hypotheses[2]: too long", "hypotheses[2]: too long"),
        ("lists: hypotheses", "lists: hypotheses: 9 are too many", "hypotheses: 9 are too many"),
        ("", "something else: entirely", "something else: entirely"),
    ],
)
def test_an_items_problem_does_not_tell_its_place_in_the_request(
    field: str, message: str, problem: str
) -> None:
    assert ItemError(StatusCode.INVALID_ARGUMENT, "", message, field).problem == problem


# --- readiness ---


def test_waiting_ends_when_the_model_is_ready(server: FakeServer, client: Client) -> None:
    server.behaviour.loading.add("fake")
    timer = threading.Timer(0.2, server.behaviour.loading.clear)
    timer.start()

    client.wait_until_ready()
    assert not server.behaviour.loading
    timer.join()


def test_waiting_for_a_server_that_is_yet_to_start() -> None:
    started: list[FakeServer] = []
    with socket.socket() as reserved:  # bound and not listening: nobody else gets the port
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        timer = threading.Timer(
            0.2, lambda: started.append(start(Behaviour(), address, share_port=True))
        )
        timer.start()
        with Client(address) as client:
            client.wait_until_ready()
            assert started, "it said ready before there was a server"
            assert len(client.score(["a"], model="fake")) == 1
        timer.join()
        started[0].grpc_server.stop(grace=None).wait()


@pytest.mark.parametrize(
    ("model", "missing"), [("fake", "still loading: fake"), ("other", "it has no model other")]
)
def test_waiting_in_vain_says_what_is_missing(
    server: FakeServer, client: Client, model: str, missing: str
) -> None:
    server.behaviour.loading.add("fake")

    def wait(seconds: float) -> None:
        with pytest.raises(DeadlineExceededError, match=missing):
            client.wait_until_ready(model, timeout=seconds)

    patiently(wait)


def test_what_was_missing_is_told_though_the_last_look_came_too_late(
    server: FakeServer, client: Client
) -> None:
    server.behaviour.loading.add("fake")

    def wait(seconds: float) -> None:
        server.behaviour.calls.clear()
        server.behaviour.most_answers["ListModels"] = 1
        with pytest.raises(DeadlineExceededError, match="still loading: fake"):
            client.wait_until_ready(timeout=seconds)

    patiently(wait)
