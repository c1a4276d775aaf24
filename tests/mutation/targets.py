"""Which tests are shown the mistakes of which module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_MODELS = Path("models/lmscore/models")
_SERVER = Path("server/lmscore/server")
_CLIENT = Path("client/lmscore/client")


@dataclass(frozen=True)
class Target:
    """A module, the quick tests of it, and whether its loops are to run as plain Python."""

    path: Path
    tests: list[str]
    plain: bool = True


def _targets(folder: Path, modules: str, tests: str) -> list[Target]:
    names = [f"tests/{name}" for name in tests.split()]
    return [Target(folder / f"{module}.py", names) for module in modules.split()]


TARGETS = [
    *_targets(_MODELS, "measures windows", "models/test_measures.py"),
    *_targets(_MODELS, "distribution", "models/test_distribution.py models/network/test_scores.py"),
    *_targets(
        _MODELS / "ngram", "arpa arpa_rows line_reader table vocabulary", "models/test_arpa.py"
    ),
    *_targets(_MODELS / "ngram", "arpa_writer", "models/test_arpa_writer.py"),
    *_targets(
        _MODELS / "ngram",
        "automaton build children closure grouping model results scoring words",
        "models/test_ngram_scores.py models/test_distribution.py models/test_arpa.py",
    ),
    *_targets(_MODELS / "ngram", "file", "models/test_ngram_file.py"),
    *_targets(_MODELS / "ngram", "distribution", "models/test_distribution.py"),
    *_targets(_MODELS / "ngram", "drawing", "models/test_ngram_drawing.py"),
    *_targets(
        _MODELS / "kenlm",
        "binary hash_table hashing header interpolation model probing row search sections spans"
        " trie trie_layout vocabulary word_hashes",
        "models/kenlm/test_header.py models/kenlm/test_damage.py models/kenlm/test_model.py"
        " models/kenlm/test_scores.py",
    ),
    *_targets(
        _MODELS / "network",
        "scoring trie grouping cpu cells cpu_output backend",
        "models/network/test_scores.py models/network/test_trie.py",
    ),
    *_targets(
        _MODELS / "decoding",
        "cuts rows selection weights alternatives random_numbers parameters",
        "models/decoding/test_selection.py models/decoding/test_random_numbers.py"
        " models/decoding/test_parameters.py models/decoding/test_frequencies.py",
    ),
    *_targets(
        _MODELS / "decoding",
        "batch beam generate stopping text_batch text_writer",
        "models/decoding/test_batch.py models/decoding/test_beam.py"
        " models/decoding/test_generate.py models/decoding/test_stopping.py",
    ),
    *_targets(
        _SERVER / "generation",
        "call generator loop places prompts token_times",
        "server/test_generation.py server/test_generate.py server/test_places.py",
    ),
    *_targets(_SERVER, "ranking", "server/test_ranking.py"),
    *_targets(_SERVER / "convert", "detect", "server/test_detect_errors.py"),
    *_targets(_SERVER / "convert", "generate", "server/test_generate.py"),
    *_targets(_SERVER / "convert", "predict", "server/test_predict.py"),
    *_targets(_SERVER / "convert", "rescore", "server/test_rescore.py"),
    *_targets(
        _SERVER / "convert",
        "items models score score_reply tokenize",
        "server/test_convert.py server/test_score.py server/test_token_kinds.py"
        " server/test_service.py server/test_rescore.py",
    ),
    *_targets(
        _CLIENT / "nbest_formats",
        "blocks espnet format jsonl kaldi lockstep mlm_scoring moses nemo registry source srilm tsv"
        " values",
        "client/test_nbest.py client/test_nbest_round_trips.py",
    ),
]
