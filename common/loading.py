"""Every picture is decoded once; training reads crops from one tensor."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from common.crop_cache import cached_crops
from common.crops import crop_boxes, network_matrices, transform_points
from common.faces import Faces
from common.keypoints import flip_order_within
from common.recipe import Recipe


@dataclass(frozen=True)
class Crops:
    """N cropped faces. All points and matrices are those of the network's crop: the margin that
    ``images`` have around it is the business of ``augmentation`` alone.

    faces: what the reader said of them; damaged pictures are gone from it.
    images: uint8 (N, C, H, W), C = 1 grey or 3 RGB, ``Recipe.cached_size``; to read only.
    matrices: float32 (N, 2, 3), from pixels of the picture to pixels of the network's crop.
    point_ids: the k points of the scheme that a network predicts, by their indices.
    """

    faces: Faces
    images: Tensor
    matrices: Tensor
    point_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.faces)

    def take(self, wanted: list[int] | Tensor) -> Crops:
        """The faces at the indices ``wanted``, in that order."""
        wanted = torch.as_tensor(wanted, dtype=torch.long)
        images, matrices = self.images[wanted], self.matrices[wanted]
        return replace(self, faces=self.faces.take(wanted), images=images, matrices=matrices)

    def batch(self, chosen: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images uint8 (B, C, H, W) and points (B, k, 2) at the indices ``chosen``, on ``device``.

        The images are there already where they fit, see ``device.preload_if_fits``.
        """
        images = self.images[chosen.to(self.images.device)]
        return images.to(device), self.points[chosen].to(device)

    @cached_property
    def all_points(self) -> Tensor:
        """float32 (N, K, 2): every annotated point."""
        return transform_points(self.faces.points, self.matrices)

    @cached_property
    def points(self) -> Tensor:
        """float32 (N, k, 2): the ground truth of the points that a network predicts."""
        return self.all_points[:, list(self.point_ids)]

    @property
    def norm_distance(self) -> Tensor:
        """float32 (N,): what NME divides by, in pixels of the crop: the distance of the outer eye
        corners, or the box's diagonal where a face lacks them, see ``Faces.has_eyes``."""
        if self.faces.has_eyes:
            return self.faces.scheme.eye_distance(self.all_points)
        scale = self.matrices[:, [0, 1], [0, 1]]  # (N, 2)
        return (self.faces.boxes[:, 2:] * scale).norm(dim=1)

    @property
    def flip_order(self) -> Tensor:
        """Index tensor (k,) that exchanges left and right among the points."""
        return flip_order_within(self.faces.scheme, self.point_ids)


def load_crops(faces: Faces, recipe: Recipe, point_ids: tuple[int, ...] | None = None) -> Crops:
    """Crop the faces as ``recipe`` says, or take their crops from the cache.

    point_ids: the points that a network predicts; all of the scheme by default.
    Damaged pictures are left out and named on stderr.
    Raises UserError when more than 1 % of the pictures are damaged or the cache cannot be written.
    """
    boxes = crop_boxes(faces.boxes, recipe)
    shape = (3 if recipe.colour else 1, *recipe.cached_size)
    images, cut, damaged = cached_crops(faces, boxes, shape)
    faces = replace(faces.take(cut), left_out=faces.left_out + damaged)
    for line in faces.left_out:
        print(f"left out: {line}", file=sys.stderr)
    if point_ids is None:
        point_ids = tuple(range(faces.scheme.n_points))
    return Crops(faces, images, network_matrices(boxes[cut], recipe), point_ids)
