"""Damaged pictures, films, annotations and checkpoints: ``python -m benchmarks.fuzz --count N``.

Every case is drawn from its number alone. It is read as whole files are (``same``), refused in one
line, or it is ``changed`` where nothing in the file can show it, as a digit in a coordinate. It is
``wrong`` where the file shows the damage and it is read in silence, and a ``traceback`` is an error
of this program; both are listed, and end with status 1.
"""

from __future__ import annotations

import io
import tempfile
import traceback
from collections import Counter
from contextlib import redirect_stderr
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor

from benchmarks import parser_of, run
from common import checkpoints
from common.keypoints import IBUG_68, IMM_58
from common.photos.formats import read_photo
from common.photos.video import Recorder
from common.recipe import Recipe
from common.system.errors import UserError
from datasets import ibug, imm, youtube_faces
from datasets.synthetic.render import render
from parts.commands.predict import Output, predict_video
from parts.part2_full_face import FaceNet
from parts.toolkit import choose_network, face_keypoints

SIDE, FRAMES = 64, 8
SAME, REFUSED, CHANGED, WRONG, TRACEBACK = "same", "refused", "changed", "wrong", "traceback"
PICTURES = {
    "jpg": {}, "png": {}, "webp": {"lossless": True}, "gif": {}, "bmp": {}, "tga": {}, "ppm": {},
    "tif": {"compression": "tiff_lzw"}, "jp2": {}, "avif": {},
}  # fmt: skip
JUNK = (None, "x", -1, 10**6, float("nan"), float("inf"), [], {}, [[1]], "delete")


def damaged(content: bytes, random: Generator) -> tuple[bytes, str]:
    """Bytes with one kind of damage, and its name."""
    start = int(random.integers(len(content)))
    end, few = start + int(random.integers(1, 64)), random.bytes(int(random.integers(1, 16)))
    ways = {
        "cut": content[:start],
        "flipped": content[:start] + bytes([content[start] ^ few[0]]) + content[start + 1 :],
        "zeros": content[:start] + bytes(len(content[start:end])) + content[end:],
        "gap": content[:start] + content[end:],
        "noise": content[:start] + few + content[start:],
    }
    way = str(random.choice([*ways]))
    return ways[way], way


@cache
def face(n_points: int = 68) -> tuple[np.ndarray, Tensor]:
    """A synthetic face, uint8 (SIDE, SIDE, 3), and its points (K, 2)."""
    scheme = IBUG_68 if n_points == 68 else IMM_58
    images, points, _ = render([1], scheme, "crop", (SIDE, SIDE))
    return images[0].permute(1, 2, 0).numpy(), points[0]


def picture(folder: Path, random: Generator) -> tuple[str, str]:
    """A damaged picture through ``read_photo``; PNG has checksums, and what is cut shows it."""
    ending = str(random.choice([*PICTURES]))
    file = io.BytesIO()
    Image.fromarray(face()[0]).save(
        file, Image.registered_extensions()[f".{ending}"], **PICTURES[ending]
    )
    whole, path = folder / f"whole.{ending}", folder / f"damaged.{ending}"
    whole.write_bytes(file.getvalue())
    content, way = damaged(file.getvalue(), random)
    path.write_bytes(content)
    if np.array_equal(read_photo(str(path)), read_photo(str(whole))):
        return SAME, way
    return WRONG if way == "cut" or ending == "png" else CHANGED, f"{way} {ending}"


def film(folder: Path, random: Generator) -> tuple[str, str]:
    """A damaged film through ``predict``, which must say that frames are missing if it is cut."""
    path = folder / f"film{random.choice(['.avi', '.mp4'])}"
    recorder = Recorder(path, 25.0, (SIDE, SIDE), overwrite=True)
    for number in range(FRAMES):
        recorder.write(np.roll(face()[0], number, axis=1), number / 25)
    recorder.close()
    content, way = damaged(path.read_bytes(), random)
    path.write_bytes(content)
    nothing = np.empty((0, 68, 2), np.float32), np.empty(0, np.float32)
    finder = SimpleNamespace(detect=lambda *_, **__: [], keypoints=lambda *_, **__: nothing)
    output = Output(folder, (), None, ("json",), overwrite=True)
    line = predict_video(str(path), path.stem, finder, output)
    count = len((folder / "film.jsonl").read_text().splitlines())
    if count == FRAMES:
        return SAME, way
    return WRONG if way == "cut" and f"of {FRAMES}" not in line else CHANGED, f"{way} {path.suffix}"


def annotation(folder: Path, random: Generator) -> tuple[str, str]:
    """A damaged annotation through its reader; rows that show the damage must be refused."""
    kind = str(random.choice([*READERS]))
    points = face(58 if kind == "asf" else 68)[1].round()
    values = (points + 0.5) / SIDE if kind == "asf" else points
    rows = [[f"{x:.4f}", f"{y:.4f}"] for x, y in values.tolist()]
    at, other = random.choice(len(rows), 2, replace=False)
    bad = {"not placed": ["0", "-1"], "no number": ["nan", "inf", "x"]}
    way = str(random.choice(["none", "bytes", "row lost", "row twice", "exchanged", *bad]))
    if way == "row lost":
        rows.pop(at)
    elif way == "row twice":
        rows.insert(at, rows[other])
    elif way == "exchanged":
        rows = [row[::-1] for row in rows]
    elif way in bad:
        rows[at] = [str(random.choice(bad[way]))] * 2
    file, text = folder / READERS[kind][0], text_of(kind, rows).encode()
    picture = file.parent / PICTURES_OF.get(kind, file.with_suffix(".jpg").name)
    picture.parent.mkdir(parents=True)
    Image.fromarray(face()[0]).save(picture)
    file.write_bytes(damaged(text, random)[0] if way == "bytes" else text)
    found = READERS[kind][1](folder).points
    if found.shape == (1, *points.shape) and (found[0] - points).abs().max() <= 1:
        return SAME, way
    return CHANGED if way == "bytes" else WRONG, f"{way} {kind}"


