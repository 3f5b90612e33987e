"""What tests are built on: a store in memory, workers on a virtual clock, the whole program in one process."""
