"""Entry point of ``lmscore-server``: says what to install where the server's needs are absent."""

import os
import sys


def main() -> None:
    """Run the command."""
    # Every call ends in a status; gRPC's own lines would only stand between the log's.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        from lmscore.server.command import command

        command()
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        from lmscore.server.stopping import leave

        leave(end.code or 0)
    except ModuleNotFoundError as error:  # the command imports what serves once it is to serve
        if (error.name or "lmscore").startswith("lmscore"):
            raise
        sys.exit(f"lmscore-server needs {error.name}: pip install 'lmscore[server]'")


if __name__ == "__main__":
    main()
