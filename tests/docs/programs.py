"""The project's programs as a shell finds them, without the seconds that Python takes to import.

A process imports all that they need and waits at a socket. The programs on the path hand it their
arguments, environment, folder and open files; it forks, and the child is the program.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
_IMPORTED = (
    "lmscore.client.cli.app",
    "lmscore.models.commands.convert_command",
    "lmscore.models.commands.eval_command",
    "lmscore.models.commands.train_command",
    "lmscore.server.command",
    "lmscore.server.building",
    "matplotlib.backends.backend_agg",
    "torch._dynamo",  # optimizers import it as they are made
)

# It is a file of its own, and imports little: it starts in a hundredth of a second.
_PROGRAM = """\
#!{python} -IS
import array, json, os, signal, socket, sys

with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({address!r})
    wanted = {{"program": {name!r}, "arguments": sys.argv[1:], "folder": os.getcwd(),
              "environment": dict(os.environ)}}
    fds = array.array("i", [0, 1, 2])
    asked.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    asked.sendall(json.dumps(wanted).encode() + b"\\n")
    answers = asked.makefile()
    process = int(answers.readline())
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, _: os.kill(process, number))
    code = int(answers.readline() or 137)
    os._exit(code if code >= 0 else 128 - code)
"""


def entry_points() -> dict[str, str]:
    """The functions of the console scripts, by the names of these."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(project["scripts"])


@contextmanager
def on_the_path(folder: Path) -> Iterator[Path]:
    """A folder of programs for PATH."""
    address = str(folder / "socket")
    _write_programs(folder / "bin", address)
    command = [sys.executable, "-m", "tests.docs.programs", address]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield folder / "bin"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _write_programs(folder: Path, address: str) -> None:
    folder.mkdir()
    for name in entry_points():
        text = _PROGRAM.format(python=sys.executable, address=address, name=name)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def serve(address: str) -> None:
    """Be the programs that are asked for, until SIGTERM."""
    scripts = entry_points()
    for module in (*_IMPORTED, *(each.partition(":")[0] for each in scripts.values())):
        with suppress(ModuleNotFoundError):  # matplotlib may be absent; what needs it says so
            importlib.import_module(module)
    _load_compiled(scripts)
    groups: list[int] = []
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the children are reaped by the system
    signal.signal(signal.SIGTERM, lambda *_: _end(groups))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while True:
            asked, _ = listening.accept()
            if (child := os.fork()) == 0:
                listening.close()
                _answer(asked, scripts)
            groups.append(child)
            asked.close()


def _load_compiled(scripts: dict[str, str]) -> None:
    """Have the loops of n-grams in memory, too, which each process would read for half a second."""
    here, environment = Path.cwd(), dict(os.environ)
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        (Path(folder) / "text").write_text("a text\n")
        model = str(ROOT / "checkpoints/demo/trigram.arpa.gz")
        for name, *arguments in (
            ("lmscore-convert", model, "model.ngram"),
            ("lmscore-eval", "model.ngram", "text"),
        ):  # not what estimates: it has a pool of threads, which children would lack
            wanted = {"program": name, "arguments": arguments, "folder": folder}
            assert _run(scripts[name], wanted | {"environment": environment}) == 0
        os.chdir(here)


def _end(groups: list[int]) -> NoReturn:
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    os._exit(0)


def _answer(asked: socket.socket, scripts: dict[str, str]) -> NoReturn:
    """Tell the process that becomes the program, and later its exit code."""
    os.setpgid(0, 0)
    for each in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    _, fds, _, _ = socket.recv_fds(asked, 1, 3)
    wanted = json.loads(asked.makefile().readline())
    if (program := os.fork()) == 0:
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
            os.close(fd)
        asked.close()
        _become(scripts[wanted["program"]], wanted)
    for fd in fds:
        os.close(fd)
    for fd in (0, 1, 2):
        os.close(fd)
    asked.sendall(f"{program}\n".encode())
    _, status = os.waitpid(program, 0)
    asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(entry_point: str, wanted: dict[str, Any]) -> NoReturn:
    code = 70
    try:
        code = _run(entry_point, wanted)
    except Exception:  # noqa: BLE001 (as Python does where nothing catches it)
        traceback.print_exc()
        code = 1
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(entry_point: str, wanted: dict[str, Any]) -> int:
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv = [wanted["program"], *wanted["arguments"]]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # as at a terminal
    module, _, function = entry_point.partition(":")
    try:
        getattr(importlib.import_module(module), function)()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
