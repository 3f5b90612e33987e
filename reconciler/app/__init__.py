"""The one place where the parts are put together."""

from reconciler.app.dry import Preview, gate_of, preview
from reconciler.app.inside import NoSuchTrack, StoreUnfit, known_track, looked_into, opened, own_schema, utc_now
from reconciler.app.once import Narrowed, run_once
from reconciler.app.outside import Provider, Served, provider, served

__all__ = [
    "Narrowed",
    "NoSuchTrack",
    "Preview",
    "Provider",
    "Served",
    "StoreUnfit",
    "gate_of",
    "known_track",
    "looked_into",
    "opened",
    "own_schema",
    "preview",
    "provider",
    "run_once",
    "served",
    "utc_now",
]
