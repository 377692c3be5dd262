"""One network, trained on some of a part's training faces and evaluated on others of them.

Recipes are chosen by such experiments: ``python run_part.py ladder`` runs a whole study,
``python -m benchmarks.folds`` one of your own. No test face is used, except by ``dlib_list``.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from common.crops import to_fractions
from common.faces import Faces
from common.inference import predict_keypoints
from common.keypoints import IBUG_68
from common.loading import Crops, load_crops
from common.metrics import errors_per_face, mean_face_prediction, nme
from common.recipe import Options, Recipe
from common.system.device import best_device, computes_in_bfloat16
from common.system.errors import NotHereError
from common.training import fit
from datasets.splits import split, train_and_test
from parts import part1_nose_tip, part2_full_face, part3_large_dataset, part3_variants

FOLDS = 4
PARTS: dict[str, tuple[ModuleType, str]] = {  # the part and its data set
    "1": (part1_nose_tip, "imm"),
    "2": (part2_full_face, "imm"),
    "3": (part3_large_dataset, "ibug"),
}
NOSE = part1_nose_tip.NOSE[0]
History = list[dict[str, float]]


@dataclass(frozen=True)
class Experiment:
    """A part's network, its recipe and everything else that a study may change."""

    part: str  # "1", "2" or "3"
    recipe: Recipe  # of the training
    kernels: tuple[int, ...] = ()  # sides of kernels, in parts 1 and 2; (): the part's own
    points: tuple[int, ...] | None = None  # indices of those learned; None: the part's own
    pairs: bool = True  # whether left and right exchange their names in a mirrored face
    boxes: str = "landmarks"  # or, in part 3, "file": dlib's
    faces: int = 0  # number of training faces, drawn at random; 0: all
    pretrained: bool = False  # start part 3 from ImageNet's weights
    # Evaluate on the standard test faces that are in dlib's training list, after training on the
    # standard training faces ("unseen") or on that list ("seen"); "": on held-out faces.
    dlib_list: str = ""
    # Of ``part3_variants.NETWORKS``, trained on YouTube Faces and evaluated on its held-out
    # people; "": the part's own.
    network: str = ""
    dataset: str = ""  # the path of your own labels, in part 3; "": the part's own set
    folds: bool = False  # hold out another fourth of the people with each seed; else the first
    seed: int = 0  # of initial weights and training

    def changed(self, **values: object) -> Experiment:
        """The experiment with some values of its own or of its recipe replaced."""
        own = {name: values.pop(name) for name in OWN if name in values}
        return replace(self, recipe=replace(self.recipe, **values), **own)

    def settings(self) -> dict[str, Any]:
        """All values but the seed that differ from their defaults, so that fields that later
        versions add do not change it."""
        values = asdict(self) | asdict(self.recipe)
        usual = {field.name: field.default for field in (*fields(Experiment), *fields(Recipe))}
        left_out = ("recipe", "seed")
        return {k: v for k, v in values.items() if k not in left_out and v != usual[k]}

    def key(self, train: Crops) -> str:
        """A file name for the result: the same for the same settings, seed and data set."""
        values = [self.settings(), self.seed, (train.faces.dataset, len(train))]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


OWN = {field.name for field in fields(Experiment)} - {"part", "recipe"}


def is_held_out(faces: Faces, fold: int = 0) -> Tensor:
    """Which of the training faces are held out, bool (N,).

    Where groups are persons of several faces, every fourth person, from ``fold`` on; else every
    tenth face.
    """
    people = [group.removeprefix("person ") for group in faces.groups]  # of synthetic faces
    if people[0].isdigit() and len(set(people)) < len(people):
        return torch.tensor([int(person) % FOLDS == fold for person in people])
    return torch.arange(len(faces)) % 10 == 0


def crops_of(experiment: Experiment, data: Path | None, fold: int = 0) -> tuple[Crops, Crops]:
    """The training faces and the held-out faces of the experiment.

    fold: which people are held out, 0..3, where the experiment does not say it.
    Raises NotHereError where the data set has no such boxes or lists.
    """
    recipe = experiment.recipe
    if experiment.network:
        names = ("train", "validation")
        both = [split("youtube_faces", name, data, "landmarks", IBUG_68) for name in names]
        return load_crops(both[0], recipe), load_crops(both[1], recipe)
    part, dataset = PARTS[experiment.part]
    if experiment.dataset:
        faces = split(experiment.dataset, "train", data, "landmarks", IBUG_68)
    else:
        faces, _ = train_and_test(dataset, None, data)
    if experiment.boxes != "landmarks" or experiment.dlib_list:
        if faces.synthetic:
            raise NotHereError("synthetic faces have neither dlib's boxes nor dlib's lists")
        faces = split(dataset, "train", data, experiment.boxes, faces.scheme)
    if experiment.dlib_list:
        both = around_dlibs_list(faces, experiment.dlib_list == "seen", data)
        return load_crops(both[0], recipe), load_crops(both[1], recipe)
    if not experiment.pairs:
        faces = replace(faces, scheme=replace(faces.scheme, flip_pairs=()))
    crops = load_crops(faces, recipe, experiment.points or getattr(part, "NOSE", None))
    out = is_held_out(crops.faces, experiment.seed % FOLDS if experiment.folds else fold)
    rest = (~out).nonzero().flatten()
    if experiment.faces:
        rest = rest[_random_subset(len(rest), experiment.faces)]
    return crops.take(rest), crops.take(out.nonzero().flatten())


