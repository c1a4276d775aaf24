from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode

from lmscore.client import Client, Hypothesis, LmscoreError, NBestList, OverloadedError, ServerError
from lmscore.client.retries import pause_before_retry
from tests.client.fake_server import Failure, FakeServer

LISTS = [NBestList(str(i), [Hypothesis("ab")]) for i in range(3)]


def test_a_stream_waits_for_a_server_that_says_when_it_has_room(
    server: FakeServer, client: Client
) -> None:
    later = RetryInfo(retry_delay=Duration(nanos=1_000_000))
    full = Failure(StatusCode.RESOURCE_EXHAUSTED, "the queue is full", [later])
    server.behaviour.failures.extend([full, full])

    answers = list(client.rescore_stream(LISTS, batch_hypotheses=1, max_in_flight=1))
    assert [outcome.id for answer in answers for outcome in answer] == ["0", "1", "2"]
    assert server.behaviour.calls["Rescore"] == 5


def test_a_limit_that_does_not_pass_is_told_at_once(server: FakeServer, client: Client) -> None:
    server.behaviour.failures.append(Failure(StatusCode.RESOURCE_EXHAUSTED, "too many tokens"))

    with pytest.raises(OverloadedError):
        list(client.rescore_stream(LISTS))


@pytest.mark.parametrize(
    ("error", "attempt", "pause"),
    [
        (OverloadedError("full", retry_after_seconds=0.5), 0, 0.5),
        (OverloadedError("full", retry_after_seconds=0.5), 4, 1.6),
        (OverloadedError("full", retry_after_seconds=0.5), 7, None),
        (OverloadedError("full"), 0, None),
        (ServerError("broken", retry_after_seconds=1), 0, None),
    ],
)
def test_pauses_double_and_end(error: LmscoreError, attempt: int, pause: float | None) -> None:
    assert pause_before_retry(error, attempt) == pause
