import base64
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.policy import Policy
from reconciler.domain.urls import (
    Kind,
    dies,
    expires_at,
    host_of,
    image_task_ids,
    is_address,
    is_loopback,
    kind_of,
    known_life,
    redact,
    under,
    urgency,
)

POLICY = Policy(public_url="https://covers.example.org/art/")
LOCAL = Policy(
    public_url="http://127.0.0.1:9464/images",
    insecure_hosts=("127.0.0.1",),
    file_hosts=(*Policy().file_hosts, "files.localhost"),
)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
R2 = "https://acc.r2.cloudflarestorage.com/covers/a.png"
AMZ = f"{R2}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20261101T120000Z&X-Amz-Expires=1200&X-Amz-Signature=ab"


def token(claims: object) -> str:
    return f"h.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.s"


SUPABASE = "https://abc.supabase.co/storage/v1/object/sign/images/a.png?token="

KINDS: list[tuple[str | None, Kind]] = [
    (None, Kind.NOTHING),
    ("", Kind.NOTHING),
    ("https://covers.example.org/art/tracks/7/0123456789abcdef.jpg", Kind.OURS),
    ("https://covers.example.org/art/tracks/~c3~a4/0123456789abcdef.jpg", Kind.OURS),
    ("https://covers.example.org/art/", Kind.PUBLIC),
    ("https://covers.example.org/art/../secret", Kind.PUBLIC),
    ("https://covers.example.org/art/tracks/7/0123456789abcdef.jpg?v=2", Kind.OURS),
    ("https://covers.example.org/art/tracks/7/0123456789abcdef.jpg#top", Kind.OURS),
    ("https://covers.example.org/art/tracks/7/0123456789abcdef.jpg?v=2\n", Kind.UNUSABLE),
    ("https://covers.example.org/art/tracks/7/0123456789abcdef.jpg?Expires=1790000000&Signature=ab", Kind.PRESIGNED),
    ("https://covers.example.org/other/tracks/7/0123456789abcdef.jpg", Kind.PUBLIC),
    ("https://covers.example.org/art/old/tracks/7/0123456789abcdef.jpg", Kind.PUBLIC),
    ("https://covers.example.org/art/tracks/7/my-cover.jpg", Kind.PUBLIC),
    ("https://covers.example.org/art/a.jpg", Kind.PUBLIC),
    ("https://covers.example.org/art/?v=2", Kind.PUBLIC),
    ("https://covers.example.org/art/a.jpg?Expires=1790000000&Signature=ab", Kind.PRESIGNED),
    ("data:image/png;base64,iVBOR", Kind.INLINE),
    ("DATA:image/webp;base64,AAAA", Kind.INLINE),
    ("task_bytedance_1765432100000", Kind.TASK_ID),
    ("9c0e7d3b5a1f4e88b6c2d4f8a0e1c3b5", Kind.TASK_ID),
    ("9C0E7D3B5A1F4E88B6C2D4F8A0E1C3B5", Kind.TASK_ID),
    ("9c0e7d3b5a1f4e88b6c2d4f8a0e1c3b", Kind.UNUSABLE),
    ("9c0e7d3b5a1f4e88b6c2d4f8a0e1c3b5\n", Kind.UNUSABLE),
    ("task_", Kind.UNUSABLE),
    ("task_a b", Kind.UNUSABLE),
    ("https://musicfile.kie.ai/c1.jpeg", Kind.SUNO_COVER),
    ("https://cdn1.suno.ai/image_1.jpeg", Kind.SUNO_COVER),
    ("https://cdn2.suno.ai/image_large_1.jpeg", Kind.SUNO_COVER),
    ("https://musicfile.api.box/c.jpeg", Kind.SUNO_COVER),
    ("https://tempfile.aiquickdraw.com/f/1.png", Kind.KIE_FILE),
    ("https://file.aiquickdraw.com:443/f/1.png", Kind.KIE_FILE),
    ("https://tempfile.redpandaai.co/f/1.png", Kind.KIE_FILE),
    ("https://TempFile.AIQuickDraw.com./f/1.png", Kind.KIE_FILE),
    ("https://tempfile.aiquickdraw。com/f/1.png", Kind.KIE_FILE),
    ("https://aiquickdraw.com/1.png", Kind.KIE_FILE),
    ("https://evilaiquickdraw.com/1.png", Kind.PUBLIC),
    ("https://aiquickdraw.com.evil.org/1.png", Kind.PUBLIC),
    ("https://aiquickdraw.com@evil.org/1.png", Kind.UNUSABLE),
    ("https://evil.org\\@aiquickdraw.com/1.png", Kind.UNUSABLE),
    (AMZ, Kind.PRESIGNED),
    (f"{R2}?X-Amz-Date=20261101T120000Z&X-Amz-Expires=1200", Kind.PRESIGNED),
    ("https://storage.googleapis.com/b/a?X-Goog-Date=x&X-Goog-Signature=ab", Kind.PRESIGNED),
    ("https://ark.tos-ap.volces.com/a.jpeg?X-Tos-Credential=x", Kind.PRESIGNED),
    (f"{SUPABASE}abc", Kind.PRESIGNED),
    ("https://abc.supabase.co/storage/v1/render/image/sign/a.png?token=abc", Kind.PRESIGNED),
    ("https://abc.supabase.co/storage/v1/object/public/images/a.png?token=abc", Kind.PUBLIC),
    ("https://abc.supabase.co/storage/v1/object/sign/images/a.png", Kind.PUBLIC),
    ("https://x.blob.core.windows.net/c/a.png?sv=1&se=2026-11-01T12%3A00%3A00Z&sig=ab", Kind.PRESIGNED),
    ("https://d1.cloudfront.net/a.png?Expires=1793534400&Signature=ab&Key-Pair-Id=K", Kind.PRESIGNED),
    ("https://d1.cloudfront.net/a.png?Policy=eyJ&Signature=ab&Key-Pair-Id=K", Kind.PRESIGNED),
    ("https://d1.cloudfront.net/a.png?Expires=1793534400", Kind.PUBLIC),
    ("https://tempfile.aiquickdraw.com/a.png?Expires=1793534400&Signature=ab", Kind.PRESIGNED),
    ("https://tempfile.aiquickdraw.com/a.png?Expires=soon&Signature=ab", Kind.KIE_FILE),
    ("https://abc.supabase.co/storage/v1/object/public/images/a.png", Kind.PUBLIC),
    ("https://abc.supabase.co/storage/v1/object/public/images/my cover.png", Kind.PUBLIC),
    ("https://bücher.example/bild.png", Kind.PUBLIC),
    ("https://93.184.215.14/a.png", Kind.PUBLIC),
    ("https://[2606:4700::1111]/a.png", Kind.PUBLIC),
    ("https://10.0.0.1/a.png", Kind.INSECURE),
    ("https://[::1]/a.png", Kind.INSECURE),
    ("https://2130706433/a.png", Kind.INSECURE),
    ("https://127.1/a.png", Kind.INSECURE),
    ("https://0x7f.0x1/a.png", Kind.INSECURE),
    ("https://localhost/a.png", Kind.INSECURE),
    ("http://example.org/a.png", Kind.INSECURE),
    ("http://tempfile.aiquickdraw.com/a.png", Kind.INSECURE),
    ("ftp://example.org/a.png", Kind.INSECURE),
    ("https://", Kind.UNUSABLE),
    ("https:///a.png", Kind.UNUSABLE),
    ("https://a..b/a.png", Kind.UNUSABLE),
    (f"https://{'a' * 300}.org/a.png", Kind.UNUSABLE),
    ("https://a%b.org/a.png", Kind.UNUSABLE),
    ("https://[::1/a.png", Kind.UNUSABLE),
    ("https://example.org:99999/a.png", Kind.UNUSABLE),
    ("https://example.org:0/a.png", Kind.UNUSABLE),
    ("https://my host.org/a.png", Kind.UNUSABLE),
    (" https://example.org/a.png", Kind.UNUSABLE),
    ("https://example.org/a.png\n", Kind.UNUSABLE),
    ("https://example.org/a\x00.png", Kind.UNUSABLE),
    ("https://example.org/" + "a" * 9000, Kind.UNUSABLE),
    ("/images/a.png", Kind.UNUSABLE),
    ("//example.org/a.png", Kind.UNUSABLE),
    ("blob:https://example.org/1-2", Kind.UNUSABLE),
    ("file:///etc/hostname", Kind.UNUSABLE),
    ("null", Kind.UNUSABLE),
    ("undefined", Kind.UNUSABLE),
    ("   ", Kind.UNUSABLE),
    ("[object Object]", Kind.UNUSABLE),
    ("http://127.0.0.1:9464/images/a.jpg", Kind.INSECURE),
]


