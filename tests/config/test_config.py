"""Loading: places and their precedence, every mistake at once, and no secret in any text."""

import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reconciler.config import (
    ConfigError,
    Problem,
    Settings,
    format_duration,
    keys,
    load,
    parse_duration,
    policy_of,
    reference,
)
from reconciler.domain.policy import Policy
from tests.rights import shut

ROOT = Path(__file__).parents[2]
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path: Path | None, environ: Mapping[str, str] | None = None) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, places=())
    assert caught.value.problems
    return list(caught.value.problems)


# -- where it is looked for -----------------------------------------------------------------------------------------


def test_the_named_file_goes_before_the_variable_and_that_before_the_usual_places(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("named.toml", "variable.toml", "usual.toml")]
    for port, path in enumerate(files, start=1):
        path.write_text(f"[http]\nport = {port}\n")
    named, variable, usual = files
    environ = {"RECONCILER_CONFIG": str(variable)}
    missing = tmp_path / "missing.toml"

    assert load(named, environ, places=[usual]).http.port == 1
    assert load(None, environ, places=[usual]).http.port == 2
    assert load(None, {}, places=[missing, usual]).http.port == 3


def test_without_any_file_the_places_looked_at_are_named(tmp_path: Path) -> None:
    places = [tmp_path / "config.toml", tmp_path / "etc" / "config.toml"]
    with pytest.raises(ConfigError) as caught:
        load(None, {}, places=places)
    (problem,) = caught.value.problems
    assert all(str(place) in str(problem) for place in places)
    assert "RECONCILER_CONFIG" in str(problem)


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    (by_flag,) = problems(missing)
    (by_variable,) = problems(None, {"RECONCILER_CONFIG": str(missing)})
    assert (by_flag.where, by_variable.where) == ("--config", "environment RECONCILER_CONFIG")
    assert str(missing) in by_flag.what


def test_a_file_that_cannot_be_looked_at_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long, path = tmp_path / ("a" * 300) / "config.toml", tmp_path / "config.toml"
    (problem,) = problems(long)
    assert (problem.where, problem.what) == ("--config", f"{long} cannot be looked at: File name too long")
    shut(monkeypatch, tmp_path)
    (by_variable,) = problems(None, {"RECONCILER_CONFIG": str(path)})
    with pytest.raises(ConfigError) as caught:
        load(None, {}, places=[path])
    (usual,) = caught.value.problems
    assert (by_variable.where, usual.where) == ("environment RECONCILER_CONFIG", "configuration")
    assert by_variable.what == usual.what == f"{path} cannot be looked at: Permission denied"
    assert "search its directory" in usual.fix


def test_an_empty_file_gives_the_defaults(write: Write) -> None:
    assert load(write(""), {}) == Settings()


# -- precedence -----------------------------------------------------------------------------------------------------


SECRETS = {
    "kie.api_key": "hunter2-key",
    "kie.suno_api_key": "hunter2-suno",
    "storage.access_key": "hunter2-access",
    "storage.secret_key": "hunter2-secret",
    "callback.hmac_key": "hunter2-hmac",
    "database.url": "postgresql://user:hunter2-password@db.example.com/name",
}
ADDRESSES = {
    "RECONCILER_STORAGE__PUBLIC_URL": "https://pictures.example.com",
    "RECONCILER_CALLBACK__PUBLIC_URL": "https://ops.example.com",
}
"""Without which some of them are refused."""


