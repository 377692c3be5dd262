import multiprocessing
import os
import re
import resource
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from dots import centre_near, draw
from handmade import exif_of, few_examples, write_picture
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


def faces_in(files, size=(40, 30)):
    """Faces whose points are 58 whole numbers, their boxes pictures of that size."""
    count = len(files)
    points = torch.arange(count * 58 * 2.0).view(count, 58, 2) % 29
    boxes = torch.tensor([[0.0, 0, *size]] * count)
    groups = tuple(f"{i}" for i in range(count))
    return Faces("imm/train", "imm", IMM_58, tuple(files), points, boxes, groups, groups)


def write_noise(file, seed):
    values = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(values).save(file)
    return file


@pytest.fixture
def five(tmp_path):
    return faces_in([write_noise(tmp_path / f"{i} of 5.png", i) for i in range(5)])


@pytest.fixture
def decoded(monkeypatch):
    """The calls that open a picture, in any order."""
    monkeypatch.setattr(crop_cache, "read_picture", Mock(wraps=read_picture))
    return crop_cache.read_picture.call_args_list


def same(one, other):
    return torch.equal(one.images, other.images) and one.faces.files == other.faces.files


def test_crops_stand_beside_their_points_in_the_same_pixels(five):
    recipe = Recipe(height=24, width=24, margin=3, box_scale=1.5)
    crops = load_crops(five, recipe, (52, 13, 21))
    assert (crops.images.shape, crops.images.dtype) == ((5, 1, 30, 30), torch.uint8)
    # The box's middle is 20, 15; the square around it has a side of 40 * 1.5 * 30 / 24 = 75.
    # Its first pixel lies 3 pixels, the margin, outside the network's crop.
    expected = (five.points + 0.5 - torch.tensor([20 - 37.5, 15 - 37.5])) * (30 / 75) - 3.5
    torch.testing.assert_close(crops.all_points, expected)
    torch.testing.assert_close(crops.points, expected[:, [52, 13, 21]])
    eyes = (five.points[:, 13] - five.points[:, 21]).norm(dim=-1) * (30 / 75)
    torch.testing.assert_close(crops.norm_distance, eyes)
    assert crops.flip_order.tolist() == [0, 2, 1]
    torch.testing.assert_close(load_crops(five, recipe).points, expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_crop_shows_its_own_picture(five, mode):
    crops = load_crops(five, Recipe(height=30, width=40, colour=mode == "RGB"))
    for file, crop in zip(five.files, crops.images, strict=True):
        expected = np.asarray(Image.open(file).convert(mode))
        assert np.array_equal(crop.permute(1, 2, 0).numpy().squeeze(), expected)


def test_the_second_time_nothing_is_decoded_whatever_else_the_recipe_says(five, decoded):
    first = load_crops(five, SMALL)
    assert sorted(call.args[0] for call in decoded) == list(five.files)
    decoded.clear()
    assert same(load_crops(five, SMALL), first)
    load_crops(five, replace(SMALL, rotation=10.0, epochs=7), (52,))
    assert decoded == []


def another_picture(faces):
    os.utime(write_noise(faces.files[3], 99), ns=(1, 1))
    return faces


CHANGES = {
    "picture": another_picture,
    "box": lambda faces: replace(faces, boxes=faces.boxes + 0.5),
    "order": lambda faces: faces.take([1, 0, 2, 3, 4]),
    "count": lambda faces: faces.take([0, 1, 2, 3]),
}
SETTINGS = {"height": 10, "width": 13, "margin": 1, "box_scale": 1.2, "colour": True}


@pytest.mark.parametrize("change", [*CHANGES, *SETTINGS])
def test_the_cache_is_made_again_where_its_source_or_settings_change(five, decoded, cache, change):
    load_crops(five, SMALL)
    changed = CHANGES.get(change, replace)(five)
    recipe = replace(SMALL, **{name: SETTINGS[name] for name in SETTINGS if name == change})
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


def replace_file(file, content):
    """By another file: what was mapped of the old one stays readable."""
    file.unlink()
    file.write_bytes(content)


@few_examples
@given(data=st.data())
def test_a_damaged_cache_is_made_again(five, data):
    good = load_crops(five, SMALL)
    (file,) = cache_folder().glob(data.draw(st.sampled_from(["*.npy", "*.json"])))
    damaged = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    for content in (damaged[:place], damaged):
        replace_file(file, content)
        assert same(load_crops(five, SMALL), good)


def test_the_warning_is_one_line_and_the_new_cache_is_whole(five, decoded, capfd):
    load_crops(five, SMALL)
    (file,) = cache_folder().glob("*.npy")
    whole = file.read_bytes()
    replace_file(file, whole[:-1] + bytes([whole[-1] ^ 4]))
    decoded.clear()
    capfd.readouterr()
    for _ in range(2):
        load_crops(five, SMALL)
    warnings = [line for line in capfd.readouterr().err.splitlines() if "damaged" in line]
    assert warnings == [f"{file}: the cache is damaged and is made again"]
    assert len(decoded) == 5
    assert file.read_bytes() == whole


def test_a_cache_folder_that_cannot_be_written_is_reported_in_one_line(five, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FACE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"^.*cannot be written.*set FACE_CACHE.*$"):
        load_crops(five, SMALL)


PLACE = (27.0, 9.0)  # far from every middle line, so that no turn or mirror image hides
VIEWED = draw([PLACE], 50, 70, sigma=2.5)  # (50, 70)


def seen_in(file, colour=False):
    """Where the dot lies in the crop of a whole picture, and the crop."""
    recipe = Recipe(height=50, width=70, colour=colour)
    image = load_crops(faces_in([file], (70, 50)), recipe).images[0]
    return centre_near(image[0].numpy(), PLACE), image.float()


# The rows and columns of the stored picture, as the EXIF standard words them: "the 0th row is the
# visual top (bottom, left, right), the 0th column the visual left (right, top, bottom)".
VIEWS = VIEWED, VIEWED[:, ::-1], VIEWED[::-1, ::-1], VIEWED[::-1]
STORED = dict(enumerate([*VIEWS, *(view.T for view in VIEWS)], start=1))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_turned_picture_is_cut_as_the_viewer_sees_it(tmp_path, orientation, ending):
    exif, file = exif_of(orientation), tmp_path / f"turned.{ending}"
    Image.fromarray(STORED[orientation]).convert("RGB").save(file, exif=exif, quality=95)
    place, _ = seen_in(file)
    assert np.abs(place - PLACE).max() <= 0.1


RGB = Image.fromarray(VIEWED).convert("RGB")


def palette(transparency=None):
    picture = RGB.quantize(256)
    picture.info["transparency"] = transparency
    return picture


KINDS = {
    "grey.jpg": Image.fromarray(VIEWED),
    "colour.jpg": RGB,
    "print.jpg": RGB.convert("CMYK"),
    "video.jpg": RGB.convert("YCbCr"),
    "grey.png": Image.fromarray(VIEWED),
    # The lower 8 bits mislead, and what lies below a transparent pixel is meant all the same.
    "sixteen bits.png": Image.fromarray(VIEWED * np.uint16(256) + (255 - VIEWED)),
    "transparent.png": Image.fromarray(np.dstack([VIEWED] * 3 + [np.full_like(VIEWED, 100)])),
    "grey and alpha.png": Image.fromarray(np.dstack([VIEWED, np.full_like(VIEWED, 9)])),
    "palette.png": palette(),
    "palette, one clear.png": palette(0),
    "palette, many clear.png": palette(bytes(range(256))),
}


@pytest.mark.parametrize("colour", [False, True], ids=["grey crop", "colour crop"])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_picture_shows_the_same_dot(tmp_path, capfd, name, colour):
    KINDS[name].save(tmp_path / name, quality=95)
    place, image = seen_in(tmp_path / name, colour)
    assert image.shape == (3 if colour else 1, 50, 70)
    assert np.abs(place - PLACE).max() <= 0.1
    # JPEG and palettes lose a little; 16 bits must not overflow, print colours not be negative.
    assert (image - torch.from_numpy(VIEWED.copy()).float()).abs().max() <= 12
    assert "Warning" not in capfd.readouterr().err


def test_black_and_white_pictures_are_read(tmp_path):
    Image.fromarray(VIEWED > 128).save(tmp_path / "one bit.png")
    _, image = seen_in(tmp_path / "one bit.png")
    assert np.array_equal(image[0], 255 * (VIEWED > 128))


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_exif(file):
    """A text that claims to be a fraction: Pillow fails while it turns the picture."""
    exif = exif_of(6)
    exif[0x010F] = "maker"
    Image.new("RGB", (40, 30)).save(file, "JPEG", exif=exif)
    maker = b"\x01\x0f\x00\x02"  # its tag and type
    assert maker in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(maker, b"\x01\0\0\x02", 1))


