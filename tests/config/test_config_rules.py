"""What cannot be meant is refused, and the refusal says which key and what to do."""

from pathlib import Path

import pytest

from reconciler.config import ConfigError, Problem, Settings, load


def refused(tmp_path: Path, text: str) -> list[Problem]:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    return list(caught.value.problems)


def accepted(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, {})


CONTRADICTIONS = [
    ("[schedule]\nretry_min = '7h'", "[schedule] retry_min", "longer than retry_max"),
    ("[kie]\nmodel = 'imagen4'", "[kie] model", "no model"),
    ("[kie]\nfallback_models = ['imagen4']", "[kie] fallback_models", "does not know"),
    ("[kie]\nmodel = 'seedream/4.5-text-to-image'", "[kie] fallback_models", "the model itself"),
    ("[kie]\nfallback_models = ['nano-banana-2', 'nano-banana-2']", "[kie] fallback_models", "twice"),
    ("[target]\nheight = 2048", "[target] height", "Use 1152, or set [budget] per_day = 0"),
    (
        "[target]\nwidth = 16000\nheight = 9000",
        "[target] height",
        "more than can be had of bytedance/seedream-v4-text-to-image",
    ),
    ("[kie]\nbase_url = 'http://127.0.0.1:80'", "[kie] base_url", 'add "127.0.0.1" to allow_insecure_hosts'),
    ("[kie]\npurchase_window = '1s'", "[kie] purchase_window", "more than the account's 20"),
    ("[kie]\ntask_timeout = '30s'", "[kie] task_timeout", "longer than request_timeout"),
    ("[budget]\nhold_unknown = '3m'", "[budget] hold_unknown", "Use more than 3m"),
    ("[kie]\nrequest_timeout = '10m'", "[budget] hold_unknown", "Use more than 1h"),
    ("[database]\ngrace = '25h'", "[database] grace", "longer than stale_after"),
    ("[budget]\nper_track = 7", "[budget] per_track", "at most 6"),
    ("[database]\nstatuses = ['failed', 'done']", "[database] excluded_statuses", "in common with statuses: failed"),
    (
        "[database]\nrestore_archived = true\nexcluded_statuses = ['archived']",
        "[database] excluded_statuses",
        "although restore_archived",
    ),
    ("[callback]\npublic_url = 'http://app.example.com'", "[callback] public_url", 'add "app.example.com" to [kie]'),
    ("[callback]\npublic_url = 'HTTP://App.Example.com'", "[callback] public_url", 'add "app.example.com" to [kie]'),
    ("[callback]\nhmac_key = 'k'", "[callback] hmac_key", "without public_url"),
    ("[database.columns]\nmood = 'vibe'", "[database.columns] mood", "vibe is named twice"),
]

