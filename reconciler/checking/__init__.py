"""The parts of `check` that are about one thing each."""
