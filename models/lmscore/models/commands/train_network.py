"""``lmscore-train network``: a recurrent or feed-forward network from text."""

from __future__ import annotations

import json
import os
import signal
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from lmscore.models.commands.running import ParameterType, ProgressBar, progress_bar
from lmscore.models.errors import CapabilityError
from lmscore.models.network.config import NetworkKind
from lmscore.models.network.training.settings import Mode, TrainingSettings
from lmscore.models.network.training.settings_file import (
    Layer,
    as_toml,
    combined,
    preset,
    preset_names,
    settings_file,
)

if TYPE_CHECKING:
    from lmscore.models.network.training.history import Evaluation
    from lmscore.models.network.training.session import Session, Summary
    from lmscore.models.network.training.trainer import Progress

_FILE = click.Path(path_type=Path)
_SAME_RUN = {"epochs", "device", "threads"}  # what may change when a run is resumed
_FLAGS = {
    "corpora": "data.train",
    "valid": "data.valid",
    "valid_fraction": "data.valid_fraction",
    "mode": "data.mode",
    "batch_size": "data.batch_size",
    "tokens": "tokenizer.type",
    "min_count": "tokenizer.min_count",
    "kind": "network.kind",
    "embedding_size": "network.embedding_size",
    "hidden_sizes": "network.hidden_sizes",
    "dropout": "network.dropout",
    "epochs": "training.epochs",
    "learning_rate": "training.learning_rate",
    "seed": "run.seed",
    "device": "run.device",
    "threads": "run.threads",
}


class _Sizes(ParameterType[tuple[int, ...]]):
    """Units by layer, such as 650,650."""

    name = "sizes"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        if not all(size.isdecimal() for size in value.split(",")):
            self.fail(f"{value!r} is not a list of sizes, such as 650,650", param, ctx)
        return tuple(map(int, value.split(",")))