OUT_OF_BOUNDS = [
    ("[kie]\npurchase_limit = 0", "[kie] purchase_limit", "greater than or equal to 1"),
    ("[kie]\npurchase_limit = 21", "[kie] purchase_limit", "less than or equal to 20"),
    ("[kie]\nmodel = ''", "[kie] model", "must not be empty"),
    ("[kie]\nfile_hosts = ['https://kie.ai']", "[kie] file_hosts", "bare domains"),
    ("[kie]\nfile_hosts = ['.kie.ai']", "[kie] file_hosts", "bare domains"),
    ("[kie]\nfile_hosts = ['*.kie.ai']", "[kie] file_hosts", "bare domains"),
    ("[kie]\nfile_hosts = ['ai']", "[kie] file_hosts", "bare domains"),
    ("[kie]\nfile_hosts = ['10.0.0.1']", "[kie] file_hosts", "bare domains"),
    ("[kie]\nallow_insecure_hosts = ['127.0.0.1:80']", "[kie] allow_insecure_hosts", "bare hosts"),
    ("[kie]\nbase_url = 'api.kie.ai'", "[kie] base_url", "http or https URL"),
    ("[kie]\nbase_url = 'https://u:p@api.kie.ai'", "[kie] base_url", "no user or password"),
    ("[kie]\nrequest_timeout = '0s'", "[kie] request_timeout", "longer than 0s"),
    ("[target]\nwidth = 0", "[target] width", "greater than or equal to 1"),
    ("[target]\nheight = -1", "[target] height", "greater than or equal to 1"),
    ("[target]\nquality = 96", "[target] quality", "less than or equal to 95"),
    ("[target]\nquality = 0", "[target] quality", "greater than or equal to 1"),
    ("[budget]\nper_day = -1", "[budget] per_day", "greater than or equal to 0"),
    *(
        (f"[budget]\n{key} = {10**400}", f"[budget] {key}", "less than or equal to 1000000000")
        for key in ("per_hour", "per_day", "per_track", "attempts_per_track")
    ),
    ("[budget]\nmin_credits = nan", "[budget] min_credits", "must be a finite number"),
    ("[storage]\npublic_url = 'ftp://pics.example.com'", "[storage] public_url", "http or https URL"),
    ("[storage]\npublic_url = 'https://pics.example.com/?a=b'", "[storage] public_url", "neither ? nor #"),
    ("[storage]\npublic_url = 'https://pics.example.com:0'", "[storage] public_url", "http or https URL"),
    ("[storage]\npublic_url = 'https://pics.example.com:http'", "[storage] public_url", "http or https URL"),
    ("[database]\nurl = 'mysql://db/app'", "[database] url", "sqlite:/// or postgresql://"),
    ("[database]\nurl = 'data/app.db'", "[database] url", "sqlite:/// or postgresql://"),
    ("[database]\nurl = 'sqlite://app.db'", "[database] url", "must name a file"),
    ("[database]\nurl = 'sqlite:///:memory:'", "[database] url", "must name a file"),
    ("[database]\nurl = 'sqlite:///app.db?mode=ro'", "[database] url", "no ? or #"),
    ("[database]\nurl = 'postgresql://host'", "[database] url", "of the form"),
    ("[database]\nurl = 'postgresql://u:a%00b@host/name'", "[database] url", "no %00"),
    ("[database]\nurl = 'postgresql://u@host/name?sslpassword=a%00b'", "[database] url", "no %00"),
    ("[database]\nurl = 'postgresql://u:a%FFb@host/name'", "[database] url", "in UTF-8"),
    ("[database]\nurl = 'postgresql://u:a\uff1ab@host/name'", "[database] url", "in UTF-8"),
    ("[database]\nurl = 'postgresql://u@[1:2]/name'", "[database] url", "of the form"),
    ("[database]\ntable = 'a.b.c'", "[database] table", "schema.table"),
    ("[database]\nstatuses = []", "[database] statuses", "must not be empty"),
    ("[database.columns]\nid = 'x; drop'", "[database.columns] id", "letters, digits and _"),
]


@pytest.mark.parametrize(("text", "where", "words"), CONTRADICTIONS + OUT_OF_BOUNDS)
def test_a_mistake_is_refused_with_its_place_and_a_way_out(tmp_path: Path, text: str, where: str, words: str) -> None:
    (problem,) = refused(tmp_path, text)
    assert problem.where == f"{tmp_path / 'config.toml'}: {where}"
    assert words in str(problem)
    assert problem.fix


@pytest.mark.parametrize("url", ["https://app.example.com/api/reconciler", "http://127.0.0.1:9464"])
def test_callbacks_may_come_by_https_and_unencrypted_from_a_simulator(tmp_path: Path, url: str) -> None:
    text = f"[callback]\npublic_url = '{url}/'\nhmac_key = 'k'\n[kie]\nallow_insecure_hosts = ['127.0.0.1']"
    assert accepted(tmp_path, text).callback.public_url == url


BUCKET = """
[storage]
kind = 's3'
bucket = 'b'
endpoint = 'https://s3.example.com/v1'
access_key = 'a'
secret_key = 's'
public_url = 'https://pics.example.com'
"""


def test_a_bucket_needs_its_keys(tmp_path: Path) -> None:
    found = refused(tmp_path, "[storage]\nkind = 's3'\nbucket = 'b'\n")
    needed = {p.where.rpartition(": ")[2] for p in found if p.what == "is needed with kind = s3"}
    assert needed == {"[storage] endpoint", "[storage] access_key", "[storage] secret_key"}
    assert accepted(tmp_path, BUCKET).storage.place == "bucket b at s3.example.com"


