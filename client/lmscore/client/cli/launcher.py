"""Entry point of ``lmscore``: says what to install where the command's needs are absent."""

import sys

_EXTRA = {"click", "jiwer", "rich"}


def main() -> None:
    """Run the command and exit."""
    try:
        from lmscore.client.cli.app import run

        sys.exit(run())
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.exit(f"lmscore needs {error.name}: pip install lmscore[cli]")


if __name__ == "__main__":
    main()
