"""``lmscore-convert``: from an n-gram file as others write it to one that is mapped as it is."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from lmscore.models.errors import ModelError, ModelFormatWarning
from lmscore.models.loading import load_model
from lmscore.models.ngram import line_reader
from lmscore.models.ngram.file import save_ngram, verify_ngram
from lmscore.models.ngram.model import NgramModel


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def command(source: Path, target: Path) -> None:
    """Convert the n-gram model in SOURCE to the file TARGET, which opens at once.

    SOURCE is an ARPA file, plain or compressed by gzip, bzip2 or xz, or an .ngram file. TARGET
    is written beside its place and moved there when it is whole: processes that use an older
    TARGET are not disturbed.

    \b
    Examples:
      lmscore-convert model.arpa model.ngram
      lmscore-convert model.arpa.gz models/news/1/model.ngram

    Exits with 0 on success, 1 if SOURCE is not a model or TARGET cannot be written, 2 for wrong
    usage.
    """
    with _failures_told(), _bars() as bars:
        model = load_model(source, _bar(bars, "reading"))
        if not isinstance(model, NgramModel):
            raise click.ClickException(
                f"{source}: its n-grams cannot be listed; give the ARPA file"
            )
        save_ngram(model, target, _bar(bars, "writing"))
        verify_ngram(target, _bar(bars, "checking"))
    counts = " + ".join(f"{count:,}" for count in model.ngram_counts)
    click.echo(f"{target}: {counts} n-grams, {target.stat().st_size:,} bytes")


@contextmanager
def _failures_told() -> Iterator[None]:
    """One line for whatever may go wrong or was repaired, and no traceback."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ModelFormatWarning)
        warnings.showwarning = lambda message, *_, **__: click.echo(f"Warning: {message}", err=True)
        try:
            yield
        except (ModelError, OSError) as error:
            raise click.ClickException(str(error)) from None
        except (MemoryError, OverflowError) as error:
            raise click.ClickException(f"the model is too large: {error}") from None


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description:>8}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def _bar(bars: Progress, name: str) -> line_reader.Progress:
    """A bar that appears when there is progress."""
    task = bars.add_task(name, total=None, visible=False)
    return lambda done, total: bars.update(task, completed=done, total=total, visible=True)
