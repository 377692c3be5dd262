"""A part's metrics over several seeds: ``python -m benchmarks.seeds 1 --recipe course``.

Every seed is a full run of the part, pages included, in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from common.recipe import Options, need_one
from parts.studies.experiment import PARTS

SHOWN = ("mse_ratio", "mse_px", "nme", "fr8", "auc8", "mae_px_original")


def main() -> None:
    """Print the metrics of each seed, then mean and standard deviation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--recipe", choices=("course", "best"), default="best")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    need_one("--seeds", options.seeds)

    part, _ = PARTS[options.part]
    runs = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            began, reports = time.monotonic(), Path(folder)
            part.run(Options(options.recipe, seed=seed, epochs=options.epochs, reports=reports))
            file = reports / part.LESSON.folder / "metrics.json"
            runs.append(json.loads(file.read_text(encoding="utf-8")))
            runs[-1]["seconds"] = time.monotonic() - began  # with imports and the page
        shown = {name: f"{runs[-1][name]:.4g}" for name in (*SHOWN, "seconds")}
        print(f"seed {seed}: {shown}", flush=True)
    for name in (*SHOWN, "seconds"):
        values = [run[name] for run in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name:16} {statistics.mean(values):.5g} ± {spread:.2g}")
    baseline = runs[-1]["baseline_mean_face"]
    print("mean face:", {name: f"{baseline[name]:.5g}" for name in SHOWN})


if __name__ == "__main__":
    main()
