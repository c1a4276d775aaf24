"""The server as a process: starting, refusing to start, draining, stopping."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from lmscore.server import logs
from lmscore.server.lifecycle import serve
from lmscore.server.model_source import ModelSource
from lmscore.server.ports import Sharing, reserved
from lmscore.server.settings import Settings
from lmscore.server.stages import Stage
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub
from tests.server.harness import (
    ServerProcess,
    command_here,
    failure_of,
    run_server_command,
    running,
    server_command,
    settings_for,
)

pytestmark = pytest.mark.timeout(300)  # where nothing has been compiled yet

Start = Callable[..., ServerProcess]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def score_request(text: str = "a b") -> wire.ScoreRequest:
    return wire.ScoreRequest(model=ModelSelector(name="tiny"), texts=[text])


class OpenStream:
    """A ScoreStream kept open, so that the server has a call to finish."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._requests: Queue[wire.ScoreStreamRequest | None] = Queue()
        self._answers = LanguageModelServiceStub(channel).ScoreStream(self._sent())

    def _sent(self) -> Iterator[wire.ScoreStreamRequest]:
        while (request := self._requests.get()) is not None:
            yield request

    def ask(self, request_id: int) -> wire.ScoreStreamResponse:
        self._requests.put(wire.ScoreStreamRequest(request_id=request_id, score=score_request()))
        return next(self._answers)

    def close(self) -> list[wire.ScoreStreamResponse]:
        self._requests.put(None)
        return list(self._answers)


def test_sigterm_finishes_what_runs_refuses_what_is_new_and_exits_with_0(
    start_server: Start, tiny_arpa: Path
) -> None:
    server = start_server("--model", f"tiny={tiny_arpa}")
    loaded = next(event for event in server.events if event["event"] == "model loaded")
    assert (loaded["model"], loaded["level"]) == ("tiny", "info")  # lines of JSON, as asked for
    with grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(health_pb2.HealthCheckRequest(service="tiny"))
        assert next(watched).status == SERVING
        stream = OpenStream(channel)
        assert stream.ask(1).score.scores

        server.process.send_signal(signal.SIGTERM)

        assert next(watched).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as refused:
            LanguageModelServiceStub(channel).Score(score_request())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert stream.ask(2).score.scores  # the stream that ran goes on
        assert stream.close() == []
    assert server.process.wait(timeout=60) == 0


@asynccontextmanager
async def stopped_by_signals(
    settings: Settings,
) -> AsyncIterator[tuple[asyncio.Task[None], list[Stage], Any]]:
    """A server within this process that signals to it stop, and a stream that it is answering."""
    stages: list[Stage] = []
    with reserved("127.0.0.1:0") as port:
        address = f"127.0.0.1:{port}"
        here = settings.model_copy(update={"listen": address})
        serving = asyncio.create_task(serve(here, Sharing.AT_ONCE, stages.append))
        async with asyncio.timeout(100):
            while not stages:
                assert not serving.done(), serving.exception()
                await asyncio.sleep(0.01)
        async with grpc.aio.insecure_channel(address) as channel:
            stream: Any = LanguageModelServiceStub(channel).ScoreStream()
            await stream.write(wire.ScoreStreamRequest(request_id=1, score=score_request()))
            assert (await stream.read()).score.scores
            yield serving, stages, stream


async def test_drain_timeout_ends_calls_that_go_on(tiny_arpa: Path) -> None:
    settings = settings_for(tiny_arpa, drain_timeout_seconds=0.2)
    async with stopped_by_signals(settings) as (serving, _, stream):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 60)
        with pytest.raises(grpc.RpcError) as ended:
            await stream.read()
        assert ended.value.code() is grpc.StatusCode.CANCELLED
        assert failure_of(ended.value).reason == "DRAIN_TIMEOUT"


async def test_a_second_signal_stops_at_once(tiny_arpa: Path) -> None:
    settings = settings_for(tiny_arpa, drain_timeout_seconds=3600)
    async with stopped_by_signals(settings) as (serving, stages, stream), asyncio.timeout(60):
        os.kill(os.getpid(), signal.SIGTERM)
        while Stage.DRAINING not in stages:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not serving.done()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
        with pytest.raises(grpc.RpcError):
            await stream.read()