@pytest.mark.parametrize(("text", "kind"), KINDS)
def test_every_kind_of_value(text: str | None, kind: Kind) -> None:
    assert kind_of(text, POLICY) is kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("http://127.0.0.1:9464/images/tracks/7/0123456789abcdef.jpg", Kind.OURS),
        ("http://127.0.0.1:8080/result/1.png", Kind.PUBLIC),
        ("https://127.0.0.1:8080/result/1.png", Kind.PUBLIC),
        ("http://127.0.0.2:8080/result/1.png", Kind.INSECURE),
        ("ftp://127.0.0.1/result/1.png", Kind.INSECURE),
    ],
)
def test_insecure_hosts_are_exempt_for_http_and_loopback_only(text: str, kind: Kind) -> None:
    assert kind_of(text, LOCAL) is kind


def test_file_hosts_alone_decide_what_dies() -> None:
    simulated = "http://127.0.0.1:8080/result/1.png"
    assert kind_of(simulated, replace(LOCAL, file_hosts=("127.0.0.1",))) is Kind.KIE_FILE
    assert kind_of("https://cdn1.suno.ai/image_1.jpeg", replace(LOCAL, file_hosts=())) is Kind.PUBLIC


def test_every_kind_occurs_above() -> None:
    assert {kind for _, kind in KINDS} == set(Kind)