@pytest.fixture
def damaged(tmp_path):
    """Makes a hundred faces, whose pictures at the given indices are damaged."""
    sound = write_noise(tmp_path / "sound.jpg", 0)

    def damage(indices, how=truncate):
        files = [sound] * 100
        for index in indices:
            files[index] = Path(shutil.copy(sound, tmp_path / f"{index:03d}.jpg"))
            how(files[index])
        return faces_in(files)

    return damage


def empty(file):
    file.write_bytes(b"")


def become_a_page(file):
    file.write_text("<html>not found</html>")


@pytest.mark.parametrize("how", [truncate, empty, become_a_page, damage_exif])
def test_one_damaged_picture_in_a_hundred_is_left_out_and_named(damaged, decoded, capfd, how):
    faces = damaged([77], how)
    for _ in range(2):  # decoded, then from the cache
        crops = load_crops(faces, SMALL)
        assert len(crops) == len(crops.images) == len(crops.points) == 99
        assert crops.faces.groups[76:78] == ("76", "78")
        (line,) = crops.faces.left_out
        assert line.startswith(f"{faces.files[77]}: ")
        lines = capfd.readouterr().err.splitlines()
        assert [text for text in lines if "077.jpg" in text] == [f"left out: {line}"]
    assert len(decoded) == 100
    torch.testing.assert_close(crops.faces.points[77], faces.points[78])
    shutil.copy(faces.files[0], faces.files[77])  # mended
    assert len(load_crops(faces, SMALL)) == 100


