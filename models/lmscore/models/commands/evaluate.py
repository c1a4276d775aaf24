"""Entry point of ``lmscore-eval``: says what to install where the command's needs are absent."""

import sys

_EXTRA = {"click", "numba", "numpy", "rich"}


def main() -> None:
    """Run the command and exit."""
    try:
        from lmscore.models.commands.eval_command import command
        from lmscore.models.commands.running import run

        sys.exit(run(command, "lmscore-eval"))
    except ModuleNotFoundError as error:
        if (missing := (error.name or "").partition(".")[0]) not in _EXTRA:
            raise
        sys.exit(f"lmscore-eval needs {missing}: pip install 'lmscore[server]'")


if __name__ == "__main__":
    main()
