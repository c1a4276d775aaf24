"""``lmscore-convert``: from an n-gram file as others write it to one that is mapped as it is."""

from __future__ import annotations

from pathlib import Path

import click

from lmscore.models.commands.running import progress_bar
from lmscore.models.loading import load_model
from lmscore.models.ngram.file import save_ngram, verify_ngram
from lmscore.models.ngram.model import NgramModel


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def command(source: Path, target: Path) -> None:
    """Convert the n-gram model in SOURCE to the .ngram file TARGET, which opens at once.

    SOURCE is an ARPA file, plain or compressed by gzip, bzip2 or xz, or an .ngram file. TARGET
    is written beside its place and moved there when it is whole: processes that use an older
    TARGET are not disturbed.

    \b
    Examples:
      lmscore-convert model.arpa model.ngram
      lmscore-convert model.arpa.gz models/news/1/model.ngram

    Exit codes: 0 all went well, 1 SOURCE is not a model or TARGET cannot be written, 2 the command
    line is wrong.
    """
    with progress_bar() as bar:
        bar.begin("reading")
        model = load_model(source, bar.advance)
        if not isinstance(model, NgramModel):
            raise click.ClickException(
                f"{source}: its n-grams cannot be listed; give the ARPA file"
            )
        bar.begin("writing")
        save_ngram(model, target, bar.advance)
        bar.begin("checking")
        verify_ngram(target, bar.advance)
    counts = " + ".join(f"{count:,}" for count in model.ngram_counts)
    click.echo(f"{target}: {counts} n-grams, {target.stat().st_size:,} bytes")
