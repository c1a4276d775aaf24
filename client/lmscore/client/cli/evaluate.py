"""``lmscore eval``: how well a server's model predicts a corpus."""

from __future__ import annotations

from dataclasses import asdict
from itertools import tee

import click

from lmscore.client.cli.options import (
    batch_option,
    connect,
    connection_options,
    json_option,
    model_option,
    source_argument,
)
from lmscore.client.cli.output import answered_by, complain, json_line, output, progress
from lmscore.client.errors import ItemError
from lmscore.client.measures import CorpusMeasures
from lmscore.client.results import ModelIdentity
from lmscore.client.textfile import FileError, LineReader

_FIGURES = (
    "cross_entropy_nats",
    "cross_entropy_bits",
    "bits_per_character",
    "perplexity",
    "perplexity_excluding_oov",
    "perplexity_without_ends",
)


@click.command("eval")
@source_argument
@batch_option(256, "Lines")
@model_option
@json_option
@connection_options
def evaluate(
    source: str, batch: int, model: str, as_json: bool, address: str, timeout: float
) -> None:
    """Measure how well a model predicts a text, one sentence a line.

    The perplexity of all events is KenLM's including OOVs; the one without unknown words is
    KenLM's excluding OOVs and SRILM's ppl; the one that does not count ends of lines either is
    SRILM's ppl1. `lmscore score` gives the figures of each line; `lmscore-eval` measures a model
    file without a server.

    \b
    Examples:
      lmscore eval test.txt
      lmscore eval --json --model news test.txt.gz | jq .perplexity
    """
    lines = LineReader(source)
    total = CorpusMeasures()
    failed = 0
    answered = None
    with connect(address, timeout, model) as client, progress(lines) as shown:
        sent, kept = tee(lines)
        for answer in client.score_stream((line.text for line in sent), batch_texts=batch):
            for outcome, line in zip(answer.outcomes, kept, strict=False):  # kept goes on after it
                if isinstance(outcome, ItemError):
                    complain(f"line {line.number}: {outcome.problem}")
                    failed += 1
                else:
                    total.add(line.text, outcome)
            answered = answer.model
            shown()
    if not total.texts and not failed:
        raise FileError(lines.path, "there is no text to measure")
    with output() as out:
        out.write(_json(total, answered) if as_json else _text(total))
    if failed:
        raise click.ClickException(f"{failed} lines could not be scored")


def _json(total: CorpusMeasures, model: ModelIdentity | None) -> str:
    figures = {name: getattr(total, name) for name in _FIGURES}
    by = answered_by(model) if model is not None else {}
    return json_line({**asdict(total), **figures, **by})


def _text(total: CorpusMeasures) -> str:
    rows = {
        "lines": f"{total.texts}",
        "events": f"{total.events}, {total.oov_events} of them unknown",
        "log-likelihood": f"{total.log_prob:.4f} nats",
        "cross-entropy": f"{total.cross_entropy_nats:.6f} nats, "
        f"{total.cross_entropy_bits:.6f} bits an event",
        "bits per character": f"{total.bits_per_character:.6f}",
        "perplexity": f"{total.perplexity:.6g}",
        "  without unknown words": _or_dash(
            total.perplexity_excluding_oov, total.events - total.oov_events
        ),
        "  without ends of lines": _or_dash(
            total.perplexity_without_ends, total.events - total.oov_events - total.texts
        ),
    }
    return "".join(f"{name:<26}{value}\n" for name, value in rows.items())


def _or_dash(perplexity: float, events: int) -> str:
    return f"{perplexity:.6g}" if events else "-"
