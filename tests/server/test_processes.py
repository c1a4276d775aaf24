"""Servers of several real processes. What needs none of them is in test_supervisor.py."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from lmscore.server.building import build
from lmscore.server.lifecycle import serve
from lmscore.server.ports import Sharing, reserved
from lmscore.server.stages import Stage
from lmscore.v1.language_model_service_pb2_grpc import LanguageModelServiceStub
from tests.server.harness import ServerProcess, run_server_command, settings_for
from tests.server.test_lifecycle import OpenStream, score_request

pytestmark = pytest.mark.timeout(300)  # where nothing has been compiled yet

Start = Callable[..., ServerProcess]


def channel_to(address: str) -> grpc.Channel:
    """A connection of its own; channels to one address would share theirs."""
    return grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


def callers_of(pid: int, address: str) -> set[int]:
    """The ports of those who are connected to a worker."""
    port = int(address.rpartition(":")[2])
    return {
        connection.raddr.port
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == "ESTABLISHED" and connection.laddr.port == port
    }


def connect_to_each(stack: ExitStack, address: str, pids: list[int]) -> dict[int, grpc.Channel]:
    """A channel to each worker: connections fall to one or the other by chance."""
    channels: dict[int, grpc.Channel] = {}
    for _ in range(200):
        before = {pid: callers_of(pid, address) for pid in pids}
        channel = stack.enter_context(channel_to(address))
        assert LanguageModelServiceStub(channel).Score(score_request(), timeout=60).scores
        [pid] = [pid for pid in pids if callers_of(pid, address) - before[pid]]
        channels.setdefault(pid, channel)
        if len(channels) == len(pids):
            return channels
    raise AssertionError(f"200 connections went to {list(channels)} alone")


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def let_go(fifo: Path) -> None:
    """End what reads, or is about to read, a named pipe."""

    def opened() -> bool:
        with suppress(OSError):  # nobody reads it yet
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            return True
        return False

    until(opened)


class Repeated:
    """Something done again and again on a thread, until the context ends."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self.times = 0
        self.failures: list[BaseException] = []

    @contextmanager
    def going_on(self) -> Iterator[None]:
        end = threading.Event()

        def repeat() -> None:
            while not end.wait(0.05):
                try:
                    self._work()
                except (AssertionError, OSError, grpc.RpcError) as failure:
                    self.failures.append(failure)
                self.times += 1

        thread = threading.Thread(target=repeat)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


def read_metrics(address: str) -> dict[str, float]:
    """Every series of lmscore's processes, by its name and worker."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        sample.name + sample.labels.get("worker", ""): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_killed_worker_comes_back_and_the_others_never_notice(
    start_server: Start, tiny_arpa: Path
) -> None:
    server = start_server(
        "--model", f"tiny={tiny_arpa}", "--processes", "2", "--metrics", "127.0.0.1:0"
    )
    pids = [event["pid"] for event in server.events if event["event"] == "worker started"]
    [metrics] = [e["address"] for e in server.events if e["event"] == "serving metrics"]
    assert {e["worker"] for e in server.events if e["event"] == "model loaded"} == {0, 1}
    assert [e["event"] for e in server.events].count("ready") == 1

    with ExitStack() as stack:
        channels = connect_to_each(stack, server.address, pids)
        killed, kept = pids
        others = LanguageModelServiceStub(channels[kept])
        calls = Repeated(lambda: others.Score(score_request(), timeout=60))
        scrapes = Repeated(lambda: read_metrics(metrics)["lmscore_workers"])
        with calls.going_on(), scrapes.going_on():
            os.kill(killed, signal.SIGKILL)
            ended = server.wait_for("worker ended")
            back = server.wait_for("worker ready")
            # A caller of the killed one gets through again on the same channel.
            survivor = LanguageModelServiceStub(channels[killed])
            assert survivor.Score(score_request(), timeout=60, wait_for_ready=True).scores
            until(lambda: min(calls.times, scrapes.times) > 5)

        assert (ended["pid"], ended["reason"]) == (killed, "SIGKILL")
        assert back["worker"] == ended["worker"]
        restarted = back["pid"]
        assert restarted not in pids
        assert (calls.failures, scrapes.failures) == ([], [])
        # A worker's line in the log comes before its word to the supervisor.
        until(lambda: read_metrics(metrics)["lmscore_workers"] == 2)
        figures = read_metrics(metrics)
        assert figures["lmscore_workers_expected"] == 2
        assert figures[f"lmscore_worker_restarts_total{ended['worker']}"] == 1
        assert figures[f"lmscore_worker_restarts_total{1 - ended['worker']}"] == 0
        assert figures["process_resident_memory_bytes0"] > 2**20
        connect_to_each(stack, server.address, [restarted, kept])

        stream = OpenStream(channels[kept])
        stream.ask(1)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        assert stream.ask(2).score.scores  # what runs goes on
        assert stream.close() == []
    assert server.process.wait(timeout=60) == 0
    assert not any(map(psutil.pid_exists, [*pids, restarted]))


def test_workers_end_when_their_supervisor_was_killed(start_server: Start, tiny_arpa: Path) -> None:
    server = start_server("--model", f"tiny={tiny_arpa}", "--processes", "2")
    pids = [event["pid"] for event in server.events if event["event"] == "worker started"]
    with channel_to(server.address) as channel:
        OpenStream(channel).ask(1)  # does not keep its worker
        server.process.kill()
        _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids], timeout=60)

    assert len(pids) == 2
    assert not alive


def test_a_model_that_is_none_is_one_line_however_many_processes(tmp_path: Path) -> None:
    broken = tmp_path / "broken.arpa"
    broken.write_text("\\data\\\nngram 1=1\n\n\\1-grams:\nnan\ta\n\n\\end\\\n")
    address, model = ["--listen", "127.0.0.1:0"], ["--model", f"b={broken}"]
    done = run_server_command(*address, *model, "--processes", "2")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"lmscore-server: {broken}:5:")
    assert "Traceback" not in done.stderr
    assert sum(line.startswith("lmscore-server:") for line in done.stderr.splitlines()) == 1


@pytest.mark.parametrize("option", [socket.SO_REUSEADDR, socket.SO_REUSEPORT])
def test_a_port_in_use_is_one_line_however_many_processes(option: int, tiny_arpa: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, option, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_server_command(
            "--model", f"tiny={tiny_arpa}", "--listen", address, "--processes", "2"
        )

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line == f"lmscore-server: cannot listen on {address}: Address already in use"


async def test_a_worker_that_comes_back_takes_no_connection_before_it_has_loaded(
    tiny_arpa: Path,
) -> None:
    with reserved("127.0.0.1:0") as port:
        settings = settings_for(tiny_arpa, listen=f"127.0.0.1:{port}")
        server = await build(settings, Sharing.WHEN_LOADED)
        await server.load_models()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        await server.open()
        try:
            async with grpc.aio.insecure_channel(server.address) as channel:
                answer = await LanguageModelServiceStub(channel).Score(score_request())
        finally:
            await server.stop()

    assert answer.scores


async def test_a_signal_ends_a_worker_that_has_not_come_back_yet(tmp_path: Path) -> None:
    endless = tmp_path / "endless.arpa"
    os.mkfifo(endless)  # whoever reads it waits
    stages: list[Stage] = []
    with capture_logs() as events:
        serving = asyncio.create_task(
            serve(settings_for(endless), Sharing.WHEN_LOADED, stages.append)
        )
        async with asyncio.timeout(60):
            while "loading model" not in [event["event"] for event in events]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 60)

    assert stages == [Stage.DRAINING]
    await asyncio.to_thread(let_go, endless)
