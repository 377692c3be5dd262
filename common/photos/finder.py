"""From pictures to keypoints: of crops in batches, and of whole photos.

``FaceKeypoints`` joins a detector and a network; ``parts.toolkit`` makes one of those that ship.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from common import checkpoints
from common.augmentation import to_network_input
from common.crops import (
    crop_and_resize,
    crop_and_resize_turned,
    crop_boxes,
    crop_matrices,
    inverse,
    to_pixels,
    transform_points,
)
from common.faces import upright_boxes
from common.inference import predict_flipped
from common.keypoints import IBUG_68
from common.photos import detectors
from common.photos.detectors import Detection, Detector
from common.photos.pose import Pose, head_pose, openness
from common.recipe import Recipe
from common.system.device import best_device, computes_in_bfloat16
from common.system.errors import UserError


def optimise_for_inference(network: nn.Module) -> nn.Module:
    """A copy that answers sooner: with every batch normalisation folded into the convolution
    before it, and in half the bits where the processor computes with so few itself, its weights
    ordered for that once and not at every call.

    Only of a network that draws heatmaps; others come back as they are. The means of heatmaps are
    taken in full precision, and the points move by 0.03 pixels of the crop; coordinates themselves
    would be rounded to half a pixel.
    """
    if not hasattr(network, "heatmaps"):
        return network
    folded = fuse(network.eval()).to(memory_format=torch.channels_last)
    device = next(network.parameters()).device
    if computes_in_bfloat16(device):
        folded = folded.to(torch.bfloat16)
        if device.type == "cpu" and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
            _pack(folded)
    return folded


class PackedConv(nn.Module):
    """A convolution whose weights lie in the order in which oneDNN multiplies them.

    PyTorch brings them into it at every call, which takes a quarter of the time of one face. What
    its own compiler uses instead has no public name.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.how = conv.padding, conv.stride, conv.dilation, conv.groups
        reorder = torch._C._nn.mkldnn_reorder_conv2d_weight
        self.weight = reorder(conv.weight.detach().to_mkldnn(), *self.how)
        self.bias = conv.bias

    def forward(self, faces: Tensor) -> Tensor:
        """As the convolution."""
        convolve = torch.ops.mkldnn._convolution_pointwise
        return convolve(faces, self.weight, self.bias, *self.how, "none", [], "")


def _pack(network: nn.Module) -> None:
    """Put a ``PackedConv`` in place of every convolution."""
    for name, module in network.named_children():
        if isinstance(module, nn.Conv2d):
            setattr(network, name, PackedConv(module))
        else:
            _pack(module)


@dataclass(frozen=True)
class Calibration:
    """How a network's doubt about its keypoints, a fraction of the crop's side, tells a face from
    what is none: at ``even`` both are as likely, and the odds go with doubt to the power
    ``-steepness``.
    """

    even: float
    steepness: float

    def confidence(self, doubt: Tensor) -> Tensor:
        """(N,) -> (N,), 0 to 1."""
        return torch.sigmoid(self.steepness * (math.log(self.even) - doubt.clamp(min=1e-6).log()))


FLIP_CALIBRATION = Calibration(
    even=0.0295, steepness=41.0
)  # mean distance from the mirror image's answer
LEANING = 15.0  # degrees from which a face is cut anew, upright; training turns it by 20 or more
IN_VIDEOS = 480  # pixels to which a frame is shrunk for the detector: half the work of 640
LEAST_CONFIDENCE = 0.1  # below, what the detector found is no face


@dataclass(frozen=True)
class FoundFace:
    """One face of a picture; all lengths are pixels of the picture as a viewer shows it.

    box: left, top, width, height, counted from the picture's edge, about where the box of the
        landmarks lies. score: the detector's, in its own unit; None of a face that was followed
        to where it is. confidence: 0 to 1, how sure the network is that its keypoints are those of
        a face. keypoints: float32 (K, 2), whole numbers are the middles of pixels. pose: where the
        head looks. eyes_open, mouth_open: distance of the lids over the eye's width, and of the
        lips over the mouth's, see ``attributes.face_attributes``. number: of a face that is
        followed through a video, from 1.
    """

    box: tuple[float, float, float, float]
    score: float | None
    confidence: float
    keypoints: np.ndarray
    pose: Pose
    eyes_open: float
    mouth_open: float
    number: int | None = None