def test_what_dies() -> None:
    assert {kind for kind in Kind if dies(kind)} == {Kind.SUNO_COVER, Kind.KIE_FILE, Kind.PRESIGNED}


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://User:Pa@EXAMPLE.org.:8443/a", "example.org"),
        ("https://a@b@example.org/", "example.org"),
        ("https://example.org?@evil.org", "example.org"),
        ("https://example.org\\@evil.org", ""),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://[2606:4700::1111]:443/", "2606:4700::1111"),
        ("https://[bad", ""),
        ("a.png", ""),
        ("", ""),
    ],
)
def test_the_host_as_it_is_asked_for(text: str, host: str) -> None:
    assert host_of(text) == host


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("::1", True), ("kie.ai", False), ("", False)])
def test_an_address_is_no_name(host: str, expected: bool) -> None:
    assert is_address(host) is expected


def test_this_machine_has_a_name_and_many_addresses() -> None:
    hosts = ("localhost", "127.0.0.9", "::1", "10.0.0.1", "kie.ai", "")
    assert [is_loopback(host) for host in hosts] == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("host", "suffixes", "expected"),
    [
        ("a.kie.ai", ("kie.ai",), True),
        ("kie.ai", (".KIE.ai.",), True),
        ("akie.ai", ("kie.ai",), False),
        ("kie.ai.org", ("x.org", "kie.ai"), False),
        ("kie.ai", (), False),
        ("kie.ai", ("", "."), False),
    ],
)
def test_suffixes_match_by_label(host: str, suffixes: tuple[str, ...], expected: bool) -> None:
    assert under(host, suffixes) is expected


