"""``lmscore rescore``: re-ranks n-best lists with one language model or several."""

from __future__ import annotations

from pathlib import Path

import click

from lmscore.client.cli.options import (
    batch_option,
    connect_to,
    connection_options,
    finite,
    json_option,
    models_option,
    named_weight,
    nbest_options,
    weight_of_model,
)
from lmscore.client.cli.output import progress
from lmscore.client.cli.rescore_run import Job, Run
from lmscore.client.cli.rescore_weights import combination, of_models
from lmscore.client.nbest import Source
from lmscore.client.ranked_output import OUTPUTS, SAME
from lmscore.client.textfile import STDIN


@click.command()
@nbest_options
@models_option
@click.option(
    "--lm-weight",
    "lm_weights",
    type=weight_of_model,
    multiple=True,
    metavar="[MODEL=]NUMBER",
    help="Factor of a model's log-probability (nats).  [default: 1]",
)
@click.option(
    "--length-bonus",
    type=finite,
    metavar="NUMBER",
    help="Added for every word.  [default: 0]",
)
@click.option(
    "--oov-penalty",
    type=finite,
    metavar="NUMBER",
    help="Subtracted for every token out of the first model's vocabulary.  [default: 0]",
)
@click.option(
    "--feature-weight",
    "feature_weights",
    type=named_weight,
    multiple=True,
    metavar="NAME=WEIGHT",
    help='Factor of a score of the list. Without it, 1; but 0 beside a "score", a total.',
)
@click.option(
    "--weights",
    "weights_file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE.toml",
    help="Weights of models and features; the flags above have precedence.",
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(allow_dash=True),
    default=STDIN,
    metavar="PATH",
    help="File to write, or folder for formats that are one; default: standard output.",
)
@click.option(
    "--output-format",
    type=click.Choice([*OUTPUTS, SAME]),
    help="What to write: see above.  [default: best]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where a run with this output was ended; from the beginning if none was.",
)
@batch_option(2000, "Hypotheses")
@json_option
@connection_options
def rescore(
    nbest: str,
    format_name: str | None,
    beam_size: int | None,
    models: tuple[str, ...],
    lm_weights: tuple[tuple[str, float], ...],
    length_bonus: float | None,
    oov_penalty: float | None,
    feature_weights: tuple[tuple[str, float], ...],
    weights_file: str | None,
    path: str,
    output_format: str | None,
    resume: bool,
    batch: int,
    as_json: bool,
    address: str,
    timeout: float,
) -> None:
    """Choose the best hypothesis of every n-best list, by the list's score and the model's.

    A hypothesis' total is its score + lm-weight * log-probability (nats) + length-bonus * words
    - oov-penalty * OOV tokens. Where the lists have references, word error rates before and after
    follow on standard error, with that of the oracle: the best hypothesis that there is.

    NBEST is a file, maybe packed, or a folder, of one of these formats, which it is recognized by:

    \b
      jsonl        {"id": "utt1", "ref": "optional", "hyps": [["text", -3.1], ...]}
      tsv          id TAB score TAB text
      csv          the same between commas, after a first line that names the columns
      moses        id ||| text ||| name= value ... ||| total
      mlm-scoring  {"utt1": {"ref": "...", "hyp_1": {"score": -3.1, "text": "..."}}}
      nemo         text TAB score                       with --beam-size
      srilm        acoustic lm nwords words             a file, or a folder with a file a list
      kaldi        a folder with words_text, acwt and lmwt.lmonly
      espnet       a folder with 1best_recog/text, 1best_recog/score and so on

    \b
    What --output-format writes, in the order of the lists:
      best   id TAB text                       lines  text, one line a segment
      trn    text (id)                         kaldi  id text
      tsv    every hypothesis, best first, with all scores and the total
      jsonl  the lists with the models' log-probabilities as further features
      same   the format of NBEST, with those features where it has room, or the total as score

    A run that writes to a file or folder keeps OUTPUT.progress beside it until it is done; if it
    is ended before that, by whatever, the same command with --resume goes on.

    \b
    Examples:
      lmscore rescore nbest.jsonl --lm-weight 0.003
      lmscore rescore nbest.tsv.gz --lm-weight 0.5 --length-bonus 0.2 -o best.txt
      lmscore rescore nbest.moses --output-format same -o with-lm.moses --resume
      lmscore rescore exp/decode --model cv --model lstm --weights tuned.toml -o hyp.trn \\
          --output-format trn
    """
    if as_json and output_format:
        raise click.UsageError("--json and --output-format are both given")
    _keep_input(nbest, path)
    weights = combination(
        weights_file, models, lm_weights, feature_weights, length_bonus, oov_penalty
    )
    names = [name for name in models or weights.models if name]
    source = Source(nbest, beam_size)
    job = Job(source, format_name, path, "json" if as_json else output_format or "best", batch)
    try:
        with connect_to(address, timeout, names) as (client, identities):
            run = Run(job, client, identities, of_models(weights, names, identities))
            run.prepare(resume=resume)
            with run.opened() as out, progress(source, out.terminal) as shown:
                for _ in run.batches():
                    shown()
    finally:
        source.close()
    run.print_word_errors()
    if run.failed:
        raise click.ClickException(f"{run.failed} of {run.count} lists could not be ranked")


def _keep_input(nbest: str, path: str) -> None:
    """Refuse to write over what is still to be read."""
    if STDIN not in (path, nbest) and Path(path).exists() and Path(path).samefile(nbest):
        raise click.UsageError(f"--output {path} is the n-best file itself")
