"""Log lines on standard error, for people or for machines; never a text that was scored."""

from __future__ import annotations

import sys
import warnings
from typing import Literal, TextIO

import structlog


def configure_logs(log_format: Literal["console", "json"], **fields: object) -> None:
    """Set the form of the lines, and what all of them say; let warnings be lines too."""
    # Tracebacks without the values of variables, some of which are texts.
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    renderers: dict[str, list[structlog.typing.Processor]] = {
        "console": [console],
        "json": [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
    }

    def add_fields(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {**event, **fields}

    structlog.configure(
        [
            add_fields,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers[log_format],
        ],
        # A line is one write: several processes may write at once.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    warnings.showwarning = _log_warning


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,  # noqa: ARG001 - the signature is Python's
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    structlog.get_logger().warning(str(message), category=category.__name__)