@pytest.mark.parametrize(
    ("text", "date"),
    [
        (AMZ, NOON + timedelta(minutes=20)),
        (AMZ.replace("X-Amz", "x-amz"), NOON + timedelta(minutes=20)),
        ("https://s.org/a?X-Goog-Date=20261101T120000Z&X-Goog-Expires=3600", NOON + timedelta(hours=1)),
        ("https://s.org/a?X-Tos-Date=20261101T120000Z&X-Tos-Expires=86400", NOON + timedelta(days=1)),
        (f"https://s.org/a?Expires={int(NOON.timestamp())}&Signature=ab", NOON),
        ("https://s.org/a?se=2026-11-01T12%3A00%3A00Z&sig=ab", NOON),
        ("https://s.org/a?se=2026-11-01T13:00:00+01:00&sig=ab", NOON),
        ("https://s.org/a?se=2026-11-01&sig=ab", NOON - timedelta(hours=12)),
        (SUPABASE + token({"exp": NOON.timestamp()}), NOON),
        (SUPABASE + token({"exp": int(NOON.timestamp())}), NOON),
        ("https://s.org/a?X-Amz-Date=20261301T120000Z&X-Amz-Expires=1200", None),
        ("https://s.org/a?X-Amz-Date=20261101T120000Z&X-Amz-Expires=soon", None),
        ("https://s.org/a?X-Amz-Date=20261101T120000Z&X-Amz-Expires=999999999999999", None),
        ("https://s.org/a?X-Amz-Expires=1200", None),
        ("https://s.org/a?X-Amz-Date=20261101T120000Z&X-Amz-Signature=ab", None),
        (f"https://s.org/a?Expires={int(NOON.timestamp()):015}&Signature=ab", NOON),
        (f"https://s.org/a?Expires={int(NOON.timestamp()):016}&Signature=ab", None),
        (f"https://s.org/a?Expires={int(NOON.timestamp())}", None),
        ("https://s.org/a?Expires=999999999999999&Signature=ab", None),
        ("https://s.org/a?Expires=٣&Signature=ab", None),
        ("https://s.org/a?se=0001-01-01T00:00:00%2B14:00&sig=ab", None),
        ("https://s.org/a?se=tomorrow&sig=ab", None),
        (SUPABASE + token({"exp": "soon"}), None),
        (SUPABASE + token({"exp": 1e300}), None),
        (SUPABASE + token({}), None),
        (SUPABASE + token([]), None),
        (SUPABASE + "no-jwt", None),
        (SUPABASE + "a.ä.c", None),
        (SUPABASE + "a.bm8.c", None),
        (SUPABASE + f"a.{base64.urlsafe_b64encode(b'[' * 4000).decode()}.c", None),
        ("https://s.org/a.png", None),
        ("https://[bad", None),
    ],
)
def test_dates_of_presigned_urls(text: str, date: datetime | None) -> None:
    assert expires_at(text) == date


def test_a_host_is_as_long_as_names_can_be() -> None:
    longest = "a." * 126 + "b"
    assert host_of(f"https://{longest}/a.png") == longest
    assert not host_of(f"https://a{longest}/a.png")
    address = "https://h.org/".ljust(8192, "a")
    assert (host_of(address), host_of(address + "a")) == ("h.org", "")


@pytest.mark.parametrize("length", range(20))
def test_a_token_may_be_of_any_length(length: int) -> None:
    assert expires_at(SUPABASE + token({"exp": int(NOON.timestamp()), "x": "x" * length})) == NOON


def test_dates_are_in_utc_wherever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "UTC-9")
        time.tzset()
        dates = [
            expires_at(f"https://s.org/a?se={said}&sig=ab") for said in ("2026-11-01T12:00", "2026-11-01T13:00%2B01")
        ]
    time.tzset()
    assert [date and (date, date.tzinfo) for date in dates] == [(NOON, UTC)] * 2


def test_lives_by_kind() -> None:
    assert known_life(Kind.PRESIGNED, AMZ, None) == urgency(Kind.PRESIGNED, AMZ, NOON) == NOON + timedelta(minutes=20)
    for kind in (Kind.KIE_FILE, Kind.SUNO_COVER):
        assert known_life(kind, "", NOON) == NOON + timedelta(days=14)
        assert urgency(kind, "", NOON) == NOON + timedelta(days=1)
        assert known_life(kind, "", None) is None
    for kind in set(Kind) - {Kind.PRESIGNED, Kind.KIE_FILE, Kind.SUNO_COVER}:
        assert known_life(kind, AMZ, NOON) is None


