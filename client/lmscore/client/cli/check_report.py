"""The page of ``lmscore check --html``: every word coloured by its surprisal."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from lmscore.client.detection import CheckedText, CheckedWord, ErrorSpan
from lmscore.client.errors import ItemError
from lmscore.client.results import ModelIdentity
from lmscore.client.textfile import Line

DARKEST_NATS = 14.0
"""Words of this surprisal and more have the full colour."""

_LEGEND_NATS = (0, 2, 4, 6, 8, 10, 12, 14)


class Report:
    """A page that grows by the lines that were checked; it needs nothing from elsewhere."""

    def __init__(self, source: str) -> None:
        self._source = "standard input" if source == "-" else source
        self._rows: list[str] = []
        self._errors = 0
        self._facts: dict[str, str] = {}

    def add(self, line: Line, outcome: CheckedText | ItemError, model: ModelIdentity) -> None:
        """Show one more line of the text."""
        if isinstance(outcome, ItemError):
            body = f'{escape(line.text)}<p class="failed">{escape(outcome.problem)}</p>'
        else:
            self._facts = {
                "model": f"{model.name} version {model.version}",
                "criterion": f"{outcome.criterion} beyond {outcome.threshold:.2f} nats",
            }
            self._errors += len(outcome.spans)
            body = "".join(_words(line.text, outcome)) + _suggestions(outcome)
        self._rows.append(f'<tr><td class="n">{line.number}</td><td>{body}</td></tr>')

    def page(self) -> str:
        """The whole page."""
        counts = {"lines": str(len(self._rows)), "errors": str(self._errors)}
        facts = "".join(
            f"<div><dt>{name}</dt><dd>{escape(fact)}</dd></div>"
            for name, fact in {**self._facts, **counts}.items()
        )
        template = files("lmscore.client.cli").joinpath("check_report.html").read_text("utf-8")
        parts = {
            "TITLE": escape(self._source),
            "FACTS": facts,
            "LEGEND": "".join(map(_swatch, _LEGEND_NATS)),
            "ROWS": "\n".join(self._rows),
        }
        for name, part in parts.items():  # no part has another's place in it: they are escaped
            template = template.replace(f"<!--{name}-->", part)
        return template


def _swatch(nats: int) -> str:
    more = "+" if nats >= DARKEST_NATS else ""
    return f'<span class="w" style="--s:{_share(nats):.2f}">{nats}{more}</span>'


def _share(surprisal: float) -> float:
    return min(max(surprisal / DARKEST_NATS, 0.0), 1.0)


def _words(text: str, checked: CheckedText) -> Iterator[str]:
    """The text as it is, each word in its colour, those of a span in one mark."""
    data, place = text.encode(), 0
    spans = {span.begin_byte: span for span in checked.spans}
    ends = {span.end_byte for span in checked.spans}
    for word in checked.words:
        begin, end = word.score.begin_byte, word.score.end_byte
        yield escape(data[place:begin].decode(errors="replace"))
        if begin in spans:
            yield f'<mark class="{_kind(spans[begin])}">'
        shown = data[begin:end].decode(errors="replace") if end > begin else "⏎"
        yield _word(word, shown)
        if end in ends and end > begin:
            yield "</mark>"
        place = end
    yield escape(data[place:].decode(errors="replace"))


def _word(word: CheckedWord, shown: str) -> str:
    tip = f"surprisal {word.score.surprisal:.2f} nats"
    if word.score.end_byte > word.score.begin_byte:
        tip += f"\nunexpectedness {word.unexpectedness:.2f} nats"
    else:
        tip = f"end of the line: {tip}"
    if word.score.oov:
        tip += "\nnot in the vocabulary"
    style = f"--s:{_share(word.score.surprisal):.2f}"
    return f'<span class="w" style="{style}" title="{escape(tip)}">{escape(shown)}</span>'


def _kind(span: ErrorSpan) -> str:
    return "unexpected" if span.beyond_threshold else "unknown"


def _suggestions(checked: CheckedText) -> str:
    if not checked.spans:
        return ""
    items = "".join(
        f"<li><del>{escape(span.text)}</del> {_alternatives(span)}</li>" for span in checked.spans
    )
    return f"<ul>{items}</ul>"


def _alternatives(span: ErrorSpan) -> str:
    told = ", ".join(
        f"<ins>{escape(each.text) or '(nothing)'}</ins> <small>{each.gain:+.1f}</small>"
        for each in span.alternatives
    )
    return f"→ {told}" if told else ""
