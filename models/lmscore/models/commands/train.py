"""Entry point of ``lmscore-train``: says what to install where the command's needs are absent."""

import sys

_EXTRA = {"click", "numba", "numpy", "rich"}


def main() -> None:
    """Run the command and exit."""
    try:
        import click

        from lmscore.models.commands.running import run
        from lmscore.models.commands.train_network import network
        from lmscore.models.commands.train_ngram import ngram
        from lmscore.models.commands.train_tokenizer import tokenizer
    except ModuleNotFoundError as error:
        if (missing := (error.name or "").partition(".")[0]) not in _EXTRA:
            raise
        sys.exit(f"lmscore-train needs {missing}: pip install 'lmscore[server]'")
    group = click.Group(
        commands=[ngram, network, tokenizer],
        help="Make language models and tokenizers. Exit codes: 0 all went well, 1 something "
        "failed, 2 the command line is wrong.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    sys.exit(run(group, "lmscore-train"))


if __name__ == "__main__":
    main()
