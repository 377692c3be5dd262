"""``python run_part.py export DIR --web``: the network as a page that finds keypoints in a browser.

The page is static: HTML and JavaScript from ``assets/web``, the network in int8, YuNet where its
file is at hand, and ONNX Runtime Web. Pictures never leave the visitor's computer.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.checkpoints import Trained
from common.keypoints import IBUG_68
from common.photos import face_filters
from common.photos.detectors import FITS
from common.photos.finder import require_all_points
from common.photos.placement import CALIBRATION, LEANING, UNCERTAINTY
from common.photos.tracking import OneEuro
from common.system.errors import UserError
from common.system.files import put_bytes, write_together
from datasets import catalog, yunet
from datasets.download import RemoteFile
from parts.toolkit import ASSETS, FILTERS, int8

CDN = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.22.0/dist/"
RUNTIME = {  # licence: MIT, https://github.com/microsoft/onnxruntime
    kind: RemoteFile(name, CDN + name, sha256)
    for kind, (name, sha256) in {
        "script": (
            "ort.wasm.min.js",
            "65e09376df69107e881b5c34d2d37aed333a366b6d941073ec518168e269b87d",
        ),
        "glue": (
            "ort-wasm-simd-threaded.mjs",
            "30dd851d9c00622940500f71ddd2ff8820c5cb65270816080175b958705385a8",
        ),
        "wasm": (
            "ort-wasm-simd-threaded.wasm",
            "71aef04959c5c1b6de461b6538e2058e306610034a85aad2742d0c7fd4533fe4",
        ),
    }.items()
}
PAGE = ("index.html", "page.js", "keypoints.js")
DETECTOR_SIDE = 640  # pixels of YuNet's input
LEAST_SCORE = 0.6  # as ``detectors.yunet``


def write(trained: Trained, folder: Path, data: Path | None, runtime: Path | None) -> str:
    """Write the page's files into ``folder``; returns a line for the user.

    trained: a network with heatmaps for 68 points.
    data: where YuNet's file may lie.
    runtime: a folder with ONNX Runtime Web, unpacked from npm; None links to a CDN.
    Raises UserError where a file is missing or cannot be written, or the network is another.
    """
    require_all_points(trained.checkpoint, trained.name)
    if not hasattr(trained.network, "heatmaps"):
        raise UserError(f"{trained.name}: predicts no heatmaps, which the page shows")
    files = {name: (ASSETS / "web" / name).read_bytes() for name in PAGE}
    files["face.onnx"] = int8(trained, bits=7)  # browsers may sum pairs of products in 16 bits
    detector = yunet.place(data)
    if detector.is_file():
        files["yunet.onnx"] = detector.read_bytes()
    for name in face_filters.names(FILTERS):
        files[f"{name}.png"] = (FILTERS / f"{name}.png").read_bytes()
    for remote in RUNTIME.values() if runtime else ():
        files[remote.name] = _runtime_file(runtime, remote.name)
    settings = page_settings(trained, "yunet.onnx" in files, runtime is not None)
    files["face.json"] = json.dumps(settings, indent=1).encode()
    write_together({folder / name: put_bytes(content) for name, content in files.items()})
    size = sum(map(len, files.values())) / 1e6
    return (
        f"{folder}: {size:.1f} MB; look at it with: python -m http.server --directory {folder}, "
        "then open http://localhost:8000"
        + ("" if detector.is_file() else "; without YuNet, so visitors drag a box around the face")
    )


def page_settings(trained: Trained, detector: bool, local: bool) -> dict[str, Any]:
    """What the page reads from ``face.json``.

    detector: whether YuNet's file lies beside it. local: whether ONNX Runtime's do.
    """
    recipe, (right, down, scale) = trained.recipe, FITS["yunet"]
    cells = recipe.width / 4  # of a heatmap's side
    target = math.sqrt(2) * recipe.heatmap_sigma / cells  # the spread that training aims at
    places = {"side": DETECTOR_SIDE, "right": right, "down": down, "scale": scale}
    return {
        "about": f"{trained.checkpoint['network']}, {trained.name}",
        "licence": catalog.licence(trained.checkpoint["dataset"]),
        "network": "face.onnx",
        "runtime": {kind: _address(remote, local) for kind, remote in RUNTIME.items()},
        "side": recipe.width,
        "boxScale": recipe.box_scale,
        "leaning": LEANING,
        "widest": math.hypot(CALIBRATION.midpoint / UNCERTAINTY, target),
        "points": IBUG_68.n_points,
        "flipOrder": IBUG_68.flip_order.tolist(),
        "lines": IBUG_68.lines,
        "outerEyes": IBUG_68.outer_eyes,
        "oneEuro": {
            "leastCutoff": OneEuro.least_cutoff,
            "gain": OneEuro.gain,
            "speedCutoff": OneEuro.speed_cutoff,
        },
        "detector": {"url": "yunet.onnx", "least": LEAST_SCORE} | places if detector else None,
        "filters": [_filter(name) for name in face_filters.names(FILTERS)],
    }


def _address(remote: RemoteFile, local: bool) -> dict[str, str]:
    """Where the page finds a file; of a CDN's the browser checks the hash."""
    if local:
        return {"url": remote.name}
    checksum = base64.b64encode(bytes.fromhex(remote.sha256 or "")).decode()
    return {"url": remote.url, "integrity": f"sha256-{checksum}"}


def _filter(name: str) -> Mapping[str, Any]:
    """A face filter's art and the keypoints on which its anchors lie."""
    anchors, weights, _ = face_filters.read_anchors(FILTERS / f"{name}.txt")
    each = zip(anchors.tolist(), weights, strict=True)
    places = [
        {"x": x, "y": y, "keypoints": weight.nonzero()[0].tolist()} for (x, y), weight in each
    ]
    return {"name": name, "art": f"{name}.png", "anchors": places}


def _runtime_file(folder: Path, name: str) -> bytes:
    for place in (folder, folder / "dist", folder / "package" / "dist"):
        if (place / name).is_file():
            return (place / name).read_bytes()
    raise UserError(
        f"--onnxruntime-web {folder}: has no {name}; unpack there what "
        "`npm pack onnxruntime-web@1.22.0` fetches"
    )
