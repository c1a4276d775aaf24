"""``lmscore-convert``: from models as others write them to ones that are read as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lmscore.models.commands.running import progress_bar, version_option
from lmscore.models.network.importers.file_type import is_network_file

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_EXTRA = {"torch", "safetensors"}


@version_option
@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("source", type=_FILE)
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--vocabulary", type=_FILE, help="Which token is which row of a network's embedding.")
@click.option(
    "--corpus",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="FOLDER|FILE",
    help="Texts whose words the network counted by first appearance; a folder stands for its "
    "train.txt, valid.txt and test.txt. Can be given several times, in order.",
)
@click.option(
    "--tokenizer",
    type=click.Choice(["words", "characters", "huggingface", "sentencepiece", "subword-nmt"]),
    help="What the tokens are; default: told by the vocabulary, else words.",
)
@click.option("--codes", type=_FILE, help="The merges of subword-nmt.")
@click.option("--bos", metavar="TOKEN", help="What stands before a text; default: usual names.")
@click.option("--eos", metavar="TOKEN", help="What ends a text; default: usual names.")
@click.option("--unk", metavar="TOKEN", help="What unknown words become; default: usual names.")
@click.option(
    "--activation",
    type=click.Choice(["tanh", "relu"]),
    help="That of a network of kind rnn; default: tanh.",
)
@click.option("--sample", type=_FILE, help="A text to try the network and its vocabulary with.")
@click.option("--force", is_flag=True, help="Replace the network in TARGET.")
@click.option("--json", "as_json", is_flag=True, help="What was found in a network, as JSON.")
def command(source: Path, target: Path, **options: Any) -> None:
    """Convert the n-gram model in SOURCE to the file TARGET, or the network to the folder TARGET.

    An n-gram model is an ARPA file, plain or compressed by gzip, bzip2 or xz, or an .ngram file;
    TARGET is an .ngram file, which opens at once. It is written beside its place and moved there
    when it is whole: processes that use an older TARGET are not disturbed.

    A network is a state_dict, written by torch.save or safetensors, of PyTorch's
    word_language_model, Kaldi's pytorchnn, colorlessgreenRNNs, AWD-LSTM, ESPnet 1 or 2, fairseq or
    icefall. All options are for networks. No code in SOURCE is ever run.

    \b
    Examples:
      lmscore-convert model.arpa model.ngram
      lmscore-convert model.arpa.gz models/news/1/model.ngram
      lmscore-convert model.pt models/lstm/1 --vocabulary vocab.txt --sample test.txt
      lmscore-convert model.pt models/lstm/1 --corpus data/wikitext-2

    Exit codes: 0 all went well, 1 SOURCE is not a model or TARGET cannot be written, 2 the command
    line is wrong.
    """
    if is_network_file(source):
        _convert_network(source, target, options)
    else:
        _convert_ngram(source, target, options)


def _convert_ngram(source: Path, target: Path, options: dict[str, Any]) -> None:
    if given := next((name for name, value in options.items() if value), None):
        name = given.removeprefix("as_")
        raise click.UsageError(f"--{name} is for networks, and {source} is not one")
    if target.is_dir():
        raise click.BadParameter(f"{target} is a folder", param_hint="'TARGET'")
    # The compiler of their loops takes long to import, which --help and mistakes need not wait for.
    from lmscore.models.loading import load_model
    from lmscore.models.ngram.file import save_ngram, verify_ngram
    from lmscore.models.ngram.model import NgramModel

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


def _convert_network(source: Path, target: Path, options: dict[str, Any]) -> None:
    if options["vocabulary"] is not None and options["corpus"]:
        raise click.UsageError("the tokens come from either --vocabulary or --corpus")
    if options["codes"] is not None and options["tokenizer"] != "subword-nmt":
        raise click.UsageError("--codes belongs to --tokenizer subword-nmt")
    try:
        from lmscore.models.commands.convert_network import convert_network
    except ModuleNotFoundError as error:
        if (missing := (error.name or "").partition(".")[0]) not in _EXTRA:
            raise
        problem = f"{source}: a network needs {missing}: pip install 'lmscore[server]'"
        raise click.ClickException(problem) from None
    click.echo(convert_network(source, target, options))