def test_a_row_from_the_end_of_time_overflows_nothing() -> None:
    end = datetime.max.replace(tzinfo=UTC)
    assert known_life(Kind.KIE_FILE, "", end) == end


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://example.org/a.png", "https://example.org/a.png"),
        (AMZ, R2),
        ("https://h.org/a b.png?token=se cret", "https://h.org/a b.png"),
        ("https://h.org/a.png#access_token=secret", "https://h.org/a.png"),
        ("https://user:secret@h.org/a@2x.png", "https://h.org/a@2x.png"),
        ("user:secret@h.org/a.png", "h.org/a.png"),
        ("https://user:se?cret@h.org/a.png", "https://…"),
        ("https://h.org?token=se@cret", "https://…"),
        ("https://user:se?cret@h.org//a.png", "https://…"),
        ("https://user:se?cret//more@h.org/a.png", "https://…"),
        ("https://[bad?token=secret", "https://[bad"),
        ("data:image/png;base64,iVBORw0KGgo", "data:image/png;base64,…"),
        ("data:" + "A" * 1000, "data:" + "A" * 43 + ",…"),
        ("a\nb\x1b[31m\u202ec", "a�b�[31m�c"),
        ("https://h.org/" + "a" * 1000, "https://h.org/" + "a" * 185 + "…"),
        ("https://h.org/" + "a" * 186, "https://h.org/" + "a" * 186),
        ("", ""),
    ],
)
def test_what_may_be_shown(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, ()),
        ("calm | Music: piano | Visual: a lake", ()),
        ("calm | Visual: a lake | image_task_id: one | image_task_id: two", ("two", "one")),
        ("a | image_task_id: one | image_task_id: two | image_task_id: one", ("one", "two")),
        ("a | Image_Task_ID:one|image_task_id:  two| x", ("two", "one")),
        ("a | image_task_id: | image_task_id:\n b", ()),
        ("a | image_task_id: null | image_task_id: undefined | image_task_id: None", ()),
        (f"a | image_task_id: {'x' * 200}", ("x" * 200,)),
        (f"a | image_task_id: {'x' * 201} | image_task_id: a\x00b", ()),
        (
            "a | image_task_id: task_bytedance_1 | image_task_id: task_bytedance_12",
            ("task_bytedance_12", "task_bytedance_1"),
        ),
    ],
)
def test_image_tasks_newest_first(text: str | None, found: tuple[str, ...]) -> None:
    assert image_task_ids(text) == found


odd = st.one_of(
    st.text(),
    st.text(alphabet="htps:/?#@[]\\.%& =-0123456789abcdXAmzDteExpirsSignatuKse\n\ud800é。"),
    st.from_regex(r"https?://[a-z.@:\[\]0-9%]{0,20}[/?#].{0,40}"),
)


@given(odd)
def test_no_text_is_too_odd(text: str) -> None:
    kind = kind_of(text, POLICY)
    assert kind is Kind.NOTHING or host_of(text) or kind in {Kind.UNUSABLE, Kind.TASK_ID, Kind.INLINE}
    known_life(kind, text, NOON)
    expires_at(text)
    assert all(" " not in name for name in image_task_ids(text))


@given(odd, st.integers(1, 300))
def test_what_is_shown_is_short_printable_and_final(text: str, limit: int) -> None:
    shown = redact(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    assert "?" not in shown or text[:5].lower() == "data:"


@given(st.from_regex(r"[A-Za-z0-9]{8}", fullmatch=True), st.sampled_from(["?t={}", "#{}", "?a=1&t={}@x", "#?{}@h"]))
def test_no_secret_is_shown(secret: str, place: str) -> None:
    for text in (f"https://h.org/p{place}", f"https://h.org{place}", "https://u:{}@h.org/p", "https://u:x?{}@h.org/p"):
        assert secret not in redact(text.format(secret))


@given(st.text(st.characters(exclude_characters="/\\?#@:[]"), min_size=1))
def test_nothing_before_the_at_sign_makes_a_kie_file(user: str) -> None:
    assert kind_of(f"https://{user}aiquickdraw.com@evil.org/a.png", POLICY) is Kind.UNUSABLE
