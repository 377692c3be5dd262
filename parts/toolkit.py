"""The trained networks of the course: ``face_keypoints().predict(image)`` finds every face of a
photo and its 68 points."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from common import checkpoints
from common.augmentation import grey
from common.checkpoints import Trained
from common.keypoints import IBUG_68, IMM_58, Scheme
from common.photos import detectors
from common.photos.finder import FaceKeypoints, require_all_points
from common.photos.framing import IMM_PICTURE, Framing
from common.photos.onnx_runtime import Int8Heatmaps, int8_heatmaps, is_installed
from common.photos.own_points import OwnPoints, read_boxes
from common.recipe import Recipe
from common.system.device import best_device
from common.system.errors import UserError
from datasets import ibug, yunet
from datasets.synthetic.render import render
from parts import part1_nose_tip, part2_full_face, part3_variants

# Importing the lessons and their variants registers all networks, see ``checkpoints.register``.
LESSONS = {"1": part1_nose_tip, "2": part2_full_face, "3": part3_variants}
ASSETS = Path(__file__).resolve().parent / "assets"
FILTERS = ASSETS / "filters"  # art and anchor points
WEIGHTS = ASSETS / "weights"  # the network that ships
NME = WEIGHTS / "nme.json"  # its NME in % by test folders of 300-W
MEASURED = 64  # synthetic faces on which the ranges of an int8 network are measured
SHIPPED = "shipped"  # its name on the command line and in results


def choose_network(checkpoint: Path | None, reports: Path = Path("reports")) -> Trained:
    """The network that a command takes, named in one line on stderr.

    checkpoint: a file, or ``SHIPPED``; None takes the newest finished run of part 3 below
        ``reports``, else the network that ships. Where the run is worse than that one, or was
        trained on synthetic faces, the line says so.
    Raises UserError where there is no such file, or it cannot be used.
    """
    run = None if checkpoint else _newest_run(reports)
    trained = run or named(checkpoint or SHIPPED)
    best = json.loads(NME.read_text(encoding="utf-8")) if NME.is_file() else {}
    known = best if trained.name == SHIPPED else _recorded(trained)
    words = [trained.name, *(f"NME {nme:.2f} % on {name}" for name, nme in known.items())]
    if trained.name != SHIPPED:
        day = date.fromtimestamp(Path(trained.name).stat().st_mtime)
        ago = (date.today() - day).days
        words.append({0: "trained today", 1: "trained yesterday"}.get(ago, f"trained on {day}"))
    line = f"network: {', '.join(words)}"
    if run and run.checkpoint["dataset"] == "synthetic":
        line += f"; trained on synthetic faces; --checkpoint {SHIPPED} takes one of real faces"
    elif run and (worse := [name for name in best if known.get(name, 0) > best[name]]):
        line += f"; --checkpoint {SHIPPED} takes a better one, {best[worse[0]]:.2f} % there"
    print(line, file=sys.stderr)
    return trained


def named(checkpoint: Path | str) -> Trained:
    """The network in a checkpoint's file, or for ``SHIPPED`` the one that ships.

    Raises UserError where there is none, or it cannot be used.
    """
    if str(checkpoint) != SHIPPED:
        return checkpoints.read(Path(checkpoint))
    if not (files := sorted(WEIGHTS.glob("*.pt"))):
        raise UserError(
            "reports/part3/checkpoint.pt: no trained network yet; make one with: "
            "python run_part.py 3"
        )
    return checkpoints.read(files[-1], SHIPPED)


def _newest_run(reports: Path) -> Trained | None:
    """The newest finished run of part 3; one line on stderr names each that cannot be used."""
    files = sorted(reports.glob("part3*/checkpoint.pt"), key=lambda file: file.stat().st_mtime)
    for file in reversed(files):
        try:
            trained = checkpoints.read(file)
            require_all_points(trained.checkpoint, file)
        except UserError as fault:
            print(f"not taken: {fault}", file=sys.stderr)
            continue
        if "metrics" in trained.checkpoint:  # written when a run is finished
            return trained
    return None


def _recorded(trained: Trained) -> dict[str, float]:
    """The NME in % that a run ended with, by test folders of 300-W, else of all its test faces."""
    with suppress(KeyError, TypeError, AttributeError, ValueError):  # of another version, or none
        metrics = trained.checkpoint["metrics"]
        if metrics["dataset"] in ("ibug", "mixed"):
            groups = metrics["per_group"]
            return {name: float(groups[name]["nme"]) for name in ibug.FOLDERS if name in groups}
        return {f"{metrics['dataset']}/test": float(metrics["nme"])}
    return {}


def face_keypoints(
    checkpoint: Trained | Path | str | None = None,
    detector: str = "auto",
    data: Path | None = None,
    device: str | None = None,
    video: bool = False,
    engine: str = "auto",
) -> FaceKeypoints:
    """A detector and a trained network: photos in, faces out; arguments as ``FaceKeypoints``.

    checkpoint: of a network for 68 points: its file, or as ``choose_network`` returns it; by
        default the one that ships.
    detector: "haar", "lbp" or "yunet", whose file lies below ``data``; "auto" takes YuNet where its
        file is there, else Haar.
    data: None means FACE_DATA, else datasets/files.
    device: such as "cpu" or "cuda:1"; None takes the best available.
    engine: "torch"; "onnx" computes a network with heatmaps in int8 in ONNX Runtime, on the CPU;
        "auto" does where it can, if ``video``.
    Raises UserError where one of them is missing, damaged or made for other points.
    """
    trained = checkpoint if isinstance(checkpoint, Trained) else named(checkpoint or SHIPPED)
    require_all_points(trained.checkpoint, trained.name)
    # Older checkpoints, and the one that ships, hold no flip disagreement.
    disagreement = trained.checkpoint.get("flip_disagreement", 0.0)
    finds, device = detectors.load(detector, yunet.place(data)), best_device(device)
    if _takes_onnx(trained.network, engine, device, video):
        # A video's reader and detector have a core of their own.
        network = Int8Heatmaps(int8(trained), max(1, torch.get_num_threads() - video))
    else:
        network = trained.network
    return FaceKeypoints(network, trained.recipe, finds, device, disagreement, video)


def _takes_onnx(network: nn.Module, engine: str, device: torch.device, video: bool) -> bool:
    """Whether the network is computed in ONNX Runtime; raises UserError where it cannot be."""
    possible = hasattr(network, "heatmaps") and device.type == "cpu"
    if engine == "onnx" and not possible:
        raise UserError("--engine onnx: for networks with heatmaps on the CPU; leave it out")
    return engine == "onnx" or (engine == "auto" and video and possible and is_installed())


def int8(trained: Trained, bits: int | None = None) -> bytes:
    """The network as an int8 ONNX file; its activations' ranges are measured on synthetic faces."""
    recipe = trained.recipe
    faces = partial(rendered_faces, IBUG_68, recipe, MEASURED)
    return int8_heatmaps(trained.network, (recipe.height, recipe.width), faces, bits)


