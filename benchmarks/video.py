"""Video: frames a second, what they go into, and how calm and how quick the smoothed points are.

``python -m benchmarks.video [--checkpoint FILE] [--threads N]`` draws a face, 640x480, and films it
at rest and moving by 5 pixels a frame, with a camera's noise.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from common.keypoints import IBUG_68
from common.prediction import FaceKeypoints
from common.stopwatch import OWN
from common.tracking import Tracker
from common.video import Frames, Recorder
from datasets import synthetic
from parts.webcam import View, follow

SIZE, RATE, STEP, NOISE = (
    (640, 480),
    30.0,
    5.0,
    4.0,
)  # pixels, frames/s, pixels a frame, grey levels


def film(frames: int, step: float) -> list[np.ndarray]:
    """Frames uint8 (480, 640, 3) of a drawn face that moves to the right and back, with noise."""
    random = np.random.default_rng(0)
    images, _, _ = synthetic.render([4], IBUG_68, size=SIZE[::-1], leave_out=("occluders",))
    picture = images[0].permute(1, 2, 0).numpy()
    places = 60 * np.arccos(np.cos(np.arange(frames) * step * np.pi / 60)) / np.pi - 30
    shown = []
    for place in places:
        moved = cv2.warpAffine(
            picture, np.float32([[1, 0, place], [0, 1, 0]]), SIZE, borderMode=cv2.BORDER_REPLICATE
        )
        noisy = moved + random.normal(0, NOISE, moved.shape)
        shown.append(np.clip(np.round(noisy), 0, 255).astype(np.uint8))
    return shown


def points(finder: FaceKeypoints, frames: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The points as the network answers and as they are smoothed, (frames, 68, 2) each."""
    raw = []

    def locate(*asked: object) -> tuple[np.ndarray, np.ndarray]:
        answer = finder.follow(*asked)
        raw.append(answer[0][0])
        return answer

    tracker = Tracker(lambda image: finder.detect(image, turned=False)[:1], locate)
    smooth = [tracker.update(frame, i / RATE)[0].keypoints for i, frame in enumerate(frames)]
    tracker.close()
    return np.array(raw), np.array(smooth)


def jitter(places: np.ndarray) -> float:
    """Root mean square distance of points (frames, 68, 2) from where they are on average."""
    return float(np.sqrt(((places - places.mean(axis=0)) ** 2).sum(axis=2).mean()))


def smoothing(finder: FaceKeypoints) -> None:
    """Print jitter at rest and lag in motion, without the first second, in which both settle."""
    raw, smooth = (places[30:] for places in points(finder, film(150, 0.0)))
    before, after = jitter(raw), jitter(smooth)
    print(f"at rest: jitter {before:.3f} px, smoothed {after:.3f} px, ratio {after / before:.2f}")
    raw, smooth = points(finder, film(150, STEP))
    way = raw.mean(axis=1)[:, 0]  # (frames,) of the whole face
    direction = np.sign(np.gradient(way))
    behind = direction * (way - smooth.mean(axis=1)[:, 0])
    steady = [np.all(direction[i - 6 : i + 2] == direction[i]) for i in range(30, len(way) - 2)]
    lag = behind[30:-2][steady].mean() / STEP
    print(f"moving {STEP:.0f} px a frame: lag {lag:.2f} frames")


def speed(finder: FaceKeypoints, count: int) -> None:
    """Print frames a second from a file, with the points drawn, and the share of our own code."""
    spent = [0.0]
    finder.network.register_forward_pre_hook(lambda *_: began.append(time.perf_counter()))
    finder.network.register_forward_hook(
        lambda *_: spent.append(time.perf_counter() - began.pop()) and None
    )
    began: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "face.avi"
        recorder = Recorder(video, RATE, SIZE, overwrite=False)
        for number, frame in enumerate(film(60, STEP) * (count // 60)):
            recorder.write(frame, number / RATE)
        recorder.close()
        frames = Frames(video)
        clock = follow(frames, finder, View([None], {}), None, window=False)
        frames.close()
    print(clock)
    total, network = sum(clock.seconds.values()), sum(spent)
    own = total - network - clock.seconds["detect"] - clock.seconds["read"]
    print(
        f"the network alone {1000 * network / clock.frames:.2f} ms a frame; our own code, cropping "
        f"and drawing included: {1000 * own / clock.frames:.2f} ms, {100 * own / total:.0f} %; "
        f"following alone {100 * clock.seconds[OWN] / total:.0f} %"
    )


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="default: the newest of part 3")
    parser.add_argument("--count", type=int, default=600, help="frames (600)")
    parser.add_argument("--threads", type=int, help="of the network (default: torch's)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    finder = FaceKeypoints.load(arguments.checkpoint).for_video()
    smoothing(finder)
    speed(finder, arguments.count)


if __name__ == "__main__":
    main()
