"""Writes the pages of docs/reference: ``python -m docs.reference``, or ``make reference``."""

from __future__ import annotations

import argparse
import sys

from docs.reference.pages import outdated, write


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; compare")
    if not parser.parse_args().check:
        write()
        return 0
    if names := outdated():
        print(f"docs/reference: not up to date: {', '.join(names)}", file=sys.stderr)
    return bool(names)


if __name__ == "__main__":
    sys.exit(main())