def test_environment_goes_over_the_file_and_credentials_over_both(write: Write, tmp_path: Path) -> None:
    path = write('[kie]\napi_key = "from-file"\npurchase_limit = 3\n[budget]\nper_day = 7\n')
    (tmp_path / "kie_api_key").write_text("from-credential\n")
    (tmp_path / "database_url").write_text("sqlite:///credential.db\n")
    environ = {
        "RECONCILER_KIE__API_KEY": "from-environment",
        "RECONCILER_KIE__PURCHASE_LIMIT": "4",
        "RECONCILER_DATABASE__COLUMNS__ID": "track_id",
        "HOME": "/nowhere",
    }
    settings = load(path, environ)
    assert settings.kie.api_key.get_secret_value() == "from-environment"
    assert settings.kie.purchase_limit == 4
    assert settings.budget.per_day == 7
    assert settings.database.columns.id == "track_id"

    settings = load(path, environ | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.kie.api_key.get_secret_value() == "from-credential"
    assert settings.database.path == Path("credential.db")
    assert settings.kie.purchase_limit == 4


@pytest.mark.parametrize("path", sorted(SECRETS.keys() - {"storage.access_key"}))
def test_every_secret_may_be_a_credential(write: Write, tmp_path: Path, path: str) -> None:
    name = path.replace(".", "_")
    (tmp_path / name).write_text(f"{SECRETS[path]}\n")
    settings = load(write(""), {"CREDENTIALS_DIRECTORY": str(tmp_path)} | ADDRESSES)
    section, _, key = path.partition(".")
    assert getattr(getattr(settings, section), key).get_secret_value() == SECRETS[path]


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("TARGET__INTERIM_THUMBNAIL", "True", "target.interim_thumbnail", True),
        ("BUDGET__MIN_CREDITS", "12.5", "budget.min_credits", 12.5),
        ("BUDGET__MIN_CREDITS", "12", "budget.min_credits", 12.0),
        ("KIE__REQUEST_TIMEOUT", "250ms", "kie.request_timeout", timedelta(milliseconds=250)),
        ("KIE__ALLOW_INSECURE_HOSTS", "127.0.0.1, localhost", "kie.allow_insecure_hosts", ("127.0.0.1", "localhost")),
        ("KIE__ALLOW_INSECURE_HOSTS", '["::1"]', "kie.allow_insecure_hosts", ("::1",)),
        ("KIE__FALLBACK_MODELS", "", "kie.fallback_models", ()),
        ("DATABASE__TABLE", "public.tracks", "database.table", "public.tracks"),
    ],
)
def test_environment_values_take_the_type_of_their_key(
    write: Write, name: str, text: str, path: str, value: object
) -> None:
    settings = load(write(""), {f"RECONCILER_{name}": text})
    section, key = path.split(".")
    assert getattr(getattr(settings, section), key) == value