@click.command(epilog=f"Presets: {', '.join(preset_names())}.")
@click.argument("corpora", nargs=-1, type=_FILE, metavar="[CORPUS...]")
@click.option("-o", "--output", type=_FILE, help="Folder for the model and the run.")
@click.option("--preset", "preset_name", type=click.Choice(preset_names()), help="Where to start.")
@click.option("--config", type=_FILE, help="A TOML file of settings, over those of the preset.")
@click.option("--resume", is_flag=True, help="Continue the run that --output holds.")
@click.option("--valid", type=_FILE, help="Held-out text to measure on.")
@click.option("--valid-fraction", type=float, help="Share of the lines to hold out, if no --valid.")
@click.option(
    "--mode", type=click.Choice(get_args(Mode)),
    help="Each line by itself, as texts are scored, or one text that runs on.",
)  # fmt: skip
@click.option("--batch-size", type=int, help="Sentences, or streams, at once.")
@click.option(
    "--tokens",
    type=click.Choice(["words", "characters", "bytes"]),
    help="What lines are split into.",
)
@click.option("--tokenizer", type=_FILE, help="A tokenizer.json, or a SentencePiece .model.")
@click.option("--min-count", type=int, help="Words that occur less often are <unk>.")
@click.option("--kind", type=click.Choice(get_args(NetworkKind)), help="Kind of its hidden layers.")
@click.option("--embedding-size", type=int, help="Numbers for each token.")
@click.option("--hidden-sizes", type=_Sizes(), metavar="N,...", help="Units by layer.")
@click.option("--dropout", type=float, help="Share of what each layer reads that is dropped.")
@click.option("--epochs", type=int, help="Times that the text is read.")
@click.option("--learning-rate", type=float, help="Of the optimizer, where it is highest.")
@click.option("--seed", type=int, help="Of weights, dropout and the order of batches.")
@click.option("--device", help="Where to compute: auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=int, help="Threads that compute, on the CPU.")
@click.option(
    "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE",
    help="Any other setting, as TOML has it.",
)  # fmt: skip
@click.option("--print-config", is_flag=True, help="Show all settings as TOML, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def network(
    output: Path | None,
    preset_name: str | None,
    config: Path | None,
    resume: bool,
    tokenizer: Path | None,
    assignments: tuple[str, ...],
    print_config: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train a network on text, one sentence a line.

    CORPUS is UTF-8, plain or compressed by gzip, bzip2 or xz. Flags go over the file of settings,
    which goes over the preset. The folder holds the best model so far at any time; Ctrl-C saves
    the run, and --resume continues it.

    \b
    Examples:
      lmscore-train network --preset char-small -o names.lstm names.txt
      lmscore-train network --preset word-small --kind gru --valid dev.txt -o news news.txt.gz
      lmscore-train network --resume -o news
    """
    given = {name: value for name, value in flags.items() if value not in {None, ()}}
    layers = [preset(preset_name)] if preset_name else []
    layers += [settings_file(config)] if config else []
    layers.append(_command_line(given, tokenizer, assignments))
    if print_config:
        click.echo(as_toml(combined(layers)), nl=False)
        return
    if output is None:
        raise click.UsageError("name a folder for the model with --output")
    if resume and (len(layers) > 1 or tokenizer or assignments or given.keys() - _SAME_RUN):
        allowed = ", ".join(f"--{name}" for name in sorted(_SAME_RUN))
        raise click.UsageError(f"a run goes on with its own settings; --resume takes {allowed}")
    _needs_torch()
    with progress_bar() as bar:
        session = _session(output, layers, bar, resume=resume)
        with _interruption() as signals:
            summary = session.run(lambda: bool(signals))
    click.echo(json.dumps(asdict(summary)) if as_json else _as_text(summary))
    if not summary.finished:
        click.echo(f"interrupted; go on with: lmscore-train network --resume -o {output}", err=True)
        click.get_current_context().exit(128 + signals[0])


def _command_line(
    given: dict[str, Any], tokenizer: Path | None, assignments: tuple[str, ...]
) -> Layer:
    """What flags say; those of their own over --set."""
    values: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot):
            raise click.UsageError(f"--set {assignment}: not SECTION.KEY=VALUE")
        values.setdefault(section, {})[key] = _toml_value(value.strip())
    if tokenizer is not None:
        kind = "sentencepiece" if tokenizer.suffix == ".model" else "huggingface"
        values.setdefault("tokenizer", {}).update(type=kind, file=str(tokenizer))
    for flag, value in given.items():
        section, _, key = _FLAGS[flag].partition(".")
        values.setdefault(section, {})[key] = value
    return Layer("command line", values)


def _toml_value(text: str) -> Any:
    """A value as TOML has it; what is none is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _needs_torch() -> None:
    """Fail in one line where torch is not installed; let its threads yield when they wait.

    Threads that spin keep others, and each other, from the cores: with as many programs as cores,
    small steps take ten times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for module in ("torch", "safetensors"):
        try:
            __import__(module)
        except ModuleNotFoundError:
            problem = f"training networks needs {module}: pip install 'lmscore[server]'"
            raise CapabilityError(problem) from None


def _session(output: Path, layers: list[Layer], bar: ProgressBar, *, resume: bool) -> Session:
    from lmscore.models.network.training import session as sessions

    settings = combined(layers)
    if resume:
        begun = Layer("run", sessions.begun_values(output))
        settings = combined([begun, *layers])
    else:
        sessions.check_free(output)
    session = sessions.Session(settings, output, bar.begin, _Teller(bar, settings))
    if resume:
        session.resume()
    else:
        session.begin()
    bar.begin("training")
    return session


class _Teller:
    """Shows steps in the bar, and evaluations as lines."""

    def __init__(self, bar: ProgressBar, settings: TrainingSettings) -> None:
        self._bar = bar
        self._epochs = settings.training.epochs

    def stepped(self, progress: Progress, last: Evaluation | None) -> None:
        """Show a step, and what was measured last."""
        held_out = f"  held out {last.valid_perplexity:.4g}" if last is not None else ""
        self._bar.advance(
            progress.step,
            progress.total_steps,
            f"epoch {progress.epoch}/{self._epochs}  loss {progress.loss:.3f}{held_out}  "
            f"{progress.tokens_per_second:,.0f} tokens/s",
        )

    def evaluated(self, row: Evaluation, *, best: bool) -> None:
        """Write what was measured."""
        self._bar.say(
            f"epoch {row.epoch:.2f}  step {row.step}  training loss {row.train_loss:.4f}  "
            f"held-out loss {row.valid_loss:.4f}, perplexity {row.valid_perplexity:.4g}"
            f"{' *' if best else ''}  {row.seconds:.0f} s"
        )

    def warned(self, line: str) -> None:
        """Write what is not as it could be."""
        self._bar.say(line)


@contextmanager
def _interruption() -> Iterator[list[int]]:
    """Signals that came, one at most: the second ends the program as usual."""
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)
        for name, handler in before.items():
            signal.signal(name, handler)

    before: dict[int, Any] = {
        name: signal.signal(name, note) for name in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield came
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _as_text(summary: Summary) -> str:
    lines = [
        f"{summary.kind} of {summary.parameters:,} weights over {summary.vocabulary_size:,} tokens",
        f"{summary.tokens:,} tokens in {summary.epochs:.4g} epochs, {summary.seconds:.0f} s",
        f"held-out perplexity  {summary.valid_perplexity:.4f} ({summary.valid_loss:.4f} nats)",
        f"over {summary.valid_events:,} events, at step {summary.best_step}",
    ]
    if summary.valid_perplexity_by_sentence != summary.valid_perplexity:
        lines.append(
            f"each line by itself  {summary.valid_perplexity_by_sentence:.4f}, as it is scored"
        )
    return "\n".join([*lines, f"model  {summary.output}"])
