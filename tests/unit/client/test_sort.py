from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from alexnet_client import InvalidImage, InvalidSetting, Prediction, Result
from alexnet_client._cli.sort import Sorter, folder_from_label, folders_from_labels

LABELS = ["cat", "and/or"]


def classified(path: Path, label: str = "cat") -> Result:
    return Result(str(path), 0, (Prediction(label, 0, 0.5), Prediction("other", 1, 0.25)), None, 0.0)


@pytest.fixture
def photograph(tmp_path: Path) -> Callable[[str, str], Path]:
    def made(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path

    return made


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_images_are_copied_into_the_folder_of_their_best_label(tmp_path: Path, photograph: Callable) -> None:
    one, two = photograph("in/a.jpg", "one"), photograph("in/b.jpg", "two")
    os.utime(one, (1000, 1000))
    sorter = Sorter(str(tmp_path / "out"), LABELS)
    sorter.add(classified(one))
    sorter.add(classified(two, "and/or"))
    assert files(tmp_path / "out") == {"cat/a.jpg": "one", "and_or/b.jpg": "two"}
    assert (tmp_path / "out/cat/a.jpg").stat().st_mtime == 1000
    assert sorter.summary() == f"2 copied into 2 folders of {tmp_path}/out"


def test_failed_and_filtered_images_go_nowhere(tmp_path: Path) -> None:
    sorter = Sorter(str(tmp_path / "out"), LABELS)
    sorter.add(Result("bad.jpg", 0, (), InvalidImage("no"), 0.0))
    sorter.add(Result("dark.jpg", 0, (), None, 0.0))
    assert files(tmp_path) == {}
    assert sorter.summary() == f"nothing copied into {tmp_path}/out"


def test_files_of_one_name_get_numbers_and_nothing_is_overwritten(tmp_path: Path, photograph: Callable) -> None:
    (tmp_path / "out").mkdir()
    photograph("out/cat/a.jpg", "mine")
    sorter = Sorter(str(tmp_path / "out"), LABELS)
    for folder in ("x", "y"):
        sorter.add(classified(photograph(f"{folder}/a.jpg", folder)))
    assert files(tmp_path / "out") == {"cat/a.jpg": "mine", "cat/a-2.jpg": "x", "cat/a-3.jpg": "y"}


@pytest.mark.parametrize("link", [None, "hard"])
def test_many_files_of_one_name_are_each_looked_at_once_in_any_order(
    tmp_path: Path, photograph: Callable, monkeypatch: pytest.MonkeyPatch, link: str | None
) -> None:
    looks: list[str] = []
    is_there = Sorter._is_there
    monkeypatch.setattr(Sorter, "_is_there", lambda *args: looks.append(args[2]) or is_there(*args))
    sources = [photograph(f"{number}/a.jpg", "x" * number) for number in range(20)]
    for order in (1, -1):
        looks.clear()
        sorter = Sorter(str(tmp_path / "out"), LABELS, link=link)  # type: ignore[arg-type]
        for source in sources[::order]:
            sorter.add(classified(source))
        assert len(looks) <= 2 * len(sources)
        assert len(files(tmp_path / "out")) == len(sources)
    assert sorter.already == len(sources)


@pytest.mark.parametrize("link", [None, "hard", "symbolic"])
def test_second_run_changes_nothing(tmp_path: Path, photograph: Callable, link: str | None) -> None:
    one = photograph("in/a.jpg", "one")
    for already in (0, 1):
        sorter = Sorter(str(tmp_path / "out"), LABELS, link=link)  # type: ignore[arg-type]
        sorter.add(classified(one))
        assert sorter.already == already
    assert files(tmp_path / "out") == {"cat/a.jpg": "one"}
    assert sorter.summary().endswith("out, 1 was there")


def test_hard_link_is_the_file_and_symbolic_link_its_absolute_path(
    tmp_path: Path, photograph: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = photograph("in/a.jpg", "one")
    monkeypatch.chdir(tmp_path)
    for link in ("hard", "symbolic"):
        Sorter(link, LABELS, link=link).add(classified(Path("in/a.jpg")))  # type: ignore[arg-type]
    assert (tmp_path / "hard/cat/a.jpg").samefile(one)
    assert not (tmp_path / "hard/cat/a.jpg").is_symlink()
    assert os.readlink(tmp_path / "symbolic/cat/a.jpg") == str(one)


def test_dry_run_says_where_and_does_nothing(tmp_path: Path, photograph: Callable) -> None:
    lines: list[str] = []
    sorter = Sorter(str(tmp_path / "out"), LABELS, dry_run=True, say=lines.append)
    paths = [photograph("x/a.jpg", "x"), photograph("y/a.jpg", "y")]
    for path in paths:
        sorter.add(classified(path))
    assert lines == [f"{paths[0]} -> {tmp_path}/out/cat/a.jpg", f"{paths[1]} -> {tmp_path}/out/cat/a-2.jpg"]
    assert sorter.summary() == f"2 would be copied into 1 folder of {tmp_path}/out"
    assert not (tmp_path / "out").exists()


def test_image_that_cannot_be_put_there_is_a_fault_and_the_others_go_on(tmp_path: Path, photograph: Callable) -> None:
    photograph("out/and_or", "a file in the way")
    sorter = Sorter(str(tmp_path / "out"), LABELS)
    sorter.add(classified(photograph("x/a.jpg", "x"), "and/or"))
    sorter.add(classified(tmp_path / "gone.jpg"))
    sorter.add(classified(photograph("x/b.jpg", "y")))
    assert [fault.partition(" (")[0] for fault in sorter.faults] == [
        f"{tmp_path}/x/a.jpg: not put into {tmp_path}/out/and_or",
        f"{tmp_path}/gone.jpg: not put into {tmp_path}/out/cat",
    ]
    assert files(tmp_path / "out") == {"and_or": "a file in the way", "cat/b.jpg": "y"}


def test_directory_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSetting, match="no folder can be made there"):
        Sorter(str(tmp_path / "file" / "out"), LABELS)


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("cat", "cat"),
        ("tench, Tinca tinca", "tench, Tinca tinca"),
        ("a/b\\c\n\0", "a_b_c__"),
        ("..", "__"),
        (".hidden", "_hidden"),
        ("/etc/passwd", "_etc_passwd"),
        ("  ", "class 7"),
        ("", "class 7"),
        ("猫" * 100, "猫" * 66),
    ],
)
def test_label_becomes_a_safe_folder(label: str, folder: str) -> None:
    assert folder_from_label(label, 7) == folder


def test_different_labels_never_share_a_folder_and_equal_ones_do() -> None:
    assert folders_from_labels(["a/b", "a_b", "A_B", "crane", "crane"]) == {
        "a/b": "a_b",
        "a_b": "a_b (class 1)",
        "A_B": "A_B (class 2)",
        "crane": "crane",
    }
