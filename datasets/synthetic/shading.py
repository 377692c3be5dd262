"""From triangles to lit pixels: a z-buffer over all triangles at once, noise and light."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.head import Array
from datasets.synthetic.people import Scene

Paint = tuple[Array, Array, Array]
"""Colour (N, 3), gloss (N,) and softness (N,): how far light wraps around, 1 for skin."""


def rasterise(
    points: Array, depth: Array, triangles: NDArray[np.int32], attributes: Array, distance: Array
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array, Array]:
    """What the pixels of a picture show of a mesh, without a loop over triangles.

    points: float32 (V, 2), in pixels.
    depth, attributes: float32 (V,) and (V, D).
    triangles: (T, 3); those that do not run clockwise in the picture face away and are left out.
    distance: float32 (H, W), depth of what the picture shows already, infinite for nothing.
    Returns, for the N pixels where the mesh is nearer: their numbers in reading order, triangle,
    depth (N,) and attributes (N, D).
    """
    triangle, pixel, weights = _covered(points, triangles, distance.shape)
    za, zb, zc = np.ascontiguousarray(depth[triangles].T)  # (3, T)
    near = za[triangle] + weights[0] * (zb - za)[triangle] + weights[1] * (zc - za)[triangle]
    # Far to near: of several writes to one pixel the last one, the nearest, stays. Depth in 16 bits
    # lets numpy sort by counting.
    nearness = near.max(initial=0) - near
    steps = (nearness * (65535 / nearness.max(initial=1))).astype(np.uint16)
    order = np.argsort(steps, kind="stable")
    chosen = np.full(distance.size, -1, np.int64)
    chosen[pixel[order]] = order
    hit = np.flatnonzero(chosen >= 0)
    hit = hit[near[chosen[hit]] < distance.ravel()[hit]]
    chosen = chosen[hit]
    wb, wc = weights[:, chosen, None]
    a, b, c = triangles[triangle[chosen]].T
    value = attributes[a] * (1 - wb - wc)
    value += attributes[b] * wb  # in place: these are the largest arrays
    value += attributes[c] * wc
    return hit, triangle[chosen], near[chosen], value


def _covered(
    points: Array, triangles: NDArray[np.int32], size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int32], Array]:
    """Triangles (M,), pixels within (M,), weights (2, M) of the second and third corner."""
    height, width = size
    corners = np.ascontiguousarray(points[triangles].transpose(1, 2, 0))  # (3, 2, T)
    (ax, ay), (bx, by), (cx, cy) = corners
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    low = np.maximum(np.ceil(corners.min(0)), 0)  # (2, T), of the bounding box
    last = np.array([[width - 1], [height - 1]], np.float32)
    extent = np.minimum(np.floor(corners.max(0)), last) - low + 1
    seen = np.flatnonzero((area > 1e-6) & (extent > 0).all(0))
    (ax, ay), (bx, by), (cx, cy) = corners[..., seen]
    (left, top), scale = low[:, seen], 1 / area[seen]
    columns, rows = extent[:, seen].astype(np.int32)

    # The weights of the corners b and c are linear in the pixel.
    gbx, gby = (cy - ay) * scale, (ax - cx) * scale
    gcx, gcy = (ay - by) * scale, (bx - ax) * scale
    b0 = gbx * (left - ax) + gby * (top - ay)  # at the first pixel of the bounding box
    c0 = gcx * (left - ax) + gcy * (top - ay)
    count = columns * rows
    which = np.repeat(np.arange(len(seen), dtype=np.int32), count)  # one entry per pixel of a box
    start = (np.cumsum(count) - count).astype(np.int32)
    step = np.arange(len(which), dtype=np.int32) - start[which]
    down = step // columns[which]  # faster than numpy's divmod
    right = (step - down * columns[which]).astype(np.float32)
    down = down.astype(np.float32)
    wb = gbx[which] * right + gby[which] * down + b0[which]
    wc = gcx[which] * right + gcy[which] * down + c0[which]
    inside = np.flatnonzero((wb >= -1e-4) & (wc >= -1e-4) & (wb + wc <= 1.0001))
    which = which[inside]
    pixel = (top[which] + down[inside]) * width + left[which] + right[inside]
    return seen[which], pixel.astype(np.int32), np.stack([wb[inside], wc[inside]])


@lru_cache
def noise(kind: str) -> Array:
    """Tileable noise (256, 256) of one kind, strands along columns; standard deviation 1."""
    random = np.random.default_rng(7)
    total = np.zeros((256, 256), np.float32)
    for sigma in {"fine": (1, 2, 4), "coarse": (8, 16, 32), "strands": (1, 2, 6)}[kind]:
        white = np.tile(random.normal(size=(256, 256)).astype(np.float32), (3, 3))
        along = sigma * 14 if kind == "strands" else sigma
        layer = cv2.GaussianBlur(white, (0, 0), sigmaX=sigma, sigmaY=along)[256:512, 256:512]
        total += layer / layer.std()
    return total / total.std()


def look_up(image: Array, x: Array, y: Array, wrap: bool = False) -> Array:
    """Bilinear values (N, ...) of an image at positions (N,); beyond its edge: that or wrapped."""
    count = len(x)
    size = -(-max(count, 1) // 256) * 256  # cv2.remap wants a picture
    padded = np.zeros((2, size), np.float32)
    padded[:, :count] = x, y
    if wrap:
        padded %= 256
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_REPLICATE
    out = cv2.remap(image, *padded.reshape(2, -1, 256), cv2.INTER_LINEAR, borderMode=border)
    return out.reshape(-1, *image.shape[2:])[:count]


def sample_noise(kind: str, u: Array, v: Array) -> Array:
    """Noise at (N,) coordinates in texels, wrapped around."""
    return look_up(noise(kind), u, v, wrap=True)


def mix(base: Array, other: Array, share: Array) -> Array:
    """``base`` (N, 3) moved towards ``other`` (3,) or (N, 3) by ``share`` (N,)."""
    return base + share[:, None] * (other - base)


def dot(vectors: Array, direction: Array) -> Array:
    """Scalar products (...) of vectors (..., 3) with one (3,)."""
    # For ``@`` BLAS starts threads, which get in the way when faces are rendered in parallel.
    return np.einsum("...d,d->...", vectors, direction)


LUMINANCE = np.array([0.30, 0.59, 0.11], np.float32)


def light(paint: Paint, normal: Array, view: Array, arriving: Array, scene: Scene) -> Array:
    """Light (N, 3) that goes from painted points to the camera.

    normal, view: unit vectors (N, 3).
    arriving: (2, N), shares of the first light and of the ambient light that arrive.
    """
    (colour, gloss, softness), (reach, hollow) = paint, arriving
    total = scene.ambient * colour * ((0.82 - 0.28 * normal[:, 1]) * hollow)[:, None]
    wrap = softness[:, None] * np.array([0.30, 0.16, 0.12], np.float32)
    for number, (direction, strength) in enumerate(scene.lights):
        facing = dot(normal, direction)
        arrives = 0.06 + 0.94 * reach if number == 0 else hollow
        diffuse = np.maximum((facing[:, None] + wrap) / (1 + wrap), 0)
        half = view + direction
        shine = np.maximum(np.einsum("nd,nd->n", normal, half), 0)
        shine /= np.sqrt(np.einsum("nd,nd->n", half, half))
        power = shine**14
        high = gloss * scene.gloss * (0.16 * power + 0.12 * power**3.5) * (facing > 0)
        total += (arrives[:, None] * strength) * (colour * diffuse + high[:, None])
    return total