def test_credentials_that_cannot_be_used_are_reported(write: Write, tmp_path: Path) -> None:
    (tmp_path / "kie_api_key").write_text(" \n")
    (tmp_path / "database_url").mkdir()
    found = problems(write(""), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert [problem.where for problem in found] == ["credential kie_api_key", "credential database_url"]


# -- mistakes -------------------------------------------------------------------------------------------------------


def test_three_mistakes_are_three_problems(write: Write) -> None:
    path = write('[kie]\npurchase_limt = 3\nrequest_timeout = 30\n[schedule]\nretry_min = "7h"\n')
    unknown, duration, order = problems(path)
    assert str(unknown) == f"{path}: [kie] purchase_limt: is no known key. Did you mean purchase_limit?"
    assert duration.where == f"{path}: [kie] request_timeout"
    assert '"90s"' in duration.what
    assert (order.where, order.what) == (f"{path}: [schedule] retry_min", "is longer than retry_max")


def test_mistakes_of_all_places_are_reported_together(write: Write) -> None:
    found = problems(
        write("[http]\nport = true\n"),
        {"RECONCILER_KIE__APIKEY": "x", "RECONCILER_BUDGET__PER_DAY": "many", "RECONCILER_LOG_LEVEL": "DEBUG"},
    )
    by_place = {problem.where.rpartition("/")[2]: problem for problem in found}
    assert set(by_place) == {
        "config.toml: [http] port",
        "environment RECONCILER_KIE__APIKEY",
        "environment RECONCILER_BUDGET__PER_DAY",
        "environment RECONCILER_LOG_LEVEL",
    }
    assert by_place["environment RECONCILER_KIE__APIKEY"].fix == "Did you mean RECONCILER_KIE__API_KEY?"
    assert by_place["environment RECONCILER_BUDGET__PER_DAY"].what == "must be a whole number"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("[kee]\na = 1", "[kee]", "Did you mean kie?"),
        ("[database.colums]\nid = 'x'", "[database.colums]", "Did you mean columns?"),
        ("[database.columns]\nimage = 'x'", "[database.columns] image", "Did you mean image_url?"),
        ("[database]\nper_day = 3", "[database] per_day", "It belongs in [budget]"),
        ("[log]\nzzz = 3", "[log] zzz", "Known here: level, format"),
        ("kie = 3", "kie", "must be a section"),
        ("[[kie]]\nmodel = 'x'", "kie", "must be a section"),
        ('"kie.model" = "x"', "kie.model", "is no known key"),
        ("[kie]\nmodel = x\n", "", "is not TOML: a mistake at line 2, column 9"),
        ("[kie\n", "", "is not TOML"),
        ("[kie]\npurchase_limit = '3'", "[kie] purchase_limit", "must be a whole number"),
        ("[kie]\npurchase_limit = 2.0", "[kie] purchase_limit", "must be a whole number"),
        ("[kie]\nfallback_models = 'a'", "[kie] fallback_models", "must be a list"),
        ("[storage]\npath = ''", "[storage] path", 'must not be empty. The default is "data/images".'),
        ("[http]\nhost = ''", "[http] host", 'must not be empty. The default is "127.0.0.1".'),
        ("[log]\nlevel = 'LOUD'", "[log] level", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(write: Write, text: str, where: str, words: str) -> None:
    path = write(text)
    (problem,) = problems(path)
    assert problem.where == (f"{path}: {where}" if where else str(path))
    assert words in str(problem)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[kie]\nmodel = 'x'\n[kie]\n", "[kie] stands twice, again at line 3, column 5"),
        ("[database.columns]\n[log]\n[database.columns]\n", "[database.columns] stands twice, again at line 3"),
        ("[database.columns]\n[database]\ncolumns.id = 'hunter2'", "[database.columns] stands twice, again at end"),
        ("[log]\n[[log]]\n", "[log] stands twice, again at line 2"),
        ("[kie]\nmodel = 'x'\napi_key = 'hunter2'\nmodel='hunter2'\n", "model stands twice, again at line 4"),
        ("[kie]\nmodel = 'x'\nmodel = 'hunter2'", "model stands twice, again at end of document"),
        ("[kie]\nfile_hosts = []\nfile_hosts = [\n'hunter2',\n]\n", "file_hosts stands twice, again at line 5"),
        ("kie = {model = 'hunter2', model = 'hunter2'}", "model stands twice, again at line 1"),
        ("[kie]\nhunter2 = 1\nhunter2 = 1\n", "a section or key stands twice, again at line 3"),
        ("[kie]\nmodel = ''\nmodel = '''\nhunter2 = 1'''\n", "a section or key stands twice, again at line 4"),
    ],
)
def test_what_stands_twice_is_named_without_a_value(write: Write, text: str, told: str) -> None:
    path = write(text)
    (problem,) = problems(path)
    assert str(problem).startswith(f"{path}: is not TOML: {told}")
    assert problem.fix == "Write it once, with all that belongs to it"
    assert "hunter2" not in str(problem)


def test_a_byte_order_mark_before_the_file_is_no_mistake(write: Write) -> None:
    assert load(write("\ufeff[budget]\nper_day = 3\n"), {}).budget.per_day == 3


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("storage", "path", '"a\\u0000b"'),
        ("storage", "bucket", '"\\u0000"'),
        ("storage", "secret_key", '"a\\u0000b"'),
        ("callback", "hmac_key", '"a\\u0000b"'),
        ("database", "url", '"sqlite:///a\\u0000b"'),
        ("database", "statuses", '["completed", "a\\u0000b"]'),
        ("http", "host", '"127.0.0.1\\u0000"'),
    ],
)
def test_a_nul_is_in_no_text(write: Write, section: str, key: str, value: str) -> None:
    path = write(f"[{section}]\n{key} = {value}\n")
    (problem,) = problems(path)
    assert (problem.where, problem.what) == (f"{path}: [{section}] {key}", "must hold no NUL (\\u0000)")


def test_a_file_that_is_no_text_is_named(write: Write) -> None:
    path = write("")
    path.write_bytes(b"\xff\xfe")
    (problem,) = problems(path)
    assert (problem.where, problem.what) == (str(path), "cannot be read: it is not UTF-8")


