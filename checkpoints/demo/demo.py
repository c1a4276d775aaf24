"""Shows what lmscore does: starts a server with the demo models and runs the commands one would.

`make demo` runs it. Exit code 0 means that everything shown went as it should.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = Path(sys.executable).parent
START_TIMEOUT_SECONDS = 120


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    """A server on a free port, ready; gives its address and stops it at the end."""
    command = ["lmscore-server", *arguments, "--listen", "127.0.0.1:0", "--log-format", "json"]
    print(f"$ {shlex.join(command)}")
    process = subprocess.Popen(
        [PROGRAMS / command[0], *command[1:]], stderr=subprocess.PIPE, text=True, env=_environment()
    )
    timer = threading.Timer(START_TIMEOUT_SECONDS, process.kill)
    timer.start()
    try:
        address = _address_when_ready(process)
        timer.cancel()
        print(f"  ready on {address}\n")
        yield address
    finally:
        timer.cancel()
        process.terminate()
        _, rest = process.communicate(timeout=60)
    print("$ kill -TERM (the server drains and stops)")
    for line in rest.splitlines():
        print(f"  {json.loads(line)['event']}")
    if process.returncode != 0:
        sys.exit(f"the server ended with {process.returncode}")


def _address_when_ready(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        event = json.loads(line)
        if event["event"] == "ready":
            return str(event["address"])
        print(f"  {event['event']}")
    sys.exit(f"the server did not start (exit code {process.wait()})")


def run(address: str, *arguments: str, text: str | None = None, exit_code: int = 0) -> None:
    """Run an lmscore command against the server, shown as one would type it."""
    shown = f"$ lmscore {shlex.join(arguments)}"
    if text is not None:
        typed = text.replace("\n", "\\n")
        shown = f"$ printf {shlex.quote(typed)} | {shown[2:]}"
    print(shown, flush=True)
    done = subprocess.run(
        [PROGRAMS / "lmscore", *arguments],
        env=_environment() | {"LMSCORE_ADDRESS": address},
        input=text,
        text=True,
        check=False,
        stderr=subprocess.STDOUT,
    )
    print(flush=True)
    if done.returncode != exit_code:
        sys.exit(f"it ended with {done.returncode} instead of {exit_code}")


def main() -> None:
    """Score, re-rank, generate, make an error."""
    texts = "the function returns a list\nlist a returns function the\n"
    models = (f"demo={_relative('trigram.arpa.gz')}", f"demo-lstm={_relative('lstm')}")
    with server(*(word for model in models for word in ("--model", model))) as address:
        run(address, "models")
        print("A sentence, and its words scrambled, as the trigram and as the network see them:\n")
        for model in ("demo", "demo-lstm"):
            run(address, "score", "-", "--model", model, text=texts)
        print("Where the scrambled one is unlikely; the network's pieces added up by word:\n")
        scrambled = texts.splitlines(keepends=True)[1]
        run(address, "score", "--tokens", "-", "--model", "demo", text=scrambled)
        run(address, "score", "--words", "-", "--model", "demo-lstm", text=scrambled)
        print("What a recognizer was unsure about, decided by either:\n")
        for model in ("demo", "demo-lstm"):
            lists = _relative("nbest.jsonl")
            run(address, "rescore", lists, "--lm-weight", "0.1", "--model", model)
        print("A prompt, continued by either, token by token:\n")
        for model in ("demo", "demo-lstm"):
            options = ("--temperature", "0.8", "--top-p", "0.9", "--min-tokens", "8", "--seed", "6")
            run(address, "generate", "the class", "--model", model, *options)
        print("A mistake:\n")
        run(address, "score", "-", "--model", "nothing", text="hello\n", exit_code=1)


def _environment() -> dict[str, str]:
    """The variables without settings of lmscore, which would change what is shown."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LMSCORE_")}


def _relative(name: str) -> str:
    return os.path.relpath(HERE / name)


if __name__ == "__main__":
    main()
