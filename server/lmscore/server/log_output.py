"""Where log lines go: lines that nobody reads are left out rather than waited for."""

from __future__ import annotations

import io
import select
from collections.abc import Callable
from typing import TextIO

PIECE_CHARACTERS = 4096
"""What fits wherever there is room at all, if a character is a byte: PIPE_BUF on Linux."""


class ImpatientStream:
    """A stream for log lines that never makes its writer wait for a reader that has stopped.

    The event loop writes log lines: were it to wait, whoever stops reading standard error would
    stop the server. What was left out is counted, and said as soon as there is room again.
    """

    def __init__(self, stream: TextIO, note: Callable[[int], str]) -> None:
        """Note gives the line that says how many were left out."""
        self._stream = stream
        self._note = note
        self._left_out = 0  # lines

    def write(self, text: str) -> None:
        """Write whole lines, or leave them out."""
        if not self._has_room():
            self._left_out += text.count("\n")
            return
        if self._left_out:
            count, self._left_out = self._left_out, 0
            text = f"{self._note(count)}\n{text}"
        for begin in range(0, len(text), PIECE_CHARACTERS):
            if begin and not self._has_room():
                self._left_out += text.count("\n", begin)
                return
            try:
                self._stream.write(text[begin : begin + PIECE_CHARACTERS])
                self._stream.flush()
            except OSError:  # its reader has gone, or its disk is full: nobody can be told
                self._left_out += text.count("\n", begin)
                return

    def flush(self) -> None:
        """Do nothing: every line is flushed when it is written."""

    def _has_room(self) -> bool:
        try:
            descriptor = self._stream.fileno()
        except (io.UnsupportedOperation, ValueError):  # not a file; or closed, which writing tells
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        return any(event & select.POLLOUT for _, event in poll.poll(0))
