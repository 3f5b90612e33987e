"""What only files can suffer: crashes between two steps, full and read-only disks, unmounted volumes."""

import errno
import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from reconciler.images import disk, local_store, marker
from reconciler.images.local_store import LocalStore
from reconciler.ports import Prepared, StoreError
from tests.rights import others

Make = Callable[..., Prepared]
STEPS = ("make_folder", "holds", "write", "rename", "settle", "compare")


class PowerCut(BaseException):
    pass


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "store")
    store.adopt("ours")
    return store


def cut(store: LocalStore, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool) -> None:
    real = getattr(store, step)

    def broken(*given: object) -> None:
        if after:
            real(*given)
        raise PowerCut

    monkeypatch.setattr(store, step, broken)


def fail_with(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_leaves_all_or_nothing(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    picture = prepared(b"picture" * 1000)
    with monkeypatch.context() as patch:
        cut(store, patch, step, after=after)
        with pytest.raises(PowerCut):
            store.put("a", picture)
    again = LocalStore(store.root)
    assert again.adopt(None) == "ours"
    assert [again.get(key) for key in again.keys("a")] in ([], [picture.data])
    key = again.put("a", picture)
    assert again.get(key) == picture.data
    assert list(again.keys("a")) == [key]


def torn(part: Path, data: bytes) -> None:
    part.write_bytes(data[:3])
    raise PowerCut


def test_half_a_write_never_has_a_final_name(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.images.local_store.write_new", torn)
        with pytest.raises(PowerCut):
            store.put("a", prepared(b"picture"))
    assert list(store.keys("a")) == []
    key = store.put("a", prepared(b"picture"))
    assert list(store.keys("a")) == [key]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is given a name, and what is told to be there after a power cut, in their order."""
    done: list[str] = []

    def noted(name: Callable[[Any], str], real: Callable[..., object]) -> Callable[..., object]:
        def call(first: Any, *rest: object) -> object:
            done.append(name(first))
            return real(first, *rest)

        return call

    def synced(handle: int) -> str:
        status = os.fstat(handle)
        return "folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes"

    for module in (local_store, marker):
        monkeypatch.setattr(module, "sync", noted(lambda folder: f"sync {folder.name}", disk.sync))
    monkeypatch.setattr(Path, "replace", noted(lambda _: "rename", Path.replace))
    monkeypatch.setattr(Path, "hardlink_to", noted(lambda _: "link", Path.hardlink_to))
    monkeypatch.setattr(os, "fsync", noted(synced, os.fsync))
    return done


def test_names_are_made_durable_after_the_rename_and_before_put_returns(
    store: LocalStore, prepared: Make, done: list[str]
) -> None:
    store.put("a", prepared(b"picture"))
    assert done == ["7 bytes", "rename", "sync a", "folder", "sync tracks", "folder"]
    done.clear()
    store.put("a", prepared(b"picture"))
    assert done == ["sync a", "folder", "sync tracks", "folder"]


def test_the_markers_name_is_made_durable_too(tmp_path: Path, done: list[str]) -> None:
    marker.ensure(tmp_path, "ours")
    assert done == [f"{len(marker.bytes_of('ours'))} bytes", "link", f"sync {tmp_path.name}", "folder"]


def test_the_same_bytes_are_not_written_again(store: LocalStore, prepared: Make) -> None:
    path = store.root / store.put("a", prepared(b"picture"))
    before = path.stat()
    store.put("a", prepared(b"picture"))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_damaged_file_is_mended(store: LocalStore, prepared: Make) -> None:
    key = store.put("a", prepared(b"picture"))
    (store.root / key).write_bytes(b"pictur3")
    assert store.put("a", prepared(b"picture")) == key
    assert store.get(key) == b"picture"


def test_bytes_that_come_back_different_are_an_error(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "reconciler.images.local_store.write_new", lambda part, data: part.write_bytes(data[:-1] + b"?")
    )
    with pytest.raises(StoreError, match=r"tracks/a/.*not what was written; check the disk"):
        store.put("a", prepared(b"picture"))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "No space left on device; make room on the disk"),
        (errno.EACCES, "Permission denied; let the reconciler's user"),
        (errno.EROFS, "Read-only file system; mount it writable"),
        (errno.EIO, "check the disk"),
        (errno.EMFILE, "check storage.path and the disk"),
    ],
)
def test_a_disk_that_refuses_says_what_where_and_what_to_do(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail_with(number))
        with pytest.raises(StoreError, match=f"store a picture: {store.root}/tracks/a/.*{advice}"):
            store.put("a", prepared(b"picture"))
    assert list(store.keys("a")) == []
    assert list((store.root / "tracks" / "a").iterdir()) == []  # the room it took is given back
    assert store.get(store.put("a", prepared(b"picture"))) == b"picture"


def test_an_unreadable_picture_is_not_absent(store: LocalStore, prepared: Make) -> None:
    path = store.root / store.put("a", prepared(b"picture"))
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        store.get(path.relative_to(store.root).as_posix())


def test_a_file_where_a_directory_should_be(store: LocalStore, prepared: Make) -> None:
    (store.root / "tracks" / "a").write_text("")
    with pytest.raises(StoreError, match=r"list pictures: .*Not a directory; move away the file"):
        store.keys("a")
    with pytest.raises(StoreError, match="store a picture"):
        store.put("a", prepared(b"picture"))


def test_a_volume_that_is_unmounted_meanwhile_is_a_fault(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store.put("a", prepared(b"picture"))
    away = store.root.with_name("away")
    real = store.check

    def unmounted_just_after() -> str:
        found = real()
        store.root.rename(away)
        store.root.mkdir()
        monkeypatch.setattr(store, "check", real)
        return found

    for call in (lambda: store.get(key), lambda: store.keys("a"), lambda: store.put("a", prepared(b"picture"))):
        monkeypatch.setattr(store, "check", unmounted_just_after)
        with pytest.raises(StoreError):
            call()
        assert list(store.root.iterdir()) == []
        store.root.rmdir()
        away.rename(store.root)
    assert store.get(key) == b"picture"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": ""}', '{"id": 5}', "\x00", '"ours"'])
def test_a_damaged_marker_is_a_fault(store: LocalStore, text: str) -> None:
    (store.root / ".reconciler-store").write_text(text)
    with pytest.raises(StoreError, match="put it back"):
        store.check()
    with pytest.raises(StoreError, match="put it back"):
        store.adopt("other")


def test_the_marker_is_json(store: LocalStore) -> None:
    assert json.loads((store.root / ".reconciler-store").read_text()) == {"id": "ours"}


def test_two_that_adopt_at_once_agree(tmp_path: Path) -> None:
    start, found = Barrier(8), []

    def adopt(number: int) -> None:
        start.wait()
        found.append(LocalStore(tmp_path / "store").adopt(f"id-{number}"))

    threads = [Thread(target=adopt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_file_systems_without_links_are_adopted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "hardlink_to", fail_with(errno.EPERM))
    assert LocalStore(tmp_path / "store").adopt("ours") == "ours"


def test_a_place_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"make the store's marker: .*file/store.*Not a directory"):
        LocalStore(tmp_path / "file" / "store").adopt(None)


def test_the_newest_comes_first(store: LocalStore, prepared: Make) -> None:
    keys = [store.put("a", prepared(bytes([number]))) for number in range(5)]
    for age, key in enumerate(keys):
        os.utime(store.root / key, (1000 - age, 1000 - age))
    assert store.keys("a") == keys


def test_a_link_that_leads_nowhere_hides_no_other_picture(store: LocalStore, prepared: Make) -> None:
    key = store.put("a", prepared(b"picture"))
    (store.root / key).with_name("0123456789abcdef.jpg").symlink_to(store.root / "away.jpg")
    assert store.keys("a") == [key]


def test_a_picture_that_goes_meanwhile_hides_no_other(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [store.put("a", prepared(data)) for data in (b"one", b"two")]
    goes_at_the_first_look(monkeypatch, (store.root / keys[0]).unlink)
    assert store.keys("a") == [keys[1]]


def test_a_volume_that_goes_while_its_pictures_are_looked_at_is_a_fault(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", prepared(b"picture"))
    goes_at_the_first_look(monkeypatch, lambda: store.root.rename(store.root.with_name("away")))
    with pytest.raises(StoreError):
        store.keys("a")


def goes_at_the_first_look(monkeypatch: pytest.MonkeyPatch, go: Callable[[], object]) -> None:
    real = Path.stat

    def stat(path: Path, **given: Any) -> os.stat_result:
        if path.suffix == ".jpg":
            monkeypatch.setattr(Path, "stat", real)
            go()
        return real(path, **given)

    monkeypatch.setattr(Path, "stat", stat)


def test_a_proof_leaves_nothing_and_is_given_once(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room of some pictures is taken, in their folder and down to the disk, and given back."""
    sizes: list[int] = []
    written, real = os.fsync, disk.write_new

    def noted(part: Path, data: bytes) -> None:
        real(part, data)
        sizes.append(part.stat().st_size)
        assert part.parent == store.root / "tracks"

    monkeypatch.setattr("reconciler.images.local_store.write_new", noted)
    synced: list[int] = []

    def fsync(handle: int) -> None:
        synced.append(os.fstat(handle).st_size)
        written(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    for _ in range(3):
        store.prove("a")
    assert sizes == [4 << 20]
    assert 4 << 20 in synced
    assert [path.name for path in store.root.rglob("*") if path.name != ".reconciler-store"] == ["tracks"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_proof_that_fails_gives_back_its_room(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def written(file: int) -> None:
        if stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", written)
        with pytest.raises(StoreError, match=f"write a probe: {store.root}/tracks/.*{os.strerror(number)}; m"):
            store.prove("a")
    assert list((store.root / "tracks").iterdir()) == []


def test_the_folder_of_all_pictures_is_made_anew(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rm -rf *` leaves the marker, which is hidden; some copies leave out what is empty."""
    synced: list[Path] = []

    def sync(folder: Path) -> None:
        synced.append(folder)
        disk.sync(folder)

    monkeypatch.setattr(local_store, "sync", sync)
    for call in (lambda: store.prove("a"), lambda: store.put("a", prepared(b"picture"))):
        (store.root / "tracks").rmdir()
        synced.clear()
        call()
        assert store.root in synced, "its name lasts"
    assert [store.get(key) for key in store.keys("a")] == [b"picture"]


def test_a_folder_that_takes_nothing_is_told_before_a_picture_is_put_into_it_and_stops_no_other_track(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sudo` leaves such a one. What was proven of the store says nothing of it."""
    folder = (store.root / store.put("a.b", prepared(b"picture"))).parent
    store.prove("a.b")
    others(monkeypatch, folder)
    for _ in range(2):
        with pytest.raises(
            StoreError, match=f"store a picture: {folder}: Permission denied; let the reconciler's user"
        ):
            store.prove("a.b")
    store.prove("b")
    monkeypatch.undo()
    store.prove("a.b")


def test_folders_that_take_nothing_are_found_among_all_that_are_tracks(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = store.root / "tracks"
    for track_id in ("a", "b", "c"):
        store.put(track_id, prepared(b"picture"))
    (tracks / "lost+found").mkdir()
    (tracks / "file").write_bytes(b"")
    others(monkeypatch, *(tracks / name for name in ("a", "c", "lost+found", "file", "gone")))
    assert sorted(local_store.shut_folders(tracks)) == [tracks / "a", tracks / "c"]
    monkeypatch.setattr(local_store, "LOOKING_S", 0.0)
    assert local_store.shut_folders(tracks) == [], "it has no time to begin"


def test_many_prove_at_once(store: LocalStore) -> None:
    start, proven = Barrier(8), []

    def prove() -> None:
        start.wait()
        store.prove("a")
        proven.append(True)

    threads = [Thread(target=prove) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(proven) == 8
    assert list((store.root / "tracks").iterdir()) == []


def test_what_a_proof_left_that_was_cut_goes_after_a_day(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.images.local_store.write_new", torn)
    with pytest.raises(PowerCut):
        store.prove("a")
    (left,) = (store.root / "tracks").iterdir()
    assert left.name.startswith(".")
    now = datetime.fromtimestamp(left.stat().st_mtime, UTC)
    LocalStore(store.root, now=lambda: now + timedelta(hours=23)).clean()
    assert left.exists()
    LocalStore(store.root, now=lambda: now + timedelta(hours=25)).clean()
    assert not left.exists()


def test_left_overs_go_after_a_day_and_strangers_stay(
    store: LocalStore, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store.put("a", prepared(b"picture"))
    folder = store.root / "tracks" / "a"
    ages = {".x.jpg.1.part": 25, ".x.jpg.2.part": 23, ".hidden": 99, "notes.part": 99}
    now = datetime(2026, 11, 1, tzinfo=UTC)
    for name, hours in ages.items():
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (now.timestamp() - hours * 3600,) * 2)
    cleaner = LocalStore(store.root, now=lambda: now)
    monkeypatch.setattr(local_store, "CLEANING_S", 0.0)
    cleaner.clean()
    assert len(list(folder.iterdir())) == 5, "it has no time to begin"
    monkeypatch.undo()
    cleaner.clean()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [".x.jpg.2.part", ".hidden", "notes.part", Path(key).name]
    )


def test_a_folder_that_goes_meanwhile_ends_no_start(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", fail_with(errno.ENOENT))
    store.clean()


def test_pictures_can_be_read_by_a_web_server(store: LocalStore, prepared: Make) -> None:
    umask = os.umask(0o022)
    try:
        path = store.root / store.put("a", prepared(b"picture"))
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o644
