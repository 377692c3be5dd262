"""``python run_part.py export DIR --package NAME``: the network as a package without PyTorch.

pip installs the folder: one readable module from ``assets/package``, the network in int8, YuNet
where its file is at hand (else Haar, which opencv-python brings), and the numbers that belong to
them. It needs numpy, opencv-python and onnxruntime.
"""

from __future__ import annotations

import json
import keyword
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.checkpoints import Trained
from common.keypoints import IBUG_68
from common.photos.detectors import FITS
from common.photos.finder import require_all_points
from common.photos.placement import (
    BOX_OFF,
    CALIBRATION,
    FLIP_CALIBRATION,
    LEANING,
    ROOM,
    UNCERTAINTY,
    WIDER,
)
from common.photos.pose import LANDMARKS, MEAN_HEAD
from common.system.errors import UserError
from common.system.files import put_bytes, write_together
from datasets import catalog, yunet
from parts.toolkit import ASSETS, int8

PROJECT = """\
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "1.0.0"
description = "68 facial keypoints without PyTorch"
readme = "README.md"
requires-python = ">=3.10"
dependencies = ["numpy>=1.24", "opencv-python>=4.8,<5", "onnxruntime>=1.20"]

[project.scripts]
{name} = "{name}:main"

[tool.setuptools]
packages = ["{name}"]

[tool.setuptools.package-data]
{name} = ["*.onnx", "*.json"]
"""
README = """\
# {name}

Finds faces in photos and 68 keypoints in each, without PyTorch.

```
python -m pip install .
{name} photo.jpg
```

```python
import cv2
import {name}

image = cv2.cvtColor(cv2.imread("photo.jpg"), cv2.COLOR_BGR2RGB)
for face in {name}.predict(image):
    print(face.confidence, face.keypoints)  # float32 (68, 2), pixels of the photo
```

`predict(image, boxes)` takes boxes, left, top, width, height, in place of the detector. Faces that
lie on their side are not searched.

Network: {network} ({source}), weights in int8. Detector: {detector}.

## Licence

The module is under the MIT licence. The network was trained on data with this licence: {licence}.
"""


def write(trained: Trained, folder: Path, name: str, data: Path | None) -> str:
    """Write the package ``name`` into ``folder``; returns a line for the user.

    trained: a network with heatmaps for 68 points.
    data: where YuNet's file may lie.
    Raises UserError where the name is none for a package, the network is another, or a file cannot
    be written.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or not name.islower():
        raise UserError(f"--package {name}: no name for a package; take one such as faces68")
    require_all_points(trained.checkpoint, trained.name)
    if not hasattr(trained.network, "heatmaps"):
        raise UserError(f"{trained.name}: predicts no heatmaps, which the package needs")
    detector = yunet.place(data)
    found = detector.is_file()
    words = {
        "name": name,
        "network": trained.checkpoint["network"],
        "source": trained.name,
        "detector": "YuNet (MIT licence)" if found else "OpenCV's Haar cascade",
        "licence": catalog.licence(trained.checkpoint["dataset"]),
    }
    files = {
        "pyproject.toml": PROJECT.format(**words).encode(),
        "README.md": README.format(**words).encode(),
        f"{name}/__init__.py": (ASSETS / "package" / "module.py").read_bytes(),
        f"{name}/settings.json": json.dumps(settings(trained, found)).encode(),
        f"{name}/face.onnx": int8(trained),
    }
    if found:
        files[f"{name}/yunet.onnx"] = detector.read_bytes()
    write_together({folder / path: put_bytes(content) for path, content in files.items()})
    size = sum(map(len, files.values())) / 1e6
    return f"{folder}: {size:.1f} MB; install it with: python -m pip install {folder}"


def settings(trained: Trained, has_yunet: bool) -> dict[str, Any]:
    """The numbers that the module reads from ``settings.json``."""
    recipe, marks = trained.recipe, LANDMARKS[IBUG_68.name]
    weakness = trained.checkpoint.get("flip_disagreement", 0.0)
    flip = FLIP_CALIBRATION
    return {
        "side": recipe.width,
        "box_scale": recipe.box_scale,
        "sigma": recipe.heatmap_sigma,
        "fit": FITS["yunet" if has_yunet else "haar"],
        "flip_order": IBUG_68.flip_order.tolist(),
        "outer_eyes": IBUG_68.outer_eyes,
        "leaning": LEANING,
        "box_off": BOX_OFF,
        "wider": WIDER,
        "room": ROOM,
        "uncertainty": UNCERTAINTY,
        "calibration": asdict(CALIBRATION),
        "weak": weakness > flip.midpoint,
        "flip_calibration": asdict(flip) | {"midpoint": max(flip.midpoint, weakness)},
        "mean_head": MEAN_HEAD.tolist(),
        "lids": marks.lids,
        "eye_corners": marks.eye_corners,
        "lips": marks.lips,
        "mouth_corners": [marks.mouth_corners],
    }
