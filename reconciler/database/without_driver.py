"""peewee, imported before anything else imports it, and without the driver of PostgreSQL.

It imports psycopg wherever that is installed, which takes longer than all else of it; we do where it is needed.
"""

import sys

_was_imported = "psycopg" in sys.modules
sys.modules.setdefault("psycopg", None)  # type: ignore[arg-type]  # None: as if it were not installed
import peewee  # noqa: E402, F401

if not _was_imported:
    del sys.modules["psycopg"]