def around_dlibs_list(faces: Faces, seen: bool, data: Path | None) -> tuple[Faces, Faces]:
    """Training faces, as many whether ``seen`` or not, and the standard test faces in dlib's
    training list."""
    listed = split("ibug", "dlib/train", data, "landmarks", faces.scheme)
    _, test = train_and_test("ibug", "ibug", data)
    names = set(listed.files)
    held_out = test.take([i for i, file in enumerate(test.files) if file in names], "ibug/listed")
    train = listed if seen else faces
    count = min(len(listed), len(faces))
    return train.take(_random_subset(len(train), count), f"{train.name}-{count}"), held_out


def _random_subset(count: int, wanted: int) -> Tensor:
    """Indices of ``wanted`` of ``count`` faces, always the same ones, in their order."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[:wanted].sort().values


def network_of(experiment: Experiment, n_points: int = IBUG_68.n_points) -> nn.Module:
    """The experiment's network, its initial weights drawn from the seed.

    n_points: of part 3's.
    Raises NotHereError where ImageNet's weights are requested and cannot be downloaded.
    """
    recipe, seed = experiment.recipe, experiment.seed
    if experiment.part == "3":
        weights = "imagenet" if experiment.pretrained else None
        options = Options(network=experiment.network, pretrained=weights, seed=seed)
        try:
            return part3_variants.new_network(recipe, options, n_points)
        except NotHereError:
            raise NotHereError("ImageNet's weights cannot be downloaded here") from None
    torch.manual_seed(seed)
    shape: dict[str, Any] = {"height": recipe.height, "width": recipe.width}
    if experiment.kernels:
        shape["kernels"] = experiment.kernels
    if experiment.part == "1":
        return part1_nose_tip.NoseNet(**shape)
    return part2_full_face.FaceNet(**shape, n_points=len(experiment.points or range(58)))


def trained(
    experiment: Experiment,
    train: Crops,
    options: Options | None = None,
    checkpoint: Path | None = None,
) -> tuple[nn.Module, History]:
    """The experiment's network after training, and the history.

    options: device and whether to resume.
    checkpoint: where to write while training; None keeps nothing.
    """
    network = network_of(experiment, train.faces.scheme.n_points)
    options = replace(options or Options(), seed=experiment.seed)
    watched = train.take([0])  # one face, as nothing is selected during training
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = checkpoint or Path(folder) / "checkpoint.pt"
        return network, fit(network, train, watched, experiment.recipe, options, checkpoint)


def evaluate(
    network: nn.Module, held_out: Crops, recipe: Recipe
) -> tuple[dict[str, float], Tensor]:
    """The mean errors of ``network`` on faces that it was not trained on, and its predictions.

    Errors are NME in % and ``mse_ratio``; also ``nme_nose``, the NME of part 1's point alone, where
    it is learned. Predictions are fractions of the crop (N, k, 2).
    """
    predicted = predict_keypoints(network, held_out.images, held_out.flip_order, recipe)
    errors = errors_per_face(predicted, held_out, recipe)
    means = {name: errors[name].double().mean().item() for name in ("nme", "mse_ratio")}
    if held_out.faces.scheme.n_points == 58 and NOSE in held_out.point_ids:
        place = [held_out.point_ids.index(NOSE)]
        truth = held_out.points[:, place]
        means["nme_nose"] = nme(predicted[:, place], truth, held_out.norm_distance).mean().item()
    return means, to_fractions(predicted, recipe.height, recipe.width)


def mean_face_error(train: Crops, held_out: Crops, recipe: Recipe) -> float:
    """The NME in % of always predicting the mean face of ``train``."""
    predicted = mean_face_prediction(train, recipe, len(held_out))
    return nme(predicted, held_out.points, held_out.norm_distance).double().mean().item()


def run(experiment: Experiment, options: Options, checkpoint: Path) -> dict[str, Any]:
    """Run the experiment, resuming from ``checkpoint`` if it exists; what it measured, for JSON.

    Raises NotHereError where boxes, lists or initial weights are not available here.
    """
    train, held_out = crops_of(experiment, options.data)
    clock, work = time.monotonic(), time.process_time()
    network, history = trained(experiment, train, replace(options, resume=True), checkpoint)
    cores = (time.process_time() - work) / (time.monotonic() - clock)  # busy on average
    errors, predictions = evaluate(network, held_out, experiment.recipe)
    return {
        "settings": experiment.settings(),
        "seed": experiment.seed,
        "faces": [len(train), len(held_out)],
        "errors": errors,
        "seconds": sum(epoch["seconds"] for epoch in history) * cores,
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "prediction": predictions[0].tolist(),  # fractions of the crop, for the first face
        "torch": str(torch.__version__),
        "device": device_name(best_device(options.device)),
    }


def device_name(device: torch.device) -> str:
    """The device in words, as far as seconds depend on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(device) if computes_in_bfloat16(device) else f"{device} without bfloat16"
