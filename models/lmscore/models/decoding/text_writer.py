"""The text of one sequence as its tokens come: bytes, stop strings, characters."""

from __future__ import annotations

from lmscore.models.decoding.parameters import Decoding
from lmscore.models.decoding.stopping import StopStrings, TextStream
from lmscore.models.text_decoder import TextDecoder


class TextWriter:
    """Says after each token what has become certain of the text."""

    def __init__(self, decoder: TextDecoder, stops: StopStrings, settings: Decoding) -> None:
        self._decoder = decoder
        self._stream = TextStream(stops)
        self._silent = frozenset(settings.stop_token_ids)
        self._min_tokens = settings.min_tokens
        self._count = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return self._stream.stopped

    def push(self, token_id: int) -> str:
        """The text that a token makes certain. Tokens up to the least length complete no stop."""
        self._count += 1
        data = b"" if token_id in self._silent else self._decoder.push(token_id)
        return self._push(data)

    def finish(self) -> str:
        """The rest, where no stop string has come."""
        return self._push(self._decoder.finish()) + self._stream.finish()

    def _push(self, data: bytes) -> str:
        return self._stream.push(data, may_stop=self._count > self._min_tokens)
