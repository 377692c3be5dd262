import multiprocessing
import os
import re
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dots import centre_near, draw
from handmade import ORIENTATION
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from common import crop_cache
from common.crops import read_picture
from common.faces import Faces
from common.keypoints import IMM_58
from common.loading import load_crops
from common.recipe import Options, Recipe
from common.system.errors import UserError
from common.system.files import cache_folder
from common.training import fit

SMALL = Recipe(height=9, width=12)


def faces_in(files, name="imm/train", boxes=None):
    """Faces whose points are 58 whole numbers, their boxes 40 x 30 pixels."""
    count = len(files)
    points = torch.arange(count * 58 * 2.0).view(count, 58, 2) % 29
    boxes = torch.tensor([[0.0, 0, 40, 30]] * count) if boxes is None else boxes
    groups = tuple(f"{i}" for i in range(count))
    return Faces(name, name.partition("/")[0], IMM_58, tuple(files), points, boxes, groups, groups)


def write_noise(file, seed, mode="RGB", size=(40, 30)):
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(file)
    return file


@pytest.fixture
def five(tmp_path):
    return faces_in([write_noise(tmp_path / f"{i} of 5.png", i) for i in range(5)])


@pytest.fixture
def decoded(monkeypatch):
    """The names of the pictures that are opened, in any order."""
    names = []

    def counting(path, colour):
        names.append(path.name)
        return read_picture(path, colour)

    monkeypatch.setattr(crop_cache, "read_picture", counting)
    return names


def same(one, other):
    return torch.equal(one.images, other.images) and one.faces.files == other.faces.files


# Crops


def test_crops_stand_beside_their_points_in_the_same_pixels(five):
    recipe = Recipe(height=24, width=24, margin=3, box_scale=1.5)
    crops = load_crops(five, recipe, (52, 13, 21))
    assert crops.images.shape == (5, 1, 30, 30)
    assert crops.images.dtype == torch.uint8
    # The box's middle is 20, 15; the square around it has a side of 40 * 1.5 * 30 / 24 = 75.
    # Its first pixel lies 3 pixels, the margin, outside the network's crop.
    expected = (five.points + 0.5 - torch.tensor([20 - 37.5, 15 - 37.5])) * (30 / 75) - 3.5
    torch.testing.assert_close(crops.all_points, expected)
    torch.testing.assert_close(crops.points, expected[:, [52, 13, 21]])
    eyes = (five.points[:, 13] - five.points[:, 21]).norm(dim=-1) * (30 / 75)
    torch.testing.assert_close(crops.eye_distance, eyes)
    assert crops.flip_order.tolist() == [0, 2, 1]
    assert load_crops(five, recipe).points.shape == (5, 58, 2)


def test_every_crop_shows_its_own_picture(five):
    crops = load_crops(five, Recipe(height=30, width=40, colour=True))
    for file, crop in zip(five.files, crops.images, strict=True):
        assert np.array_equal(crop.permute(1, 2, 0).numpy(), np.asarray(Image.open(file)))


# The cache


def test_the_second_time_nothing_is_decoded(five, decoded):
    first = load_crops(five, SMALL)
    assert sorted(decoded) == [file.name for file in five.files]
    decoded.clear()
    assert same(load_crops(five, SMALL), first)
    assert decoded == []


def test_another_recipe_of_the_same_crop_uses_the_same_cache(five, decoded):
    load_crops(five, SMALL)
    decoded.clear()
    load_crops(five, Recipe(height=9, width=12, rotation=10.0, epochs=7), (52,))
    assert decoded == []


def change_picture(faces):
    write_noise(faces.files[3], 99)
    os.utime(faces.files[3], ns=(1, 1))
    return faces, SMALL


def change_box(faces):
    boxes = faces.boxes.clone()
    boxes[2, 0] += 0.5
    return faces_in(faces.files, boxes=boxes), SMALL


def change_order(faces):
    return faces.take([1, 0, 2, 3, 4]), SMALL


def take_fewer(faces):
    return faces.take([0, 1, 2, 3]), SMALL


