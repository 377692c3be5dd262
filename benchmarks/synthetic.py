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

from benchmarks import parser_of
from common.keypoints import IBUG_68, IMM_58, SCHEMES
from datasets.synthetic.render import SETTINGS, render


def measure(count: int) -> None:
    """Print faces a second for both settings, with one process and with one per core."""
    for setting, scheme in (("crop", IBUG_68), ("portrait", IMM_58)):
        for processes in sorted({1, os.cpu_count() or 1}):
            with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
                parts = [range(first, count, processes) for first in range(processes)]
                work = partial(render_on_one_thread, scheme=scheme.name, setting=setting)
                list(pool.map(work, [range(2)] * processes))  # imports are not measured
                began = time.perf_counter()
                list(pool.map(work, parts))
                seconds = time.perf_counter() - began
            height, width = SETTINGS[setting]
            print(
                f"{setting} {width}x{height}, processes: {processes}, {count / seconds:.1f} faces/s"
            )


def render_on_one_thread(seeds: range, scheme: str, setting: str) -> None:
    """What one process of the benchmark does; nothing is kept."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    render(seeds, SCHEMES[scheme], setting)


def sheet(path: Path, points: bool, side: int = 112, columns: int = 8) -> None:
    """Write 48 faces as one picture."""
    images, places, _ = render(range(48), IBUG_68, size=(side, side))
    pictures = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())  # (48, side, side, 3)
    if points:
        for picture, face in zip(pictures, np.round(places.numpy() * 16).astype(int), strict=True):
            for x, y in face.tolist():
                cv2.circle(picture, (x, y), 16, (255, 220, 0), -1, cv2.LINE_AA, 4)
    rows = pictures.reshape(-1, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
    Image.fromarray(rows.reshape(-1, columns * side, 3)).save(path, quality=88)


def main() -> None:
    """Measure, or write the sheet."""
    parser = parser_of(__doc__)
    parser.add_argument("--count", type=int, default=200, help="faces per measurement (200)")
    parser.add_argument("--sheet", type=Path, help="write 48 faces to this file, measure nothing")
    parser.add_argument("--points", action="store_true", help="with the points on the sheet")
    options = parser.parse_args()
    if options.sheet:
        sheet(options.sheet, options.points)
    else:
        measure(options.count)


if __name__ == "__main__":
    main()
