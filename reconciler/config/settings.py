"""Every key of the configuration: its type, its bounds, its default and its comment, once.

`config.toml` and the tables of the documentation are made from these.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from reconciler.config.durations import parse_duration
from reconciler.config.forms import (
    ApiKey,
    Column,
    DatabaseUrl,
    Endpoint,
    Hosts,
    Name,
    OptionalWebUrl,
    Secret,
    Suffixes,
    Table,
    Texts,
    WebUrl,
    without_nul,
)
from reconciler.domain.urls import redact

Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Positive = Annotated[Duration, Field(gt=timedelta(0))]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    _texts = field_validator("*", mode="before")(without_nul)


class Columns(Section):
    """Only where the app's names differ. All but id, status and image_url may be missing in the table."""

    id: Column = "id"
    task_id: Column = "task_id"
    title: Column = "title"
    prompt: Column = "prompt"
    audio_url: Column = "audio_url"
    image_url: Column = "image_url"
    resolution: Column = "resolution"
    mood: Column = "mood"
    vibe: Column = "vibe"
    summary: Column = "summary"
    extended_prompt: Column = "extended_prompt"
    extended_prompt_image: Column = "extended_prompt_image"
    status: Column = "status"
    created_at: Column = "created_at"
    updated_at: Column = "updated_at"


class Database(Section):
    """The app's database, in which the reconciler is a guest."""

    url: DatabaseUrl = Field(
        SecretStr("sqlite:///data/app.db"),
        description="sqlite:/// and a path (relative to the working directory; four slashes begin an absolute one), or "
        "postgresql://user:password@host:5432/name (a transaction-mode pooler is fine). May be given as the credential "
        "database_url.",
    )
    table: Table = Field("tracks", description="The app's table; may be schema-qualified.")
    schema_: Column = Field("reconciler", alias="schema", description="PostgreSQL: where the private tables live.")
    statuses: Texts = Field(
        ("completed",),
        min_length=1,
        description="In scope at once. Rows whose status is NULL, pending or processing are once they have audio and "
        "are older than stale_after.",
    )
    excluded_statuses: Texts = Field(("failed", "callback_inserted"), description="Never in scope.")
    restore_archived: bool = Field(
        False,
        description="true: archived rows with audio are in scope too, and become completed in the same statement as "
        "their image.",
    )
    stale_after: Positive = Field(
        timedelta(days=1), description="From this age on an unfinished row with audio is in scope."
    )
    grace: Duration = Field(
        timedelta(minutes=25),
        description="Neither write to nor buy for rows that others created or updated more recently, for stale_after "
        "at the longest from when they were first seen in need, or, while their picture is good, first seen: so a row "
        "that is touched again and again is served too.",
    )
    columns: Columns = Columns()

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_secret_value().startswith("sqlite:")

    @property
    def path(self) -> Path:
        """SQLite's file. ValueError for any other database."""
        if not self.is_sqlite:
            raise ValueError("not an SQLite database")
        return Path(self.url.get_secret_value().removeprefix("sqlite:///"))

    @property
    def place(self) -> str:
        """What may be shown of the URL: no user, no password, no parameters."""
        if self.is_sqlite:
            return str(self.path)
        return redact(self.url.get_secret_value())


class TargetPicture(Section):
    """The picture that every track should have."""

    width: int = Field(2048, ge=1, le=16384, description="Pixels.")
    height: int = Field(1152, ge=1, le=16384, description="Pixels.")
    aspect_tolerance: float = Field(
        0.01, ge=0, le=0.5, description="How far a picture's shape may be off, as a fraction."
    )
    fit: Literal["exact", "keep"] = Field(
        "exact",
        description='"exact": crop and downscale to width x height as JPEG, never upscale; "keep": store the '
        "provider's bytes.",
    )
    quality: int = Field(92, ge=1, le=95, description="Of the JPEG that exact makes.")
    interim_thumbnail: bool = Field(
        False,
        description="While a row has no picture at all, put the Suno cover there (rehosted, resolution left NULL, "
        "still counted as below_target), so that the app stops hiding the track.",
    )


class Kie(Section):
    """The provider of the pictures, and how hard it may be leaned on."""

    base_url: WebUrl = Field("https://api.kie.ai", description="http only for hosts in allow_insecure_hosts.")
    api_key: ApiKey = Field(
        SecretStr(""), description="Better given as the credential kie_api_key or in the environment."
    )
    suno_api_key: ApiKey = Field(
        SecretStr(""),
        description="Where the app bought music with another key. Better given as the credential kie_suno_api_key.",
    )
    model: Text = Field("bytedance/seedream-v4-text-to-image", description="What pictures are bought from.")
    fallback_models: Texts = Field(
        ("seedream/4.5-text-to-image",),
        description="Tried in this order when the model refuses a prompt however it is put.",
    )
    purchase_limit: int = Field(
        10,
        ge=1,
        le=20,
        description="Purchases per purchase_window, of the account's 20 in 10 s; the app spends the rest.",
    )
    purchase_window: Positive = Field(
        timedelta(seconds=10), description="Any stretch of time of this length, not only whole ones."
    )
    max_concurrent_tasks: int = Field(
        50, ge=1, le=100, description="Tasks of ours that run at once; the account's limit is about 100."
    )
    task_timeout: Positive = Field(
        timedelta(hours=6), description="Then a task is overdue: it frees its slot and may be replaced once."
    )
    request_timeout: Positive = Field(
        timedelta(seconds=30), description="For the whole call. Every other deadline of the program is derived from it."
    )
    file_hosts: Suffixes = Field(
        ("aiquickdraw.com", "redpandaai.co", "kie.ai", "suno.ai", "api.box"),
        description="Suffixes of the hosts that URLs in Kie's answers may point to; https only. Files there die.",
    )
    allow_insecure_hosts: Hosts = Field(
        (),
        description='For exactly these, e.g. ["127.0.0.1"] for a local simulator, http counts as https, loopback is '
        "allowed, and Kie's answers may point here; file_hosts alone decides what dies.",
    )


