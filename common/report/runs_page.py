"""The page that sets finished runs side by side: ``reports/runs/index.html``."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from common.metrics import METRICS
from common.report import figures
from common.report.page import Gallery, Picture, render, write_page
from common.system.errors import UserError

STILLS = "figures/watched-stills.png"  # that a run writes of its watched test faces


def write_runs(folder: Path, runs: Sequence[Path]) -> Path:
    """Write a page that compares the parts that several reports folders share; its path.

    Raises UserError where no part is in two of them, or a file cannot be read.
    """
    found = {run: {file.parent.name for file in run.glob("*/metrics.json")} for run in runs}
    parts = [
        {run: _read(run / name) for run in runs if name in found[run]}
        for name in sorted(set().union(*found.values()))
    ]
    parts = [sides for sides in parts if len(sides) > 1]
    if not parts:
        names = ", ".join(map(str, runs))
        raise UserError(f"{names}: no part was run in two of them; run one with --reports DIR")

    def fill(work: Path) -> None:
        synthetic = any(side["metrics"]["synthetic"] for part in parts for side in part.values())
        gallery = Gallery(work, synthetic)
        contents = [_part(gallery, number, sides) for number, sides in enumerate(parts)]
        render(work, "runs.html", {"shared": contents, "synthetic": synthetic})

    return write_page(folder, fill)


def _read(folder: Path) -> dict[str, Any]:
    """Metrics and history of a run."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        with open(folder / "history.csv", newline="", encoding="utf-8") as file:
            rows = [
                {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)
            ]
        return {"metrics": metrics, "history": rows, "stills": folder / STILLS}
    except (OSError, ValueError) as fault:
        raise UserError(f"{folder}: cannot be read ({fault}); run the part again") from None


def _part(gallery: Gallery, number: int, sides: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """What the page shows of one part: what differs, numbers, curves, and the watched faces."""
    metrics = [side["metrics"] for side in sides.values()]
    recipes = [{"seed": one.get("seed")} | one["recipe_values"] for one in metrics]
    names = dict.fromkeys(name for recipe in recipes for name in recipe)
    values = {name: [str(recipe.get(name, "–")) for recipe in recipes] for name in names}
    histories = {str(run): [side["history"]] for run, side in sides.items()}
    curves = figures.curves_together(histories)
    return {
        "title": metrics[0]["title"],
        "runs": list(map(str, sides)),
        "same_faces": len({(one["dataset"], one["n_test"]) for one in metrics}) == 1,
        "differ": [(name, row) for name, row in values.items() if len(set(row)) > 1],
        "numbers": [
            (f"{it.name}, {it.unit}" if it.unit else it.name, [one.get(key) for one in metrics])
            for key, it in METRICS.items()
        ],
        "curves": gallery.add(f"curves-{number}", curves),
        "stills": [
            _copied(gallery, side["stills"], f"faces-{number}-{place}", str(run))
            for place, (run, side) in enumerate(sides.items()) if side["stills"].is_file()
        ],
    }  # fmt: skip


def _copied(gallery: Gallery, source: Path, name: str, run: str) -> Picture:
    """A picture of another page, copied to this one."""
    file = f"figures/{name}.png"
    shutil.copyfile(source, gallery.folder / file)
    with Image.open(source) as picture:
        width, height = picture.size
    return {"file": file, "width": width, "height": height, "run": run}
