"""Synthetic faces: how many per second, or a sheet of them: ``python -m benchmarks.synthetic``.

Prints faces per second; with ``--sheet FILE.jpg [--points]`` it renders the first 48 faces of the
training split instead.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.utils import make_grid

from benchmarks import parser_of, run
from common.keypoints import IBUG_68, IMM_58, SCHEMES
from datasets.synthetic.render import SETTINGS, render

SIDE, COLUMNS = 112, 8  # of the sheet: pixels of a face, faces in a row


def measure(count: int) -> None:
    """Print faces a second for both settings, with one process and with one per core."""
    for setting, scheme in (("crop", IBUG_68), ("portrait", IMM_58)):
        height, width = SETTINGS[setting]
        work = partial(render_on_one_thread, scheme=scheme.name, setting=setting)
        for processes in sorted({1, os.cpu_count() or 1}):
            with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
                list(pool.map(work, [range(2)] * processes))  # imports are not measured
                began = time.perf_counter()
                list(pool.map(work, [range(first, count, processes) for first in range(processes)]))
                rate = count / (time.perf_counter() - began)
            print(f"{setting} {width}x{height}, processes: {processes}, {rate:.1f} faces/s")


def render_on_one_thread(seeds: range, scheme: str, setting: str) -> None:
    """What one process of the benchmark does; nothing is kept."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    render(seeds, SCHEMES[scheme], setting)


def sheet(path: Path, points: bool) -> None:
    """Write 48 faces as one picture."""
    images, places, _ = render(range(48), IBUG_68, size=(SIDE, SIDE))
    whole = np.ascontiguousarray(make_grid(images, COLUMNS, padding=0).permute(1, 2, 0).numpy())
    for number, face in enumerate(places if points else ()):
        corner = torch.tensor([number % COLUMNS, number // COLUMNS]) * SIDE
        for x, y in ((face + corner) * 16).round().int().tolist():
            cv2.circle(whole, (x, y), 16, (255, 220, 0), -1, cv2.LINE_AA, 4)
    Image.fromarray(whole).save(path, quality=88)


def main() -> None:
    """Measure, or write the sheet."""
    parser = parser_of(__doc__, count=200)
    parser.add_argument("--sheet", type=Path, help="write 48 faces to this file, measure nothing")
    parser.add_argument("--points", action="store_true", help="with the points on the sheet")
    options = parser.parse_args()
    if options.sheet:
        sheet(options.sheet, options.points)
    else:
        measure(options.count)


if __name__ == "__main__":
    run(main)
