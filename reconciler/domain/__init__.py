"""The pure core: what is known of a track, what to do next, what was learned. No I/O, no clock, no randomness."""
