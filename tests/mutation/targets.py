"""Which tests are shown the mistakes of which modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_MODELS = Path("models/lmscore/models")
_SERVER = Path("server/lmscore/server")
_CLIENT = Path("client/lmscore/client")


@dataclass(frozen=True)
class Target:
    """Modules, the quick tests of them, and whether their loops are to run as plain Python."""

    name: str
    paths: list[Path]
    tests: list[str]
    plain: bool = True


def _target(
    name: str, folder: Path, modules: str, tests: list[str], *, plain: bool = True
) -> Target:
    paths = [folder / f"{module}.py" for module in modules.split()]
    return Target(name, paths, [f"tests/{test}" for test in tests], plain)


TARGETS = [
    _target("measures", _MODELS, "measures windows", ["models/test_measures.py"]),
    _target(
        "arpa",
        _MODELS / "ngram",
        "arpa arpa_rows line_reader table",
        ["models/test_arpa.py"],
    ),
    _target("arpa-writer", _MODELS / "ngram", "arpa_writer", ["models/test_arpa_writer.py"]),
    _target(
        "ngram",
        _MODELS / "ngram",
        "automaton build children closure distribution grouping model results scoring vocabulary"
        " words",
        [
            "models/test_ngram_scores.py",
            "models/test_ngram_format.py",
            "models/test_words.py",
            "models/test_distribution.py",
            "models/test_contents.py",
        ],
    ),
    _target(
        "ngram-file",
        _MODELS / "ngram",
        "file",
        ["models/test_ngram_format.py", "models/test_ngram_file.py"],
    ),
    _target(
        "drawing",
        _MODELS / "ngram",
        "drawing excess base_lists",
        ["models/test_ngram_drawing.py", "models/test_ngram_format.py"],
    ),
    _target("distribution", _MODELS, "distribution", ["models/test_distribution.py"]),
    _target(  # test_damage.py starts processes, which know of no mistakes
        "kenlm",
        _MODELS / "kenlm",
        "binary hash_table hashing header interpolation model probing row search sections spans"
        " trie trie_layout vocabulary word_hashes",
        [
            "models/kenlm/test_look_ups.py",
            "models/kenlm/test_header.py",
            "models/kenlm/test_model.py",
            "models/kenlm/test_scores.py",
        ],
    ),
    _target("network-trie", _MODELS / "network", "trie grouping", ["models/network/test_trie.py"]),
    _target(  # in plain Python, a network takes too long
        "network",
        _MODELS / "network",
        "scoring cpu cpu_output backend model",
        ["models/network/test_scores.py"],
        plain=False,
    ),
    _target(
        "network-files",
        _MODELS / "network",
        "checkpoint config",
        ["models/network/test_checkpoint.py"],
        plain=False,
    ),
    _target(
        "importers",
        _MODELS / "network" / "importers",
        "assembly checks file_type importing pickle_advice report sources special_tokens token_list"
        " tokenizer_files torch_file word_list",
        [
            "models/network/test_importing.py",
            "models/network/test_import_errors.py",
            "models/network/test_import_vocabularies.py",
            "models/network/test_convert_network.py",
        ],
        plain=False,
    ),
    _target(
        "choosing",
        _MODELS / "decoding",
        "alternatives cuts selection weights random_numbers parameters",
        [
            "models/decoding/test_alternatives.py",
            "models/decoding/test_selection.py",
            "models/decoding/test_random_numbers.py",
            "models/decoding/test_parameters.py",
        ],
    ),
    _target(
        "decoding",
        _MODELS / "decoding",
        "batch beam rows stopping",
        [
            "models/decoding/test_batch.py",
            "models/decoding/test_beam.py",
            "models/decoding/test_stopping.py",
        ],
    ),
    _target(  # with a model that takes long to load without a compiler
        "texts",
        _MODELS / "decoding",
        "generate text_batch text_writer",
        ["models/decoding/test_generate.py", "models/decoding/test_stopping.py"],
        plain=False,
    ),
    _target(
        "generation",
        _SERVER / "generation",
        "call generator loop prompts token_times",
        ["server/test_generation.py", "server/test_generate.py"],
        plain=False,
    ),
    _target("places", _SERVER / "generation", "places", ["server/test_places.py"], plain=False),
    _target("ranking", _SERVER, "ranking", ["server/test_ranking.py"]),
    *(
        _target(
            f"convert-{modules.split()[0]}",
            _SERVER / "convert",
            modules,
            ["server/test_limits.py", *(f"server/test_{test}.py" for test in tests.split())],
            plain=False,
        )
        for modules, tests in (
            ("detect", "detect_errors"),
            ("generate", "generate"),
            ("items", "convert detect_errors generate predict rescore score service token_kinds"),
            ("models tokenize", "detect_errors service token_kinds"),
            ("predict", "predict"),
            ("rescore", "rescore"),
            ("score score_reply", "convert predict score score_request token_kinds"),
        )
    ),
    _target(
        "wire",
        _SERVER / "convert",
        "field_values score_request",
        ["server/test_score_request.py"],
    ),
    _target(
        "client-convert",
        _CLIENT / "convert",
        "answering checking detection generation model_service predicting rescoring scoring",
        [
            "client/test_check.py",
            "client/test_choice.py",
            "client/test_client.py",
            "client/test_generate.py",
            "client/test_model_service.py",
            "client/test_real_server.py",
        ],
        plain=False,
    ),
    _target(
        "nbest-formats",
        _CLIENT / "nbest_formats",
        "blocks espnet format jsonl kaldi lockstep mlm_scoring moses nemo registry source srilm tsv"
        " values",
        [
            "client/test_nbest.py",
            "client/test_nbest_formats.py",
            "client/test_nbest_round_trips.py",
            "client/test_rescore_outputs.py",
        ],
    ),
]