@pytest.mark.parametrize(
    "change",
    [
        change_picture,
        change_box,
        change_order,
        take_fewer,
        lambda faces: (faces, Recipe(height=10, width=12)),
        lambda faces: (faces, Recipe(height=9, width=13)),
        lambda faces: (faces, Recipe(height=9, width=12, margin=1)),
        lambda faces: (faces, Recipe(height=9, width=12, box_scale=1.2)),
        lambda faces: (faces, Recipe(height=9, width=12, colour=True)),
    ],
    ids=["picture", "box", "order", "count", "height", "width", "margin", "box_scale", "colour"],
)
def test_the_cache_is_made_anew_where_its_source_or_settings_change(five, decoded, cache, change):
    load_crops(five, SMALL)
    changed, recipe = change(five)
    decoded.clear()
    crops = load_crops(changed, recipe)
    assert len(decoded) == len(changed)
    shutil.rmtree(cache)
    assert same(crops, load_crops(changed, recipe))  # what is made without any cache


def test_mended_annotations_count_without_decoding_again(five, decoded):
    before = load_crops(five, SMALL)
    decoded.clear()
    five.points[:] += 1
    moved = load_crops(five, SMALL).points - before.points
    assert decoded == []
    torch.testing.assert_close(moved, torch.full_like(moved, 0.3))


def test_two_runs_that_cut_the_same_faces_in_their_own_ways_do_not_disturb_each_other(five):
    ours = load_crops(five, replace(SMALL, box_scale=1.2))
    before = ours.images.clone()
    theirs = load_crops(five, replace(SMALL, box_scale=1.5))
    assert torch.equal(ours.images, before) and not torch.equal(theirs.images, before)
    (left,) = cache_folder().glob("*.npy")  # the older one's file is gone, its pixels are not
    assert np.array_equal(np.load(left), theirs.images.numpy())


def the_cache_file(kind="npy"):
    (file,) = cache_folder().glob(f"*.{kind}")
    return file


def replace_file(file, content):
    """By another file: what was mapped of the old one stays readable."""
    file.unlink()
    file.write_bytes(content)


