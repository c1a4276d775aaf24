"""The version that is installed, as whoever built it took it from git."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lmscore")
except PackageNotFoundError:  # a folder of sources on the path, which nobody built
    __version__ = "0+unknown"
