"""Makes `python benchmarks/NAME.py` find its neighbours as `python -m benchmarks.NAME` does.

A file that is run by its path has its own folder to import from, where `benchmarks` is this module.
Its __path__ makes it a package whose modules are those beside it.
"""

from pathlib import Path

__path__ = [str(Path(__file__).parent)]
