"""Finished runs side by side."""

from dataclasses import replace

import made_up_reports
import walk

from common.report.part_page import write_report


def test_two_runs_are_set_side_by_side(tmp_path, monkeypatch, command):
    made_up_reports.draw_nothing(monkeypatch)
    one = made_up_reports.report()
    other = replace(one, recipe=[("epochs", "4", "")], metrics=one.metrics | {"nme": 12.5})
    write_report(tmp_path / "a", one)
    write_report(tmp_path / "b", other)
    status, out, _ = command("compare", "a", "b")
    page = tmp_path / "reports" / "runs" / "index.html"
    assert status == 0 and "runs/index.html" in out
    tree, faults = walk.read(page)
    assert not faults
    tables = [
        [[cell.text for cell in row.all("th", "td")] for row in table.all("tr")]
        for table in tree.all("table")
    ]
    assert tables[0] == [["value", "a", "b"], ["epochs", "3", "4"]]
    nme = next(row for row in tables[1] if row[0].startswith("NME"))
    assert nme[2] == "12.5" != nme[1]
    pictures = [image["src"] for image in tree.all("img")]
    assert len(pictures) == 3 and all((page.parent / name).is_file() for name in pictures)


def test_runs_without_a_common_part_end_with_one_line(tmp_path, command):
    for name in "ab":
        (tmp_path / name).mkdir()
    status, _, errors = command("compare", "a", "b")
    assert status == 2 and "a, b: no part was run in two of them; run one with" in errors[0]
