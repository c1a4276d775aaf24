"""Repositories made by tests, and servers that follow them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from lmscore.server.settings import Settings
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1 import model_service_pb2
from lmscore.v1.common_pb2 import ModelSelector
from lmscore.v1.model_service_pb2_grpc import ModelServiceStub
from tests.server.harness import Connection, running

POLL_SECONDS = 0.03
STATES = model_service_pb2.ModelState


def arpa(log10_prob: float) -> str:
    """A unigram model that gives the word a this probability, and b and </s> what is left."""
    rest = math.log10((1 - 10**log10_prob) / 3)
    lines = [f"{rest}\t<unk>", "-99\t<s>", f"{rest}\t</s>", f"{log10_prob}\ta", f"{rest}\tb"]
    return "\\data\\\nngram 1=5\n\n\\1-grams:\n" + "\n".join(lines) + "\n\n\\end\\\n"


def log_prob_of_a(version: int) -> float:
    """Of the word a in the model that put_version makes, in nats."""
    return -version / 10 * math.log(10)


def put_version(root: Path, version: int, name: str = "m", content: str | None = None) -> Path:
    """Put a version in place as it should be done: beside, and then renamed."""
    folder = root / name / str(version)
    new = folder.with_name(f".{version}.new")
    new.mkdir(parents=True)
    (new / "model.arpa").write_text(arpa(-version / 10) if content is None else content)
    return new.rename(folder)


def repository_settings(root: Path, **overrides: Any) -> Settings:
    return Settings(
        **{
            "repository": str(root),
            "repository_poll_seconds": POLL_SECONDS,
            "listen": "127.0.0.1:0",
            "threads": 2,
            "request_log_rate": 0,
            "admin": "127.0.0.1:0",
            **overrides,
        }
    )


class Followed:
    """A server that follows a repository, and what tests ask of it."""

    def __init__(self, connection: Connection, admin: grpc.aio.Channel) -> None:
        self.connection = connection
        self.server = connection.server
        self.admin: Any = ModelServiceStub(admin)

    async def score(self, **choice: Any) -> tuple[int, float]:
        """The version that answers, and the log-probability that it gives the word a."""
        request = wire.ScoreRequest(
            model=ModelSelector(**{"name": "m", **choice}), texts=["a"], eos=False
        )
        response = await self.connection.stub.Score(request)
        return response.model.version, response.scores[0].log_prob

    async def version(self, **choice: Any) -> int:
        return (await self.score(**choice))[0]

    async def models(self) -> dict[int, Any]:
        """All versions of the model m."""
        listed = await self.connection.models.ListModels(model_service_pb2.ListModelsRequest())
        return {m.identity.version: m for m in listed.models if m.identity.name == "m"}

    async def states(self) -> dict[int, str]:
        states = {v: STATES.Name(model.state) for v, model in (await self.models()).items()}
        return {v: state.removeprefix("MODEL_STATE_") for v, state in states.items()}

    async def follow(self, done: Callable[[], object]) -> None:
        """Wait until the server has done something."""
        follower = self.server.follower
        assert follower is not None
        await follower.until(lambda: done() or None)

    async def serves(self, *versions: int) -> None:
        """Wait until exactly these versions of m are loaded."""

        def loaded() -> bool:
            entries = self.server.repository.versions("m")
            return {v for v, e in entries.items() if type(e).__name__ == "ServedModel"} == {
                *versions
            }

        await self.follow(loaded)

    async def fails(self, version: int) -> str:
        """Wait until a version has failed; its problem."""

        def problem() -> str:
            entry = self.server.repository.versions("m").get(version)
            return getattr(entry, "problem", "") if type(entry).__name__ == "FailedModel" else ""

        await self.follow(problem)
        return problem()


@asynccontextmanager
async def following(root: Path, **overrides: Any) -> AsyncIterator[Followed]:
    async with running(repository_settings(root, **overrides)) as connection:
        admin = connection.server.admin
        assert admin is not None
        async with grpc.aio.insecure_channel(admin.address) as channel:
            yield Followed(connection, channel)
