"""Orders what is stuck, and works until it is told to end."""

from benchmarks.peers.huey_tasks import huey, order_what_is_stuck

WORKERS = 4
"""As in the examples of its documentation."""


def main() -> None:
    order_what_is_stuck()
    huey.create_consumer(workers=WORKERS).run()


if __name__ == "__main__":
    main()
