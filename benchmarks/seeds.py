"""A part's metrics over several seeds: ``python -m benchmarks.seeds 1 --recipe course``.

Every seed is a full run of the part, pages included, in a temporary folder.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import parser_of, run
from common.recipe import Options
from parts.studies.experiment import PARTS

SHOWN = ("mse_ratio", "mse_px", "nme", "fr8", "auc8", "mae_px_original")


def main() -> None:
    """Print the metrics of each seed, then mean and standard deviation."""
    parser = parser_of(__doc__, seeds=5)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--recipe", choices=("course", "best"), default="best")
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()

    part, _ = PARTS[options.part]
    runs = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            began, reports = time.monotonic(), Path(folder)
            part.run(Options(options.recipe, seed=seed, epochs=options.epochs, reports=reports))
            metrics = json.loads((reports / part.LESSON.folder / "metrics.json").read_text())
        metrics["seconds"] = time.monotonic() - began  # with imports and the page
        runs.append(metrics)
        shown = ", ".join(f"{name} {metrics[name]:.4g}" for name in (*SHOWN, "seconds"))
        print(f"seed {seed}: {shown}", flush=True)
    for name in (*SHOWN, "seconds"):
        values = [metrics[name] for metrics in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name:16} {statistics.mean(values):.5g} ± {spread:.2g}")
    baseline = runs[-1]["baseline_mean_face"]
    print("mean face:", ", ".join(f"{name} {baseline[name]:.5g}" for name in SHOWN))


if __name__ == "__main__":
    run(main)
