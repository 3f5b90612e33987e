"""`python -m reconciler.config > config.toml` writes the reference anew."""

import sys

from reconciler.config.reference import reference

sys.stdout.write(reference())