def test_a_signal_while_loading_ends_the_process_at_once(tmp_path: Path) -> None:
    endless = tmp_path / "endless.arpa"
    os.mkfifo(endless)  # whoever reads it waits
    process = subprocess.Popen(
        server_command(
            "--listen", "127.0.0.1:0", "--model", f"m={endless}", "--log-format", "json"
        ),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ServerProcess(process, "", []).wait_for("loading model")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()


async def test_health_knows_the_server_and_every_model(tiny_arpa: Path) -> None:
    models = tuple(ModelSource(name=name, path=tiny_arpa) for name in ("one", "two"))
    async with running(settings_for(tiny_arpa, model=models)) as connection:
        health = health_pb2_grpc.HealthStub(connection.channel)
        for service in ("", "one", "two", "lmscore.v1.LanguageModelService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == SERVING
        with pytest.raises(grpc.RpcError) as unknown:
            await health.Check(health_pb2.HealthCheckRequest(service="three"))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What a server command within this process logs."""
    monkeypatch.setattr(logs, "configure_logs", lambda *_, **__: None)
    with capture_logs() as lines:
        yield lines


@pytest.mark.usefixtures("log")
def test_a_port_in_use_is_one_clear_line(tiny_arpa: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = command_here("--model", f"tiny={tiny_arpa}", "--listen", address)

    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert address in line
    assert "in use" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--model"),
        (["--model", "tiny"], "NAME=PATH"),
        (["--model", "a b=x.arpa"], "not a model name"),
        (["--model", "a=x.arpa", "--model", "a=y.arpa"], "two models are named a"),
        (["--model", "a=x.arpa", "--listen", "nowhere"], "HOST:PORT"),
        (["--model", "a=x.arpa", "--threads", "0"], "threads"),
        (["--model", "a=x.arpa", "--threads", "many"], "threads"),
        (["--model", "a=x.arpa", "--config", "/does/not/exist.toml"], "/does/not/exist.toml"),
        (["--no-such-flag"], "no-such-flag"),
        (["--model", "a=x\u0663.arpa", "--listen", "a:\u0663"], "HOST:PORT"),
    ],
)
def test_settings_that_will_not_do_are_refused_in_words(arguments: list[str], said: str) -> None:
    done = command_here("--listen", "127.0.0.1:0", "--log-format", "json", *arguments)

    assert done.exit_code == 2
    assert said in done.stderr


def test_a_wrong_setting_ends_the_process_without_a_traceback() -> None:
    done = run_server_command("--model", "tiny")

    assert done.returncode == 2
    assert "NAME=PATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_is_none_stops_the_start_with_its_file_and_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.arpa"
    broken.write_text("\\data\\\nngram 1=1\n\n\\1-grams:\nnan\ta\n\n\\end\\\n")
    done = run_server_command("--listen", "127.0.0.1:0", "--model", f"b={broken}")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"lmscore-server: {broken}:5:")
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("log")
def test_dry_run_scores_a_line_with_each_model_and_exits(tiny_arpa: Path) -> None:
    done = command_here("--model", f"one={tiny_arpa},two={tiny_arpa}", "--dry-run")

    assert done.exit_code == 0
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["one", "two"]
    assert "nats" in done.stdout


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    config = tmp_path / "lmscore.toml"
    config.write_text('threads = 3\nmax_texts = 30\nlisten = "127.0.0.1:1"\n')
    done = command_here(
        "--config", str(config), "--print-config", "--threads", "5",
        LMSCORE_THREADS="4", LMSCORE_MAX_TEXTS="40", LMSCORE_MODEL="m=/m.arpa",
    )  # fmt: skip

    lines = set(done.stdout.splitlines())
    assert {
        "threads = 5  # flag",
        "max_texts = 40  # environment",
        f'listen = "127.0.0.1:1"  # file {config}',
        'model = ["m=/m.arpa"]  # environment',
        "max_text_bytes = 1048576  # default",
    } <= lines


def test_an_empty_flag_beats_the_environment_too() -> None:
    done = command_here("--metrics", "", "--print-config", LMSCORE_METRICS="127.0.0.1:1")

    assert 'metrics = ""  # flag' in done.stdout.splitlines()


def test_printed_config_is_a_config_file(tmp_path: Path) -> None:
    printed = command_here("--model", "m=/m.arpa", "--threads", "7", "--print-config").stdout
    config = tmp_path / "again.toml"
    config.write_text(printed)
    again = command_here("--config", str(config), "--print-config").stdout

    def values(text: str) -> list[str]:
        return [line.split("  #")[0] for line in text.splitlines()]

    assert values(again) == values(printed)


def test_what_needs_no_model_loads_nothing_that_takes_long() -> None:
    heavy = ["numba", "torch", "numpy", "grpc", "lmscore.models.loading"]
    program = f"""
import sys
from lmscore.server.command import command
command(["--print-config"], standalone_mode=False)
sys.exit(", ".join(name for name in {heavy} if name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=280
    )

    assert "listen" in done.stdout
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("missing", ["pydantic", "grpc", "numba"])
def test_what_is_not_installed_is_named(missing: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "sys.argv = ['lmscore-server', '--model', 'a=b.arpa', '--dry-run']\n"
        "from lmscore.server.launcher import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=280
    )

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"lmscore-server needs {missing}")
    assert line.endswith(": pip install 'lmscore[server]'")


def test_an_unknown_setting_in_the_file_is_named(tmp_path: Path) -> None:
    config = tmp_path / "lmscore.toml"
    config.write_text("thread = 3\n")
    done = command_here("--config", str(config), "--print-config")

    assert done.exit_code == 2
    assert "thread" in done.stderr


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('model = [{name = "a/b", path = "x"}]', "not a model name"),
        ('model = [{name = "a", path = "x"}, {name = "a", path = "y"}]', "two models are named a"),
        ('model = "a=\\u0000b"', "not a path"),
        ("threads = true", "threads"),
        ("drain_timeout_seconds = nan", "drain_timeout_seconds"),
        ('trace_endpoint = "ftp://collector:4317"', "trace_endpoint"),
        ('trace_endpoint = "http://collector"', "HOST:PORT"),
    ],
)
def test_a_bad_value_in_the_file_is_refused(tmp_path: Path, written: str, said: str) -> None:
    config = tmp_path / "lmscore.toml"
    config.write_text(written)
    done = command_here("--config", str(config), "--print-config")

    assert done.exit_code == 2
    assert said in done.stderr


def test_an_address_without_a_host_means_every_interface(tmp_path: Path, log: list[Any]) -> None:
    missing = tmp_path / "none.arpa"
    done = command_here("--listen", ":0", "--model", f"m={missing}")

    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert str(missing) in line  # and not the address
    assert "tls_certificate" in str(log)  # what a port that others can reach should have
    assert "api_keys" in str(log)
