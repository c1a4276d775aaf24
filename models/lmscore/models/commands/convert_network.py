"""The part of ``lmscore-convert`` that needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmscore.models.commands.running import progress_bar
from lmscore.models.network.importers.importing import ImportOptions, import_network
from lmscore.models.network.importers.special_tokens import SpecialTokens
from lmscore.models.network.importers.tokenizer_files import VocabularyOptions


def convert_network(source: Path, target: Path, options: dict[str, Any]) -> str:
    """Write the network in a file to a folder, and tell what was found."""
    vocabulary = VocabularyOptions(
        file=options["vocabulary"],
        corpus=options["corpus"],
        tokenizer=options["tokenizer"],
        codes=options["codes"],
        special=SpecialTokens(options["bos"], options["eos"], options["unk"]),
    )
    with progress_bar() as bar:
        bar.begin("converting")
        report = import_network(
            source,
            target,
            ImportOptions(
                vocabulary=vocabulary,
                activation=options["activation"],
                sample=options["sample"],
                overwrite=options["force"],
            ),
        )
    return report.as_json() if options["as_json"] else report.as_text()
