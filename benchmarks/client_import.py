"""How long the client takes to import, beside gRPC, which is a part of it.

`lmscore.client` imports its names when they are first used: `lmscore.client.client` is what
`from lmscore.client import Client` really costs.
"""

from __future__ import annotations

import re
import subprocess
import sys

ROUNDS = 10
GOAL_SECONDS = 0.15


def import_seconds(module: str) -> float:
    """Time of a module with all that it imports, in a fresh process; the best of some."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    times = []
    for _ in range(ROUNDS):
        trace = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        match = re.search(rf"\|\s+(\d+) \| {re.escape(module)}$", trace, re.MULTILINE)
        assert match
        times.append(int(match[1]) / 1e6)
    return min(times)


if __name__ == "__main__":
    for module in ("grpc", "lmscore.client", "lmscore.client.client"):
        print(f"import {module:21} {import_seconds(module):.3f} s")
    print(f"goal                         {GOAL_SECONDS:.3f} s")