def rendered_faces(scheme: Scheme, recipe: Recipe, count: int) -> Tensor:
    """Synthetic faces as the network's input, float (count, 1, h, w) in -0.5..0.5."""
    setting, points = ("portrait", IMM_58) if scheme is IMM_58 else ("crop", IBUG_68)
    images, _, _ = render(range(count), points, setting, (recipe.height, recipe.width))
    return grey(images.float()) / 255 - 0.5


def point_finder(
    trained: Trained,
    boxes: str | None = None,
    detector: str = "auto",
    data: Path | None = None,
    device: str | None = None,
    engine: str = "auto",
) -> FaceKeypoints | OwnPoints:
    """What finds the points of a network on photos: of all 68 points as ``face_keypoints``; of
    others, faces are found by the network that ships, or boxes are given.

    boxes: see ``own_points.read_boxes``; None searches faces.
    Raises UserError where a network's boxes do not follow from faces, besides as
    ``face_keypoints``.
    """
    checkpoint = trained.checkpoint
    scheme, ids = checkpoints.scheme_of(checkpoint), checkpoint["point_ids"]
    framing, landmarks = checkpoint.get("framing"), Framing(0.0, 0.0, 1.0, 1.0)
    all_points = scheme is IBUG_68 and len(ids) == IBUG_68.n_points
    if boxes is None and all_points and Framing(*(framing or landmarks)).is_of_landmarks:
        return face_keypoints(trained, detector, data, device, engine=engine)
    if engine == "onnx":
        raise UserError("--engine onnx: for networks of 68 points in their box; leave it out")
    if boxes is not None:
        given, chosen = read_boxes(boxes), best_device(device)
        return OwnPoints(trained, chosen, None, IMM_PICTURE, given)
    if framing is None and scheme in (IMM_58, IBUG_68):
        whole = not trained.recipe.box_scale
        framing = IMM_PICTURE if whole else landmarks
    if framing is None:
        raise UserError(
            f"{trained.name}: where its boxes lie about a face is not known, as too few faces were "
            "found on its training pictures; add --boxes whole, or --boxes FILE"
        )
    framing = Framing(*framing)
    print(
        f"{trained.name} predicts {len(ids)} of {scheme.n_points} points: the network that ships "
        f"finds faces, and this one sees {framing.width:.2g} x {framing.height:.2g} times their box"
        + ("" if all_points else "; pose, eyes and mouth need its 68 points and are left out"),
        file=sys.stderr,
    )
    finder = face_keypoints(SHIPPED, detector, data, device)
    return OwnPoints(trained, best_device(device), finder, framing)
