"""Entry point of ``lmscore``: says what to install where the command's needs are absent."""

import os
import sys

_EXTRA = {"click", "jiwer", "numpy", "rapidfuzz", "rich", "sacrebleu"}


def main() -> None:
    """Run the command and exit."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its log lines would stand among ours
    try:
        from lmscore.client.cli.app import run

        sys.exit(run())
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.exit(f"lmscore needs {missing}: pip install 'lmscore[cli]'")
    except KeyboardInterrupt:  # while it imports; later ones are the command's to tell
        print("\nlmscore: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
