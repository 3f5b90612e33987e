"""Installs for the daemon."""

from tests.cli.conftest import _no_settings_from_outside, install, make_install

__all__ = ["_no_settings_from_outside", "install", "make_install"]
