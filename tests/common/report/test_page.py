import json
import os

import pytest

from common.report import page
from common.report.page import Gallery, duration, hundredths, rounded, write_page
from common.system.errors import UserError


def test_numbers_and_times_are_written_as_a_person_would():
    numbers = 0.0000884, -0.314, 0.000169234, 5.5, 12345.6, 12345, 0.0, None, float("nan")
    texts = "0.0000884", "−0.314", "0.000169", "5.5", "12,346", "12,345", "0", "–", "–"
    assert tuple(map(rounded, numbers)) == texts
    assert [hundredths(value) for value in (-0.001, -0.314, 1)] == ["0.00", "−0.31", "1.00"]
    assert [duration(value) for value in (None, 75.4, 150.0)] == ["–", "75 s", "2.5 min"]


def test_a_folder_that_cannot_be_written_ends_in_one_line(tmp_path):
    (tmp_path / "part9").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"part9.*cannot be written.*--reports") as caught:
        write_page(tmp_path / "part9", lambda work: None)
    assert "\n" not in str(caught.value)
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(UserError, match=r"figures: cannot be made .*; choose another --reports"):
        Gallery(tmp_path)


def test_two_that_write_one_page_at_once_leave_a_whole_one(tmp_path):
    def fill(work):
        (work / "index.html").write_text("one")
        if not (tmp_path / "index.html").exists():
            write_page(tmp_path, lambda work: (work / "index.html").write_text("the other"))

    (tmp_path / ".writing-1" / "figures").mkdir(parents=True)  # of one that was killed
    os.utime(tmp_path / ".writing-1", (1e9, 1e9))
    write_page(tmp_path, fill)
    assert (tmp_path / "index.html").read_text() == "one"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["figures", "index.html"]


def run(number):
    """Writes the page of one of several runs."""

    def fill(work):
        (work / "index.html").write_text(f"run {number}")
        (work / "metrics.json").write_text(json.dumps(number))
        (work / "figures" / "a.png").write_bytes(b"%d" % number)

    return fill


def test_a_run_that_is_killed_leaves_the_page_before_it_whole(tmp_path):
    def killed(work):
        run(2)(work)
        raise KeyboardInterrupt

    write_page(tmp_path, run(1))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(KeyboardInterrupt):
        write_page(tmp_path, killed)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_no_page_is_ever_beside_the_numbers_of_another_run(tmp_path, monkeypatch):
    write_page(tmp_path, run(1))
    rename, seen = page.Path.replace, []

    def watched(self, target):
        renamed = rename(self, target)
        number, index = (tmp_path / "metrics.json").read_text(), tmp_path / "index.html"
        seen.append(not index.exists() or index.read_text() == f"run {number}")
        return renamed

    monkeypatch.setattr(page.Path, "replace", watched)
    write_page(tmp_path, run(2))
    assert seen == [True] * 3 and (tmp_path / "index.html").read_text() == "run 2"
    assert (tmp_path / "figures" / "a.png").read_bytes() == b"2"
