"""Tasks in copies of this process, a few at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any, TypeVar

CLOCK = 150.0  # seconds that anything may take: what waits for ever computes nothing
_FORK = multiprocessing.get_context("fork")

Task = Callable[[Any, Connection], None]  # tells the connection its answer
Key = TypeVar("Key")
Running = dict[Connection, tuple[ForkProcess, Key, float]]


def one(task: Task, argument: Any) -> Any:
    """A task's answer; EOFError if it gave none."""
    receiver, process = _start(task, argument)
    try:
        return receiver.recv()
    finally:
        process.join(5)
        _stop(process)


def many(
    task: Task, arguments: list[tuple[Key, list[Any]]], jobs: int
) -> Iterator[tuple[Key, str]]:
    """The first answer but "" that a task gives to any of the arguments under each key."""
    waiting = [(key, list(choices)) for key, choices in reversed(arguments)]
    left: dict[Key, list[Any]] = {}
    running: Running[Key] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            key, choices = waiting.pop()
            if not choices:
                yield key, ""
                continue
            left[key] = choices[1:]
            receiver, process = _start(task, choices[0])
            running[receiver] = process, key, time.monotonic()
        for ready in wait(list(running), timeout=CLOCK / 30):
            assert isinstance(ready, Connection)
            process, key, _ = running.pop(ready)
            answer = _answer(ready)
            _stop(process)
            if answer:
                yield key, answer
            else:
                waiting.append((key, left[key]))
        _stop_late(running)


def _start(task: Task, argument: Any) -> tuple[Connection, ForkProcess]:
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_alone, args=(task, argument, sender))
    process.start()
    sender.close()
    return receiver, process


def _alone(task: Task, argument: Any, sender: Connection) -> None:
    os.setpgrp()  # what it starts is ended with it
    try:
        task(argument, sender)
    finally:
        sender.close()
        os._exit(0)


def _answer(receiver: Connection) -> str:
    try:
        return str(receiver.recv())
    except EOFError:
        return "no end, or a crash"
    finally:
        receiver.close()


def _stop_late(running: Running[Any]) -> None:
    for process, _, began in running.values():
        if time.monotonic() - began > CLOCK:
            _kill(process)  # its connection tells that it has ended


def _stop(process: ForkProcess) -> None:
    """End a process and what it has started."""
    _kill(process)
    process.join()
    process.close()


def _kill(process: ForkProcess) -> None:
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
