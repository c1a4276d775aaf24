"""One of several processes that serve together: ``python -m lmscore.server.worker``.

Its standard input is a socket to the supervisor: orders come in as a line of JSON, stages go out as
such lines, and its end means that the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import structlog

from lmscore.models.errors import ModelError
from lmscore.server.logs import configure_logs
from lmscore.server.ports import Sharing
from lmscore.server.settings import Settings
from lmscore.server.settings_sources import settings_from_json, settings_to_json
from lmscore.server.shared_metrics import FOLDER_VARIABLE, count_as
from lmscore.server.stages import Stage, StartError
from lmscore.server.stopping import leave

LAST_SECONDS = 10.0
"""How long a worker without a supervisor may take to end by itself."""

FAILURE = 1  # exit code

log = structlog.get_logger()


@dataclass(frozen=True)
class Orders:
    """What a worker is told by its supervisor."""

    index: int
    settings: Settings
    sharing: Sharing

    def to_line(self) -> bytes:
        """As it is sent."""
        settings = settings_to_json(self.settings)
        return json.dumps([self.index, settings, self.sharing.value]).encode() + b"\n"

    @classmethod
    def from_line(cls, line: str) -> Orders:
        """As it is received."""
        index, settings, sharing = json.loads(line)
        return cls(index, settings_from_json(settings), Sharing(sharing))


class SupervisorLine:
    """A worker's end of the line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.lost = False

    def receive_orders(self) -> Orders:
        """Wait for what to do."""
        with self._connection.makefile("r", encoding="utf-8") as received:
            return Orders.from_line(received.readline())

    def tell(self, stage: Stage) -> None:
        """Say how far this worker has come."""
        self._send({"stage": stage.value})

    def fail(self, problem: object) -> NoReturn:
        """Say why this worker cannot start, and end."""
        self._send({"problem": str(problem)})
        sys.exit(FAILURE)

    def end_when_lost(self) -> None:
        """From now on, end this process as two signals would when there is no supervisor."""
        threading.Thread(target=self._wait_for_end, name="supervisor", daemon=True).start()

    def _wait_for_end(self) -> None:
        with suppress(ConnectionError):
            while self._connection.recv(4096):
                pass  # nothing else is ever sent
        self.lost = True
        # At once: a new supervisor could not have the port while this one drains.
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        time.sleep(LAST_SECONDS)
        os._exit(FAILURE)

    def _send(self, message: dict[str, str]) -> None:
        with suppress(OSError):  # without a supervisor, this process ends anyway
            self._connection.sendall(json.dumps(message).encode() + b"\n")


def main() -> None:
    """Serve as ordered until a signal comes, or the supervisor is gone."""
    line = SupervisorLine(socket.socket(fileno=sys.stdin.fileno()))
    orders = line.receive_orders()
    show_texts = orders.settings.log_texts == "on"
    configure_logs(orders.settings.log_format, show_texts=show_texts, worker=orders.index)
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        count_as(str(orders.index))
    line.end_when_lost()
    try:
        _serve(orders, line)
    except (StartError, ModelError) as error:
        line.fail(error)
    except ModuleNotFoundError as error:
        line.fail(f"this server needs {error.name}: pip install 'lmscore[server]'")
    finally:
        if line.lost and folder:
            shutil.rmtree(folder, ignore_errors=True)


def _serve(orders: Orders, line: SupervisorLine) -> None:
    from lmscore.server.lifecycle import serve  # which the supervisor does without

    def tell(stage: Stage) -> None:
        if stage is Stage.SERVING:
            log.info("worker ready", pid=os.getpid())
        line.tell(stage)

    asyncio.run(serve(orders.settings, orders.sharing, tell))


if __name__ == "__main__":
    main()
    leave(0)
