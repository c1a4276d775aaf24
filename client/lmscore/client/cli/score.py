"""``lmscore score``: log-likelihood and perplexity of every line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import tee

import click

from lmscore.client.cli.options import (
    batch_option,
    connect,
    connection_options,
    json_option,
    model_option,
    source_argument,
    utf8,
)
from lmscore.client.cli.output import (
    answered_by,
    columns,
    complain,
    error_record,
    json_line,
    note,
    output,
    progress,
    record_of,
    visible,
)
from lmscore.client.errors import ItemError
from lmscore.client.measures import CorpusMeasures
from lmscore.client.results import ModelIdentity, TextScore, TokenScore, WordScore
from lmscore.client.textfile import LineReader


@click.command()
@source_argument
@click.option("--tokens", is_flag=True, help="Show every token: surprisal, n-gram length, OOV.")
@click.option(
    "--words", is_flag=True, help="Show every word, whatever the model's tokens are, with its sum."
)
@click.option(
    "--alternatives",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show every token, with its rank, the entropy in its place and the N likeliest there.",
)
@click.option(
    "--context", type=utf8, default="", help="A text before every line, which is not scored."
)
@click.option("--bos/--no-bos", default=True, show_default=True, help="Begin each line with <s>.")
@click.option("--eos/--no-eos", default=True, show_default=True, help="Score </s> after each line.")
@batch_option(256, "Texts")
@model_option
@json_option
@connection_options
def score(
    source: str,
    tokens: bool,
    words: bool,
    alternatives: int | None,
    context: str,
    bos: bool,
    eos: bool,
    batch: int,
    model: str,
    as_json: bool,
    address: str,
    timeout: float,
) -> None:
    """Score each line of a file, plain or gzipped, or of standard input.

    Writes one line a text, in order, separated by tabs: log-probability (nats), perplexity,
    tokens, OOV tokens, text. A line that cannot be scored has "-" in place of its figures. The
    corpus' figures follow on standard error.

    \b
    Examples:
      lmscore score sentences.txt > scores.tsv
      echo "the function returns a list" | lmscore score --tokens -
      echo "the function returns a lisp" | lmscore score --alternatives 3 -
      echo "the function returns a list" | lmscore score --words --model lstm -
      lmscore score --json --model cv hypotheses.txt.gz | jq .perplexity
    """
    lines = LineReader(source)
    summary = Summary()
    write = _json if as_json else _table if tokens or words or alternatives else _row
    with (
        connect(address, timeout, model) as client,
        output() as out,
        progress(lines, out) as shown,
    ):
        sent, kept = tee(lines)
        answers = client.score_stream(
            (line.text for line in sent),
            batch_texts=batch,
            context=context,
            tokens=tokens,
            words=words,
            alternatives=alternatives or 0,
            bos=bos,
            eos=eos,
        )
        for answer in answers:
            for outcome, line in zip(answer.outcomes, kept, strict=False):  # kept goes on after it
                out.write(write(line.text, outcome, answer.model))
                summary.add(line.text, outcome)
                if isinstance(outcome, ItemError):
                    complain(f"line {line.number}: {outcome.problem}")
            summary.model = answer.model
            shown()
    note(str(summary))
    if summary.failed:
        count = summary.failed + summary.measures.texts
        raise click.ClickException(f"{summary.failed} of {count} texts could not be scored")


def _row(text: str, outcome: TextScore | ItemError, _: ModelIdentity) -> str:
    if isinstance(outcome, ItemError):
        return f"-\t-\t-\t-\t{text}\n"
    return (
        f"{outcome.log_prob:.6f}\t{outcome.perplexity:.4f}"
        f"\t{outcome.token_count}\t{outcome.oov_count}\t{text}\n"
    )


def _json(text: str, outcome: TextScore | ItemError, model: ModelIdentity) -> str:
    figures = error_record(outcome) if isinstance(outcome, ItemError) else record_of(outcome)
    if not figures.get("tokens", True):  # not asked for
        del figures["tokens"]
    return json_line({"text": text, **figures, **answered_by(model)})


def _table(text: str, outcome: TextScore | ItemError, _: ModelIdentity) -> str:
    if isinstance(outcome, ItemError):
        return f"{text}\n-\n\n"
    tables = (_token_table(outcome.tokens), _word_table(outcome.words))
    table = "\n".join(each for each in tables if each)
    total = f"log-prob {outcome.log_prob:.4f} nats, perplexity {outcome.perplexity:.4f}"
    return f"{text}\n{table}{total}\n\n"


def _token_table(tokens: Sequence[TokenScore]) -> str:
    """A row a token; columns for what there is."""
    if not tokens:
        return ""
    of_ngrams = any(token.matched_order is not None for token in tokens)
    detailed = any(token.rank is not None for token in tokens)
    headings = ["token", "surprisal (nats)", *(["n-gram"] if of_ngrams else []), "OOV"]
    if detailed:
        headings += ["rank", "entropy (nats)", "likeliest here"]
    rows = [
        (
            visible(token.text),
            f"{token.surprisal:.4f}",
            *([str(token.matched_order)] if of_ngrams else []),
            "OOV" if token.oov else "",
            *(_detail(token) if detailed else ()),
        )
        for token in tokens
    ]
    return columns(headings, rows, left={0, headings.index("OOV") + 3})


def _detail(token: TokenScore) -> tuple[str, str, str]:
    likeliest = " ".join(visible(each.text) for each in token.alternatives)
    return str(token.rank), f"{token.entropy:.2f}", likeliest


def _word_table(words: Sequence[WordScore]) -> str:
    if not words:
        return ""
    rows = [
        (
            visible(word.text),
            f"{word.surprisal:.4f}",
            str(word.token_count),
            "OOV" if word.oov else "",
        )
        for word in words
    ]
    return columns(("word", "surprisal (nats)", "tokens", "OOV"), rows, left={0})


@dataclass(slots=True)
class Summary:
    """What all texts come to."""

    measures: CorpusMeasures = field(default_factory=CorpusMeasures)
    failed: int = 0
    model: ModelIdentity | None = None

    def add(self, text: str, outcome: TextScore | ItemError) -> None:
        """Count a text."""
        if isinstance(outcome, ItemError):
            self.failed += 1
        else:
            self.measures.add(text, outcome)

    def __str__(self) -> str:
        total = self.measures
        if not total.texts:
            return "0 texts"
        by = f" ({self.model.name} version {self.model.version})" if self.model else ""
        return (
            f"{total.texts} texts, {total.events} tokens, {total.oov_events} OOV; "
            f"log-prob {total.log_prob:.4f} nats; perplexity {total.perplexity:.4f} with OOV, "
            f"{total.perplexity_excluding_oov:.4f} without{by}"
        )
