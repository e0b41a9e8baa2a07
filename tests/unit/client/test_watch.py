"""`watch` without a server: when a file is complete, who tells of changes, and what is left alone."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import watchfiles
from alexnet_client import InvalidSetting, Result
from alexnet_client._cli import changes as changes_module
from alexnet_client._cli import watch as watch_module
from alexnet_client._cli.arrivals import EMPTY_S, Arrivals, Settling, images_below, is_image, stamp_of
from alexnet_client._cli.changes import changes_in, file_system_of
from alexnet_client._cli.watch import Watch, watch_directories
from alexnet_client._many import NOTHING_YET


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settling(clock: Clock) -> Settling:
    return Settling(0.5, clock)


def after(clock: Clock, seconds: float, settling: Settling) -> list[str]:
    clock.now_s += seconds
    return list(settling.complete())


def test_file_is_complete_when_it_has_not_changed_for_a_while(tmp_path: Path, clock: Clock, settling: Settling) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"half")
    settling.look(str(path))
    assert after(clock, 0.4, settling) == []
    path.write_bytes(b"the whole")
    settling.look(str(path))
    assert after(clock, 0.2, settling) == []  # seen to have changed: the wait begins anew
    assert after(clock, 0.4, settling) == []
    assert after(clock, 0.2, settling) == [str(path)]


def test_each_version_of_a_file_comes_out_once(tmp_path: Path, clock: Clock, settling: Settling) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    for _ in range(2):
        settling.look(str(path))
    assert after(clock, 1, settling) == [str(path)]
    settling.look(str(path))
    assert after(clock, 1, settling) == []
    (tmp_path / "b").write_bytes(b"two")  # another file of the same size takes its name
    os.replace(tmp_path / "b", path)
    settling.look(str(path))
    assert after(clock, 1, settling) == [str(path)]


def test_file_that_went_away_is_forgotten_and_comes_out_again_when_it_is_back(
    tmp_path: Path, clock: Clock, settling: Settling
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    status = path.stat()
    settling.look(str(path))
    path.unlink()
    assert after(clock, 1, settling) == []
    path.write_bytes(b"one")
    settling.look(str(path))
    assert after(clock, 1, settling) == [str(path)]
    settling.forget_but(set())
    os.utime(path, ns=(status.st_atime_ns, path.stat().st_mtime_ns))
    settling.look(str(path))
    assert after(clock, 1, settling) == [str(path)]


def test_empty_file_is_waited_for_longer_and_then_passed_on(tmp_path: Path, clock: Clock, settling: Settling) -> None:
    path = tmp_path / "a.jpg"
    path.touch()
    settling.look(str(path))
    assert after(clock, EMPTY_S - 1, settling) == []
    assert after(clock, 1, settling) == [str(path)]


class Rounds:
    """Changes that a test makes up: an iterable of paths for each round, which may do something before it tells."""

    def __init__(self, rounds: Iterable[Iterable[str]], poll_s: float | None = None) -> None:
        self._rounds, self.poll_s = rounds, poll_s

    def rounds(self, say: Callable[[str], None]) -> Iterator[Iterable[str]]:
        yield from self._rounds


def arrived(directory: Path, *rounds: Iterable[str], existing: bool = False) -> list[str]:
    said: list[str] = []
    arrivals = Arrivals([str(directory)], Rounds(rounds), settle_s=0, say=said.append)
    if not existing:
        arrivals.leave_out_existing()
    paths = [path for path in arrivals if path is not NOTHING_YET]
    assert said == []
    return paths


def test_existing_files_are_left_alone_unless_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("b.jpg", "a.png", "below/c.gif", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert arrived(tmp_path, [], []) == []
    assert arrived(tmp_path, [], existing=True) == [f"{tmp_path}/{n}" for n in ("a.png", "b.jpg", "below/c.gif")]


def test_file_that_comes_before_the_first_round_is_an_arrival(tmp_path: Path) -> None:
    arrivals = Arrivals([str(tmp_path)], Rounds([[]]), settle_s=0, say=print)
    (tmp_path / "old.jpg").write_bytes(b"x")
    arrivals.leave_out_existing()
    (tmp_path / "new.jpg").write_bytes(b"x")
    assert [path for path in arrivals if path is not NOTHING_YET] == [f"{tmp_path}/new.jpg"]


def test_what_is_told_of_is_filtered_and_a_directory_is_searched(tmp_path: Path) -> None:
    def appear() -> Iterator[str]:
        (tmp_path / "moved" / ".thumbnails").mkdir(parents=True)
        for name in ("a.jpg", ".a.jpg.part", "notes.txt", "moved/b.jpg", "moved/.thumbnails/c.jpg"):
            (tmp_path / name).write_bytes(b"x")
        yield from (f"{tmp_path}/{name}" for name in ("a.jpg", ".a.jpg.part", "notes.txt", "moved", "gone.jpg"))
        yield f"{tmp_path}/moved/.thumbnails/c.jpg"

    assert arrived(tmp_path, [], appear()) == [f"{tmp_path}/a.jpg", f"{tmp_path}/moved/b.jpg"]


def test_directory_that_is_away_for_a_while_does_not_arrive_again(tmp_path: Path, clock: Clock) -> None:
    share, away, said = tmp_path / "share", tmp_path / "away", list[str]()
    share.mkdir()
    (share / "old.jpg").write_bytes(b"x")

    def rounds() -> Iterator[Iterable[str]]:
        yield []
        share.rename(away)
        for _ in range(2):
            clock.now_s += 1
            yield []
        away.rename(share)
        (share / "new.jpg").write_bytes(b"x")
        clock.now_s += 0.9  # not yet
        yield []
        assert said == [f"{share} cannot be read (No such file or directory); still trying"]
        clock.now_s += 0.1
        yield []

    changes = Rounds(rounds(), poll_s=1.0)
    arrivals = Arrivals([str(share)], changes, settle_s=0, say=said.append, now_s=clock)
    arrivals.leave_out_existing()
    assert [path for path in arrivals if path is not NOTHING_YET] == [f"{share}/new.jpg"]
    assert said[1:] == [f"{share} can be read again"]


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:50 / /mnt/my\\040photos rw,relatime shared:2 - nfs4 nas:/photos rw,vers=4.2
41 40 0:51 / /mnt/my\\040photos/fast rw - tmpfs tmpfs rw
42 22 0:52 / /mnt/my rw - fuse.sshfs me@host: rw
"""