def require_all_points(trained: checkpoints.Checkpoint, path: Path) -> None:
    """Raises UserError where the network of a checkpoint does not answer the 68 points."""
    if trained["scheme"] != IBUG_68.name or len(trained["point_ids"]) != IBUG_68.n_points:
        raise UserError(
            f"{path}: answers {len(trained['point_ids'])} points of {trained['scheme']}, and "
            "photos need all of ibug68; take a checkpoint of part 3"
        )


class FaceKeypoints:
    """A detector and a trained network: pictures in, faces out.

    Pictures are uint8 arrays (H, W, 3), RGB, or (H, W), grey. doubt: the network's ``usual_doubt``;
    0 judges as strictly as is right for the network that ships.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        detector: Detector,
        device: torch.device,
        doubt: float = 0.0,
    ) -> None:
        # With the channels last in memory a convolution on a CPU takes half the time.
        self.network = network.to(device, memory_format=torch.channels_last).eval()
        self.recipe, self.detector = recipe, detector
        self.doubt = replace(FLIP_CALIBRATION, even=max(FLIP_CALIBRATION.even, doubt))

    @classmethod
    def load(
        cls,
        checkpoint: Path,
        detector: str = "haar",
        model: Path | None = None,
        device: str | None = None,
    ) -> FaceKeypoints:
        """The network of ``checkpoint`` and a detector.

        detector: "haar", "lbp" or "yunet", whose file is ``model``.
        device: such as "cpu" or "cuda:1"; None takes the best there is.
        Raises UserError where one of them is missing, damaged or made for other points.
        """
        trained = checkpoints.load(checkpoint)
        require_all_points(trained, checkpoint)
        network, recipe = checkpoints.network_of(trained), checkpoints.recipe_of(trained)
        # Older checkpoints, and the one that ships, hold no disagreement.
        disagreement = trained.get("flip_disagreement", 0.0)
        found_by = detectors.load(detector, model)
        return cls(network, recipe, found_by, best_device(device), disagreement)

    def for_video(self) -> FaceKeypoints:
        """This, with the network as ``quick`` makes it, and a detector that sees less."""
        self.network = optimise_for_inference(self.network)
        self.detector = replace(self.detector, longest=min(self.detector.longest, IN_VIDEOS))
        return self

    def predict(self, image: np.ndarray) -> list[FoundFace]:
        """Every face of a picture, the surest first; an empty list where there is none.

        Where no face stands upright, faces are looked for that are turned in the picture, up to
        45 degrees to either side.
        """
        for angles in ((0.0,), detectors.TURNS):
            found = [face for angle in angles for face in self._detect(image, angle)]
            if faces := self._confident(image, found):
                return faces
        return []

    def detect(self, image: np.ndarray, turned: bool = True) -> list[Detection]:
        """The faces that the detector finds, whatever the network thinks of them.

        turned: where there is none, look for faces that are turned in the picture, too.
        """
        found = self._detect(image, 0.0)
        if turned and not found:
            found = [face for angle in detectors.TURNS for face in self._detect(image, angle)]
            found = detectors.merged(found)
        return found

    def keypoints(
        self, image: np.ndarray, boxes: np.ndarray, angles: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints in boxes that are known, the mean of each face and its mirror image.

        boxes: (N, 4) where landmarks' boxes lie, left, top, width, height. angles: (N,) degrees
        by which each face is turned clockwise, none by default; its box is turned with it about
        its own centre.
        Returns float32 (N, 68, 2) in pixels of the picture, and how sure of each (N,), 0 to 1:
        as sure as the two answers agree.
        """
        if not len(boxes):
            return np.empty((0, IBUG_68.n_points, 2), np.float32), np.empty(0, np.float32)
        angles = np.zeros(len(boxes)) if angles is None else angles
        images, matrices = crop_faces(image, boxes, angles, self.recipe)
        with torch.inference_mode():
            faces = self._input(images)
            one, other = (
                self.network(faces),
                predict_flipped(self.network, faces, IBUG_68.flip_order),
            )
            doubt = (one - other).norm(dim=-1).mean(dim=1)
            fractions = ((one + other) / 2).float().cpu()
        confidence = self.doubt.confidence(doubt.float().cpu())
        return self._in_picture(fractions, matrices), confidence.numpy()

    def follow(
        self, image: np.ndarray, boxes: np.ndarray, angles: np.ndarray, check: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """``keypoints`` for videos, where the frames before have told that there are faces.

        The points are those of the face alone, without its mirror image, so that they are there
        in half the time. check: ask for the mirror image as well, and be as sure as the two agree;
        otherwise the confidence is 1.
        """
        if not len(boxes):
            return np.empty((0, IBUG_68.n_points, 2), np.float32), np.empty(0, np.float32)
        images, matrices = crop_faces(image, boxes, angles, self.recipe)
        with torch.inference_mode():
            faces = self._input(images)
            fractions, confidence = self.network(faces), torch.ones(len(faces))
            if check:
                other = predict_flipped(self.network, faces, IBUG_68.flip_order)
                doubt = (fractions - other).norm(dim=-1).mean(dim=1)
                confidence = self.doubt.confidence(doubt.float().cpu())
        return self._in_picture(fractions.float().cpu(), matrices), confidence.numpy()

    def _detect(self, image: np.ndarray, angle: float) -> list[Detection]:
        return detectors.detect(image, self.detector, angle)

    def _confident(self, image: np.ndarray, found: list[Detection]) -> list[FoundFace]:
        """What the network takes for faces; of those that overlap, the one it is surest of."""
        boxes = np.array([face.box for face in found]).reshape(-1, 4)
        points, confidence = self._upright(image, boxes, np.array([face.angle for face in found]))
        return [
            face_from_keypoints(found[i].box, found[i].score, float(confidence[i]), points[i])
            for i in detectors.distinct(boxes, confidence)
            if confidence[i] >= LEAST_CONFIDENCE
        ]

    def _upright(
        self, image: np.ndarray, boxes: np.ndarray, angles: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """``keypoints``, once or twice more where their eyes tell that the face leans in its crop:
        networks learn faces that stand about upright."""
        points, confidence = self.keypoints(image, boxes, angles=angles)
        for _ in range(2):
            around, leaning = upright_boxes(torch.from_numpy(points), IBUG_68)
            around, leaning = around.numpy(), leaning.numpy()
            again = (np.abs(leaning - angles) > LEANING) & (around[:, 2:].min(axis=1) > 1)
            if not again.any():
                break
            angles = np.where(again, leaning, angles)
            looked = self.keypoints(image, around[again], angles=angles[again])
            points[again], confidence[again] = looked
        return points, confidence

    def _input(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> what the network takes, (N, 1, h, w)."""
        some = next(self.network.parameters())
        faces = to_network_input(images.to(some.device), self.recipe)
        return faces.to(some.dtype, memory_format=torch.channels_last)

    def _in_picture(self, fractions: Tensor, matrices: Tensor) -> np.ndarray:
        """Fractions of the crops (N, 68, 2) -> pixels of the picture they were cut from."""
        points = to_pixels(fractions, self.recipe.height, self.recipe.width)
        return transform_points(points, inverse(matrices)).numpy()


def crop_faces(
    image: np.ndarray, boxes: np.ndarray, angles: np.ndarray, recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """Cut faces out of a picture as ``load_crops`` cuts them to be learned from.

    boxes: (N, 4) landmarks' boxes; angles: (N,) degrees, clockwise. Returns uint8 (N, C, H, W) of
    ``recipe.kept_size``, and the matrices (N, 2, 3) from the picture's pixels to those
    of the network's crop.
    """
    mode = "RGB" if recipe.colour else "L"
    kept = crop_boxes(torch.as_tensor(boxes, dtype=torch.float32), recipe)
    crops, matrices = [], crop_matrices(kept, *recipe.cached_size)
    for index, angle in enumerate(angles.tolist()):
        if angle:
            crop, matrices[index] = crop_and_resize_turned(
                image, kept[index], angle, *recipe.cached_size, mode
            )
        else:
            crop = crop_and_resize(image, kept[index], *recipe.cached_size, mode)
        crops.append(torch.from_numpy(crop.copy()))
    matrices[:, :, 2] -= recipe.margin
    return torch.stack(crops), matrices


def face_from_keypoints(
    box: tuple[float, float, float, float],
    score: float | None,
    confidence: float,
    keypoints: np.ndarray,
    number: int | None = None,
) -> FoundFace:
    """All that is told of a face with these keypoints, float32 (68, 2)."""
    eyes, mouth = openness(torch.from_numpy(keypoints)[None], IBUG_68)  # (1,), (1,)
    pose = head_pose(keypoints)
    return FoundFace(box, score, confidence, keypoints, pose, eyes.item(), mouth.item(), number)
