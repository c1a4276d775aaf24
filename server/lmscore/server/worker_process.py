"""A worker as its supervisor sees it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from lmscore.server.stages import Stage
from lmscore.server.worker import Orders

COMMAND = (sys.executable, "-m", "lmscore.server.worker")

_LAST_WORDS_SECONDS = 5.0


class WorkerProcess:
    """A process that has been started, and what it has told."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        line: asyncio.StreamReader,
        close: Callable[[], None],
    ) -> None:
        self.pid = process.pid
        self.stage = Stage.LOADING
        self.problem: str | None = None
        """Why it cannot start, if it has said so."""
        self._process = process
        self._line = line
        self._close = close
        self._serving_since: float | None = None

    @property
    def serving(self) -> bool:
        """Whether it answers calls."""
        return self.stage is Stage.SERVING

    @property
    def served_seconds(self) -> float:
        """Time since it could answer."""
        return 0.0 if self._serving_since is None else time.monotonic() - self._serving_since

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self._process.returncode is not None:
            return
        # send_signal of the process would also ask how it ended, and then asyncio could not.
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def ended(self, on_serving: Callable[[], None]) -> str:
        """Listen to it until it has ended; the name of the signal that ended it, or its exit code.

        on_serving is called when it can answer.
        """
        listening = asyncio.create_task(self._listen(on_serving))
        code = await self._process.wait()
        with suppress(TimeoutError):  # whoever else may hold the line has nothing to say
            await asyncio.wait_for(listening, _LAST_WORDS_SECONDS)
        self._close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    async def _listen(self, on_serving: Callable[[], None]) -> None:
        with suppress(ConnectionError):
            async for line in self._line:
                message = json.loads(line)
                self.problem = message.get("problem", self.problem)
                if "stage" not in message:
                    continue
                self.stage = Stage(message["stage"])
                if self.serving:
                    self._serving_since = time.monotonic()
                    on_serving()


async def start_worker(orders: Orders, environment: Mapping[str, str]) -> WorkerProcess:
    """A fresh interpreter that does as ordered. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                stdin=theirs.fileno(),
                env={**os.environ, **environment},
                process_group=0,  # Ctrl-C is for the supervisor, which tells the workers
            )
        except OSError:
            ours.close()
            raise
    reader, writer = await asyncio.open_connection(sock=ours)
    with suppress(ConnectionError):  # one that has ended already
        writer.write(orders.to_line())
        await writer.drain()
    return WorkerProcess(process, reader, writer.close)