def test_file_system_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    found = {
        path: file_system_of(path, mounts) for path in ("/home", "/mnt/my photos/a", "/mnt/my photos/fast", "/mnt/my")
    }
    assert list(found.values()) == ["ext4", "nfs4", "tmpfs", "fuse.sshfs"]
    assert file_system_of("/home", tmp_path / "none") == ""


def test_network_shares_are_polled_and_local_directories_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert changes_in([str(tmp_path)]).poll_s is None
    assert changes_in([str(tmp_path)], 5.0).poll_s == 5.0
    for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "virtiofs"):
        monkeypatch.setattr(changes_module, "file_system_of", lambda directory, kind=kind: kind)
        shared = changes_in([str(tmp_path)])
        assert (shared.poll_s, shared.why) == (1.0, f"{tmp_path} is on a network share, {kind}")


def test_without_the_library_changes_are_polled_and_the_way_to_get_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module.importlib.util, "find_spec", lambda name: None)
    changes = changes_in([str(tmp_path)])
    assert changes.poll_s == 1.0
    assert "pip install 'alexnet-triton[watch]'" in changes.why


def test_kernel_that_cannot_tell_of_so_many_directories_is_not_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(*directories: str, **settings: object) -> Iterator[set[tuple[int, str]]]:
        raise OSError("OS file watch limit reached.")
        yield set()

    monkeypatch.setattr(watchfiles, "watch", watch)
    changes = changes_in([str(tmp_path)])
    assert changes.poll_s == 1.0
    assert changes.why == "the kernel does not tell of changes: OS file watch limit reached."


def told_by(rounds: Iterator[Iterable[str]], until: str) -> set[str]:
    """What the rounds up to the one that tells of ``until`` tell."""
    told: set[str] = set()
    for _ in range(100):
        told.update(next(rounds))
        if until in told:
            break
    return told


def test_kernel_tells_of_a_new_file_as_soon_as_the_first_round_has_come(tmp_path: Path) -> None:
    rounds = changes_in([str(tmp_path)]).rounds(print)
    assert list(next(rounds)) == []
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert f"{tmp_path}/a.jpg" in told_by(rounds, f"{tmp_path}/a.jpg")