@given(data=st.data())
def test_a_damaged_cache_is_made_anew_with_a_warning(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    faces = faces_in([write_noise(folder / f"{i}.png", i) for i in range(2)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACE_CACHE", str(folder / "cache"))
        good = load_crops(faces, SMALL)
        file = the_cache_file(data.draw(st.sampled_from(["npy", "json"])))
        whole = file.read_bytes()
        place = data.draw(st.integers(0, len(whole) - 1))
        damaged = bytearray(whole)
        damaged[place] ^= data.draw(st.integers(1, 255))
        truncated = whole[:place]
        for content in (truncated, bytes(damaged)):
            replace_file(file, content)
            assert same(load_crops(faces, SMALL), good)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_the_warning_is_one_line_and_the_new_cache_is_whole(five, decoded, capfd, damage):
    good = load_crops(five, SMALL)
    file = the_cache_file()
    whole = file.read_bytes()
    place = whole.index(good.images[4].numpy().tobytes())  # within the pixels
    flipped = whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]
    contents = {"truncated": whole[:-200], "flipped": flipped, "empty": b"", "text": b"no\ncache"}
    replace_file(file, contents[damage])
    decoded.clear()
    capfd.readouterr()
    assert same(load_crops(five, SMALL), good)
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if "damaged" in line] == [
        f"{file}: the cache is damaged and is made again"
    ]
    assert len(decoded) == 5
    assert same(load_crops(five, SMALL), good)
    assert len(decoded) == 5
    assert file.read_bytes() == whole


def test_a_cache_folder_that_cannot_be_written_is_told_in_one_line(five, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FACE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot be written.*set FACE_CACHE") as told:
        load_crops(five, SMALL)
    assert "\n" not in str(told.value)


# Decoding


PLACE = (27.0, 9.0)  # far from every middle line, so that no turn or mirror image hides
VIEWED = draw([PLACE], 50, 70, sigma=2.5)  # (50, 70)


def seen_in(file, recipe=None):
    """Where the dot lies in the crop of a whole picture, and the crop."""
    recipe = recipe or Recipe(height=50, width=70)
    faces = faces_in([file], boxes=torch.tensor([[0.0, 0, 70, 50]]))
    image = load_crops(faces, recipe).images[0]
    return centre_near(image[0].numpy(), PLACE), image.float()


# The rows and columns of the stored picture, as the EXIF standard words them: "the 0th row is the
# visual top (bottom, left, right), the 0th column the visual left (right, top, bottom)".
STORED = {
    1: VIEWED,
    2: VIEWED[:, ::-1],
    3: VIEWED[::-1, ::-1],
    4: VIEWED[::-1],
    5: VIEWED.T,
    6: VIEWED[:, ::-1].T,
    7: VIEWED[::-1, ::-1].T,
    8: VIEWED[::-1].T,
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_turned_picture_is_cut_as_the_viewer_sees_it(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = tmp_path / f"turned.{ending}"
    Image.fromarray(STORED[orientation]).convert("RGB").save(file, exif=exif, quality=95)
    place, _ = seen_in(file)
    assert np.abs(place - PLACE).max() <= 0.1


def sixteen_bits(file):
    Image.fromarray(VIEWED * np.uint16(256) + (255 - VIEWED)).save(file)  # the lower 8 mislead


def transparent(file):
    alpha = np.full_like(VIEWED, 100)  # what lies below is meant all the same
    Image.fromarray(np.dstack([VIEWED, VIEWED, VIEWED, alpha])).save(file)


def grey_and_alpha(file):
    Image.fromarray(np.dstack([VIEWED, np.full_like(VIEWED, 9)])).save(file)


def palette(file):
    Image.fromarray(VIEWED).convert("RGB").quantize(256).save(file)


def palette_with_transparency(file):
    Image.fromarray(VIEWED).convert("RGB").quantize(256).save(file, transparency=0)


def palette_with_many_transparent(file):
    picture = Image.fromarray(VIEWED).convert("RGB").quantize(256)
    picture.save(file, transparency=bytes(range(256)))


def plain(mode):
    return lambda file: Image.fromarray(VIEWED).convert("RGB").convert(mode).save(file, quality=95)


@pytest.mark.parametrize("colour", [False, True], ids=["grey crop", "colour crop"])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("grey.jpg", plain("L")),
        ("colour.jpg", plain("RGB")),
        ("print.jpg", plain("CMYK")),
        ("video.jpg", plain("YCbCr")),
        ("grey.png", plain("L")),
        ("sixteen bits.png", sixteen_bits),
        ("transparent.png", transparent),
        ("grey and alpha.png", grey_and_alpha),
        ("palette.png", palette),
        ("palette, one clear.png", palette_with_transparency),
        ("palette, many clear.png", palette_with_many_transparent),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_picture_shows_the_same_dot(tmp_path, capfd, name, write, colour):
    write(tmp_path / name)
    place, image = seen_in(tmp_path / name, Recipe(height=50, width=70, colour=colour))
    assert image.shape == (3 if colour else 1, 50, 70)
    assert np.abs(place - PLACE).max() <= 0.1
    # JPEG and palettes lose a little; 16 bits must not overflow, print colours not be negative.
    assert (image - torch.from_numpy(VIEWED.copy()).float()).abs().max() <= 12
    assert "Warning" not in capfd.readouterr().err


def test_black_and_white_pictures_are_read(tmp_path):
    Image.fromarray(VIEWED > 128).save(tmp_path / "one bit.png")
    place, image = seen_in(tmp_path / "one bit.png")
    assert set(image.unique().tolist()) == {0, 255}
    assert np.abs(place - PLACE).max() <= 0.2


def test_a_colour_crop_keeps_red_green_and_blue_in_order(tmp_path):
    Image.new("RGB", (40, 30), (200, 100, 50)).save(tmp_path / "one.png")
    crop = load_crops(faces_in([tmp_path / "one.png"]), Recipe(height=3, width=4, colour=True))
    assert crop.images[0, :, 1, 1].tolist() == [200, 100, 50]
    crop = load_crops(faces_in([tmp_path / "one.png"]), Recipe(height=3, width=4))
    assert crop.images[0, 0, 1, 1].item() == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


# Damaged pictures


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file):
    file.write_bytes(b"")


def not_a_picture(file):
    file.write_text("<html>not found</html>")


def damage_exif(file):
    """A text that claims to be a fraction: Pillow fails while it turns the picture."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010F] = "maker"
    Image.new("RGB", (40, 30)).save(file, "JPEG", exif=exif)
    content = bytearray(file.read_bytes())
    maker = content.index(b"Exif\0\0") + 6 + 10  # tag, type, count, place
    assert content[maker : maker + 4] == b"\x01\x0f\x00\x02"
    content[maker + 1] = 0
    file.write_bytes(content)


@pytest.fixture(scope="module")
def two_hundred(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two hundred")
    file = write_noise(folder / "one.jpg", 0)
    for i in range(200):
        shutil.copy(file, folder / f"{i:03d}.jpg")
    return sorted(folder.glob("[0-9]*.jpg"))


@pytest.fixture
def damaged(two_hundred):
    """Damages pictures by their indices; they are mended afterwards."""
    sound = two_hundred[0].read_bytes()

    def damage(indices, how):
        for index in indices:
            how(two_hundred[index])
        return faces_in(two_hundred)

    yield damage
    for file in two_hundred:
        file.write_bytes(sound)


@pytest.mark.parametrize("how", [truncate, empty, not_a_picture, damage_exif])
def test_one_damaged_picture_in_two_hundred_is_left_out_and_named(damaged, decoded, capfd, how):
    faces = damaged([77], how)
    for _ in range(2):  # decoded, then from the cache
        crops = load_crops(faces, SMALL)
        assert len(crops) == len(crops.images) == len(crops.points) == 199
        assert [file.name for file in crops.faces.files][76:78] == ["076.jpg", "078.jpg"]
        assert crops.faces.groups[76:78] == ("76", "78")
        (line,) = crops.faces.left_out
        assert line.startswith(f"{faces.files[77]}: ")
        told = capfd.readouterr().err.splitlines()
        assert [text for text in told if "077.jpg" in text] == [f"left out: {line}"]
    assert len(decoded) == 200
    torch.testing.assert_close(crops.faces.points[77], faces.points[78])


def test_a_mended_picture_is_taken_in_again(damaged, two_hundred):
    faces = damaged([77], truncate)
    assert len(load_crops(faces, SMALL)) == 199
    shutil.copy(two_hundred[0], two_hundred[77])
    assert len(load_crops(faces, SMALL)) == 200


def test_one_in_a_hundred_may_be_damaged_and_more_stop_the_run(damaged, cache):
    assert len(load_crops(damaged([5, 150], truncate), SMALL)) == 198
    with pytest.raises(UserError) as told:
        load_crops(damaged([40, 60, 80], truncate), SMALL)
    line = str(told.value)
    assert "\n" not in line
    assert "005.jpg" in line  # the first of five
    assert "5 of 200" in line


def test_a_run_that_was_stopped_for_damage_leaves_no_cache(damaged, cache):
    with pytest.raises(UserError):
        load_crops(damaged([40, 60, 80], truncate), SMALL)
    assert list(cache.iterdir()) == []


def test_a_picture_that_went_missing_is_named(five):
    five.files[2].unlink()
    with pytest.raises(UserError, match=r"2 of 5\.png"):
        load_crops(five, SMALL)


@given(data=st.data())
def test_whatever_is_wrong_with_a_picture_it_is_read_or_told(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("bytes")
    ending = data.draw(st.sampled_from(["jpg", "png"]))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file = folder / f"one.{ending}"
    Image.new("RGB", (16, 12), "red").save(file, exif=exif)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACE_CACHE", str(folder / "cache"))
        try:
            crops = load_crops(faces_in([file]), SMALL)
        except UserError as told:
            assert "one." in str(told) and "\n" not in str(told)
        else:
            assert crops.images.shape == (1, 1, 9, 12)


# Larger than memory


def _cut_and_train(folder, granted):
    """Cut and learn from crops that do not fit into the memory that the system grants.

    Writes what was held against: whether a copy of all crops is refused.
    """
    os.environ["FACE_CACHE"] = str(folder)
    crop_cache.STRIP = 16
    os.cpu_count = lambda: 2  # of 16 the threads' stacks alone would take what is granted
    recipe = Recipe(height=400, width=400, colour=True, batch=2, max_steps=4)
    faces = faces_in([folder / "one.png"] * 320)
    network = nn.Sequential(nn.Flatten(), nn.Linear(400 * 400, 2), nn.Unflatten(1, (1, 2)))
    (used,) = re.findall(r"VmData:\s*(\d+) kB", Path("/proc/self/status").read_text())
    limit = int(used) * 1024 + granted
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    crops = load_crops(faces, recipe, (52,))
    assert crops.images.nbytes > granted
    fit(network, crops, crops.take(range(4)), recipe, Options(device="cpu"), folder / "one.pt")
    try:
        crops.images.clone()
    except RuntimeError as fault:
        (folder / "refused").write_text(str(fault))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux counts memory there")
def test_crops_larger_than_memory_are_cut_and_learned_from(tmp_path):
    write_noise(tmp_path / "one.png", 0)
    processes = multiprocessing.get_context("forkserver")
    process = processes.Process(target=_cut_and_train, args=(tmp_path, 130 << 20), daemon=True)
    process.start()
    process.join(120)
    process.kill()
    assert process.exitcode == 0
    assert (tmp_path / "one.pt").is_file()
    assert (tmp_path / "refused").is_file()
