"""``docs/ladders.md`` and its charts, from committed numbers: ``python -m benchmarks.ladders``.

``--reports DIR`` takes over what ``python run_part.py ladder`` measured there, into
``docs/ladders/part1.json`` and so on. ``--charts DIR`` draws the charts.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import parser_of, run
from common.report import ablation_page
from common.report.page import Gallery
from common.system.files import write_atomically

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> None:
    """Take over new numbers if requested, write the page, draw the charts if requested."""
    parser = parser_of(__doc__)
    parser.add_argument("--reports", type=Path, metavar="DIR", help="ladders to take over")
    parser.add_argument("--charts", type=Path, metavar="DIR", help="draw the charts there")
    write(DOCS, **vars(parser.parse_args()))


def write(docs: Path, reports: Path | None, charts: Path | None) -> None:
    """Write ``docs/ladders.md`` from the numbers in ``docs/ladders``.

    reports: a folder whose ladders' numbers are taken over first; those of a quick one only where
    there are no others. charts: where to draw.
    """
    for part in ("1", "2", "3") if reports else ():
        committed = docs / "ladders" / f"part{part}.json"
        whole, quick = (reports / f"ladder{part}{kind}" / "ladder.json" for kind in ("", "-quick"))
        file = whole if whole.is_file() or committed.is_file() else quick
        if file.is_file():
            _write(committed, ablation_page.as_json(ablation_page.read(file)))
    known = [ablation_page.read(file) for file in sorted((docs / "ladders").glob("part*.json"))]
    _write(docs / "ladders.md", ablation_page.markdown(known))
    for ablation in known if charts else ():
        folder = charts / f"part{ablation.part}"
        for drawn in ablation_page.charts(Gallery(folder), ablation).values():
            print(folder / drawn["file"])


def _write(file: Path, text: str) -> None:
    write_atomically(file, lambda to: to.write(text.encode()))


if __name__ == "__main__":
    run(main)
