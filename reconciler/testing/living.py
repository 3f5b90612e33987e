"""A daemon's sweeps and questions for credits on a world's virtual clock, when they would be due."""

from collections.abc import Callable
from datetime import datetime, timedelta

from reconciler.app.jobs import AT_LEAST
