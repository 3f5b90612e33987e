"""What one would otherwise write for the same job. Each is a program of its own: `python -m benchmarks.peers.NAME`."""
