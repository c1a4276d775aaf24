"""API keys and quotas on a real port: who gets in, as whom, and how much each may do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from lmscore.server.call import Call, Priority
from lmscore.server.security.access import Access
from lmscore.server.security.errors import AdminOnlyError
from lmscore.server.security.exposure import exposures
from lmscore.server.security.files import WatchedFiles
from lmscore.server.security.keys import new_key, read_keys
from lmscore.server.settings import Settings
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.harness import Failure, failure_of, running, settings_for

TINY = ModelSelector(name="tiny")
SCORE = wire.ScoreRequest(model=TINY, texts=["a b"])  # three tokens, </s> included
SLOW = "tokens_per_second = 0.1\nburst_seconds = 20\n"  # two tokens at first


@dataclass(frozen=True)
class Keys:
    """A file of keys, and those keys by name."""

    path: Path
    secrets: dict[str, str]

    def bearer(self, name: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.secrets[name]}"),)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    tables = {
        "team": "",
        "slow": SLOW,
        "boss": "admin = true\n",
        "nightly": 'priority = "bulk"\n',
        "stream": "requests_per_second = 100\nburst_seconds = 0.01\n",
    }
    made = {name: new_key(name) for name in tables}
    path = tmp_path / "keys.toml"
    path.write_text("".join(made[name][1] + tables[name] for name in tables))
    return Keys(path, {name: key for name, (key, _) in made.items()})


async def failure(call: Awaitable[Any]) -> Failure:
    with pytest.raises(grpc.RpcError) as ended:
        await call
    return failure_of(ended.value)


async def test_calls_need_a_key_that_the_server_knows(tiny_arpa: Path, keys: Keys) -> None:
    secret = keys.secrets["team"]
    async with running(settings_for(tiny_arpa, api_keys=keys.path)) as connected:
        score = connected.stub.Score
        for metadata in (
            (("authorization", f"Bearer {secret}"),),
            (("authorization", f"bearer {secret}"),),
            (("x-api-key", secret),),
        ):
            assert (await score(SCORE, metadata=metadata)).scores
        refused: list[tuple[tuple[tuple[str, str], ...], str]] = [
            ((), "API_KEY_MISSING"),
            ((("authorization", f"Basic {secret}"),), "API_KEY_MISSING"),
            ((("authorization", "Bearer "),), "API_KEY_MISSING"),
            ((("authorization", f"Bearer {secret}x"),), "API_KEY_UNKNOWN"),
            ((("x-api-key", "guess"),), "API_KEY_UNKNOWN"),
        ]
        for sent, reason in refused:
            failed = await failure(score(SCORE, metadata=sent))
            assert (failed.code, failed.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
            assert secret not in failed.message
        stream = connected.stub.ScoreStream(iter(()))
        assert (await failure(stream.read())).reason == "API_KEY_MISSING"


async def test_health_is_open_and_reflection_needs_a_key(tiny_arpa: Path, keys: Keys) -> None:
    async with running(settings_for(tiny_arpa, api_keys=keys.path)) as connected:
        health: Any = health_pb2_grpc.HealthStub(connected.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="tiny"))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(connected.channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        refused = reflection.ServerReflectionInfo(iter(asked))
        assert (await failure(refused.read())).reason == "API_KEY_MISSING"
        call = reflection.ServerReflectionInfo(iter(asked), metadata=keys.bearer("team"))
        assert (await call.read()).list_services_response.service


async def test_reflection_can_be_switched_off(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa, reflection="off"), load=False) as connected:
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(connected.channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        with pytest.raises(grpc.RpcError) as unknown:
            await reflection.ServerReflectionInfo(iter(asked)).read()
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


def access_to(keys: Keys) -> Access:
    return Access(WatchedFiles((keys.path,), lambda: read_keys(keys.path)))


def test_administration_is_for_keys_that_say_so(keys: Keys) -> None:
    access = access_to(keys)
    for method in ("LoadModel", "UnloadModel", "SetLabel"):
        with access.admitted(Call(method, "ipv4:1"), dict(keys.bearer("boss"))):
            pass
        with pytest.raises(AdminOnlyError) as refused:
            access.admitted(Call(method, "ipv4:1"), dict(keys.bearer("team"))).__enter__()
        assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED
        assert str(refused.value).startswith(f"{method} is for administrators")


def test_a_call_is_named_after_its_key_and_is_no_more_urgent_than_that_may_be(keys: Keys) -> None:
    access = access_to(keys)
    for name, priority in (("team", Priority.INTERACTIVE), ("nightly", Priority.BULK)):
        call = Call("Score", "ipv4:127.0.0.1:4")
        with access.admitted(call, dict(keys.bearer(name))):
            assert (call.caller, call.priority) == (name, priority)
    nobodys = Call("Score", "ipv4:127.0.0.1:4")
    with Access().admitted(nobodys, {}):
        assert nobodys.caller == "ipv4:127.0.0.1:4"


async def test_a_key_over_its_quota_is_told_when_to_come_again_and_others_are_not_held(
    tiny_arpa: Path, keys: Keys
) -> None:
    async with running(settings_for(tiny_arpa, api_keys=keys.path)) as connected:
        score = connected.stub.Score
        await score(SCORE, metadata=keys.bearer("slow"))  # one token more than there was
        failed = await failure(score(SCORE, metadata=keys.bearer("slow")))
        await score(SCORE, metadata=keys.bearer("team"))

    assert (failed.code, failed.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "QUOTA_EXCEEDED",
    )
    assert failed.retry_after_seconds == pytest.approx(20, abs=5)  # 2 tokens missing, 0.1 a second
    assert "slow" in failed.message


async def generated(stub: Any, metadata: Any) -> None:
    request = wire.GenerateRequest(model=TINY, prompt="a", max_tokens=3)
    async for _ in stub.Generate(request, metadata=metadata):
        pass


async def streamed(stub: Any, metadata: Any) -> None:
    request = wire.ScoreStreamRequest(request_id=1, score=SCORE)
    async for _ in stub.ScoreStream(iter([request]), metadata=metadata):
        pass


CALLS: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
    "Score": lambda stub, key: stub.Score(SCORE, metadata=key),
    "ScoreStream": streamed,
    "Rescore": lambda stub, key: stub.Rescore(
        wire.RescoreRequest(
            model=TINY,
            lists=[wire.NBestList(hypotheses=[wire.Hypothesis(text="a b")])],
            weights=[wire.RescoreWeights(lm_weight=1)],
        ),
        metadata=key,
    ),
    "Predict": lambda stub, key: stub.Predict(
        wire.PredictRequest(model=TINY, prompts=["a", "b", "a b"]), metadata=key
    ),
    "DetectErrors": lambda stub, key: stub.DetectErrors(
        wire.DetectErrorsRequest(model=TINY, texts=["a b", "a"], threshold=1), metadata=key
    ),
    "Tokenize": lambda stub, key: stub.Tokenize(
        wire.TokenizeRequest(model=TINY, texts=["a b", "a"]), metadata=key
    ),
    "Generate": generated,
}


@pytest.mark.parametrize("method", CALLS)
async def test_every_rpc_charges_its_tokens(tiny_arpa: Path, keys: Keys, method: str) -> None:
    async with running(settings_for(tiny_arpa, api_keys=keys.path)) as connected:
        await CALLS[method](connected.stub, keys.bearer("slow"))
        failed = await failure(connected.stub.Score(SCORE, metadata=keys.bearer("slow")))

    assert failed.reason == "QUOTA_EXCEEDED"


async def test_a_stream_over_its_quota_is_slowed_down_and_not_ended(
    tiny_arpa: Path, keys: Keys
) -> None:
    requests = [wire.ScoreStreamRequest(request_id=i, score=SCORE) for i in range(20)]
    async with running(settings_for(tiny_arpa, api_keys=keys.path)) as connected:
        began = time.monotonic()
        call = connected.stub.ScoreStream(iter(requests), metadata=keys.bearer("stream"))
        answers = [answer async for answer in call]
        elapsed = time.monotonic() - began

    assert len(answers) == 20
    assert all(answer.score.scores for answer in answers)
    assert elapsed > 0.18  # a hundred a second


async def test_a_stream_without_a_key_never_reaches_its_handler(
    tiny_arpa: Path, keys: Keys
) -> None:
    never = asyncio.Event()

    async def nothing() -> Any:
        await never.wait()
        yield wire.ScoreStreamRequest()

    async with running(settings_for(tiny_arpa, api_keys=keys.path)) as connected:
        call = connected.stub.ScoreStream(nothing(), timeout=60)
        assert (await failure(call.read())).code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"listen": "127.0.0.1:1"}, []),
        ({"listen": "localhost:1"}, []),
        ({"listen": "[::1]:1"}, []),
        ({"listen": "0.0.0.0:1"}, ["tls_certificate", "api_keys"]),
        ({"listen": ":1"}, ["tls_certificate", "api_keys"]),
        ({"listen": "scoring.example:1", "api_keys": "k.toml"}, ["tls_certificate"]),
        ({"listen": "[::]:1", "tls_certificate": "c", "tls_key": "k"}, ["api_keys"]),
        ({"listen": "[::]:1", "tls_certificate": "c", "tls_key": "k", "tls_client_ca": "a"}, []),
    ],
)
def test_a_server_that_others_can_reach_is_warned_of_what_is_open(
    given: dict[str, Any], named: list[str]
) -> None:
    said = list(exposures(Settings(**given)))

    assert len(said) == len(named)
    for setting, line in zip(named, said, strict=True):
        assert setting in line
