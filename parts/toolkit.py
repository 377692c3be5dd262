"""The trained networks of the course: ``face_keypoints().predict(image)`` finds every face of a
photo and its 68 points."""

from __future__ import annotations

from pathlib import Path

from common import checkpoints
from common.photos import detectors
from common.photos.finder import FaceKeypoints, require_all_points
from common.system.device import best_device
from common.system.errors import UserError
from datasets import yunet
from parts import part1_nose_tip, part2_full_face, part3_variants

# Importing the lessons and their variants registers all networks, see ``checkpoints.register``.
LESSONS = {"1": part1_nose_tip, "2": part2_full_face, "3": part3_variants}
ASSETS = Path(__file__).resolve().parent / "assets"
FILTERS = ASSETS / "filters"  # art and anchor points
WEIGHTS = ASSETS / "weights"  # the network that ships


def default_checkpoint() -> Path:
    """The default checkpoint: the one that ships, else the newest of part 3 in ``reports``.

    Raises UserError where neither exists.
    """
    shipped = sorted(WEIGHTS.glob("*.pt"))
    trained = Path("reports").glob("part3*/checkpoint.pt")
    found = shipped or sorted(trained, key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(
            "reports/part3/checkpoint.pt: no trained network yet; make one with: "
            "python run_part.py 3"
        )
    return found[-1]


def face_keypoints(
    checkpoint: Path | None = None,
    detector: str = "auto",
    data: Path | None = None,
    device: str | None = None,
    video: bool = False,
) -> FaceKeypoints:
    """A detector and a trained network: photos in, faces out; arguments as ``FaceKeypoints``.

    checkpoint: of a network for 68 points; by default the one that ships.
    detector: "haar", "lbp" or "yunet", whose file lies below ``data``; "auto" takes YuNet where its
        file is there, else Haar.
    data: None means FACE_DATA, else datasets/files.
    device: such as "cpu" or "cuda:1"; None takes the best available.
    Raises UserError where one of them is missing, damaged or made for other points.
    """
    path = checkpoint or default_checkpoint()
    trained = checkpoints.load(path)
    require_all_points(trained, path)
    network, recipe = checkpoints.network_of(trained), checkpoints.recipe_of(trained)
    # Older checkpoints, and the one that ships, hold no flip disagreement.
    disagreement = trained.get("flip_disagreement", 0.0)
    finds = detectors.load(detector, yunet.place(data))
    return FaceKeypoints(network, recipe, finds, best_device(device), disagreement, video)
