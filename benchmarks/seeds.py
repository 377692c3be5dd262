"""What a part reaches over several seeds: ``python -m benchmarks.seeds 1 --recipe course``.

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
    asked = parser.parse_args()
    need_one("--seeds", asked.seeds)

    part, _ = PARTS[asked.part]
    columns: dict[str, list[float]] = {name: [] for name in (*SHOWN, "seconds")}
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            part.run(Options(asked.recipe, seed=seed, epochs=asked.epochs, reports=Path(folder)))
            file = Path(folder) / part.LESSON.folder / "metrics.json"
            metrics = json.loads(file.read_text(encoding="utf-8"))
            metrics["seconds"] = time.monotonic() - began  # from the first import to the page
        for name, values in columns.items():
            values.append(metrics[name])
        print(
            f"seed {seed}:",
            {name: f"{values[-1]:.4g}" for name, values in columns.items()},
            flush=True,
        )
    for name, values in columns.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name:16} {statistics.mean(values):.5g} ± {spread:.2g}")
    baseline = metrics["baseline_mean_face"]
    print("mean face:", {name: f"{baseline[name]:.5g}" for name in SHOWN})


if __name__ == "__main__":
    main()
