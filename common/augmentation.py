"""Small functions on whole batches; each face of a batch draws its own random numbers.

Everything that moves a face - the way from the cached crop to the network's crop, rotation,
scale, shift, flip, the detector's error - becomes one 2x3 matrix, and that matrix moves the
picture and the points. Random numbers are drawn on the CPU from torch's global generator, so a
seed means the same faces on every device.

torchvision's v2 transforms draw one set of numbers for a whole batch; hence our own, ten lines
each.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from common.crops import inverse, transform_points
from common.recipe import Recipe
from common.system.errors import UserError

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, the weights with which Pillow turns a picture grey
JPEG_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
"""How coarsely JPEG keeps each frequency at quality 50: ITU-T T.81, table K.1."""


def augment(
    images: Tensor, points: Tensor, recipe: Recipe, flip_order: Tensor
) -> tuple[Tensor, Tensor]:
    """One training batch: cached crops in, the network's input out.

    images: uint8 (B, C, H, W), the cached crops, ``recipe.margin`` pixels larger on each side.
    points: float32 (B, K, 2), pixels of the network's crop, as those that are returned.
    flip_order: (K,), see ``Scheme.flip_order``.
    Returns float32 images (B, 1, height, width) in -0.5..0.5 and points (B, K, 2).
    """
    count, device = len(images), images.device
    flipped = torch.rand(count) < recipe.flip
    matrices = random_matrices(count, flipped, recipe)  # (B, 2, 3)
    points = transform_points(points, matrices.to(device))
    mirrored = points[:, flip_order.to(device)]  # left and right have changed places
    points = torch.where(flipped.to(device)[:, None, None], mirrored, points)

    matrices = without_margin(matrices, recipe.margin)
    images = warp(images.float(), matrices, recipe.height, recipe.width)  # (B, C, h, w)
    images = color_jitter(images, recipe)  # (B, 1, h, w)
    if recipe.side_light:
        images = light_from_one_side(images, recipe.side_light)
    if recipe.occlusion:
        images = random_erasing(images, recipe.occlusion)
    if recipe.blur:
        images = blur(images, recipe.blur)
    if recipe.compression:
        images = compress(images, recipe.compression)
    images = (images.clamp(0, 255) / 255 - 0.5).contiguous(memory_format=torch.channels_last)
    return images, points


def to_network_input(images: Tensor, recipe: Recipe) -> Tensor:
    """Cached crops without augmentation: uint8 (B, C, H, W) -> float32 (B, 1, height, width).

    Takes the margin off, turns grey and scales to -0.5..0.5.
    """
    low, high, right = recipe.margin, recipe.margin + recipe.height, recipe.margin + recipe.width
    return grey(images[..., low:high, low:right].float()) / 255 - 0.5


def without_margin(matrices: Tensor, margin: int) -> Tensor:
    """Matrices (B, 2, 3) that take pixels of the cached crop to where ``matrices`` take those of
    the network's crop: first (x, y) -> (x - margin, y - margin), then ``matrices``."""
    offset = matrices[:, :, 2] - margin * matrices[:, :, :2].sum(dim=2)  # (B, 2)
    return torch.cat([matrices[:, :, :2], offset[:, :, None]], dim=2)


def random_matrices(count: int, flipped: Tensor, recipe: Recipe) -> Tensor:
    """Random moves (B, 2, 3) within the network's crop, about its centre, pixels to pixels."""
    side = torch.tensor([recipe.width, recipe.height])
    angle = _uniform(count, recipe.rotation) * math.pi / 180
    size = torch.exp(
        _uniform(count, math.log1p(recipe.scale)) + torch.randn(count) * recipe.box_scale_spread
    )
    shift = torch.stack([_uniform(count, recipe.shift), _uniform(count, recipe.shift)], dim=1)
    shift = (shift + torch.randn(count, 2) * recipe.box_shift) * side  # (B, 2)
    return affine_matrices(angle, size, shift, flipped, side)