FRAMES_LIST = f"{youtube_faces.FOLDER}/{youtube_faces.MARKER}"
READERS = {
    "pts": (f"{ibug.FOLDER}/afw/a.pts", partial(ibug.load, split="afw")),
    "xml": (f"{ibug.FOLDER}/{ibug.LISTS['dlib/test']}", partial(ibug.load, split="dlib/test")),
    "asf": (f"{imm.FOLDER}/01-1m.asf", imm.load),
    "csv": (FRAMES_LIST, partial(youtube_faces.load, split="training")),
}
"""The file of each kind of annotation, and what reads the data set in a folder."""
PICTURES_OF = {"xml": "a.jpg", "csv": "training/A_B_01.jpg"}


def text_of(kind: str, rows: list[list[str]]) -> str:
    """The annotation of one face, whose points are ``rows``."""
    if kind == "csv":
        header = ",".join(map(str, range(136)))
        return f",{header}\nA_B_01.jpg,{','.join(value for row in rows for value in row)}\n"
    if kind == "asf":
        lines = [f"0 4 {x} {y} {n} 0 1" for n, (x, y) in enumerate(rows)]
        return "\n".join([str(IMM_58.n_points), *lines, "01-1m.jpg", ""])
    if kind == "xml":
        parts = "".join(f"<part name='{n:02}' x='{x}' y='{y}'/>" for n, (x, y) in enumerate(rows))
        box = f"<box top='1' left='1' width='9' height='9'>{parts}</box>"
        return f"<dataset><images><image file='a.jpg'>{box}</image></images></dataset>"
    return "\n".join(["version: 1", "n_points: 68", "{", *map(" ".join, rows), "}", ""])


def checkpoint(folder: Path, random: Generator) -> tuple[str, str]:
    """A checkpoint whose bytes or values are damaged, through the network's predictions."""
    path = folder / "c.pt"
    checkpoints.save(trained(), path)
    way = "bytes"
    if random.random() < 0.5:
        path.write_bytes(damaged(path.read_bytes(), random)[0])
    else:
        values = {key: dict(of) if isinstance(of, dict) else of for key, of in trained().items()}
        place = values[str(random.choice(["recipe", "arguments", "weights"]))]
        place = place if random.random() < 0.5 else values
        key, junk = str(random.choice([*place])), JUNK[random.integers(len(JUNK))]
        way = f"{key} = {junk}"
        place.pop(key) if junk == "delete" else place.update({key: junk})
        checkpoints.save(values, path)
    return SAME if np.allclose(predicted(path), expected(), atol=1e-3) else WRONG, way


@cache
def trained() -> checkpoints.Checkpoint:
    """The checkpoint of a small network for 68 points that has learned nothing."""
    torch.manual_seed(0)
    network = FaceNet(96, 96, n_points=68)
    recipe = vars(Recipe(height=96, width=96, margin=4, box_scale=1.3))
    return {
        "network": "FaceNet", "arguments": network.arguments, "weights": dict(network.state_dict()),
        "recipe": recipe, "scheme": "ibug68", "point_ids": list(range(68)), "dataset": "ibug",
        "mean_shape": torch.full((68, 2), 0.5), "flip_disagreement": 0.03, "metrics": {"nme": 5.0},
    }  # fmt: skip


def predicted(path: Path) -> np.ndarray:
    """The keypoints (68, 2) that the network in a checkpoint predicts for ``face``."""
    with redirect_stderr(io.StringIO()):  # the line that names it
        finder = face_keypoints(choose_network(path), "haar", device="cpu")
    return finder.predict(face()[0], boxes=np.array([[8.0, 8.0, 48.0, 48.0]]))[0].keypoints


@cache
def expected() -> np.ndarray:
    """The keypoints (68, 2) that the undamaged checkpoint's network predicts."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.save(trained(), Path(folder) / "c.pt")
        return predicted(Path(folder) / "c.pt")


KINDS = {"pictures": picture, "films": film, "annotations": annotation, "checkpoints": checkpoint}


def fuzz(kind: str, count: int) -> tuple[Counter[str], list[str]]:
    """``count`` cases of one kind: the number of each outcome, and a line for each fault."""
    counts, faults = Counter(), []
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome, what = KINDS[kind](Path(folder), np.random.default_rng(number))
            except UserError as fault:
                outcome, what = WRONG if "\n" in str(fault) else REFUSED, str(fault)
            except Exception:
                outcome, what = TRACEBACK, traceback.format_exc()
        counts[outcome] += 1
        if outcome in (WRONG, TRACEBACK):
            faults.append(f"{kind} {number}: {outcome}: {what}")
    return counts, faults


def main() -> int:
    """Print the faults and the counts; returns the exit status."""
    options, found = parser_of(__doc__, count=250).parse_args(), False
    for kind in KINDS:
        counts, faults = fuzz(kind, options.count)
        outcomes = ", ".join(f"{n} {name}" for name, n in counts.most_common())
        print(*faults, f"{kind}: {outcomes}", sep="\n", flush=True)
        found |= bool(faults)
    return int(found)


if __name__ == "__main__":
    run(main)