def test_two_damaged_pictures_in_a_hundred_stop_the_run_before_the_cache(damaged, cache):
    with pytest.raises(UserError, match=r"^.*2 of 100.*005\.jpg.*$"):  # the first of two
        load_crops(damaged([5, 60]), SMALL)
    assert list(cache.iterdir()) == []


def test_a_picture_that_went_missing_is_named(five):
    five.files[2].unlink()
    with pytest.raises(UserError, match=r"2 of 5\.png"):
        load_crops(five, SMALL)


@few_examples
@given(data=st.data())
def test_whatever_is_wrong_with_a_picture_it_is_read_or_named(tmp_path, data):
    file = tmp_path / data.draw(st.sampled_from(["one.jpg", "one.png"]))
    content = bytearray(write_picture(file, 16, 12, orientation=6).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        crops = load_crops(faces_in([file]), SMALL)
    except UserError as fault:
        assert "one." in str(fault) and "\n" not in str(fault)
    else:
        assert crops.images.shape == (1, 1, 9, 12)


def _cut_and_train(folder, granted):
    """Cut and train on crops that do not fit into the memory that the system grants."""
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
    with pytest.raises(RuntimeError):  # the test's own: a copy of all crops is refused
        crops.images.clone()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux counts memory there")
def test_crops_larger_than_memory_are_cut_and_trained_on(tmp_path):
    write_noise(tmp_path / "one.png", 0)
    processes = multiprocessing.get_context("forkserver")
    process = processes.Process(target=_cut_and_train, args=(tmp_path, 130 << 20), daemon=True)
    process.start()
    process.join(120)
    process.kill()
    assert process.exitcode == 0 and (tmp_path / "one.pt").is_file()
