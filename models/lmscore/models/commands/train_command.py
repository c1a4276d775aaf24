"""``lmscore-train``: models and tokenizers from text."""

from __future__ import annotations

import click

from lmscore.models.commands.running import version_option
from lmscore.models.commands.train_network import network
from lmscore.models.commands.train_ngram import ngram
from lmscore.models.commands.train_tokenizer import tokenizer

command = click.Group(
    commands=[ngram, network, tokenizer],
    help="Make language models and tokenizers. Exit codes: 0 all went well, 1 something failed, "
    "2 the command line is wrong.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
version_option(command)