def test_secrets_are_in_no_text(write: Write) -> None:
    settings = load(write('[kie]\napi_key = "hunter2"\n[database]\nurl = "sqlite:///app.db"'), {})
    assert "hunter2" not in f"{settings} {settings!r} {settings.model_dump_json()} {settings.model_dump()}"


@pytest.mark.parametrize("port", ["", ":5432"])
def test_what_is_shown_of_a_database_url_is_its_place(port: str) -> None:
    url = f"postgresql://user:hunter2@db.example.com{port}/name?sslpassword=hunter2"
    database = Settings.model_validate({"database": {"url": url}}).database
    assert database.place == f"postgresql://db.example.com{port}/name"
    with pytest.raises(ValueError, match="not an SQLite database"):
        _ = database.path
    assert Settings().database.place == "data/app.db"


@pytest.mark.parametrize("broken", ["{}", "[{}]", "{}\x00 a://b@["])
def test_secrets_are_in_no_error(write: Write, broken: str) -> None:
    environ = {f"RECONCILER_{path.upper().replace('.', '__')}": broken.format(text) for path, text in SECRETS.items()}
    found = problems(write("[kie]\napi_key = ['hunter2']\nbase_url = 'https://hunter2@kie.ai'\n"), environ)
    assert "hunter2" not in repr(found) + "".join(map(str, found))
    found = problems(write("[kie]\napi_key = ['hunter2']\nsuno_api_key = hunter2\n"), {})
    assert "hunter2" not in repr(found) + "".join(map(str, found))


STRAY = ("hunter2 ", "hunter2\n", "\ufeffhunter2", "hunter2\u200b", "hun\tter2")
KEYS = sorted(SECRETS.keys() - {"database.url", "storage.secret_key"})


@pytest.mark.parametrize(
    ("key", "stray"), [*product(KEYS, (*STRAY, "hunter2é")), *(("storage.secret_key", stray) for stray in STRAY)]
)
def test_a_stray_character_in_a_key_is_told_and_the_key_is_not(write: Write, key: str, stray: str) -> None:
    name = f"RECONCILER_{key.upper().replace('.', '__')}"
    (problem,) = problems(write(""), {name: stray})
    assert problem.where == f"environment {name}"
    assert "blank" in problem.what
    assert "invisible character" in problem.what
    assert "hun" not in repr(problem) + str(problem)
    section, _, field = key.partition(".")
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({section: {field: stray}})
    assert "hun" not in str(caught.value)


def test_a_bucket_s_secret_is_of_whatever_letters_somebody_chose(write: Write) -> None:
    settings = load(write('[storage]\nsecret_key = "zwölf Boxkämpfer"\n'), {})
    assert settings.storage.secret_key.get_secret_value() == "zwölf Boxkämpfer"


@pytest.mark.parametrize(
    ("key", "values", "words"),
    [
        (
            "bucket",
            ("b ", "my bucket", "b\n", "b?x", "a/b", "b%20", "..", "b\u200b", "bücher"),
            "must hold only letters",
        ),
        ("region", ("eu-west-1\n", " eu-west-1", "eu/west", "éu"), "must hold only letters"),
        ("endpoint", ("https://bücher.invalid", "https://a.example/<b>", "https://a.example/ü"), "must be plain ASCII"),
        (
            "endpoint",
            ("http://10.0.0.256", "https://1.2.3.4.5/s3", "https://a.example.7"),
            "ends in a number and is neither",
        ),
    ],
)
def test_what_names_a_bucket_is_of_letters_that_can_be_asked_for(
    write: Write, key: str, values: tuple[str, ...], words: str
) -> None:
    name = f"RECONCILER_STORAGE__{key.upper()}"
    for value in values:
        (problem,) = problems(write(""), {name: value})
        assert problem.where == f"environment {name}"
        assert words in problem.what


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("bucket", ("", "pictures", "my-bucket.example.com", "_Old_1")),
        ("region", ("", "us-east-1", "auto", "my_region")),
        ("endpoint", ("", "https://a.example/storage/v1/s3", "http://127.0.0.1:9000", "http://[::1]:9000/a%20b")),
        ("endpoint", ("https://xn--bcher-kva.example", "http://minio:9000", "http://s3_1:9000")),
    ],
)
def test_what_names_a_bucket_is_taken_as_it_is(write: Write, key: str, values: tuple[str, ...]) -> None:
    for value in values:
        assert getattr(load(write(f"[storage]\n{key} = '{value}'"), {}).storage, key) == value


