"""Re-ranks an n-best file of any size, kills that half-way, resumes it, and compares the results.

    python -m benchmarks.large_nbest lists.jsonl model.ngram --megabytes 1000

The lists of a JSON lines file are repeated under new ids until the file is large enough. Prints a
table: time and peak resident memory of the client, uninterrupted and in two parts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

CLIENT = [sys.executable, "-m", "lmscore.client.cli.launcher"]
SERVER = [sys.executable, "-m", "lmscore.server.launcher"]


@dataclass
class Run:
    seconds: float
    peak_megabytes: float
    exit_code: int


def write_lists(source: Path, target: Path, size: int) -> int:
    """Repeat the lists, without references; gives how many there are."""
    entries = [json.loads(line) for line in source.read_text().splitlines()]
    hypotheses = [json.dumps(entry["hyps"], ensure_ascii=False) for entry in entries]
    with target.open("w", encoding="utf-8") as file:
        for number in count():
            if file.tell() >= size:
                return number
            hyps = hypotheses[number % len(hypotheses)]
            file.write(f'{{"id": "utt{number:08}", "hyps": {hyps}}}\n')
    raise AssertionError


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """A server's address."""
    command = [*SERVER, "--model", f"cv={model}", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        assert server.stdout is not None
        try:
            lines = iter(server.stdout.readline, b"")
            found = next(m for m in (re.search(rb"127\.0\.0\.1:(\d+)", x) for x in lines) if m)
            address = found[0].decode()
            yield address
        finally:
            server.terminate()
            server.stdout.read()


def rescore(nbest: Path, out: Path, address: str, *flags: str, kill_at: int | None = None) -> Run:
    """Run the command, to its end or until the output has a size."""
    begin = time.perf_counter()
    command = [*CLIENT, "rescore", str(nbest), "-o", str(out), "--lm-weight", "0.003", *flags]
    process = subprocess.Popen([*command, "--address", address], stderr=subprocess.DEVNULL)
    flags_of_wait = os.WEXITED | os.WNOHANG | os.WNOWAIT  # leaves its usage for wait4
    while kill_at is not None and os.waitid(os.P_PID, process.pid, flags_of_wait) is None:
        if out.exists() and out.stat().st_size >= kill_at:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(time.perf_counter() - begin, usage.ru_maxrss / 1024, process.returncode)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wait_for(address: str) -> None:
    """Until the model answers."""
    while subprocess.run(
        [*CLIENT, "predict", "a", "--address", address], capture_output=True, check=False
    ).returncode:
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lists", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--megabytes", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(given.model) as address:
        nbest, whole, parts = (Path(folder) / name for name in ("nbest", "whole", "parts"))
        lists = write_lists(given.lists, nbest, given.megabytes * 10**6)
        print(f"{nbest.stat().st_size / 1e6:.0f} MB, {lists} lists")
        wait_for(address)
        rows = {"uninterrupted": rescore(nbest, whole, address)}
        half = whole.stat().st_size // 2
        rows["killed half-way"] = rescore(nbest, parts, address, "--resume", kill_at=half)
        print(f"output at the kill: {parts.stat().st_size} of {whole.stat().st_size} bytes")
        rows["resumed"] = rescore(nbest, parts, address, "--resume")
        print(f"{'':<18}{'seconds':>9}{'peak MB':>9}{'exit':>6}")
        for name, run in rows.items():
            print(f"{name:<18}{run.seconds:>9.1f}{run.peak_megabytes:>9.0f}{run.exit_code:>6}")
        same = digest(whole) == digest(parts)
        print(f"the same bytes: {'yes' if same else 'NO'}, {digest(whole)[:16]}")


if __name__ == "__main__":
    main()