class Budget(Section):
    """Purchases, counted over rolling hours and days, across restarts and processes."""

    per_hour: Count = Field(30, description="Every purchase sent counts.")
    per_day: Count = Field(100, description="0: never buy, only use what exists.")
    per_track: Count = Field(3, description="Accepted, and not ended in failure (failures are refunded).")
    attempts_per_track: Count = Field(6, description="Accepted, failures included.")
    min_credits: float = Field(50.0, ge=0, allow_inf_nan=False, description="Stop buying below this balance.")
    hold_unknown: Positive = Field(
        timedelta(hours=1),
        description="A purchase whose answer was lost is held this long before it may be repeated, once.",
    )


class Schedule(Section):
    """When what is done again."""

    sweep_interval: Positive = Field(
        timedelta(seconds=60), description="At the latest; sooner when something is due sooner."
    )
    audit_interval: Positive = Field(
        timedelta(hours=6), description="How often all rows in scope are compared with memory."
    )
    reverify_after: Positive = Field(timedelta(days=30), description="Re-measure known good pictures this often.")
    snapshot_interval: Positive = Field(
        timedelta(seconds=30), description="How old the counts in metrics and status may be."
    )
    retry_min: Positive = Field(
        timedelta(minutes=1), description="The first wait after a failure; each further one is longer."
    )
    retry_max: Positive = Field(timedelta(hours=6), description="The longest wait after a failure.")


class Storage(Section):
    """Where pictures are kept for good."""

    kind: Literal["local", "s3", "none"] = Field(
        "local",
        description="local | s3 | none. none stores nothing: a picture that was verified is written with the "
        "provider's URL, which dies within days, and then the next one is bought; target.fit is then keep.",
    )
    path: Text = Field("data/images", description="local: a directory, relative to the working directory.")
    public_url: WebUrl = Field(
        "http://127.0.0.1:9464/images",
        description='What is written into image_url is public_url + "/" + key. Loopback here with a PostgreSQL '
        "database is refused unless listed in allow_insecure_hosts. Stored pictures under it are read from the "
        "store, others over the web.",
    )
    bucket: Name = Field("", description="s3: a bucket that exists, for the pictures alone, that anybody may read.")
    endpoint: Endpoint = Field(
        "",
        description="s3: its URL without the bucket; http only for hosts in allow_insecure_hosts. Supabase: "
        "https://PROJECT.storage.supabase.co/storage/v1/s3. AWS: https://s3.REGION.amazonaws.com.",
    )
    region: Name = Field("", description="s3: left empty, us-east-1, which servers without regions take.")
    access_key: ApiKey = Field(SecretStr(""), description="s3: of a key that may read, write and list there.")
    secret_key: Secret = Field(SecretStr(""), description="s3. Better given as the credential storage_secret_key.")

    @property
    def place(self) -> str:
        """Where pictures are kept, for people to read."""
        match self.kind:
            case "s3":
                return f"bucket {self.bucket} at {urlsplit(self.endpoint).netloc}"
            case "local":
                return self.path
            case "none":
                return "nowhere: pictures stay at the provider's URLs, which die"

    @property
    def warning(self) -> str | None:
        """What is to be said loudly whenever work begins."""
        if self.kind != "none":
            return None
        return (
            'storage.kind = "none" stores nothing: rows get the provider\'s own URLs, and each picture that dies, '
            'within days, is bought again. Set it to "local" or "s3" for anything but a trial'
        )


class Http(Section):
    """The daemon's own pages: metrics, health, status, pictures."""

    host: Text = Field("127.0.0.1", description="The address listened on.")
    port: int = Field(9464, ge=0, le=65535, description="0: any free one.")


class Callback(Section):
    """Kie's word that a task has ended, so that it need not be asked."""

    public_url: OptionalWebUrl = Field(
        "", description='When set, purchases carry callBackUrl = public_url + "/callback/<token>".'
    )
    hmac_key: ApiKey = Field(
        SecretStr(""),
        description="Kie's webhook key: callbacks that are not signed with it are refused. Better given as the "
        "credential callback_hmac_key.",
    )


class Log(Section):
    """What is told on stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG | INFO | WARNING | ERROR.")
    format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto | text | json. auto: text on a terminal and in the journal, else json."
    )


class Settings(Section):
    """The whole configuration, checked; sections and keys are named as in the file (but `schema_` for schema)."""

    database: Database = Database()
    target: TargetPicture = TargetPicture()
    kie: Kie = Kie()
    budget: Budget = Budget()
    schedule: Schedule = Schedule()
    storage: Storage = Storage()
    http: Http = Http()
    callback: Callback = Callback()
    log: Log = Log()
