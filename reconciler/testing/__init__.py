"""Fakes of the ports, for tests of whatever is built on them."""
