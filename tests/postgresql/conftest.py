"""A real server, of two versions, and a real pooler."""

from tests.postgres import bouncer, postgres, postgres15

__all__ = ["bouncer", "postgres", "postgres15"]
