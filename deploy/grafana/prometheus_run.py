"""A real server, a real Prometheus with the committed configuration, and calls to look at."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "checkpoints" / "demo"
START_SECONDS = 120.0
STOP_SECONDS = 60.0
_PORTS = range(20_000, 30_000)  # below those that systems hand out


class RunError(Exception):
    """Something did not start, or did not answer; the message says what and why."""


@dataclass(frozen=True)
class Servers:
    """Where they listen."""

    grpc: str
    metrics: str


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    address: str

    def get(self, path: str, **parameters: str) -> Any:
        """The data of its API's answer. Raises RunError for what it does not understand."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise RunError(_problem(error)) from None

    def wait_until_scraped(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it has asked the server once. Raises RunError if that takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            # At first it does not listen, and then answers that it is not ready.
            with suppress(OSError, RunError):
                if self.get("query", query='up{job="lmscore"} == 1')["result"]:
                    return
            time.sleep(0.1)
        raise RunError("Prometheus did not reach the server")


def _problem(error: urllib.error.HTTPError) -> str:
    """What Prometheus says of it: JSON, or a line of text while it starts."""
    said = error.read()
    try:
        return str(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError):
        return f"{error}: {said.decode(errors='replace').strip()}"


@contextmanager
def serving(*arguments: str) -> Iterator[Servers]:
    """A server with the demo models on free ports."""
    metrics = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "lmscore.server.launcher", "--listen", "127.0.0.1:0"]
    command += ["--metrics", metrics, "--log-format", "json", *arguments]
    for name, path in (("demo", "trigram.arpa.gz"), ("demo-lstm", "lstm")):
        command += ["--model", f"{name}={DEMO / path}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = _ready_address(process)
            threading.Thread(target=_discard, args=(process.stderr,), daemon=True).start()
            yield Servers(address, metrics)
        finally:
            process.terminate()
            _end(process)


def _ready_address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    last = ""
    for line in process.stderr:
        last = line.strip()
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "ready":
            return str(event["address"])
    raise RunError(f"the server did not start: {last}")


def _discard(lines: Iterable[str]) -> None:
    """Read the log: whoever writes it may wait for that, or leave lines out."""
    for _ in lines:
        pass


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def prometheus(target: str, scrape_interval: str = "1s") -> Iterator[Prometheus]:
    """Prometheus with the committed configuration and rules, for one server, on a free port."""
    program = shutil.which("prometheus")
    if program is None:
        raise RunError("prometheus is not installed (Debian: apt-get install prometheus)")
    with tempfile.TemporaryDirectory(prefix="lmscore-prometheus-") as folder:
        config = Path(folder) / "config"
        shutil.copytree(ROOT / "deploy" / "prometheus", config)
        (config / "targets.yml").write_text(f'- targets: ["{target}"]\n')
        main = config / "prometheus.yml"
        # A short run has to see something; nothing else differs.
        faster = main.read_text().replace(
            "scrape_interval: 5s", f"scrape_interval: {scrape_interval}"
        )
        main.write_text(faster.replace("evaluation_interval: 15s", "evaluation_interval: 2s"))
        address = f"127.0.0.1:{free_port()}"
        command = [program, f"--config.file={main}", f"--storage.tsdb.path={folder}/data"]
        command += [f"--web.listen-address={address}", "--log.level=error"]
        with subprocess.Popen(command) as process:
            try:
                running = Prometheus(address)
                running.wait_until_scraped(process)
                yield running
            finally:
                process.terminate()


def free_port() -> int:
    """A port that nobody uses at the moment, and that no system gives to whoever wants any."""
    candidates = list(_PORTS)
    secrets.SystemRandom().shuffle(candidates)
    for port in candidates:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RunError("no port is free")


def traffic(address: str, seconds: float, rate: float, seed: int = 1) -> dict[str, int]:
    """Calls of every kind for so long; how many ended how, by "method code"."""
    command = [sys.executable, str(ROOT / "deploy" / "traffic.py"), "--address", address]
    command += ["--seconds", str(seconds), "--rate", str(rate), "--seed", str(seed)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds + START_SECONDS
    )
    if done.returncode:
        raise RunError(f"the calls failed: {done.stderr.strip()}")
    ended: dict[str, int] = json.loads(done.stdout)
    return ended
