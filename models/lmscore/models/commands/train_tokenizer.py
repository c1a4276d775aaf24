"""``lmscore-train tokenizer``: pieces of words from text."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from lmscore.models.commands.running import ProgressBar, progress_bar
from lmscore.models.errors import CorpusError
from lmscore.models.tokenization.training import count_pieces, to_json, train_bpe, train_unigram

_FILE = click.Path(path_type=Path)
_LEAST_BYTE_LEVEL = 2 + 256


@click.command(context_settings={"show_default": True})
@click.argument("corpora", nargs=-1, required=True, type=_FILE, metavar="CORPUS...")
@click.option("--output", type=_FILE, default=Path("tokenizer.json"), help="The file to write.")
@click.option(
    "--kind", type=click.Choice(["bpe", "unigram"]), default="bpe", help="How pieces are learned."
)
@click.option("--size", type=click.IntRange(min=3), default=8000, help="Pieces to learn, at most.")
@click.option(
    "--byte-level/--no-byte-level", default=True,
    help="Spell in bytes what has no piece (bpe: begin with bytes); else it is <unk>.",
)  # fmt: skip
@click.option(
    "--min-count", type=click.IntRange(min=1), show_default="2 for bpe",
    help="bpe: two pieces that stand together less often are not joined.",
)  # fmt: skip
def tokenizer(
    corpora: tuple[Path, ...],
    output: Path,
    kind: str,
    size: int,
    byte_level: bool,
    min_count: int | None,
) -> None:
    """Learn a tokenizer of subwords from text, one sentence a line.

    CORPUS is UTF-8, plain or compressed by gzip, bzip2 or xz, - for standard input. The output is
    a Hugging Face tokenizer.json whose ids 0 and 1 are </s> and <unk>, and appears once it is
    whole. The same text gives the same file.

    \b
    Examples:
      lmscore-train tokenizer news.txt.gz --size 8000 --output tokenizer.json
      lmscore-train tokenizer --kind unigram --no-byte-level --size 4000 train.txt
    """
    _check(output, kind, size, byte_level=byte_level, min_count=min_count)
    with progress_bar() as bar, tempfile.TemporaryFile() as spool:
        bar.begin("reading")
        batches = _checked(_first_reading(corpora, spool, bar), corpora[0], bar)
        try:
            learned = (
                train_bpe(batches, size, byte_level=byte_level, least_count=min_count or 2)
                if kind == "bpe"
                else train_unigram(batches, size, byte_fallback=byte_level)
            )
        except ValueError as error:
            raise click.ClickException(f"--size {size}: {error}") from None
        bar.begin("measuring")
        pieces, characters = count_pieces(learned, _second_reading(corpora, spool, bar))
    _write(output, to_json(learned))
    click.echo(
        f"{output}: {learned.get_vocab_size():,} pieces, "
        f"{characters / pieces:.3f} characters a token on {characters:,} characters"
    )


def _check(output: Path, kind: str, size: int, *, byte_level: bool, min_count: int | None) -> None:
    """Fail now rather than when the work is done."""
    if min_count is not None and kind != "bpe":
        raise click.UsageError("--min-count is for bpe")
    if byte_level and size < _LEAST_BYTE_LEVEL:
        raise click.UsageError(
            f"--size {size}: there are 256 bytes, </s> and <unk>; give {_LEAST_BYTE_LEVEL} or more"
        )
    if output.is_dir():
        raise click.UsageError(f"{output}: a folder")
    if not output.parent.is_dir():
        raise click.UsageError(f"{output.parent}: no such folder")
    with tempfile.TemporaryFile(dir=output.parent):
        pass


def _first_reading(
    corpora: tuple[Path, ...], spool: IO[bytes], bar: ProgressBar
) -> Iterator[list[str]]:
    """The lines of all files; those of standard input, which cannot be read twice, are kept."""
    from lmscore.models.estimation.corpus import read_blocks  # which takes too long for --help

    for path in corpora:
        for block in read_blocks(path, lambda _, done, size: bar.advance(done, size)):
            data = block.segmented(None)
            if str(path) == "-":
                spool.write(data)
            yield _lines(data)


def _second_reading(
    corpora: tuple[Path, ...], spool: IO[bytes], bar: ProgressBar
) -> Iterator[list[str]]:
    from lmscore.models.estimation.corpus import BLOCK_BYTES, read_blocks

    spool.seek(0)
    while lines := spool.readlines(BLOCK_BYTES):
        yield _lines(b"".join(lines))
    for path in corpora:
        if str(path) != "-":
            for block in read_blocks(path, lambda _, done, size: bar.advance(done, size)):
                yield _lines(block.data)


def _checked(batches: Iterator[list[str]], first: Path, bar: ProgressBar) -> Iterator[list[str]]:
    """The same lines; raises CorpusError if there is nothing in any of them."""
    found = False
    for batch in batches:
        found = found or any(map(str.strip, batch))
        yield batch
    if not found:
        raise CorpusError(first, "no text to learn from")
    bar.begin("learning")


def _lines(data: bytes) -> list[str]:
    return [line.removesuffix("\r") for line in data.decode().removesuffix("\n").split("\n")]


def _write(output: Path, text: str) -> None:
    """Write beside a path and move there, so that nobody sees half a file."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
