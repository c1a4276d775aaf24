"""Replace a model again and again under load: nothing may fail, wait for long, or be left behind.

    python benchmarks/rolling_update.py [--rounds N] [--seconds S] [--clients C] [--model FILE]
    python benchmarks/rolling_update.py --reloads 1000

A server process follows a repository while clients score. Every S seconds a version is put in
place, beside the one that serves and then renamed; the one before it is removed once the new one
answers. Ends with 1 if any request failed or had a version that was not there. With --reloads, the
versions come as fast as the server takes them, from one client, and what the process holds (memory,
files, threads) is compared from the first hundredth to the last.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import psutil

from lmscore.client import Client, LmscoreError

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ["the function returns a list", "the class definition is executed"] * 8
SWITCH_SECONDS = 0.25  # around the moment from which a version answers


@contextmanager
def server(repository: Path, poll_seconds: float, load: str) -> Iterator[tuple[str, int]]:
    """Address and process id."""
    process = subprocess.Popen(
        [
            *[sys.executable, "-m", "lmscore.server.launcher", "--repository", str(repository)],
            *["--listen", "127.0.0.1:0", "--log-format", "json", "--threads", "1"],
            *["--repository-poll-seconds", str(poll_seconds), "--load", load, "--device", "cpu"],
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        event = json.loads(line)
        if event["event"] == "ready":
            break
    else:
        raise SystemExit("the server did not start")
    threading.Thread(target=process.stderr.read, daemon=True).start()  # or the pipe would fill
    try:
        yield event["address"], process.pid
    finally:
        process.terminate()
        process.wait()


def put(repository: Path, model: Path, version: int) -> None:
    new = repository / "m" / f".{version}"
    if model.is_dir():
        shutil.copytree(model, new)
    else:
        new.mkdir(parents=True)
        shutil.copy(model, new / model.name)
    new.rename(repository / "m" / str(version))


@dataclass
class Load:
    """What clients saw."""

    done: threading.Event = field(default_factory=threading.Event)
    calls: list[tuple[float, float]] = field(default_factory=list)  # when it began, seconds
    failures: list[str] = field(default_factory=list)
    newest: int = 1  # version that was put in place last

    def run(self, address: str) -> None:
        with Client(address, model="m", timeout=10) as client:
            version = 1
            while not self.done.is_set():
                began = time.perf_counter()
                try:
                    answer = client.score(TEXTS)
                except LmscoreError as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                    continue
                self.calls.append((began, time.perf_counter() - began))
                if not version <= answer.model.version <= self.newest:
                    self.failures.append(f"version {answer.model.version} after {version}")
                version = answer.model.version


def wait_for(client: Client, version: int, pause: float) -> float:
    """When a version was first seen to answer."""
    end = time.perf_counter() + 60
    while client.score(TEXTS[:1]).model.version != version:
        if time.perf_counter() > end:
            raise SystemExit(f"version {version} did not answer within a minute")
        time.sleep(pause)
    return time.perf_counter()


def percentiles(seconds: list[float]) -> str:
    if len(seconds) < 100:
        return f"{len(seconds)} requests, too few"
    cuts = quantiles(seconds, n=100)
    worst = max(seconds)
    return f"p50 {cuts[49] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms, longest {worst * 1e3:.1f} ms"


def roll(options: argparse.Namespace, repository: Path) -> int:
    load, switches = Load(), []
    with server(repository, options.poll, options.load) as (address, pid):
        process = psutil.Process(pid)
        threads = [
            threading.Thread(target=load.run, args=(address,)) for _ in range(options.clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(1)
        first = process.memory_info().rss
        with Client(address, model="m") as client:
            for version in range(2, options.rounds + 2):
                due = time.perf_counter() + options.seconds
                load.newest = version
                put(repository, options.model, version)
                switches.append(wait_for(client, version, 0.01))
                shutil.rmtree(repository / "m" / str(version - 1))
                time.sleep(max(0.0, due - time.perf_counter()))
        last = process.memory_info().rss
        load.done.set()
        for thread in threads:
            thread.join()
    during: list[float] = []
    outside: list[float] = []
    for began, seconds in load.calls:
        near = any(s - SWITCH_SECONDS < began + seconds and began < s for s in switches)
        (during if near else outside).append(seconds)
    print(f"{options.rounds} versions, {options.clients} clients, {len(TEXTS)} texts a request")
    print(f"requests          {len(load.calls)}, failures {len(load.failures)}")
    print(f"during switches   {percentiles(during)} ({len(during)} requests)")
    print(f"otherwise         {percentiles(outside)} ({len(outside)} requests)")
    print(f"resident memory   {first / 2**20:.1f} MiB before, {last / 2**20:.1f} MiB after")
    for failure in load.failures[:5]:
        print(f"failure: {failure}", file=sys.stderr)
    return 1 if load.failures else 0


def reload(options: argparse.Namespace, repository: Path) -> int:
    with server(repository, options.poll, options.load) as (address, pid):
        process = psutil.Process(pid)
        held = []
        began = time.perf_counter()
        with Client(address, model="m") as client:
            for version in range(2, options.reloads + 2):
                put(repository, options.model, version)
                wait_for(client, version, 0.005)
                shutil.rmtree(repository / "m" / str(version - 1))
                rss = process.memory_info().rss / 2**20
                held.append((rss, process.num_fds(), process.num_threads()))
                if version % max(options.reloads // 10, 1) == 1:
                    print("{:5} reloads: {:.1f} MiB, {} files, {} threads".format(
                        version - 1, *held[-1]
                    ), flush=True)  # fmt: skip
    start, end = held[len(held) // 10], held[-1]
    files, threads = ({each[i] for each in held[len(held) // 10 :]} for i in (1, 2))
    print(f"{options.reloads} reloads in {time.perf_counter() - began:.0f} s")
    print(f"files    {min(files)} to {max(files)} after the first tenth")  # one more during a look
    print(f"threads  {min(threads)} to {max(threads)}")
    print(f"memory   {start[0]:.1f} MiB after a tenth, {end[0]:.1f} MiB at the end")
    grown = end[0] > start[0] * 1.1 + 10 or end[1] > start[1] + 2 or end[2] > start[2]
    return 1 if grown else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "checkpoints/demo/trigram.arpa.gz")
    parser.add_argument("--rounds", type=int, default=20, help="versions to put in place")
    parser.add_argument("--seconds", type=float, default=1.0, help="between two versions")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--poll", type=float, default=0.1, help="the server's poll interval")
    parser.add_argument("--load", choices=["map", "copy"], default="map")
    parser.add_argument("--reloads", type=int, default=0, help="reload so often instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        (repository / "m").mkdir()
        put(repository, options.model, 1)
        return reload(options, repository) if options.reloads else roll(options, repository)


if __name__ == "__main__":
    sys.exit(main())