def test_a_bucket_is_not_served_by_the_daemon(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, BUCKET.replace("public_url", "# public_url"))
    assert problem.where.endswith("[storage] public_url")
    assert problem.what == "is the daemon's own address, which serves no bucket"


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_pictures_go_unencrypted_only_to_a_host_that_is_allowed(tmp_path: Path, scheme: str) -> None:
    text = BUCKET.replace("https://s3.example.com", f"{scheme}://127.0.0.1:9000")
    (problem,) = refused(tmp_path, text)
    assert problem.where.endswith("[storage] endpoint")
    assert 'add "127.0.0.1" to [kie] allow_insecure_hosts' in problem.fix
    assert accepted(tmp_path, f"{text}[kie]\nallow_insecure_hosts = ['127.0.0.1']").storage.kind == "s3"


@pytest.mark.parametrize("place", ["file", "environment", "credential"])
def test_the_buckets_secret_may_stand_in_any_of_three_places(tmp_path: Path, place: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(BUCKET if place == "file" else BUCKET.replace("secret_key = 's'\n", ""), encoding="utf-8")
    (tmp_path / "storage_secret_key").write_text("s\n", encoding="utf-8")
    environ = {
        "file": {},
        "environment": {"RECONCILER_STORAGE__SECRET_KEY": "s"},
        "credential": {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    }[place]
    secret = load(path, environ).storage.secret_key
    assert secret.get_secret_value() == "s"
    assert "'s'" not in repr(secret)


def test_addresses_are_taken_in_any_case(tmp_path: Path) -> None:
    text = "[kie]\nbase_url = 'HTTPS://API.kie.ai/'\n[storage]\npublic_url = 'https://Pics.Example.com:8443/Images/'\n"
    settings = accepted(tmp_path, text)
    assert settings.kie.base_url == "https://api.kie.ai"
    assert settings.storage.public_url == "https://pics.example.com:8443/Images"


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "localhost."])
def test_every_spelling_of_this_machine_is_known(tmp_path: Path, host: str) -> None:
    text = f"[database]\nurl = 'postgresql://u:p@h/app'\n[storage]\npublic_url = 'http://{host}/images'\n"
    (problem,) = refused(tmp_path, text)
    assert problem.what.startswith("is on this machine only")


def test_a_loopback_address_is_not_written_into_a_database_that_others_read(tmp_path: Path) -> None:
    text = "[database]\nurl = 'postgresql://u:p@db.example.com/app'\n"
    found = refused(tmp_path, text)
    assert [problem.where.rpartition(": ")[2] for problem in found] == ["[storage] public_url"]
    for told in (
        "[kie]\nallow_insecure_hosts = ['127.0.0.1']\n",
        "[storage]\npublic_url = 'https://pics.example.com/'\n",
        "[storage]\nkind = 'none'\n",
    ):
        assert not accepted(tmp_path, text + told).database.is_sqlite


def test_a_contradiction_is_not_reported_of_a_key_that_is_wrong_by_itself(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "[schedule]\nretry_min = '9h'\nretry_max = 'long'\n")
    assert problem.where.endswith("[schedule] retry_max")


def test_without_buying_any_shape_and_size_may_be_wanted(tmp_path: Path) -> None:
    settings = accepted(tmp_path, "[target]\nwidth = 9000\nheight = 9000\n[budget]\nper_day = 0\n")
    assert settings.target.width == 9000


def test_a_local_simulator_may_be_spoken_to_without_encryption_and_faster(tmp_path: Path) -> None:
    settings = accepted(
        tmp_path,
        "[kie]\nbase_url = 'http://127.0.0.1:8080/'\nallow_insecure_hosts = ['127.0.0.1']\npurchase_window = '100ms'\n",
    )
    assert settings.kie.base_url == "http://127.0.0.1:8080"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_files_of_a_local_simulator_may_be_said_to_die(tmp_path: Path, host: str) -> None:
    assert accepted(tmp_path, f"[kie]\nfile_hosts = ['{host}']").kie.file_hosts == (host,)
