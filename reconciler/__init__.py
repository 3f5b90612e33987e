"""Repairs the missing and undersized cover pictures of a music app's tracks, at the least cost."""

from importlib.metadata import version

__version__ = version("reconciler")
