"""One network, trained on some of a part's training faces and asked for others of them.

Choices are made by these: ``python run_part.py ladder`` tries one after the other,
``python -m benchmarks.folds`` one by hand. No test face is looked at, but for ``dlib_list``.
"""

from __future__ import annotations

import tempfile
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
from common.metrics import errors_per_face, nme
from common.recipe import Options, Recipe
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
class Trial:
    """What is tried: a part's network by a recipe, and whatever else may be changed.

    kernels: sides of the convolutions' filters, parts 1 and 2. points: those that are learned;
    None: the part's own. pairs: whether left and right change names in a mirrored face. boxes:
    "landmarks" or, in part 3, "file", dlib's. faces: learn from so many, chosen by chance; 0: all.
    pretrained: start part 3 from ImageNet's weights. dlib_list: be tested on the standard test
    faces that stand in dlib's training list, having learned from the standard training faces
    ("unseen") or, these test faces among them, from that list ("seen"); "": the faces held out.
    network: of ``part3_variants.NETWORKS``, to learn from YouTube Faces and be asked for the
    people taken out; "": the part's own.
    """

    part: str
    recipe: Recipe
    kernels: tuple[int, ...] = ()
    points: tuple[int, ...] | None = None
    pairs: bool = True
    boxes: str = "landmarks"
    faces: int = 0
    pretrained: bool = False
    dlib_list: str = ""
    network: str = ""

    def changed(self, **changes: object) -> Trial:
        """The trial with some values of its own or of its recipe replaced."""
        own = {name: changes.pop(name) for name in OWN if name in changes}
        return replace(self, recipe=replace(self.recipe, **changes), **own)

    def told(self) -> dict[str, Any]:
        """All values that are not the default ones: the same for the same trial, whatever fields
        later versions add."""
        values = asdict(self) | asdict(self.recipe)
        usual = {field.name: field.default for field in (*fields(Trial), *fields(Recipe))}
        return {k: v for k, v in values.items() if k != "recipe" and v != usual[k]}


OWN = {field.name for field in fields(Trial)} - {"part", "recipe"}


def held_out(faces: Faces, fold: int = 0) -> Tensor:
    """Which of the training faces are kept for the questions, bool (N,).

    Where groups are persons of several faces, every fourth person, from ``fold`` on; else every
    tenth face.
    """
    people = [group.removeprefix("person ") for group in faces.groups]  # so drawn ones are called
    if people[0].isdigit() and len(set(people)) < len(people):
        return torch.tensor([int(person) % FOLDS == fold for person in people])
    return torch.arange(len(faces)) % 10 == 0


def crops_of(trial: Trial, data: Path | None, fold: int = 0) -> tuple[Crops, Crops]:
    """The faces that the trial learns from and those that it is asked for.

    Raises NotHereError where the data set has no such boxes or lists.
    """
    if trial.network:
        learned, asked = (
            load_crops(split("youtube_faces", name, data, "landmarks", IBUG_68), trial.recipe)
            for name in ("train", "validation")
        )
        return learned, asked
    part, dataset = PARTS[trial.part]
    points = trial.points or getattr(part, "NOSE", None)
    faces, _ = train_and_test(dataset, None, data)
    if trial.boxes != "landmarks" or trial.dlib_list:
        if faces.synthetic:
            raise NotHereError("drawn faces have neither dlib's boxes nor dlib's lists")
        faces = split(dataset, "train", data, trial.boxes, faces.scheme)
    if not trial.pairs:
        faces = replace(faces, scheme=replace(faces.scheme, flip_pairs=()))
    if trial.dlib_list:
        train, asked = around_dlibs_list(faces, trial.dlib_list == "seen", data)
        return load_crops(train, trial.recipe, points), load_crops(asked, trial.recipe, points)
    crops = load_crops(faces, trial.recipe, points)
    out = held_out(crops.faces, fold)
    rest = (~out).nonzero().flatten()
    if trial.faces:
        rest = rest[_some(len(rest), trial.faces)]
    return crops.take(rest), crops.take(out.nonzero().flatten())


def around_dlibs_list(faces: Faces, seen: bool, data: Path | None) -> tuple[Faces, Faces]:
    """As many faces to learn from either way, and the standard test faces of dlib's list."""
    listed = split("ibug", "dlib/train", data, "landmarks", faces.scheme)
    _, test = train_and_test("ibug", "ibug", data)
    names = set(listed.files)
    asked = test.take([i for i, file in enumerate(test.files) if file in names], "ibug/listed")
    learned = listed if seen else faces
    count = min(len(listed), len(faces))
    return learned.take(_some(len(learned), count), f"{learned.name}-{count}"), asked


def _some(count: int, wanted: int) -> Tensor:
    """Indices of ``wanted`` among ``count`` faces, always the same, in their order."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[:wanted].sort().values


def network_of(trial: Trial, seed: int) -> nn.Module:
    """The trial's network, its first weights drawn from ``seed``.

    Raises NotHereError where ImageNet's are asked for and cannot be had.
    """
    recipe = trial.recipe
    if trial.network:
        options = Options(network=trial.network, seed=seed)
        return part3_variants.new_network(recipe, options, IBUG_68.n_points)
    torch.manual_seed(seed)
    shape = {"height": recipe.height, "width": recipe.width}
    shape |= {"kernels": trial.kernels} if trial.kernels else {}
    if trial.part == "1":
        return part1_nose_tip.NoseNet(**shape)
    if trial.part == "2":
        return part2_full_face.FaceNet(**shape, n_points=len(trial.points or range(58)))
    network = part3_large_dataset.HEADS[recipe.head]()
    if trial.pretrained:
        try:
            part3_variants.load_imagenet(network.resnet)
        except NotHereError:
            raise NotHereError("ImageNet's weights cannot be fetched here") from None
    return network


def train(
    network: nn.Module, learned: Crops, recipe: Recipe, options: Options, checkpoint: Path
) -> History:
    """Train ``network`` in place and return its history; ``options.resume`` goes on from
    ``checkpoint``. It watches no more than one face, as nothing is chosen on the way."""
    return fit(network, learned, learned.take([0]), recipe, options, checkpoint)


def ask(network: nn.Module, asked: Crops, recipe: Recipe) -> tuple[dict[str, float], Tensor]:
    """The mean errors of ``network`` on faces that it did not learn from, and its answers.

    Errors by their names in metrics.json; also ``nme_nose``, the NME of part 1's point alone,
    where it is learned. Answers are fractions of the crop (N, k, 2).
    """
    predicted = predict_keypoints(network, asked.images, asked.flip_order, recipe)
    errors = errors_per_face(predicted, asked, recipe)
    means = {name: errors[name].double().mean().item() for name in ("nme", "mse_ratio")}
    if asked.faces.scheme.n_points == 58 and NOSE in asked.point_ids:
        place = [asked.point_ids.index(NOSE)]
        truth = asked.points[:, place]
        means["nme_nose"] = nme(predicted[:, place], truth, asked.eye_distance).mean().item()
    return means, to_fractions(predicted, recipe.height, recipe.width)


def trained(trial: Trial, seed: int, learned: Crops) -> nn.Module:
    """The trial's network, trained now; nothing is kept."""
    network = network_of(trial, seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.pt"
        train(network, learned, trial.recipe, Options(seed=seed), file)
    return network


def score(trial: Trial, seed: int, learned: Crops, asked: Crops) -> dict[str, float]:
    """Train the trial's network and return its mean errors, see ``ask``."""
    return ask(trained(trial, seed, learned), asked, trial.recipe)[0]
