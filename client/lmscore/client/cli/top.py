"""``lmscore top``: a server's rates, latencies, queues and models, live in the terminal."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lmscore.client.cli.options import positive
from lmscore.client.cli.output import json_line, output

if TYPE_CHECKING:
    from lmscore.client.exposition import Change
    from lmscore.client.overview import MethodActivity, ModelActivity, Overview

WINDOW_SECONDS = 10.0
"""What rates and quantiles are taken over, once the command has run for so long."""


@click.command()
@click.option(
    "--metrics",
    "address",
    envvar="LMSCORE_METRICS",
    show_envvar=True,
    default="127.0.0.1:9464",
    show_default=True,
    metavar="HOST:PORT|URL",
    help="The server's metrics endpoint, its --metrics.",
)
@click.option(
    "--interval",
    type=positive,
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two readings.",
)
@click.option("--once", is_flag=True, help="Show one interval and exit.")
@click.option("--json", "as_json", is_flag=True, help="Write a JSON line for every interval.")
def top(address: str, interval: float, once: bool, as_json: bool) -> None:
    """Watch a server: calls, latencies, queues and models, from its metrics.

    \b
    Examples:
      lmscore top
      lmscore top --metrics scoring-1:9464 --interval 5
      lmscore top --once --json | jq .calls_per_second
    """
    from lmscore.client.exposition import ExpositionError
    from lmscore.client.overview import overview

    views = map(overview, _changes(address, interval, once))
    try:
        if as_json:
            _write(views)
        elif once:
            Console().print(screen(next(views), address))
        else:
            _show(views, address)
    except KeyboardInterrupt:
        pass  # which is how one leaves
    except ExpositionError as error:
        raise click.ClickException(str(error)) from None
    except ModuleNotFoundError as error:
        raise click.ClickException(f"needs {error.name}: pip install 'lmscore[cli]'") from None


def _changes(address: str, interval: float, once: bool) -> Iterator[Change]:
    """What happened in the last seconds, at every interval."""
    from lmscore.client.exposition import Change, read

    readings = deque([read(address)], maxlen=1 + max(1, round(WINDOW_SECONDS / interval)))
    while True:
        time.sleep(interval)
        readings.append(read(address))
        yield Change(readings[0], readings[-1])
        if once:
            return


def _write(views: Iterator[Overview]) -> None:
    with output() as out:
        for view in views:
            out.write(json_line(asdict(view, dict_factory=_observed)))
            out.flush()


def _observed(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON has no NaN: what was not observed is left out."""
    return {name: value for name, value in fields if value == value}  # noqa: PLR0124 - but for NaN


def _show(views: Iterator[Overview], address: str) -> None:
    with Live(Text(f"reading {address} …"), auto_refresh=False, screen=True) as live:
        for view in views:
            live.update(screen(view, address), refresh=True)


def screen(view: Overview, address: str) -> Group:
    """All that is shown at a time."""
    head = Text.assemble(
        (f"lmscore {address}", "bold"),
        f"   {view.calls_per_second:.1f} calls/s   ",
        (f"{view.failures_per_second:.2f} failed/s", "red" if view.failures_per_second else ""),
        "   ",
        (f"{view.refused_per_second:.2f} refused/s", "yellow" if view.refused_per_second else ""),
    )
    machine = Text(
        f"{view.processes} process{'es' if view.processes > 1 else ''}"
        f"   {view.cores_used:.2f} cores   {decimal(round(view.memory_bytes))}"
    )
    waiting = "   ".join(
        f"{queue.queue}: {queue.requests:.0f} requests, {queue.tokens:.0f} tokens"
        for queue in view.queues
    )
    queues = Text(f"queues   {waiting or 'empty'}")
    return Group(head, machine, queues, Text(), _methods(view), Text(), _models(view))


def _methods(view: Overview) -> Table:
    table = Table("method", box=None, pad_edge=False)
    for heading in ("calls/s", "errors/s", "running", "p50", "p90", "p99"):
        table.add_column(heading, justify="right")
    for method in view.methods:
        table.add_row(*_method_cells(method))
    return table


def _method_cells(method: MethodActivity) -> Iterator[str]:
    yield method.method
    yield f"{method.calls_per_second:.1f}"
    yield f"{method.errors_per_second:.1f}" if method.errors_per_second else "-"
    yield f"{method.running:.0f}" if method.running else "-"
    for seconds in (method.p50_seconds, method.p90_seconds, method.p99_seconds):
        yield duration(seconds)


def _models(view: Overview) -> Table:
    table = Table("model", "ver.", box=None, pad_edge=False)
    # Short, so that all stand in full on a terminal of 80 columns.
    headings = ("scored/s", "gen./s", "texts", "batch", "waits", "runs", "OOV", "PPL", "memory")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for model in view.models:
        table.add_row(Text(model.model), *_model_cells(model))
    return table


def _model_cells(model: ModelActivity) -> Iterator[str]:
    yield model.versions
    for count in (model.scored_tokens_per_second, model.generated_tokens_per_second):
        yield f"{count:,.0f}" if count else "-"
    yield f"{model.active_sequences:.0f}" if model.active_sequences else "-"
    yield _number(model.batch_tokens, ",.0f")
    yield duration(model.queue_seconds)
    yield duration(model.compute_seconds)
    yield _number(model.oov_ratio, ".1%")
    yield _number(model.median_perplexity, ",.0f")
    yield decimal(round(model.memory_bytes))


def _number(value: float, spec: str) -> str:
    return "-" if math.isnan(value) else format(value, spec)


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if math.isnan(seconds):
        return "-"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.{1 if seconds < 0.1 else 0}f} ms"
    return f"{seconds:.2f} s"
