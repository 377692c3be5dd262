"""Pages and exercise sheets link their terms to the glossary."""

import re
from pathlib import Path

import made_up_reports
import pytest
import walk
from jinja2 import UndefinedError

from common.report.index_page import write_index
from common.report.page import GLOSSARY, glossary, templates
from common.report.part_page import write_report

ROOT = Path(__file__).parents[3]
SHEETS = sorted((ROOT / "exercises").glob("*.md"))
PAGES = ("part", "compare", "ladder", "explain", "index")
WANTED = {
    *("auc", "mae", "fold", "jackknife", "bonferroni-correction", "rank-correlation", "stride"),
    *("box", "detector", "checkpoint", "ablation", "tensor", "optimizer", "regression", "hue"),
}


def test_every_row_is_a_term_with_an_anchor_of_its_own_in_alphabetical_order():
    rows = re.findall(r"^\| <a id=\"(.+?)\"></a>(.+?) \|", GLOSSARY.read_text(), re.MULTILINE)
    assert len(rows) == GLOSSARY.read_text().count("\n| ") - 1 == len(glossary())
    names = [name.lower() for _, name in rows]
    assert names == sorted(names)
    assert [anchor for anchor, _ in rows] == [
        name.replace(" ", "-").replace("'", "") for name in names
    ]
    assert glossary().keys() >= WANTED


def test_the_page_of_the_glossary_has_every_term_where_links_lead(tmp_path):
    write_index(tmp_path)
    tree, faults = walk.read(tmp_path / "glossary.html")
    terms = {node["id"]: node.text for node in tree.all("dt")}
    assert terms == {anchor: name for anchor, (name, _) in glossary().items()} and not faults
    meanings = [node.text for node in tree.all("dd")]
    assert meanings == [means.replace("`", "") for _, means in glossary().values()]


@pytest.mark.parametrize("name", PAGES)
def test_every_page_links_terms_that_the_glossary_has(name):
    source = (ROOT / f"common/report/templates/{name}.html").read_text()
    called = re.findall(r'\bterm\("([^"]+)"(?:, "([^"]+)")?', source)
    assert len(called) >= 5
    term = templates().get_template("pieces.html").module.term
    for shown, other in called:
        assert f">{shown}</a>" in term(shown, other)


def test_a_term_that_the_glossary_lacks_is_an_error():
    term = templates().get_template("pieces.html").module.term
    assert 'href="glossary.html#hes-initialisation"' in term("He's initialisation", up="")
    with pytest.raises(UndefinedError):
        term("phlogiston")


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.stem)
def test_every_link_of_a_sheet_leads_to_a_term_and_each_term_is_linked_once_a_section(sheet):
    sections = sheet.read_text().split("\n## ")
    linked = [re.findall(r"\]\(\.\./docs/glossary\.md#([\w-]+)\)", one) for one in sections]
    assert sum(map(len, linked)) >= 5
    for names in linked:
        assert set(names) <= glossary().keys() and len(names) == len(set(names))


def test_a_page_links_a_term_once_a_section(tmp_path, monkeypatch):
    made_up_reports.draw_nothing(monkeypatch)
    report = made_up_reports.report(results=made_up_reports.many_results())
    tree, _ = walk.read(write_report(tmp_path, report))
    for section in tree.all("section"):
        links = [link["href"] for link in section.all("a") if link["class"] == "term"]
        assert len(links) == len(set(links)), next(section.all("h2")).text
