"""What every page under ``reports`` is made with.

Modules here measure and draw; the words of a page, captions included, are in its template.
"""

from __future__ import annotations

import functools
import math
import os
import re
import shutil
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from common.report import figures, image_figures
from common.system.errors import UserError
from common.system.files import clear_abandoned

GLOSSARY = Path(__file__).parents[2] / "docs/glossary.md"
Picture = dict[str, Any]
"""A figure on a page: ``file`` relative to the page, ``width`` and ``height`` in pixels, ``alt``
and ``caption`` unless the template has them, ``chart`` if it shows no photo and its colours may be
inverted in the dark, and the numbers that its caption mentions."""


class Gallery:
    """Saves a page's figures below its folder; of synthetic faces each is marked so."""

    def __init__(self, folder: Path, synthetic: bool = False) -> None:
        self.folder, self.mark = folder, "synthetic faces" if synthetic else ""
        try:
            (folder / "figures").mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise UserError(
                f"{folder / 'figures'}: cannot be made ({fault.strerror}); choose another --reports"
            ) from None

    def add(
        self, name: str, figure: Figure, alt: str = "", caption: str = "", /, **facts: object
    ) -> Picture:
        """Save ``figures/<name>.png``."""
        file = f"figures/{name}.png"
        width, height = figures.save(figure, self.folder / file, self.mark)
        size = {"file": file, "width": width, "height": height}
        chart = not image_figures.shows_photo(figure)
        return {**size, "chart": chart, "alt": alt, "caption": caption, **facts}


def write_page(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Let ``fill`` write a page, ``index.html``, its figures and files into a folder, and move it.

    Everything is made in a temporary folder and then renamed into ``folder``; the old page is
    removed first and the new one comes last, so that a kill leaves no page beside the numbers or
    figures of another run. Returns the page's path; raises UserError where it cannot be written.
    """
    work = folder / f".writing-{os.getpid()}-{time.time_ns()}"  # others may write it, too
    try:
        clear_abandoned(folder.glob(".writing-*"))
        (work / "figures").mkdir(parents=True)
        fill(work)
        (folder / "index.html").unlink(missing_ok=True)
        shutil.rmtree(folder / "figures", ignore_errors=True)
        for file in sorted(work.iterdir(), key=lambda file: file.name == "index.html"):
            file.replace(folder / file.name)
    except OSError as fault:
        raise UserError(
            f"{fault.filename or folder}: the report cannot be written "
            f"({fault.strerror or fault}); free some space or choose another --reports"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder / "index.html"


def rename_norm(page: Path, long: str, short: str) -> None:
    """On a page whose templates say eye distance, name what errors are really in % of, in both
    ways in which they say it."""
    text = page.read_text(encoding="utf-8")
    text = text.replace("distance between the outer eye corners", long)
    page.write_text(text.replace("eye distance", short), encoding="utf-8")


def render(folder: Path, template: str, contents: dict[str, Any]) -> None:
    """Write ``index.html`` into ``folder``."""
    page = templates().get_template(template).render(contents)
    (folder / "index.html").write_text(page, encoding="utf-8")


def plain_text(template: str, **values: object) -> str:
    """A template that is not a page, filled with these values."""
    return templates().overlay(autoescape=False).get_template(template).render(values)


@functools.cache
def templates() -> jinja2.Environment:
    """The pages of ``common/report/templates`` and what they write numbers with."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": rounded, "duration": duration, "hundredths": hundredths}
    environment.globals["glossary"] = glossary
    return environment


@functools.cache
def glossary() -> dict[str, tuple[str, str]]:
    """The terms of ``docs/glossary.md`` with their meanings, by their anchors."""
    row = re.compile(r'^\| <a id="(.+?)"></a>(.+?) \| (.+) \|$', re.MULTILINE)
    return {name: (it, means) for name, it, means in row.findall(GLOSSARY.read_text("utf-8"))}


def rounded(value: float | int | None) -> str:
    """Three significant digits without an exponent, counts in full, a dash for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{Decimal(f'{value:.3g}'):f}"
    return text.replace("-", "−")


def hundredths(value: float) -> str:
    """Two decimals."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # no −0.00


def duration(seconds: float | None) -> str:
    """Seconds, or minutes from 100 s on; a dash for what is missing."""
    if seconds is None:
        return "–"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
