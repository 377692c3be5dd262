import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import made_up_reports
import pytest
import walk

import run_part
from benchmarks import accessibility
from common.report.part_page import write_report

pytest.importorskip("markdown_it")
from parts.commands import site as site_command

pytestmark = pytest.mark.slow  # all pages are made first
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("AXE")  # axe.min.js, which npm pack axe-core fetches


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Reports of a run on synthetic faces, of one on real faces, and a page of another kind."""
    folder = tmp_path_factory.mktemp("reports")
    made = made_up_reports.report()
    with pytest.MonkeyPatch.context() as patch:
        made_up_reports.draw_nothing(patch)
        for part, synthetic in ((1, True), (2, False)):
            lesson = replace(made.lesson, folder=f"part{part}")
            metrics = made.metrics | {"synthetic": synthetic}
            run = replace(made, lesson=lesson, synthetic=synthetic, metrics=metrics)
            write_report(folder, run)
    (folder / "explain").mkdir()
    (folder / "explain/index.html").write_text("<title>My photo</title>")
    (folder / "part1/checkpoint.pt").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory, reports):
    folder = tmp_path_factory.mktemp("built")
    (folder / "web").mkdir()
    (folder / "web/index.html").write_text("<title>In the browser</title>")
    with pytest.MonkeyPatch.context() as patch:
        made_up_reports.draw_nothing(patch)
        line = ["site", folder / "site", "--reports", reports, "--web", folder / "web"]
        assert run_part.main([str(word) for word in line]) == 0
    return folder / "site"


def pages(site):
    """All but the page that ``export --web`` wrote."""
    found = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    assert found.pop("web/index.html").read_text() == "<title>In the browser</title>"
    return found


def test_every_link_and_picture_of_the_site_is_there(site):
    anchors = {
        path: {node["id"] for node in walk.read(path)[0].all() if node["id"]}
        for path in pages(site).values()
    }
    for path in anchors:
        tree, faults = walk.read(path)
        assert faults == [], path
        for node in tree.all("a", "img", "form"):
            address = node["href"] or node["src"] or node["action"]
            if address.startswith("https:"):
                assert node.tag == "a"
                continue
            place, _, name = address.partition("#")
            target = (path.parent / unquote(place)).resolve() if place else path
            assert target.is_file(), (path, address)
            assert not name or name in anchors[target], (path, address)


def test_each_page_has_the_navigation_loads_nothing_from_elsewhere_and_is_small(site):
    names = pages(site)
    wanted = {"index.html", "search.html", "README.html", "docs/teaching.html"}
    wanted |= {f"{kind}/part{part}.html" for kind in ("lessons", "exercises") for part in (1, 2, 3)}
    wanted |= {f"reports/{name}.html" for name in ("moving", "glossary", "index", "part1/index")}
    wanted |= {f"reports/ladder{part}/index.html" for part in (1, 2, 3)}
    assert wanted <= names.keys()
    for path in names.values():
        tree, _ = walk.read(path)
        navigation = [nav for nav in tree.all("nav") if nav["aria-label"] == "Course"]
        assert [len(list(nav.all("a"))) for nav in navigation] == [10], path
        assert not [node for node in tree.all("script", "link") if node["src"] or node["href"]]
        assert path.stat().st_size < 5_000_000


def test_real_faces_are_left_out_unless_they_are_wanted(site, reports, tmp_path, monkeypatch):
    there = {folder.name for folder in (site / "reports").iterdir() if folder.is_dir()}
    assert there == {"part1", "ladder1", "ladder2", "ladder3"}
    assert not list(site.rglob("*.pt"))
    monkeypatch.setattr(site_command, "LESSONS", {})
    taken, left_out = site_command.copy_runs(reports, tmp_path / "safe", real=False)
    assert taken == ["part1"] and ["explain" in left_out[0], "part2" in left_out[1]] == [True, True]
    taken, left_out = site_command.copy_runs(reports, tmp_path / "all", real=True)
    assert taken == ["part1", "part2"] and len(left_out) == 1  # a photo of unknown people


def test_a_folder_that_is_there_is_left_as_it_is(command, reports, tmp_path):
    (tmp_path / "mine").mkdir()
    status, _, (line,) = command("site", "mine", "--reports", reports)
    assert status == 2
    assert line == "error: mine: is there already; delete it or choose another name"
    status, _, (line,) = command("site", "new", "--web", "mine")
    assert status == 2 and line.startswith("error: mine: holds no page; ")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_tables_code_and_formulas_of_the_documents_are_shown(site):
    tree, _ = walk.read(site / "exercises/part1.html")
    shown = [pre.text for pre in tree.all("pre")]
    assert "python run_part.py check 1" in shown and all(pre["tabindex"] for pre in tree.all("pre"))
    assert len(list(walk.read(site / "docs/results.html")[0].all("table"))) > 0
    source = Path(run_part.__file__).parent / "parts/part1_nose_tip.py"
    (code,) = walk.read(site / "lessons/part1.html")[0].all("pre")
    assert code.text == " ".join(source.read_text().split())


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_the_search_finds_a_term_from_disk(site, tmp_path):
    address = f"{(site / 'search.html').as_uri()}?q=wing+loss"
    page = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={tmp_path}", address],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    (hits,) = [node for node in walk.parsed(page)[0].all("section") if node["id"] == "hits"]
    found = [link["href"] for link in hits.all("a")]
    assert found[0] == "reports/glossary.html#wing-loss" and "reports/moving.html#loss" in found
    assert all((site / address.partition("#")[0]).is_file() for address in found)


@pytest.mark.skipif(not (CHROMIUM and AXE), reason="needs Chromium and AXE")
@pytest.mark.parametrize("name", ["index", "search", "lessons/part3", "docs/teaching", "README"])
def test_axe_finds_no_serious_fault(site, name):
    for view in accessibility.VIEWS.values():
        found = accessibility.faults(site / f"{name}.html", Path(AXE).read_text(), CHROMIUM, *view)
        assert [fault for fault in found if fault[0] in ("serious", "critical")] == []
