"""The detectors on 300-W: how their boxes are fitted, ``python -m benchmarks.detectors fit``.

``fit`` runs every detector on the training faces and prints the three numbers that move its boxes
to where landmarks' boxes lie, for ``common.detection.FITS``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from common import detection
from common.detection import Detector
from common.faces import Faces
from common.keypoints import IBUG_68
from common.loading import read_picture
from datasets import yunet
from datasets.splits import split


def main() -> None:
    """Print one line per detector."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("fit",))
    parser.add_argument("--detectors", nargs="+", default=list(detection.FITS), metavar="NAME")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th face")
    asked = parser.parse_args()

    faces = split("ibug", "train", None, "landmarks", IBUG_68)
    faces = faces.take(range(0, len(faces), asked.every))
    for name in asked.detectors:
        detector = detection.load(name, yunet.place(None))
        fit(detector, faces)


def fit(detector: Detector, faces: Faces) -> None:
    """Print median and spread of where landmarks' boxes lie from the detector's."""
    raw = replace(detector, fit=(0.0, 0.0, 1.0))
    rows, began = [], time.monotonic()
    for file, truth in zip(faces.files, faces.boxes.numpy(), strict=True):
        image = np.asarray(read_picture(file, colour=True))
        for face in detection.detect(image, raw):
            box = np.array(face.box)
            if detection.overlap(box, truth) > 0.3:
                off = (truth[:2] + truth[2:] / 2 - box[:2] - box[2:] / 2) / box[2:].max()
                rows.append((*off, truth[2:].max() / box[2:].max()))
                break
    values = np.array(rows)
    middle, spread = np.median(values, axis=0), values.std(axis=0)
    print(
        f"{detector.name}: found {len(rows)} of {len(faces)}, right, down, scale "
        f"{middle.round(3).tolist()} ± {spread.round(3).tolist()}, "
        f"{1000 * (time.monotonic() - began) / len(faces):.0f} ms a picture",
        flush=True,
    )


if __name__ == "__main__":
    main()
