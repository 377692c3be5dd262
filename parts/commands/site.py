"""``python run_part.py site DIR``: the course as static pages that open from disk.

Lessons, sheets and documents are made from the files of this repository, ablations from
``docs/ladders``. Of the reports only runs on synthetic faces are taken, which may be shown.
"""

from __future__ import annotations

import argparse
import ast
import json
import posixpath
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from common.report.ablation_page import read, write_ablation
from common.report.index_page import write_index
from common.report.lesson import read_lesson
from common.report.markdown_page import markdown, sections
from common.report.page import templates
from common.system.errors import UserError
from common.system.files import make_writable
from parts.commands.options import add_reports

ROOT = Path(__file__).resolve().parents[2]
LESSONS = {
    "1": "parts/part1_nose_tip.py",
    "2": "parts/part2_full_face.py",
    "3": "parts/part3_large_dataset.py",
}
PICTURES = (".png", ".jpg")
NAVIGATION = {
    "index.html": "Home",
    **{f"lessons/part{part}.html": f"Lesson {part}" for part in LESSONS},
    "exercises/part1.html": "Exercises",
    "reports/moving.html": "Figures that move",
    "docs/ladders.html": "Ablations",
    "reports/glossary.html": "Glossary",
    "docs/teaching.html": "For teachers",
    "search.html": "All pages",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``site``."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new folder for the pages")
    add_reports(parser)
    parser.add_argument(
        "--real-faces", action="store_true",
        help="take runs on real faces, too: only where you may show these faces",
    )  # fmt: skip
    parser.add_argument(
        "--web", type=Path, metavar="DIR", help="the page that `export DIR --web` wrote"
    )


def run(options: argparse.Namespace) -> None:
    """Write the site and print its address and what was left out.

    Raises UserError where the folder is there already or cannot be written.
    """
    folder = options.folder
    if folder.exists():
        raise UserError(f"{folder}: is there already; delete it or choose another name")
    if options.web and not (options.web / "index.html").is_file():
        raise UserError(f"{options.web}: holds no page; write one with: export DIR --web")
    make_writable(folder.parent)
    work = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(work, ignore_errors=True)
    try:
        runs, left_out = copy_runs(options.reports, work / "reports", options.real_faces)
        if options.web:
            shutil.copytree(options.web, work / "web")
        write_pages(work, runs, bool(options.web))
        work.rename(folder)
    except OSError as fault:
        raise UserError(
            f"{fault.filename or folder}: cannot be written ({fault.strerror or fault}); free some "
            "space or choose another name"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for line in left_out:
        print(f"left out: {line}")
    if missing := [part for part in LESSONS if f"part{part}" not in runs]:
        print(
            f"no run on synthetic faces of part {', '.join(missing)}; make one with: python "
            f"run_part.py {missing[0]} --dataset synthetic --reports reports-synthetic"
        )
    print(f"the site: {folder / 'index.html'}")


def copy_runs(reports: Path, folder: Path, real: bool) -> tuple[list[str], list[str]]:
    """Copy the pages of runs and write the ablations and the start page beside them.

    real: whether runs on real faces are taken, too.
    Returns the names of the runs, and a line for each page that is left out.
    """
    folder.mkdir(parents=True)
    taken, left_out = [], []
    for page in sorted(reports.glob("*/index.html")):
        run = page.parent
        try:
            synthetic = json.loads((run / "metrics.json").read_text("utf-8"))["synthetic"]
        except (OSError, ValueError, TypeError, LookupError):
            left_out.append(f"{run} (whose faces it shows is not known)")
            continue
        if synthetic is True or real:
            shutil.copytree(run, folder / run.name)
            taken.append(run.name)
        else:
            left_out.append(f"{run} (real faces; --real-faces takes them)")
    for part in LESSONS:
        write_ablation(folder / f"ladder{part}", read(ROOT / f"docs/ladders/part{part}.json"))
    write_index(folder)
    for checkpoint in folder.glob("*/*.pt*"):  # the start page needed them
        checkpoint.unlink()
    return taken, left_out


def write_pages(folder: Path, runs: list[str], web: bool) -> None:
    """Write all other pages, and add to each the navigation and to the search what it says."""
    documents = ["README.md", *(f"docs/{file.name}" for file in sorted(ROOT.glob("docs/*.md")))]
    sheets = [f"exercises/part{part}.md" for part in LESSONS]
    titles = write_documents(folder, [*documents, *sheets])
    lessons = {part: _lesson(part, runs) for part in LESSONS}
    for part, lesson in lessons.items():
        _write(folder, f"lessons/part{part}.html", "lesson.html", **lesson)
    shown = {name: titles[name] for name in documents}
    _write(folder, "index.html", "site.html", lessons=lessons, documents=shown, web=web)
    pages = sorted(page for page in folder.rglob("*.html") if folder / "web" not in page.parents)
    found = []
    for page in pages:
        name, html = page.relative_to(folder).as_posix(), page.read_text("utf-8")
        up = "../" * name.count("/")
        links = (
            templates()
            .get_template("site_navigation.html")
            .render(up=up, here=name, navigation=NAVIGATION)
        )
        page.write_text(html.replace("<body>", f"<body>\n{links}", 1), encoding="utf-8")
        if name not in ("docs/glossary.html", "reports/index.html"):  # said elsewhere
            found += [(name, *section) for section in sections(html)]
    names = {page.relative_to(folder).as_posix(): None for page in pages}
    firsts = {name: heading for name, _, heading, _ in reversed(found)}
    listed = {name: firsts[name] for name in names if name in firsts}
    _write(folder, "search.html", "search.html", found=found, listed=listed, navigation=NAVIGATION)


def write_documents(folder: Path, names: list[str]) -> dict[str, str]:
    """Write Markdown files as pages, and what they link to: other files of the repository, as
    pages, and pictures. Returns their titles by their names."""
    titles, waiting = {}, list(names)

    def link(address: str, source: str) -> str:
        path, _, place = address.partition("#")
        if not path or ":" in path:
            return address
        name = posixpath.normpath(PurePosixPath(source).parent / path)
        if Path(name).suffix in PICTURES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
            return address
        waiting.append(name)
        page = posixpath.relpath(page_of(name), PurePosixPath(source).parent)
        return f"{page}#{place}" if place else page

    while waiting:
        name = waiting.pop()
        if name in titles:
            continue
        text = (ROOT / name).read_text("utf-8")
        if name.endswith(".md"):
            html = markdown(text, lambda address, source=name: link(address, source))
            titles[name] = text.partition("\n")[0].removeprefix("# ")
            _write(folder, page_of(name), "document.html", title=titles[name], html=html)
        else:
            titles[name] = name
            _write(folder, page_of(name), "document.html", title=name, code=text)
    return titles


def page_of(name: str) -> str:
    """The page of a file of the repository."""
    return f"{name.removesuffix('.md')}.html"


def _lesson(part: str, runs: list[str]) -> dict[str, Any]:
    """What a lesson's page shows: the file with its docstring, and the words of its page."""
    source = (ROOT / LESSONS[part]).read_text("utf-8")
    about = markdown(ast.get_docstring(ast.parse(source)).replace("``", "`"), str)
    words = read_lesson(ROOT / f"parts/pages/part{part}.md")
    facts = {"file": LESSONS[part], "source": source, "about": about, "lesson": words}
    return facts | {"part": part, "run": f"part{part}" in runs}


def _write(folder: Path, name: str, template: str, **contents: Any) -> None:  # noqa: ANN401
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    html = templates().get_template(template).render(contents)
    (folder / name).write_text(html, encoding="utf-8")
