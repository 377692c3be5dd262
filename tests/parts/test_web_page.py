import base64
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest
from PIL import Image
from small_network import checkpoint_of

from common import checkpoints
from common.keypoints import IBUG_68
from common.recipe import Recipe
from common.system.errors import UserError
from datasets.synthetic.render import render
from parts import toolkit, web_page
from parts.part3_large_dataset import HeatmapResNet18, ResNet18

RECIPE = Recipe(64, 64, 8, 1.3, heatmap_weight=0.1)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
RUNTIME = os.environ.get("ONNXRUNTIME_WEB")  # a folder with what npm pack onnxruntime-web fetches


def trained(tmp_path, network):
    more = {"scheme": "ibug68", "point_ids": list(range(68)), "dataset": "synthetic"}
    return checkpoints.read(checkpoint_of(tmp_path / "net.pt", network, RECIPE, **more))


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The page's folder, its network no real one."""
    monkeypatch.setattr(web_page, "int8", lambda trained, bits: b"seven" if bits == 7 else b"")

    def write(**more):
        network = trained(tmp_path, HeatmapResNet18(channels=16))
        folder = tmp_path / "page"
        return folder, web_page.write(network, folder, tmp_path, **{"runtime": None} | more)

    return write


def test_every_file_that_the_page_loads_is_there_and_the_cdns_are_pinned(written, tmp_path):
    folder, line = written()
    assert str(folder) in line and "drag a box" in line  # YuNet is not there
    assert (folder / "face.onnx").read_bytes() == b"seven"
    settings = json.loads((folder / "face.json").read_text())
    assert settings["detector"] is None and settings["boxScale"] == 1.3
    assert all((folder / one["art"]).is_file() for one in settings["filters"])
    for one, remote in zip(settings["runtime"].values(), web_page.RUNTIME.values(), strict=True):
        assert re.search(r"@\d+\.\d+\.\d+/", one["url"])
        digest = base64.b64decode(one["integrity"].removeprefix("sha256-"))
        assert digest.hex() == remote.sha256 and len(digest) == hashlib.sha256().digest_size
    text = (folder / "index.html").read_text() + (folder / "page.js").read_text()
    assert not re.search(r"https?://", text)  # all that is foreign stands in face.json


def test_the_runtime_may_lie_beside_the_page_and_its_files_are_named_where_missing(
    written, tmp_path
):
    with pytest.raises(UserError, match=r"has no ort\.wasm\.min\.js; .*npm pack"):
        written(runtime=tmp_path)
    (tmp_path / "dist").mkdir()
    for remote in web_page.RUNTIME.values():
        (tmp_path / "dist" / remote.name).write_bytes(b"code")
    folder, _ = written(runtime=tmp_path)
    settings = json.loads((folder / "face.json").read_text())
    assert all(
        (folder / one["url"]).read_bytes() == b"code" for one in settings["runtime"].values()
    )


def test_a_network_without_heatmaps_is_refused(tmp_path):
    with pytest.raises(UserError, match="predicts no heatmaps"):
        web_page.write(trained(tmp_path, ResNet18()), tmp_path / "page", None, None)


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and RUNTIME), reason="needs Chromium and ONNXRUNTIME_WEB")
def test_in_a_browser_the_points_are_those_of_python(tmp_path, real_data):
    images, _, _ = render([4], IBUG_68, size=(480, 640), leave_out=("occluders",))
    photo = images[0].permute(1, 2, 0).numpy()
    web_page.write(
        toolkit.named(toolkit.SHIPPED), tmp_path, None, RUNTIME and web_page.Path(RUNTIME)
    )
    Image.fromarray(photo).save(tmp_path / "photo.png")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=100000",
             "--dump-dom", f"http://localhost:{server.server_port}/?photo=photo.png"],
            capture_output=True, text=True, timeout=120,
        ).stdout  # fmt: skip
        server.shutdown()
    found = json.loads(re.search(r'<pre id="points">(.*?)</pre>', page)[1])
    (face,) = toolkit.face_keypoints(detector="yunet", device="cpu").predict(photo)
    assert np.linalg.norm(np.array(found) - face.keypoints, axis=1).max() < 2
