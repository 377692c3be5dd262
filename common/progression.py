"""The start page, ``reports/index.html``: all runs found there, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.files import write_atomically
from common.metrics import METRICS
from common.pages import duration, rounded, templates


def write_index(reports: Path) -> Path:
    """Write ``reports/index.html``, which sets all runs found in ``reports`` side by side.

    A run is a folder with an ``index.html`` and a ``metrics.json``; one that cannot be read is
    named on the page and left out.
    """
    runs, unreadable = [], []
    for file in sorted(reports.glob("*/metrics.json")):
        if (file.parent / "index.html").is_file():
            try:
                runs.append(
                    {**json.loads(file.read_text(encoding="utf-8")), "folder": file.parent.name}
                )
            except (ValueError, TypeError):
                unreadable.append(f"{file.parent.name}/metrics.json")
    page = (
        templates()
        .get_template("index.html")
        .render(
            runs=runs,
            rows=_index_rows(runs),
            unreadable=unreadable,
            compared=(reports / "compare" / "index.html").is_file(),
        )
    )
    write_atomically(reports / "index.html", lambda file: file.write(page.encode()))
    return reports / "index.html"


def _index_rows(runs: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """The rows of the index's table: a name and one cell per run, a dash where it has none."""
    rows = [
        ("data set", [run.get("dataset", "–") for run in runs]),
        ("faces to train on", [rounded(run.get("n_train")) for run in runs]),
        ("faces to test on", [rounded(run.get("n_test")) for run in runs]),
        ("network", [run.get("network", "–") for run in runs]),
        ("parameters", [rounded(run.get("parameters")) for run in runs]),
        ("recipe", [run.get("recipe", "–") for run in runs]),
        ("epochs", [rounded(run.get("epochs")) for run in runs]),
        ("training time", [duration(run.get("seconds")) for run in runs]),
    ]
    for key, metric in METRICS.items():
        name = f"{metric.name}, {metric.unit}" if metric.unit else metric.name
        pairs = [(run.get(key), run.get("baseline_mean_face", {}).get(key)) for run in runs]
        rows.append((name, [f"{rounded(own)} (mean face {rounded(mean)})" for own, mean in pairs]))
    return rows
