"""How ``lmscore generate`` writes what comes: texts one after the other, or events as JSON."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol, TextIO, TypeAlias

from lmscore.client.cli.output import answered_by, columns, json_line, note, record_of, visible
from lmscore.client.generation import (
    GeneratedToken,
    GenerationEvent,
    GenerationFinished,
    GenerationStarted,
)
from lmscore.client.requests import Beam, GenerateSettings, Sampling

_TextEvent: TypeAlias = GeneratedToken | GenerationFinished
_NAMES: dict[type[GenerationEvent], str] = {
    GenerationStarted: "started",
    GeneratedToken: "token",
    GenerationFinished: "finished",
}
_REASONS = {
    "stop": "ended before a --stop",
    "length": "ended by --max-tokens",
    "end_of_text": "ended by the model",
    "dead_end": "ended where no token is possible",
}


class Writer(Protocol):
    """Where events go."""

    def write(self, event: GenerationEvent) -> None:
        """Write what the event tells."""

    def close(self) -> None:
        """Leave the output at the beginning of a line."""


class JsonWriter:
    """A line of JSON for each event, as it comes."""

    def __init__(self, out: TextIO, prompt: str) -> None:
        self._out = out
        self._prompt = prompt

    def write(self, event: GenerationEvent) -> None:
        """Write the event's fields, named by its kind."""
        record = {"event": _NAMES[type(event)], **record_of(event)}
        if isinstance(event, GenerationStarted):
            record |= {"prompt": self._prompt, **answered_by(event.model)}
        self._out.write(json_line(record))
        self._out.flush()

    def close(self) -> None:
        """Nothing: every line is whole."""


class TextWriter:
    """Texts in order, the first unfinished one as it comes; what is to be said of them beside them.

    The notes go to standard error: who answers, how each text ended.
    """

    def __init__(
        self, out: TextIO, prompt: str, detailed: bool, settings: GenerateSettings
    ) -> None:
        self._out = out
        self._prompt = prompt
        self._detailed = detailed  # a table of its tokens after each text
        self._strategy = settings["strategy"]
        self._count = settings.get("num_sequences", 1)
        if isinstance(self._strategy, Beam):
            self._count = self._strategy.num_results
        self._order = _InOrder()
        self._begun = self._line_open = False
        self._tokens: list[GeneratedToken] = []  # of the text that is being written

    def write(self, event: GenerationEvent) -> None:
        """Write what can be written now."""
        if isinstance(event, GenerationStarted):
            note(self._origin(event), dim=True)
            self._begin()
            return
        for each in self._order.arrive(event):
            self._begin()
            self._show(each.text)
            if isinstance(each, GeneratedToken):
                self._tokens.append(each)
            else:
                self._end(each)

    def close(self) -> None:
        """End the line that an error or an interrupt has left open."""
        if self._line_open:
            self._show("\n")

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._show(self._prompt)

    def _show(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()
            self._line_open = not text.endswith("\n")

    def _end(self, end: GenerationFinished) -> None:
        self._show("\n")
        if self._detailed:
            self._show(_table(self._tokens) + "\n")
        note(self._summary(end), dim=True)
        self._begun = False
        self._tokens = []

    def _origin(self, started: GenerationStarted) -> str:
        model = f"{started.model.name} version {started.model.version}"
        seed = f", seed {started.seed}" if isinstance(self._strategy, Sampling) else ""
        oov, count = started.prompt_oov_count, started.prompt_token_count
        unknown = f"; {oov} of the prompt's {count} tokens OOV" if oov else ""
        return f"{model}{seed}{unknown}"

    def _summary(self, end: GenerationFinished) -> str:
        which = f"text {end.sequence + 1} of {self._count}: " if self._count > 1 else ""
        score = f"; score {end.score:.4f}" if end.score is not None else ""
        figures = f"{counted(end.token_count)}, log-prob {end.log_prob:.4f} nats{score}"
        return f"{which}{figures}; {_REASONS.get(end.reason, 'ended')}"


def counted(tokens: int) -> str:
    """A number of tokens, in words."""
    return "1 token" if tokens == 1 else f"{tokens} tokens"


def _table(tokens: Sequence[GeneratedToken]) -> str:
    """A row a token; what was likely in its place, if that was asked for."""
    likely = any(token.alternatives for token in tokens)
    headings = ["token", "surprisal (nats)", *(["likeliest here"] if likely else [])]
    rows = [
        (
            visible(token.token),
            f"{0.0 - token.log_prob:.4f}",
            *([" ".join(visible(each.text) for each in token.alternatives)] if likely else []),
        )
        for token in tokens
    ]
    return columns(headings, rows, left={0, 2})


class _InOrder:
    """Events of several texts, one text after the other: those of a later one wait for its turn."""

    def __init__(self) -> None:
        self._current = 0
        self._held: dict[int, deque[_TextEvent]] = {}

    def arrive(self, event: _TextEvent) -> Iterator[_TextEvent]:
        """Take an event and give those whose turn it is."""
        self._held.setdefault(event.sequence, deque()).append(event)
        while held := self._held.get(self._current):
            each = held.popleft()
            self._current += isinstance(each, GenerationFinished)
            yield each
