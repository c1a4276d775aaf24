"""Log lines on standard error, for people or for machines; never a text that was scored."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from typing import Any, Literal, TextIO

import structlog

from lmscore.server.log_output import ImpatientStream
from lmscore.server.tracebacks import format_traceback

_EXPORTERS = "opentelemetry.exporter."


def configure_logs(
    log_format: Literal["console", "json"], *, show_texts: bool = False, **fields: object
) -> None:
    """Set the form of the lines, and what all of them say; let others' lines be lines too.

    A traceback has neither the values of variables nor the exceptions' own messages, either of
    which can be a text; unless ``show_texts``.
    """
    renderers: dict[str, list[structlog.typing.Processor]] = {
        "console": [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())],
        "json": [structlog.processors.JSONRenderer()],
    }

    def add_fields(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {**event, **fields}

    def note(count: int) -> str:
        event = {**fields, "event": "log lines left out: nobody read them", "lines": count}
        return json.dumps(event) if log_format == "json" else f"{event['event']} ({count})"

    # A line is one write: several processes may write at once.
    stream: Any = ImpatientStream(sys.stderr, note)
    structlog.configure(
        [
            add_fields,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(
                lambda raised: format_traceback(raised[1], show_texts=show_texts)
            ),
            *renderers[log_format],
        ],
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    warnings.showwarning = _log_warning
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, _LibraryLines):
            root.removeHandler(handler)
    root.addHandler(_LibraryLines(show_texts=show_texts))


class _LibraryLines(logging.Handler):
    """What asyncio and gRPC log, warnings and worse: their own handler would show everything."""

    def __init__(self, *, show_texts: bool) -> None:
        super().__init__(logging.WARNING)
        self._show_texts = show_texts

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        # What fills a message in can be a text, and so can what asyncio puts into further lines.
        # Exporters of spans never have one: they fill in addresses and statuses.
        told = self._show_texts or record.name.startswith(_EXPORTERS)
        message = record.getMessage() if told else str(record.msg).partition("\n")[0]
        level = logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING
        structlog.get_logger().log(level, message, logger=record.name, exc_info=record.exc_info)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,  # noqa: ARG001 - the signature is Python's
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    structlog.get_logger().warning(str(message), category=category.__name__)
