"""The one place where the parts are put together."""

from reconciler.app.counted import each, metrics_of
from reconciler.app.daemon import HttpUnfit, serve
from reconciler.app.dry import Preview, gate_of, preview
from reconciler.app.inside import NoSuchTrack, StoreUnfit, known_track, looked_into, opened, own_schema, utc_now
from reconciler.app.once import Narrowed, run_once, write_metrics
from reconciler.app.outside import Provider, Served, provider, served
from reconciler.app.sweeping import Ears

__all__ = [
    "Ears",
    "HttpUnfit",
    "Narrowed",
    "NoSuchTrack",
    "Preview",
    "Provider",
    "Served",
    "StoreUnfit",
    "each",
    "gate_of",
    "known_track",
    "looked_into",
    "metrics_of",
    "opened",
    "own_schema",
    "preview",
    "provider",
    "run_once",
    "serve",
    "served",
    "utc_now",
    "write_metrics",
]