@pytest.mark.parametrize("typed", ["incoming", "./incoming/", "link", "."])
def test_kernel_tells_of_a_new_file_by_the_name_that_the_search_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    (tmp_path / "incoming" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("incoming")
    monkeypatch.chdir(tmp_path)
    rounds = changes_in([typed]).rounds(print)
    next(rounds)
    (tmp_path / "incoming" / "below" / "a.jpg").write_bytes(b"x")
    [found] = images_below(typed)
    assert found in told_by(rounds, found)


def test_directory_that_is_deleted_and_made_again_is_watched_again(tmp_path: Path) -> None:
    directory, said = tmp_path / "incoming", list[str]()
    directory.mkdir()
    rounds = changes_in([str(directory)]).rounds(said.append)
    next(rounds)
    directory.rmdir()
    directory.mkdir()  # on many file systems with the same inode
    (directory / "early.jpg").write_bytes(b"x")
    assert str(directory) in told_by(rounds, str(directory))
    (directory / "late.jpg").write_bytes(b"x")
    assert f"{directory}/late.jpg" in told_by(rounds, f"{directory}/late.jpg")
    assert said == []


def test_directory_that_is_moved_away_is_watched_again_when_the_name_is_back(tmp_path: Path) -> None:
    directory = tmp_path / "incoming"
    directory.mkdir()
    rounds = changes_in([str(directory)]).rounds(print)
    next(rounds)
    directory.rename(tmp_path / "away")
    for _ in range(2):
        next(rounds)
    directory.mkdir()
    (directory / "a.jpg").write_bytes(b"x")
    assert str(directory) in told_by(rounds, str(directory))


def test_kernel_that_fails_later_is_polled_at_once_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(*directories: str, **settings: object) -> Iterator[set[tuple[int, str]]]:
        yield set()
        yield set()
        (tmp_path / "a.jpg").write_bytes(b"x")
        raise RuntimeError("OS file watch limit reached.")

    monkeypatch.setattr(watchfiles, "watch", watch)
    monkeypatch.setattr(changes_module, "ROUND_S", 0.0)
    said: list[str] = []
    seconds = itertools.count().__next__
    arrivals = Arrivals([str(tmp_path)], changes_in([str(tmp_path)]), settle_s=0, say=said.append, now_s=seconds)
    found = (path for path in itertools.islice(arrivals, 50) if path is not NOTHING_YET)
    assert next(found) == f"{tmp_path}/a.jpg"
    limit = "the kernel no longer tells of changes: OS file watch limit reached."
    assert said == [f"looking every 1 s from now on ({limit})"]


def test_image_below_one_of_several_directories_is_one(tmp_path: Path) -> None:
    near = f"{tmp_path}/a/b/near"
    assert is_image(f"{tmp_path}/a/b/x.jpg", [str(tmp_path), near])  # "../x.jpg" from there
    assert not is_image(f"{tmp_path}/a/.b/x.jpg", [str(tmp_path), near])
    assert is_image(f"{tmp_path}/a/.b/x.jpg", [str(tmp_path), f"{tmp_path}/a/.b"])
    assert not is_image(f"{tmp_path}/x.jpg", [near])


def test_link_to_a_directory_is_followed_only_if_it_is_watched_itself(tmp_path: Path) -> None:
    inside, link = tmp_path / "inside", tmp_path / "link"
    inside.mkdir()
    (inside / "a.jpg").write_bytes(b"x")
    link.symlink_to("inside")
    assert arrived(tmp_path, [str(link)], existing=True) == [f"{inside}/a.jpg"]
    assert arrived(link, [str(link)], existing=True) == [f"{link}/a.jpg"]


def test_hidden_directory_that_is_told_of_is_left_alone(tmp_path: Path) -> None:
    hidden = tmp_path / ".thumbnails"
    hidden.mkdir()
    (hidden / "a.jpg").write_bytes(b"x")
    assert arrived(tmp_path, [str(hidden)], existing=True) == []


def test_pipe_that_is_named_like_an_image_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert stamp_of(str(tmp_path / "a.jpg")) is None
    assert arrived(tmp_path, [f"{tmp_path}/a.jpg"], existing=True) == []


class Interrupted:
    """A writer that Ctrl-C comes upon as soon as the first result is out."""

    def begin(self) -> None: ...

    def write(self, result: object) -> None:
        raise KeyboardInterrupt

    def end(self) -> None: ...


def test_result_that_is_out_when_it_is_interrupted_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Classifier:
        def __enter__(self) -> Classifier:
            return self

        def __exit__(self, *_: object) -> None: ...

        def labels(self) -> None: ...

        def close(self) -> None: ...

        def classify_many(self, images: object, **settings: object) -> Iterator[Result]:
            yield Result("a.jpg", 0, (), InvalidSetting("no"), 0.0)

    class Connection:
        def classifier(self, **settings: object) -> Classifier:
            return Classifier()

    monkeypatch.setattr(watch_module, "writer_for", lambda *_: Interrupted())
    watch = Watch((str(tmp_path),), True, 1, "jsonl", 1, 1.0, 0.0, 1.0)
    assert watch_directories(watch, Connection()) == 1
    assert capsys.readouterr().err.endswith(" s: 1 image, 1 failed\n")
