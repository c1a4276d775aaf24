"""A page, tried: its commands in one shell, its pieces of Python as one program, in order."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from tests.docs.compare import Same, exactly, matches, within
from tests.docs.markdown import SHELL, Block, Command, place

COMMAND_SECONDS = 200  # the first start on a machine compiles
PORT = 50051  # the server's, by default

_ADDRESS = re.compile(r"\b(?:127\.0\.0\.1|0\.0\.0\.0|localhost):(\d{4,5})\b")
_LISTENING = re.compile(
    r"^(?:\w+=\S+ )*lmscore-server\b(?!.*--(?:dry-run|print-config|new-key|help))", re.DOTALL
)
_LOG = re.compile(r"(?:2>|&>)\s*(?!&)(\S+)")
_LOG_OF_BOTH = re.compile(r"(?<![\d&])>\s*(\S+)\s+2>&1")


@dataclass
class Addresses:
    """Free ports in place of those that pages name, so that pages can be tried at once."""

    given: dict[int, int] = field(default_factory=dict)

    def free(self, text: str) -> str:
        return _ADDRESS.sub(lambda found: f"127.0.0.1:{self.port(int(found[1]))}", text)

    def shown(self, text: str) -> str:
        back = {ours: theirs for theirs, ours in self.given.items()}
        return _ADDRESS.sub(lambda found: f"127.0.0.1:{back.get(int(found[1]), found[1])}", text)

    def port(self, named: int) -> int:
        if named not in self.given:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.given[named] = free.getsockname()[1]
        return self.given[named]


class Shell:
    """Bash in a folder, given a command at a time."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._path = environment["PATH"]
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[str, int]:
        """What it prints on both outputs, and its exit code."""
        end = "--- end of command ---"
        asked = f"eval {shlex.quote(command)} </dev/null\nprintf '\\n{end} %d\\n' $?\n"
        assert self._process.stdin is not None
        self._process.stdin.write(asked.encode())
        self._process.stdin.flush()
        printed, _, code = self._read_until(f"\n{end} ").partition(f"\n{end} ")
        return printed, int(code)

    def has(self, needed: str | None) -> bool:
        """Whether there is this program or Python module."""
        if not needed:
            return True
        found = shutil.which(needed, path=self._path)
        return bool(found) or importlib.util.find_spec(needed) is not None

    @property
    def folder(self) -> Path:
        """Where it is."""
        return Path(self.run("pwd")[0].strip())

    def _read_until(self, mark: str) -> str:
        assert self._process.stdout is not None
        output, until = b"", time.monotonic() + COMMAND_SECONDS
        while mark.encode() not in output or not output.endswith(b"\n"):
            waiting, _, _ = select.select([self._process.stdout], [], [], until - time.monotonic())
            read = os.read(self._process.stdout.fileno(), 1 << 16) if waiting else b""
            output += read
            if not read:
                return f"{output.decode()}(no end within {COMMAND_SECONDS} s){mark}-1"
        return output.decode()

    def close(self) -> None:
        """End it and all that it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=10)


@dataclass
class Page:
    """A page being tried, and what was found wrong with it."""

    shell: Shell
    addresses: Addresses
    problems: list[str] = field(default_factory=list)
    printed: dict[int, str] = field(default_factory=dict)
    """What the commands printed, by the lines where the page shows it."""
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def attempt(self, block: Block) -> None:
        for command in block.marks.get("run first", "").splitlines():
            self._run(block, Command(block.line, command), exits_with=0)
        if block.not_run or not self.shell.has(block.marks.get("needs")):
            return
        if block.language in SHELL:
            self._attempt_commands(block)
        elif block.language == "python":
            self._attempt_python(block)

    def _attempt_commands(self, block: Block) -> None:
        printed = ""
        for command in block.commands:
            expected = _exit_code(block) if command == block.commands[-1] else 0
            output = self._run(block, command, exits_with=expected)
            printed += output
            if command.shown is not None:
                self._compare(block, command.shown_line, command.shown, output)
        if block.output:
            self._compare(block, block.output.line, block.output.code, printed)

    def _run(self, block: Block, command: Command, *, exits_with: int) -> str:
        text = self.addresses.free(command.text)
        output, code = self._serve(text) if serves(text) else self.shell.run(text)
        if code != exits_with:
            where = place(block.page, command.line)
            self.problems.append(f"{where}: {command.text}\nit exited with {code}:\n{output}")
        return self.addresses.shown(output)

    def _serve(self, command: str) -> tuple[str, int]:
        """Start a server in the background, and wait until it can answer."""
        background = command.rstrip().removesuffix("&").rstrip()
        found = _LOG.search(background) or _LOG_OF_BOTH.search(background)
        log = self.shell.folder / (found[1] if found else "server.log")
        listen = f"LMSCORE_LISTEN=127.0.0.1:{self.addresses.port(PORT)} "
        self.shell.run(f"{listen}{background} {'' if found else '2>server.log'} &")
        until = time.monotonic() + COMMAND_SECONDS
        while time.monotonic() < until:
            written = log.read_text() if log.exists() else ""
            if re.search(r"\bready\b", written):
                return "", 0
            if self.shell.run("kill -0 $!")[1] != 0:
                break
            time.sleep(0.02)
        return log.read_text(), -1

    def _attempt_python(self, block: Block) -> None:
        code = "\n" * (block.line - 1) + self.addresses.free(block.code)
        printed = io.StringIO()
        try:
            with contextlib.chdir(self.shell.folder), contextlib.redirect_stdout(printed):
                exec(compile(code, str(block.page), "exec"), self.names)  # noqa: S102 (our own)
        except Exception as error:  # noqa: BLE001 (whatever the page's code raises)
            self.problems.append(f"{block.place}: {type(error).__name__}: {error}\n{block.code}")
        if block.output:
            shown = self.addresses.shown(printed.getvalue())
            self._compare(block, block.output.line, block.output.code, shown)

    def _compare(self, block: Block, line: int, shown: str, printed: str) -> None:
        self.printed[line] = printed
        if not matches(shown, printed, _same(block)):
            where = place(block.page, line)
            self.problems.append(f"{where}: the page shows\n{shown}but it printed\n{printed}")


Try: TypeAlias = Callable[[Path], contextlib.AbstractContextManager[Page]]
"""Begins to try a page."""


def serves(command: str) -> bool:
    """Whether the command is a server that runs on."""
    return bool(_LISTENING.match(command))


def _same(block: Block) -> Same:
    if "numbers vary" in block.marks:
        return within(float("inf"))
    if limit := block.marks.get("numbers within"):
        return within(float(limit.partition(":")[0]))
    return exactly


def _exit_code(block: Block) -> int:
    return int(block.marks.get("exits with", "0").partition(":")[0])


@contextlib.contextmanager
def trying(folder: Path, addresses: Addresses, environment: dict[str, str]) -> Iterator[Page]:
    """A page to be tried in a folder."""
    shell = Shell(folder, environment)
    try:
        yield Page(shell, addresses)
    finally:
        shell.close()
