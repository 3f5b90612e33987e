"""The one place where the parts are put together."""

from reconciler.app.dry import Preview, gate_of, preview
from reconciler.app.inside import StoreUnfit, looked_into, opened, own_schema, utc_now
from reconciler.app.once import Narrowed, run_once
from reconciler.app.outside import Provider, Served, provider, served

__all__ = [
    "Narrowed",
    "Preview",
    "Provider",
    "Served",
    "StoreUnfit",
    "gate_of",
    "looked_into",
    "opened",
    "own_schema",
    "preview",
    "provider",
    "run_once",
    "served",
    "utc_now",
]