def affine_matrices(
    angle: Tensor, size: Tensor, shift: Tensor, flipped: Tensor, side: Tensor
) -> Tensor:
    """Moves (B, 2, 3) about a picture's centre, pixels to pixels: turn, mirror, then shift.

    angle: (B,) radians, clockwise as one sees it, for y points down.
    size: (B,) factors.
    shift: (B, 2) pixels.
    flipped: bool (B,).
    side: (2,) width and height of the picture, pixels.
    """
    middle = (side - 1) / 2  # (2,)
    cosine, sine = size * angle.cos(), size * angle.sin()
    turn = torch.stack([cosine, -sine, sine, cosine], dim=1).view(len(angle), 2, 2)
    turn[:, 0] *= torch.where(flipped, -1.0, 1.0)[:, None]  # turn first, then mirror x
    return torch.cat([turn, (middle + shift - turn @ middle)[:, :, None]], dim=2)  # (B, 2, 3)


def warp(images: Tensor, matrices: Tensor, height: int, width: int) -> Tensor:
    """Move pictures by matrices: float (B, C, H, W) -> (B, C, height, width), bilinear.

    matrices: (B, 2, 3) from pixels of ``images`` to pixels of the result, best on the CPU, where
    small matrices are quick. What lies outside the picture repeats its edge.
    """

    back = inverse(matrices).to(images.device)  # (B, 2, 3), to pixels of the source
    across = torch.arange(width, device=images.device)[:, None]
    down = torch.arange(height, device=images.device)[:, None]
    columns = back[:, None, :, 0] * across  # (B, width, 2)
    rows = back[:, None, :, 1] * down + back[:, None, :, 2]  # (B, height, 2)
    size = torch.tensor([images.shape[-1], images.shape[-2]], device=images.device)
    # ``grid_sample`` counts from -1 to 1, from edge to edge.
    grid = ((2 * rows + 1) / size - 1)[:, :, None] + (2 * columns / size)[:, None]
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def grey(images: Tensor) -> Tensor:
    """float (B, 3, H, W) or (B, 1, H, W) -> grey (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    return torch.einsum("bchw,c->bhw", images, images.new_tensor(LUMA))[:, None]


def color_jitter(images: Tensor, recipe: Recipe) -> Tensor:
    """Random brightness, contrast, saturation and hue: (B, C, H, W) -> grey (B, 1, H, W).

    Values are float, 0..255. All four are one 3x4 matrix on the colours of a face, and turning
    grey is a row of weights, so the whole is four numbers per face. Saturation alone moves
    colours along lines of equal grey and cannot be seen afterwards; it counts through the hue
    that is turned after it. Hue is a rotation about the grey axis, which is linear, where
    torchvision turns it in HSV.
    """
    count, channels = images.shape[:2]
    bright = 1 + _uniform(count, recipe.brightness)
    contrast = 1 + _uniform(count, recipe.contrast)
    if channels == 1:
        weights = bright * contrast  # (B,)
        weights = weights[:, None]  # (B, 1)
    else:
        saturation = (1 + _uniform(count, recipe.saturation))[:, None, None]
        luma = torch.tensor(LUMA)
        saturate = saturation * torch.eye(3) + (1 - saturation) * luma.expand(3, 3)  # (B, 3, 3)
        turn = hue_rotation(_uniform(count, recipe.hue) * 2 * math.pi)  # (B, 3, 3)
        weights = (bright * contrast)[:, None] * (luma @ (turn @ saturate))  # (B, 3)
    mean = grey(images).mean(dim=(1, 2, 3))  # (B,)
    offset = (bright * (1 - contrast)).to(images.device) * mean
    mixed = torch.einsum("bchw,bc->bhw", images, weights.to(images.device))
    return (mixed + offset[:, None, None])[:, None]


def hue_rotation(angle: Tensor) -> Tensor:
    """Rotations (B, 3, 3) of RGB about the grey axis by angles (B,) in radians (Rodrigues)."""
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return cosine * torch.eye(3) + (1 - cosine) / 3 + sine * across


def blur(images: Tensor, share: float) -> Tensor:
    """Gaussian blur of a random ``share`` of the faces, sigma 0.5 to 2 pixels: (B, 1, H, W)."""
    count = len(images)
    sigma = torch.where(torch.rand(count) < share, 0.5 + 1.5 * torch.rand(count), 1e-3)
    offsets = torch.arange(-4, 5)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)  # (B, 9)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).to(images.device)
    rows = functional.pad(images.transpose(0, 1), (4, 4, 4, 4), mode="replicate")  # (1, B, H, W)
    rows = functional.conv2d(rows, kernel[:, None, :, None], groups=count)
    rows = functional.conv2d(rows, kernel[:, None, None, :], groups=count)
    return rows.transpose(0, 1)


def random_erasing(images: Tensor, share: float) -> Tensor:
    """A grey rectangle, a tenth to half of each side, over a random ``share``: (B, 1, H, W)."""
    count, _, height, width = images.shape
    size = 0.1 + 0.4 * torch.rand(count, 2)
    low = torch.rand(count, 2) * (1 - size)
    low, high = low, torch.where((torch.rand(count) < share)[:, None], low + size, low)
    across = (torch.arange(width) + 0.5) / width
    down = (torch.arange(height) + 0.5) / height
    inside_x = (across >= low[:, :1]) & (across < high[:, :1])  # (B, W)
    inside_y = (down >= low[:, 1:]) & (down < high[:, 1:])  # (B, H)
    patch = (inside_y[:, :, None] & inside_x[:, None, :])[:, None]  # (B, 1, H, W)
    shade = (torch.rand(count) * 255)[:, None, None, None]
    return torch.where(patch.to(images.device), shade.to(images.device), images)


def light_from_one_side(images: Tensor, limit: float) -> Tensor:
    """Brighter towards one edge and darker towards the other, by up to ± ``limit`` there.

    (B, 1, H, W) -> (B, 1, H, W). The direction is random; the middle keeps its brightness.
    """
    count, _, height, width = images.shape
    angle, strength = _uniform(count, math.pi), _uniform(count, limit)
    slope = (strength * torch.stack([angle.cos(), angle.sin()])).to(images.device)  # (2, B)
    across = torch.linspace(-1, 1, width, device=images.device)
    down = torch.linspace(-1, 1, height, device=images.device)
    light = 1 + slope[0, :, None, None] * across + slope[1, :, None, None] * down[:, None]
    return images * light[:, None]  # (B, 1, H, W)


def compress(images: Tensor, share: float) -> Tensor:
    """What JPEG of quality 10 to 60 leaves of a random ``share`` of the faces: (B, 1, H, W).

    Values are float, 0..255. Each 8x8 block is turned into frequencies, and these are rounded, as
    JPEG does (ITU-T T.81); no bytes are written. Raises UserError where no such blocks fit.
    """
    count, _, height, width = images.shape
    if height % 8 or width % 8:
        raise UserError(
            f"compression: crops of {width} x {height} pixels are not made of blocks of 8 x 8; "
            "set it to 0, or take other sides"
        )
    quality = torch.randint(10, 61, (count,))
    chosen = (torch.rand(count) < share).nonzero().flatten()
    percent = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality)[chosen]  # as libjpeg
    steps = (percent[:, None, None, None, None] * torch.tensor(JPEG_STEPS) + 50) // 100
    steps = steps.clamp(1, 255).to(images.device)  # (n, 1, 1, 8, 8)
    chosen = chosen.to(images.device)

    place = torch.arange(8.0, device=images.device)
    waves = torch.cos((place + 0.5) * place[:, None] * math.pi / 8) / 2  # (8, 8)
    waves[0] /= math.sqrt(2)  # now orthonormal: its transpose undoes it
    blocks = images[chosen].view(-1, height // 8, 8, width // 8, 8).transpose(2, 3) - 128
    spectrum = waves @ blocks @ waves.T  # (n, H / 8, W / 8, 8, 8)
    blocks = waves.T @ ((spectrum / steps).round() * steps) @ waves + 128
    images = images.clone()
    images[chosen] = blocks.transpose(2, 3).reshape(-1, 1, height, width)
    return images


def _uniform(count: int, limit: float) -> Tensor:
    return (2 * torch.rand(count) - 1) * limit
