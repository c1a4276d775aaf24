"""Converts, serves, scores and generates with what is installed beside the Python that runs this.

    ENVIRONMENT/bin/python tests/packaging/smoke.py [--without-networks]

Nothing of the checkout is imported; the demo models are read from it. Exit code 0 says that all
went as it should, and the last line what answered.
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

DEMO = Path(__file__).resolve().parents[2] / "checkpoints" / "demo"
PROGRAMS = Path(sys.executable).parent
TEXT = "the function returns a list"
START_SECONDS = 1800.0  # the first start compiles, and the machine may be busy


def main() -> None:
    """Do it all once."""
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "demo.ngram"
        _run("lmscore-convert", str(DEMO / "trigram.arpa.gz"), str(converted))
        models = {"arpa": DEMO / "trigram.arpa.gz", "converted": converted}
        if "--without-networks" not in sys.argv[1:]:
            models["network"] = DEMO / "lstm"
        with _server(models) as address:
            log_probs = {name: _tried(address, name) for name in models}
    if log_probs["arpa"] != log_probs["converted"]:
        sys.exit(f"converting changed the scores: {log_probs}")
    told = ", ".join(f"{name} {log_prob:.4f}" for name, log_prob in log_probs.items())
    print(f"lmscore {version('lmscore')}, Python {platform.python_version()}: {told} nats")


def _tried(address: str, model: str) -> float:
    """A text's log-probability, after the command and the client gave the same one."""
    from lmscore.client import Client

    with Client(address, model=model, timeout=60) as client:
        [score] = client.score([TEXT])
        [generated] = client.generate_texts("the", min_tokens=5, max_tokens=5)
    told = _run("lmscore", "score", "--address", address, "--model", model, "-", text=TEXT)
    if not math.isclose(float(told.split()[0]), score.log_prob, abs_tol=1e-4):
        sys.exit(f"{model}: the command says {told!r}, the client {score.log_prob}")
    if len(generated.token_ids) != 5 or not math.isfinite(generated.log_prob):
        sys.exit(f"{model}: generated {generated}")
    return score.log_prob


@contextmanager
def _server(models: dict[str, Path]) -> Iterator[str]:
    """The address of a server, once it is ready; it must end well."""
    command = [str(PROGRAMS / "lmscore-server"), "--listen", "127.0.0.1:0", "--log-format", "json"]
    command += [f"--model={name}={path}" for name, path in models.items()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        yield _address(process)
    finally:
        process.terminate()
        process.communicate(timeout=60)
        timer.cancel()
    if process.returncode != 0:
        sys.exit(f"the server ended with {process.returncode}")


def _address(process: subprocess.Popen[str]) -> str:
    log = []
    for line in process.stderr or ():
        log.append(line)
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "ready":
            return str(event["address"])
    sys.exit("the server did not start:\n" + "".join(log))


def _run(program: str, *arguments: str, text: str | None = None) -> str:
    done = subprocess.run(
        [str(PROGRAMS / program), *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{program} ended with {done.returncode}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
