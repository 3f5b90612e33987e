"""The demo's own directory: what lies where, and what of an earlier demo may be replaced."""

import json
import shutil
from pathlib import Path

from reconciler.demo.stage import KIE_HOST, STORAGE_HOST
from reconciler.kie.simulated import API_KEY

DEFAULT = Path("demo")
_HEADING = "# Written by `reconciler demo`."
_CONFIG = """\
{heading} Every key that is not here has its default.

[database]
url = {database}

[kie]                                   # the simulated Kie of the demo; it runs only while the demo does
base_url = {base_url}
api_key = "{key}"
purchase_limit = 20                     # nobody else spends from this account
request_timeout = "10s"
file_hosts = ["{kie_host}"]             # here files die, as at Kie's file hosts
allow_insecure_hosts = ["{kie_host}", "{storage_host}"]

[budget]
per_hour = {budget}
per_day = {budget}

[schedule]
retry_min = "1s"                        # so that second tries come within the demo

[storage]
path = {images}
"""


class Folder:
    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.config = self.root / "config.toml"
        self.database = self.root / "app.db"
        self.images = self.root / "images"
        self.sheet = self.root / "contact-sheet.jpg"

    def take(self) -> str | None:
        """Make room for a demo, and note that this is one. Why it cannot be, if so."""
        try:
            obstacle = self.obstacle()
            if obstacle is None:
                self.clear()
                self.config.write_text(_HEADING, encoding="utf-8")  # first: it tells a demo from other folders
        except OSError as error:
            return f"{self.root} cannot be written ({error.strerror}); name another place with --dir"
        return obstacle

    def obstacle(self) -> str | None:
        """Why no demo can be made here: its configuration could not name the place; or it is a folder with anything but
        an earlier demo in it, which is not ours to overwrite."""
        if not str(self.root).isprintable() or not {"#", "?"}.isdisjoint(str(self.root)):
            what = "has a letter that no database's URL can hold (# or ?, or one that is not printed)"
            return f"{self.root} {what}; name another place with --dir"
        if not self.root.exists() or self._is_demo():
            return None
        if self.root.is_dir() and not any(self.root.iterdir()):
            return None
        return f"{self.root} is there already and is no earlier demo; name another place with --dir"

    def _is_demo(self) -> bool:
        try:
            return self.config.read_text(encoding="utf-8").startswith(_HEADING)
        except (OSError, UnicodeError):
            return False

    def clear(self) -> None:
        """What a demo makes is removed, whatever else lies beside it is not."""
        self.root.mkdir(parents=True, exist_ok=True)
        for path in (self.database, *self.root.glob("app.db-*"), self.sheet):
            path.unlink(missing_ok=True)
        if self.images.exists():
            shutil.rmtree(self.images)

    def write_config(self, base_url: str, budget: int) -> None:
        text = _CONFIG.format(
            heading=_HEADING,
            database=_quoted(f"sqlite:///{self.database}"),
            base_url=_quoted(base_url),
            key=API_KEY,
            kie_host=KIE_HOST,
            storage_host=STORAGE_HOST,
            budget=budget,
            images=_quoted(str(self.images)),
        )
        self.config.write_text(text, encoding="utf-8")


def _quoted(text: str) -> str:
    """A string of JSON is one of TOML."""
    return json.dumps(text, ensure_ascii=False)
