"""The version of the installed distribution, which pyproject.toml states."""

from importlib.metadata import version

DISTRIBUTION = "cyclegan-mri-ct"
__version__ = version(DISTRIBUTION)
