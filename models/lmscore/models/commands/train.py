"""Entry point of ``lmscore-train``: says what to install where the command's needs are absent."""

import sys

_EXTRA = {"click", "numba", "numpy", "rich"}


def main() -> None:
    """Run the command and exit."""
    try:
        from lmscore.models.commands.running import run
        from lmscore.models.commands.train_command import command

        sys.exit(run(command, "lmscore-train"))
    except ModuleNotFoundError as error:
        if (missing := (error.name or "").partition(".")[0]) not in _EXTRA:
            raise
        sys.exit(f"lmscore-train needs {missing}: pip install 'lmscore[server]'")


if __name__ == "__main__":
    main()
