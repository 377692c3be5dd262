"""Video: frames a second, the time of each stage, and jitter and lag of the smoothed points.

``python -m benchmarks.video [--checkpoint FILE]`` renders a face, 640x480, at rest and moving by 5
pixels a frame, with a camera's noise. Speed is that of ``webcam --video FILE --no-window``: with
reading, without drawing. The environment's ``OMP_NUM_THREADS`` sets the number of cores.
"""

from __future__ import annotations

import math
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks import parser_of, run
from common.keypoints import IBUG_68
from common.photos.finder import FaceKeypoints
from common.photos.onnx_runtime import is_installed
from common.photos.tracking import Tracker
from common.photos.video import OWN, Frames, Recorder
from datasets.synthetic.render import render
from parts.commands.webcam import View, track
from parts.toolkit import face_keypoints

SIZE, RATE = (640, 480), 30.0  # pixels, frames a second
STEP, NOISE = 5.0, 4.0  # pixels a frame, grey levels


def film(frames: int, step: float) -> list[np.ndarray]:
    """Frames uint8 (480, 640, 3) of an upright synthetic face that moves by ``step`` pixels a frame
    to the right and back, with noise."""
    random = np.random.default_rng(0)
    images, points, _ = render([4], IBUG_68, size=SIZE[::-1], leave_out=("occluders",))
    picture, left, right = images[0].permute(1, 2, 0).numpy(), *points[0, list(IBUG_68.outer_eyes)]
    drawn = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
    turn = cv2.getRotationMatrix2D((SIZE[0] / 2, SIZE[1] / 2), drawn, 1.0)  # (2, 3)
    places = 60 * np.arccos(np.cos(np.arange(frames) * step * np.pi / 60)) / np.pi - 30
    shown = []
    for place in places:
        way = turn + [[0, 0, place], [0, 0, 0]]
        moved = cv2.warpAffine(picture, way, SIZE, borderMode=cv2.BORDER_REPLICATE)
        noisy = moved + random.normal(0, NOISE, moved.shape)
        shown.append(np.clip(np.round(noisy), 0, 255).astype(np.uint8))
    return shown


def points(finder: FaceKeypoints, frames: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The network's predictions and the smoothed points, (frames, 68, 2) each, without the first
    second, in which both settle."""
    raw = []

    def locate(*arguments: object) -> tuple[np.ndarray, np.ndarray]:
        predicted, confidence = finder.keypoints(*arguments, average=False)
        raw.append(predicted[0])
        return predicted, confidence

    tracker = Tracker(lambda image: finder.detect(image, turned=False)[:1], locate)
    smooth = [tracker.update(frame, i / RATE)[0].keypoints for i, frame in enumerate(frames)]
    tracker.close()
    return np.array(raw)[30:], np.array(smooth)[30:]


def smoothing(finder: FaceKeypoints) -> None:
    """Print jitter at rest, the standard deviation of a point's place, and lag in motion."""
    before, after = (
        np.sqrt(places.var(axis=0).sum(axis=1).mean()) for places in points(finder, film(150, 0.0))
    )
    print(f"at rest: jitter {before:.3f} px, smoothed {after:.3f} px, ratio {after / before:.2f}")
    raw, smooth = (places.mean(axis=1)[:, 0] for places in points(finder, film(150, STEP)))
    direction = np.sign(np.gradient(raw))  # (frames,) of the whole face
    behind = direction * (raw - smooth)
    steady = [np.all(direction[i - 6 : i + 2] == direction[i]) for i in range(6, len(raw) - 2)]
    lag = behind[6:-2][steady].mean() / STEP
    print(f"moving {STEP:.0f} px a frame: lag {lag:.2f} frames")


def speed(finder: FaceKeypoints, count: int) -> None:
    """Print frames a second from a file, and the share of our own code: all that the frames wait
    for besides reading, detector and network. A second pass draws the points as well."""
    network: list[float] = []  # the seconds of each of its predictions
    name = "heatmaps" if hasattr(finder.network, "heatmaps") else "forward"
    predict = getattr(finder.network, name)

    def timed(faces: Tensor) -> Tensor:
        began = time.perf_counter()
        predicted = predict(faces)
        network.append(time.perf_counter() - began)
        return predicted

    setattr(finder.network, name, timed)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "face.avi"
        with closing(Recorder(video, RATE, SIZE, overwrite=False)) as recorder:
            shown = film(60, STEP)
            for number in range(count):
                recorder.write(shown[number % 60], number / RATE)
        with closing(Frames(video)) as frames:
            clock = track(frames, finder, View([None], {}), None, window=False)
            predicting = 1000 * sum(network) / clock.frames
        with closing(Frames(video)) as frames:
            nowhere = SimpleNamespace(write=lambda *_: None, close=lambda: None)
            drawing = track(frames, finder, View([None], {}), nowhere, False).per_frame()["draw"]
    spent = clock.per_frame()
    own, total = spent[OWN] + spent["network"] - predicting, sum(spent.values())
    print(
        f"{torch.get_num_threads()} cores, no window: {clock}\n"
        f"the network itself {predicting:.2f} ms a frame; our own code, with cropping, {own:.2f} "
        f"ms, {100 * own / total:.0f} %; drawing the points, where they are shown, "
        f"{drawing:.2f} ms more, {100 * (own + drawing) / (total + drawing):.0f} %"
    )


def main() -> None:
    """Print smoothing and speed."""
    parser = parser_of(__doc__, count=600)
    parser.add_argument("--checkpoint", type=Path, help="default: the one that ships")
    options = parser.parse_args()
    for engine in ("torch", "onnx") if is_installed() else ("torch",):
        print(f"\n{engine}:")
        finder = face_keypoints(options.checkpoint, "haar", video=True, engine=engine)
        smoothing(finder)
        speed(finder, options.count)


if __name__ == "__main__":
    run(main)
