"""The table of formats, and which of them a path is in."""

from __future__ import annotations

import re

from lmscore.client.nbest_formats import (
    csv_table,
    espnet,
    jsonl,
    kaldi,
    mlm_scoring,
    moses,
    nemo,
    srilm,
    tsv,
)
from lmscore.client.nbest_formats.format import Layout, NBestFormat
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import SCORE, UnknownFormatError, is_number
from lmscore.client.textfile import FileError

FORMATS: dict[str, NBestFormat] = {  # where several would take a file, the first does
    "mlm-scoring": mlm_scoring.FORMAT,
    "jsonl": jsonl.FORMAT,
    "moses": moses.FORMAT,
    "tsv": tsv.FORMAT,
    "csv": csv_table.FORMAT,
    "nemo": nemo.FORMAT,
    "srilm": srilm.FORMAT,
    "espnet": espnet.FORMAT,
    "kaldi": kaldi.FORMAT,
}


def recognized(source: Source) -> str:
    """The name of the format that a source is in.

    Raises UnknownFormatError for none, or with the question that is left open if it may be in
    several; FileError if there is nothing in it.
    """
    for name in ("espnet", "kaldi", "srilm"):
        if FORMATS[name].recognizes_folder(source):
            return name
    if source.is_folder:
        raise _unknown(source)
    opening = source.lines.opening().lstrip("\n\r")
    if not opening.strip():
        raise FileError(source.path, "there are no n-best lists in it")
    first = opening.split("\n", 1)[0].rstrip("\r")
    _refuse_ambiguous(source, first)
    if source.beam_size is not None and "\t" in first:
        return "nemo"
    for name, known in FORMATS.items():
        if known.recognizes_file(opening):
            return name
    raise _unknown(source)


def _refuse_ambiguous(source: Source, first: str) -> None:
    """UnknownFormatError with a question for tables whose columns can be read in several ways."""
    cells = first.split("\t")
    if first.lstrip().startswith("{") or tsv.has_header(first):
        return
    question = ""
    if _FAIRSEQ.match(first):
        question = "is this fairseq's output? `grep ^H- FILE | cut -c3-` makes tsv of it"
    match [is_number(cell) for cell in cells]:
        case [_, True] if source.beam_size is None:
            question = nemo.NEEDS_BEAM_SIZE + " (NeMo's format), or add a column with ids"
        case [True, False]:
            question = "are these score TAB text? put ids before them: id TAB score TAB text"
        case [_, True, True, *_]:
            question = "which column is the score? --format tsv takes the second one"
        case [True, True, False, *_] if not _looks_like_id(cells[0]):
            question = "which column is the score? --format tsv takes the second one"
        case [_, False, True]:
            question = f"are these id TAB text TAB {SCORE}? the text has to stand last"
    if question:
        raise UnknownFormatError(source.path, f"not clear: {question}", line=1)


_FAIRSEQ = re.compile(r"[STHDP]-\d+\t")


def _looks_like_id(cell: str) -> bool:
    """Whether a number is more likely an id than a score: it has no sign, point or exponent."""
    return cell.strip().isdigit()


def _unknown(source: Source) -> UnknownFormatError:
    line, other = (None, Layout.FILE) if source.is_folder else (1, Layout.FOLDER)
    fitting = {name: known.shape for name, known in FORMATS.items() if known.layout is not other}
    expected = "; ".join(f"{name}: {shape}" for name, shape in fitting.items())
    return UnknownFormatError(
        source.path,
        f"not a known n-best format (say which it is with --format; {expected})",
        line=line,
    )
