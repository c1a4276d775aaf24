"""Kaldi: text archives keyed `utt-N` of words and costs (-ln, lower is better), in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lmscore.client.nbest_formats.blocks import Row, blocks
from lmscore.client.nbest_formats.format import Layout, NBestFormat, Parts, non_empty
from lmscore.client.nbest_formats.lockstep import KeyedFile
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import ACOUSTIC, LM, UnwritableError, line_text, word
from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import STDIN, FileError

_WORDS = ("words_text", "text", "words")  # the first that is there: "words" may hold numbers
_ACOUSTIC_FILES = ("acwt", "ac_cost")
_LM_FILES = ("lmwt.lmonly", "lm_cost")
_GRAPH, _GRAPH_FILE = "graph", "lmwt.nolm"
_SUM_FILE = "lmwt.withlm"  # of the graph's costs and the language model's
_PREFIX = "lmwt."
_PACKED = (".gz", ".bz2", ".xz", "")


def _read(source: Source) -> Iterator[NBestList]:
    return blocks(_rows(source))


def _rows(source: Source) -> Iterator[Row]:
    folder = _folder(source)
    names = _files(folder)
    words_file = _words_file(source, names)
    costs = _cost_files(names)
    if words_file is None or not costs:
        problem = f"expected {' or '.join(_WORDS)} in the folder, and costs such as acwt beside it"
        raise FileError(source.path, problem)
    words = KeyedFile(source, str(folder / words_file))
    files = {feature: KeyedFile(source, str(folder / name)) for feature, name in costs.items()}
    while (key := words.key) is not None:
        number = words.line_number
        name, hyphen, rank = key.rpartition("-")
        if not hyphen or not rank.isdigit() or not name:
            raise FileError(words.path, f"expected a key utt-N, found {key}", line=number)
        text = words.take(key)
        # Adding 0 keeps costs of 0 from becoming scores of -0.
        scores = {feature: 0.0 - file.take_number(key) for feature, file in files.items()}
        yield Row(words.path, number, name, Hypothesis(text, scores))
    for file in files.values():
        file.end()


def _folder(source: Source) -> Path:
    return Path(source.path) if source.is_folder else Path(source.path).parent


def _files(folder: Path) -> dict[str, str]:
    """File names by name without what says how they are packed."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    return {
        name.removesuffix(suffix): name
        for suffix in _PACKED
        for name in sorted(names)
        if name.endswith(suffix)
    }


def _words_file(source: Source, names: Mapping[str, str]) -> str | None:
    if not source.is_folder:
        return Path(source.path).name
    return next((names[name] for name in _WORDS if name in names), None)


def _cost_files(names: Mapping[str, str]) -> dict[str, str]:
    """File names by feature."""
    files = {}
    for feature, candidates in ((ACOUSTIC, _ACOUSTIC_FILES), (LM, _LM_FILES)):
        found = next((names[name] for name in candidates if name in names), None)
        if found is not None:
            files[feature] = found
    for name in sorted(names):
        if name == _GRAPH_FILE:
            files[_GRAPH] = names[name]
        elif name.startswith(_PREFIX) and name not in {*_LM_FILES, _SUM_FILE}:
            files[name.removeprefix(_PREFIX)] = names[name]
    return files


def _render(_: int, nbest: NBestList, __: Sequence[str]) -> Parts:
    parts: dict[str, list[str]] = {}
    for number, hypothesis in enumerate(non_empty(nbest).hypotheses, 1):
        if hypothesis.features.keys() != nbest.hypotheses[0].features.keys():
            raise UnwritableError(f"list {nbest.id}: its hypotheses have different features")
        if not hypothesis.features:
            raise UnwritableError(f"list {nbest.id} has no scores")
        key = f"{word(nbest.id, 'id')}-{number}"
        text = line_text(hypothesis.text, "text")
        parts.setdefault("words_text", []).append(f"{key} {text}\n")
        for feature, value in hypothesis.features.items():
            parts.setdefault(_file_of(feature), []).append(f"{key} {0.0 - value!r}\n")
    return {name: "".join(lines) for name, lines in parts.items()}


def _file_of(feature: str) -> str:
    known = {ACOUSTIC: _ACOUSTIC_FILES[0], LM: _LM_FILES[0], _GRAPH: _GRAPH_FILE}
    if feature in known:
        return known[feature]
    if _PREFIX + feature in {*known.values(), _SUM_FILE} or "/" in feature or "\0" in feature:
        raise UnwritableError(f"Kaldi cannot have a feature named {feature!r}")
    if not feature or feature.endswith(_PACKED[:-1]):
        raise UnwritableError(f"Kaldi cannot have a feature named {feature!r}")
    return _PREFIX + feature


def _recognizes_folder(source: Source) -> bool:
    if source.path == STDIN:
        return False
    names = _files(_folder(source))
    if not source.is_folder and not Path(source.path).name.startswith("words"):
        return False
    return _words_file(source, names) is not None and bool(_cost_files(names))


FORMAT = NBestFormat(
    f"a folder with {_WORDS[0]}, {_ACOUSTIC_FILES[0]} and {_LM_FILES[0]}, lines `utt-N value`",
    _read,
    _render,
    recognizes_folder=_recognizes_folder,
    layout=Layout.FOLDER,
)
