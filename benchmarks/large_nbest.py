"""Re-ranks an n-best file of any size, kills that half-way, resumes it, and compares the results.

    python -m benchmarks.large_nbest --lists lists.jsonl --model model.ngram --megabytes 1000

The lists of a JSON lines file are repeated under new ids until the file is large enough. Told are
time and peak resident memory of the client, uninterrupted and in two parts.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.result import Section, Table
from benchmarks.serving import server
from benchmarks.standalone import run_alone

CLIENT = [sys.executable, "-m", "lmscore.client.cli.launcher"]


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


@dataclass(frozen=True)
class Sizes:
    lists: Path | None = None  # n-best lists as JSON lines
    model: Path | None = None
    megabytes: int = 100


def measure(sizes: Sizes) -> Section:
    if sizes.lists is None or sizes.model is None:
        raise SystemExit("--lists and --model are missing: n-best lists as JSON lines, and a model")
    with tempfile.TemporaryDirectory() as folder, server(sizes.model) as address:
        nbest, whole, parts = (Path(folder) / name for name in ("nbest", "whole", "parts"))
        lists = write_lists(sizes.lists, nbest, sizes.megabytes * 10**6)
        runs = {"uninterrupted": rescore(nbest, whole, address)}
        half = whole.stat().st_size // 2
        killed = "killed (SIGKILL) at half of the output"
        runs[killed] = rescore(nbest, parts, address, "--resume", kill_at=half)
        runs["the same, gone on with `--resume`"] = rescore(nbest, parts, address, "--resume")
        if digest(whole) != digest(parts):
            raise SystemExit("the result that was resumed differs from that of one run")
    text = (
        f"{lists:,} lists in {sizes.megabytes} MB of JSON lines, re-ranked by `lmscore rescore`. "
        "The two results are the same to the byte."
    )
    rows = tuple(
        (name, f"{run.seconds:.0f}", f"{run.peak_megabytes:.0f} MB", str(run.exit_code))
        for name, run in runs.items()
    )
    table = Table(("run", "seconds", "peak memory of the client", "exit code"), rows)
    return Section("Large n-best files", text, tables=(table,))


if __name__ == "__main__":
    run_alone("large-nbest", measure, Sizes(), Sizes(megabytes=1))
