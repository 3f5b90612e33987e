"""Repairs the missing and undersized cover pictures of a music app's tracks, at the least cost."""

__version__ = "0.1.0"