def test_a_credential_saved_with_a_byte_order_mark_is_told_and_a_line_end_is_none_of_the_key(
    write: Write, tmp_path: Path
) -> None:
    path, secret, environ = write(""), tmp_path / "kie_api_key", {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    secret.write_text("\ufeffhunter2\r\n", encoding="utf-8")
    (problem,) = problems(path, environ)
    assert problem.where == "credential kie_api_key"
    secret.write_text("hunter2\r\n", encoding="utf-8")
    assert load(path, environ).kie.api_key.get_secret_value() == "hunter2"


# -- durations ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 3650 * 86400 * 1000))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(length)) == parse_duration(length) == length


@pytest.mark.parametrize("text", ["", "5", "5 s", "-5s", "1.5h", "5w", "1h30m", "٣s", 5, True, None])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r'must be a duration: .* such as "90s"'):
        parse_duration(text)


def test_a_duration_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="must be at most 3650d"):
        parse_duration("999999999999d")


# -- the reference --------------------------------------------------------------------------------------------------


def flat(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    values: dict[str, object] = {}
    for name, value in table.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return values


def test_the_reference_file_is_what_the_code_says() -> None:
    made = subprocess.run([sys.executable, "-m", "reconciler.config"], check=True, capture_output=True, cwd=ROOT)
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    assert text == reference() == made.stdout.decode(), "run: python -m reconciler.config > config.toml"


def test_the_reference_file_holds_every_key_at_its_default() -> None:
    path = ROOT / "config.toml"
    assert load(path, {}) == Settings()
    written = flat(tomllib.loads(path.read_text(encoding="utf-8")))
    assert set(written) == {key.path for key in keys()}
    assert len({key.env for key in keys()}) == len(keys())


def test_who_states_the_defaults_has_decided_nothing_else(write: Write) -> None:
    """Digests of what was decided are made of its very spelling."""
    decided = repr(policy_of(load(write(""), {})))
    assert repr(policy_of(load(write(reference()), {}))) == decided
    environ = {key.env: key.default.removeprefix('"').removesuffix('"') for key in keys()}
    assert repr(policy_of(load(write(""), environ))) == decided
    assert repr(Policy()) == decided


def test_every_published_key_is_there_with_its_published_default() -> None:
    path = Path(__file__).with_name("interface.toml")
    assert load(path, {}) == Settings()
    published = flat(tomllib.loads(path.read_text(encoding="utf-8"))).keys()
    assert {key.path for key in keys() if key.section != "database.columns"} == published - {"database.columns.id"}


def test_every_key_but_a_columns_name_is_explained() -> None:
    assert [key.path for key in keys() if not key.comment and key.section != "database.columns"] == []


def test_the_core_is_given_what_the_operator_decided() -> None:
    assert policy_of(Settings()) == Policy()


@pytest.mark.parametrize(
    ("kie", "asks"),
    [({}, (False, False)), ({"suno_api_key": "for-songs"}, (False, True)), ({"api_key": "for-all"}, (True, True))],
)
def test_what_may_be_asked_without_buying_rests_on_the_keys(kie: Mapping[str, str], asks: tuple[bool, bool]) -> None:
    """Where something may be bought a run has a key, though a command that looks may be given none."""
    keys = Settings.model_validate({"kie": kie, "budget": {"per_day": 0}})
    assert (policy_of(keys).asks_tasks, policy_of(keys).asks_songs) == asks
    assert policy_of(Settings.model_validate({"kie": kie})).asks_tasks
    keep = Settings.model_validate({"target": {"fit": "keep"}, "budget": {"per_day": 1}})
    assert policy_of(keep).target.fit == "keep"
    assert policy_of(keep).per_day == 1
