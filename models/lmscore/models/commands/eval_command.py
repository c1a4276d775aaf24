"""``lmscore-eval``: how well a model predicts texts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmscore.models.commands.running import progress_bar, version_option

if TYPE_CHECKING:
    from lmscore.models.language_model import BatchScores
    from lmscore.models.measures import Measures
    from lmscore.models.windows import Windows

_FILE = click.Path(path_type=Path)
_FIGURES = (
    "cross_entropy_nats",
    "cross_entropy_bits",
    "bits_per_character",
    "perplexity",
    "perplexity_excluding_oov",
    "perplexity_without_ends",
)
_COLUMNS = ("line", "events", "oov_events", "log_prob", "perplexity", "perplexity_excluding_oov")


@version_option
@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("model_file", metavar="MODEL", type=_FILE)
@click.argument("texts", nargs=-1, required=True, type=_FILE, metavar="TEXT...")
@click.option(
    "--tokens",
    type=click.Choice(["words", "characters"]),
    default="words",
    show_default=True,
    help="What the model's n-grams are made of.",
)
@click.option(
    "--tokenizer",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A tokenizer.json whose subwords are the tokens.",
)
@click.option(
    "--window",
    type=click.IntRange(min=1),
    metavar="TOKENS",
    help="Score longer lines in pieces of so many tokens, for models with a limit.",
)
@click.option(
    "--stride",
    type=click.IntRange(min=1),
    metavar="TOKENS",
    help="How far apart the pieces begin; default: half a window, the rest being context.",
)
@click.option("--per-line", is_flag=True, help="One row a line, separated by tabs, in nats.")
@click.option(
    "--calibrate",
    is_flag=True,
    help="Keep beside the model how unexpected the words of the texts are, to detect errors by.",
)
@click.option(
    "--quantile",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Share of their words that are no errors to --calibrate; default: 0.99.",
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def command(
    model_file: Path,
    texts: tuple[Path, ...],
    tokens: Any,
    tokenizer: Path | None,
    window: int | None,
    stride: int | None,
    per_line: bool,
    calibrate: bool,
    quantile: float | None,
    as_json: bool,
) -> None:
    """Measure how well the model in a file predicts texts, one sentence a line.

    MODEL is an ARPA file, a KenLM binary, an .ngram file or a network's folder; TEXT is UTF-8,
    plain or compressed, - for standard input. A line's end is an event. The perplexity of all
    events is KenLM's including OOVs; the one without unknown words is KenLM's excluding OOVs and
    SRILM's ppl; the one that does not count ends of lines either is SRILM's ppl1.

    \b
    Examples:
      lmscore-eval news.ngram test.txt
      lmscore-eval news.arpa.gz test.txt --per-line >scores.tsv
      lmscore-eval news.ngram dev.txt --calibrate --quantile 0.995
    """
    if tokenizer is not None and tokens == "characters":
        raise click.UsageError("tokens are either characters or a tokenizer's subwords")
    if per_line and as_json:
        raise click.UsageError("rows for lines are not JSON")
    only_measures = per_line or window is not None or tokenizer is not None or tokens != "words"
    _check_calibration(calibrate, quantile, only_measures)
    if calibrate:
        from lmscore.models.commands.calibrate import calibrate_model

        calibrate_model(model_file, texts, quantile, as_json=as_json)
        return
    windows = _windows(window, stride)
    # The compiler of their loops takes long to import, which --help and mistakes need not wait for.
    from lmscore.models.errors import CorpusError
    from lmscore.models.estimation.corpus import read_blocks
    from lmscore.models.estimation.training import segmenter
    from lmscore.models.loading import load_model
    from lmscore.models.measures import NOTHING, score_texts

    total = NOTHING
    with progress_bar() as bar:
        bar.begin("loading")
        model = load_model(model_file, bar.advance)
        bar.begin("scoring")
        if per_line:
            click.echo("\t".join(_COLUMNS))
        segment = segmenter(tokenizer or tokens)
        for path in texts:
            blocks = read_blocks(path, lambda _, done, size: bar.advance(done, size))
            for scores, measures in score_texts(
                model, ((block.data, block.segmented(segment)) for block in blocks), windows
            ):
                if per_line:
                    click.echo("\n".join(_rows(scores, total.lines)))
                total += measures
    if not total.events:
        raise CorpusError(texts[0], "there is no text to measure")
    if not per_line:
        click.echo(_as_json(total) if as_json else _as_text(total))


def _check_calibration(calibrate: bool, quantile: float | None, only_measures: bool) -> None:
    if quantile is not None and not calibrate:
        raise click.UsageError("--quantile is that of --calibrate")
    if calibrate and only_measures:
        raise click.UsageError("--calibrate takes whole lines of words, and is done by itself")


def _windows(size: int | None, stride: int | None) -> Windows | None:
    if size is None:
        if stride is not None:
            raise click.UsageError("--stride is how far windows are apart: give --window too")
        return None
    from lmscore.models.windows import Windows

    try:
        return Windows(size, stride or max(size // 2, 1))
    except ValueError as error:
        raise click.UsageError(f"--stride: {error}") from None


def _rows(scores: BatchScores, lines_before: int) -> Iterator[str]:
    columns = (
        scores.token_counts,
        scores.oov_counts,
        scores.log_probs,
        scores.perplexities,
        scores.perplexities_excluding_oov,
    )
    for line, row in enumerate(zip(*(column.tolist() for column in columns), strict=True), 1):
        yield "\t".join(map(str, (lines_before + line, *row)))


def _as_json(total: Measures) -> str:
    """The figures; infinities, which JSON has not, as protobuf spells them."""
    record = asdict(total) | {name: getattr(total, name) for name in _FIGURES}
    return json.dumps({name: _plain(value) for name, value in record.items()})


def _plain(value: float) -> float | str:
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _as_text(total: Measures) -> str:
    from lmscore.models.measures import to_bits

    rows = {
        "lines": f"{total.lines}",
        "events": f"{total.events}, {total.oov_events} of them unknown words",
        "log-likelihood": f"{total.log_prob:.4f} nats, {to_bits(total.log_prob):.4f} bits",
        "cross-entropy": f"{total.cross_entropy_nats:.6f} nats, "
        f"{total.cross_entropy_bits:.6f} bits an event",
        "bits per character": f"{total.bits_per_character:.6f}",
        "perplexity": f"{total.perplexity:.6g}",
        "  without unknown words": _or_dash(
            total.perplexity_excluding_oov, total.events - total.oov_events
        ),
        "  without ends of lines": _or_dash(
            total.perplexity_without_ends, total.events - total.oov_events - total.lines
        ),
    }
    return "\n".join(f"{name:<26}{value}" for name, value in rows.items())


def _or_dash(perplexity: float, events: int) -> str:
    return f"{perplexity:.6g}" if events else "-"
