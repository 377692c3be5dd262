"""Data sets of a few made-up faces, in the layout of the originals."""

import math
from functools import partial

import numpy as np
from handmade import write_asf, write_frames, write_list, write_pts
from PIL import Image, ImageDraw

from datasets import ibug, imm, youtube_faces

PERSONS = (1, 2, 3, 32, 33, 40)
TRAINING_FACES, TEST_FACES = 8, 4  # of IMM: two views a person, the last two persons to test on
FOLDERS = {"afw": 2, "helen/trainset": 3, "lfpw/trainset": 1, "lfpw/testset": 2, "ibug": 1}
BOX_SHIFT = 4  # pixels by which the list's boxes lie right of and below the landmarks'


def arc(x, y, wide, high, first, last, count):
    """``count`` points on an ellipse, by degrees from the right over the bottom."""
    angles = [math.radians(first + (last - first) * i / (count - 1)) for i in range(count)]
    return [(x + wide * math.cos(a), y + high * math.sin(a)) for a in angles]


IBUG_FACE = [
    *arc(0.5, 0.45, 0.25, 0.40, 180, 0, 17),  # jaw
    *arc(0.38, 0.36, 0.09, 0.05, 200, 340, 5), *arc(0.62, 0.36, 0.09, 0.05, 200, 340, 5),  # brows
    *((0.5, 0.42 + 0.05 * i) for i in range(4)), *arc(0.5, 0.6, 0.06, 0.03, 180, 0, 5),  # nose
    *arc(0.38, 0.44, 0.05, 0.02, 180, 480, 6), *arc(0.62, 0.44, 0.05, 0.02, 180, 480, 6),  # eyes
    *arc(0.5, 0.72, 0.10, 0.05, 180, 510, 12), *arc(0.5, 0.72, 0.07, 0.02, 180, 495, 8),  # lips
]  # fmt: skip
IMM_FACE = [
    *arc(0.5, 0.45, 0.25, 0.40, 0, 180, 13),  # jaw
    *arc(0.62, 0.44, 0.05, 0.02, 0, 315, 8), *arc(0.38, 0.44, 0.05, 0.02, 180, -135, 8),  # eyes
    *arc(0.62, 0.36, 0.09, 0.05, 340, 200, 5), *arc(0.38, 0.36, 0.09, 0.05, 200, 340, 5),  # brows
    *arc(0.5, 0.72, 0.10, 0.05, 180, 495, 8),  # mouth
    *arc(0.5, 0.52, 0.06, 0.10, 240, -60, 11),  # nose
]  # fmt: skip


def place(face, random):
    """The face somewhere else, a little larger or smaller, every point a little off."""
    moved = np.array(face) * random.uniform(0.85, 1.1) + random.uniform(-0.04, 0.04, 2)
    return moved + random.normal(0, 0.004, moved.shape)


def draw_face(file, points, size, random):
    """A coloured oval with dark spots at the points, on noise."""
    width, height = size
    noise = random.integers(90, 160, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    draw = ImageDraw.Draw(picture)
    low, high = points.min(axis=0), points.max(axis=0)
    skin = tuple(int(value) for value in random.integers(120, 240, 3))
    draw.ellipse([*low, *high], fill=skin)
    for x, y in points:
        draw.ellipse([x - 1, y - 1, x + 1, y + 1], fill=(30, 20, 10))
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, quality=95)


def write_imm(root, size=(160, 120)):
    """``root/imm_face_db`` with two views of each of PERSONS."""
    random = np.random.default_rng(0)
    folder = root / imm.FOLDER
    for person in PERSONS:
        for view in (1, 3):
            stem = f"{person:02d}-{view}m"
            fractions = place(IMM_FACE, random)
            draw_face(folder / f"{stem}.jpg", fractions * size - 0.5, size, random)
            write_asf(folder, stem, fractions.tolist(), picture=f"{stem}.jpg")
    return root


def write_ibug(root, size=(150, 140)):
    """``root/ibug_300W_...`` with FOLDERS, and dlib's test list with boxes for lfpw/testset."""
    random = np.random.default_rng(1)
    folder = root / ibug.FOLDER
    listed = []
    for name, count in FOLDERS.items():
        for index in range(count):
            points = place(IBUG_FACE, random) * size - 0.5
            file = folder / name / f"image_{index:04d}.jpg"
            draw_face(file, points, size, random)
            write_pts(file.with_suffix(".pts"), (points + 1).tolist(), picture=None)
            if name == "lfpw/testset":
                left, top = points.min(axis=0) + 0.5 + BOX_SHIFT
                box = (left, top, *np.ptp(points, axis=0))
                listed.append((f"{name}/{file.name}", box, points.tolist()))
    write_list(folder, listed, "dlib/test")
    write_list(folder, [], "dlib/train")
    return root


def write_youtube_faces(root, size=(120, 110)):
    """``root/youtube_faces``: twelve people, whose two frames of training and one of the test are
    of one video; the first and the eleventh are kept out of training. 20 train, 4 validation."""
    random = np.random.default_rng(2)
    folder = root / youtube_faces.FOLDER
    for part, frames in (("training", "01"), ("test", "2")):
        listed = []
        for person in "ABCDEFGHIJKL":
            for frame in frames:
                points = (place(IBUG_FACE, random) * size - 0.5).round()
                draw_face(folder / part / f"{person}_Name_0{frame}.jpg", points, size, random)
                listed.append((f"{person}_Name_0{frame}.jpg", points.tolist()))
        write_frames(folder, listed, part)
    return root


KAGGLE = {  # its 15 points in its order; the averaged points of IBUG_FACE
    "left_eye_center": (42, 43, 44, 45, 46, 47), "right_eye_center": (36, 37, 38, 39, 40, 41),
    "left_eye_inner_corner": (42,), "left_eye_outer_corner": (45,),
    "right_eye_inner_corner": (39,), "right_eye_outer_corner": (36,),
    "left_eyebrow_inner_end": (22,), "left_eyebrow_outer_end": (26,),
    "right_eyebrow_inner_end": (21,), "right_eyebrow_outer_end": (17,),
    "nose_tip": (30,), "mouth_left_corner": (54,), "mouth_right_corner": (48,),
    "mouth_center_top_lip": (51,), "mouth_center_bottom_lip": (57,),
}  # fmt: skip
KAGGLE_ALWAYS = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")


def write_kaggle(folder, count):
    """``training.csv`` in Kaggle's layout: 96 x 96 grey values in a cell; of ten faces seven have
    only KAGGLE_ALWAYS. The file, the points (N, 15, 2) and the pictures (N, 96, 96)."""
    random, size = np.random.default_rng(3), (96, 96)
    lines = [",".join([*(f"{name}_{axis}" for name in KAGGLE for axis in "xy"), "Image"])]
    truth, pictures = [], []
    for index in range(count):
        points = place(IBUG_FACE, random) * size - 0.5
        draw_face(folder / "one.png", points, size, random)
        with Image.open(folder / "one.png") as picture:
            pictures.append(np.asarray(picture.convert("L")))
        named = {name: points[list(of)].mean(axis=0) for name, of in KAGGLE.items()}
        truth.append(list(named.values()))
        cells = [
            f"{value:.9f}" if index % 10 < 3 or name in KAGGLE_ALWAYS else ""
            for name, point in named.items()
            for value in point
        ]
        lines.append(",".join([*cells, " ".join(map(str, pictures[-1].flatten()))]))
    (folder / "one.png").unlink()
    (folder / "training.csv").write_text("\n".join([*lines, ""]))
    return folder / "training.csv", np.array(truth), np.array(pictures)


def shrink_crops(patch):
    """Part 3 takes small crops, a fifth of the work, and detectors search for upright faces alone:
    as a network that has learned nothing finds no face, every picture would be turned 14 times."""
    from common.photos import detectors
    from parts.part3_large_dataset import RECIPES

    patch.setattr(detectors, "detect_turned", lambda *_, **__: [])
    for name, recipe in RECIPES.items():
        patch.setitem(RECIPES, name, partial(recipe, height=64, width=64, margin=8))
