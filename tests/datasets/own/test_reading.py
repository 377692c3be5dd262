"""Your own points: each format in, the same faces out; what is wrong is named."""

import json
import math

import numpy as np
import pytest
import torch
from handmade import write_picture, write_pts
from PIL import Image
from small_sets import write_kaggle

from common.keypoints import IBUG_68
from common.system.errors import UserError
from datasets.own import scheme as own_scheme
from datasets.own.reading import completed, load

NAMES = ("left_eye", "right_eye", "nose")
POINTS = [[20.0, 30.5], [60.0, 30.0], [41.25, 50.0]]  # from the middle of the first pixel
NAN = math.nan


def coco(folder, count=3, categories=None, **changes):
    """A file as CVAT exports it: annotations/ beside images/default/."""
    for index in range(count):
        write_picture(folder / "images" / "default" / f"{index}.jpg")
    images = [{"id": 7 + i, "file_name": f"{i}.jpg", "width": 100, "height": 80}
              for i in range(count)]  # fmt: skip
    values = [value for x, y in POINTS for value in (x, y, 2)]
    annotations = [
        {
            "id": i,
            "image_id": 7 + i,
            "category_id": 1,
            "keypoints": list(values),
            "bbox": [10, 20, 60, 40],
        }
        for i in range(count)
    ]
    rectangle = {"id": 900, "image_id": 7, "category_id": 1, "bbox": [1, 1, 5, 5]}
    annotations.append(rectangle)  # as Label Studio
    categories = categories or [
        {"id": 1, "name": "face", "keypoints": list(NAMES), "skeleton": [[1, 3], [3, 2]]},
        {"id": 2, "name": "car"},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories} | changes
    file = folder / "annotations" / "person_keypoints_default.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return content, file


def pts(folder):
    for index in range(3):
        write_pts(folder / f"{index}.pts", [(x + 1, y + 1) for x, y in POINTS])


def dlib(folder, names=("0", "01", "002")):
    parts = "".join(f"<part name='{name}' x='{x}' y='{y}'/>"
                    for name, (x, y) in zip(names, POINTS, strict=True))  # fmt: skip
    box = f"<box top='20' left='10' width='60' height='40'>{parts}</box>"
    for index in range(3):
        write_picture(folder / f"{index}.jpg")
    images = "".join(f"<image file='{index}.jpg'>{box}</image>" for index in range(3))
    (folder / "faces.xml").write_text(f"<dataset><images>{images}</images></dataset>")


def table(folder, header="image,x0,y0,x1,y1,x2,y2,group", groups="abc"):
    cells = ",".join(str(value) for point in POINTS for value in point)
    lines = [f"{index}.jpg,{cells},{groups[index]}" for index in range(3)]
    for index in range(3):
        write_picture(folder / f"{index}.jpg")
    (folder / "points.csv").write_text("\n".join([header, *lines, ""]))


def change(folder, edit, count=3):
    """Write COCO's file again after ``edit`` of its content."""
    content, file = coco(folder, count)
    edit(content)
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize("write, boxed", [(coco, True), (pts, False), (dlib, True), (table, False)])
def test_every_format_gives_the_same_faces(tmp_path, capsys, write, boxed):
    write(tmp_path)
    faces = load(tmp_path)
    assert faces.points.tolist() == [POINTS] * 3
    box = [10.0, 20, 60, 40] if boxed else [20.5, 30.5, 40, 20]  # of the points, from the edge
    assert faces.boxes.tolist() == [box] * 3
    assert [file.name for file in faces.files] == ["0.jpg", "1.jpg", "2.jpg"]
    assert len({*faces.groups}) == 3 and faces.dataset == str(tmp_path)
    assert "3 faces, 3 points" in capsys.readouterr().err


def test_names_lines_and_pairs_come_from_the_file(tmp_path):
    coco(tmp_path)
    scheme = load(tmp_path).scheme
    assert (scheme.point_names, scheme.flip_pairs) == (NAMES, ((0, 1),))
    assert scheme.lines == ((0, 2), (2, 1)) and scheme.outer_eyes is None


def test_a_flag_of_0_an_empty_cell_and_a_part_that_lacks_are_missing_points(tmp_path, capsys):
    file = change(tmp_path, lambda content: content["annotations"][1].update(
        keypoints=[0, 0, 0, 60, 30, 1, 41.25, 50, 2]))  # fmt: skip
    faces = load(file)
    assert faces.points[1].isnan().tolist() == [[True, True], [False, False], [False, False]]
    assert "11 % of them missing" in capsys.readouterr().err
    table(tmp_path / "csv")
    text = (tmp_path / "csv" / "points.csv").read_text().replace("20.0,30.5", ",", 1)
    (tmp_path / "csv" / "points.csv").write_text(text)
    assert load(tmp_path / "csv").points.isnan().sum(dim=(1, 2)).tolist() == [2, 0, 0]
    write_pts(tmp_path / "pts" / "0.pts", [("nan", "nan"), (-1, -1), (5, 6), (30, 8)])
    write_pts(tmp_path / "pts" / "1.pts", [(3, 9), (7, 7), (5, 6), (30, 8)])
    found = load(tmp_path / "pts").points
    assert found[0].tolist()[2:] == [[4, 5], [29, 7]] and found[0, :2].isnan().all()


def test_a_face_without_any_point_is_left_out_and_named_but_not_damaged(tmp_path):
    file = change(tmp_path, lambda content: content["annotations"][2].update(keypoints=[0] * 9))
    faces = load(file)
    assert len(faces) == 2
    assert faces.left_out == (f"{file}, annotation 2: none of its points is placed",)


def test_missing_points_lie_where_the_mean_shape_has_them():
    shape = torch.tensor([[0.0, 0], [10, 0], [10, 20], [0, 20]])
    points = torch.stack([shape, shape + 30, shape * 3, shape * 2 + 50])
    with_gaps = points.clone()
    with_gaps[3, 2] = torch.nan
    torch.testing.assert_close(completed(with_gaps)[:3], points[:3])
    assert (completed(with_gaps)[3, 2] - points[3, 2]).norm() < 4  # of 45 px across


def test_68_points_without_names_are_those_of_300w(tmp_path):
    write_pts(tmp_path / "a.pts")
    assert load(tmp_path).scheme is IBUG_68


def test_more_than_99_parts_and_numbers_of_any_width_are_in_order(tmp_path):
    write_picture(tmp_path / "a.jpg")
    parts = "".join(f"<part name='{number}' x='{int(number) % 90}' y='5'/>"
                    for number in ["100", "00", *range(1, 100)])  # fmt: skip
    (tmp_path / "a.xml").write_text(
        f"<dataset><images><image file='a.jpg'><box top='1' left='1' width='9' height='9'>{parts}"
        "</box></image></images></dataset>"
    )
    assert load(tmp_path).points[0, :, 0].tolist() == [number % 90 for number in range(101)]


@pytest.mark.parametrize("reader", [own_scheme.tomllib, None])  # Python 3.10 has none
def test_scheme_toml_and_pairs_name_what_the_labels_do_not(tmp_path, monkeypatch, reader):
    monkeypatch.setattr(own_scheme, "tomllib", reader)
    table(tmp_path)
    assert load(tmp_path).scheme.flip_pairs is None
    assert load(tmp_path, "0=1").scheme.flip_pairs == ((0, 1),)
    (tmp_path / "scheme.toml").write_text(
        'names = ["a", "b", "c"]  # of all points\npairs = [["a", "b"]]\n'
        'lines = [["a", "c", "b"],\n  [0, 1]]\nouter_eyes = ["a", 1]\n'
    )
    scheme = load(tmp_path).scheme
    assert (scheme.point_names, scheme.flip_pairs) == (("a", "b", "c"), ((0, 1),))
    assert (scheme.lines, scheme.outer_eyes) == (((0, 2, 1), (0, 1)), (0, 1))
    wrong = {"a=d": "no point d", "a": "a pair has two points", "a=b,b=c": "is in one pair"}
    for pairs, fault in wrong.items():
        with pytest.raises(UserError, match=fault):
            load(tmp_path, pairs)
    for text, fault in (
        ('names = ["a", "b"]', "names must give each of 3 points"),
        ("pairs = [0, 1]", "pairs is not one of the lists names, pairs, lines, outer_eyes"),
        ("pairs = [[0, 1]", "not TOML"),
    ):
        (tmp_path / "scheme.toml").write_text(text)
        with pytest.raises(UserError, match=fault):
            load(tmp_path)


def test_kaggles_pixels_become_pictures_and_names_give_pairs_and_eyes(tmp_path):
    file, truth, pictures = write_kaggle(tmp_path, 10)
    faces = load(file)
    missing = faces.points.isnan().all(dim=-1)
    assert missing.sum(dim=1).tolist() == [0] * 3 + [11] * 7
    assert np.abs(faces.points.numpy() - truth)[~missing.numpy()].max() < 1e-4
    assert faces.boxes.tolist() == [[0.0, 0, 96, 96]] * 10
    scheme = faces.scheme
    assert scheme.outer_eyes == (3, 5) and not faces.has_eyes and len(scheme.flip_pairs) == 6
    assert scheme.flip_order[[10, 11, 13]].tolist() == [10, 12, 13]
    for path, pixels in zip(faces.files, pictures, strict=True):
        with Image.open(path) as picture:
            assert (np.asarray(picture) == pixels).all()


def outside(content):
    content["annotations"][1]["keypoints"][3] = 160


def fractions(content):
    content["annotations"][1]["keypoints"] = [0.2, 0.3, 2, 0.6, 0.3, 2, 0.4, 0.6, 2]


def other_count(content):
    content["annotations"][1]["keypoints"] += [5, 5, 2]


def no_picture(content):
    content["images"][1]["file_name"] = "gone.jpg"


def no_image(content):
    content["annotations"][1]["image_id"] = 999


def zero_box(content):
    content["annotations"][1]["bbox"][2] = 0


@pytest.mark.parametrize(
    "edit, fault",
    [
        (outside, "point 1 lies outside the 100 x 80 pixels"),
        (fractions, "coordinates are fractions of 1.jpg"),
        (other_count, "4 points instead of 3"),
        (no_picture, "there is no picture gone.jpg"),
        (no_image, "its image, 999, is not in the list"),
        (zero_box, "its box is 0 x 40"),
    ],
)
def test_a_damaged_face_is_named_with_file_and_place_and_too_many_stop(tmp_path, edit, fault):
    file = change(tmp_path, edit)
    with pytest.raises(UserError, match="1 of 3 faces are damaged") as error:
        load(tmp_path)
    assert f"{file}, annotation 1: {fault}" in str(error.value)
    assert str(error.value).endswith("correct or remove these labels")
    change(tmp_path, edit, 100)
    assert [line for line in load(tmp_path).left_out if fault in line]


def twice(content):
    content["images"][1]["id"] = 7


def without_keypoints(content):
    del content["categories"][0]["keypoints"]


def two_kinds(content):
    content["categories"][1]["keypoints"] = ["wheel"]


@pytest.mark.parametrize(
    "edit, fault",
    [
        (twice, "1 image ids are there twice, the first is 7; give"),
        (without_keypoints, "no category has keypoints; export"),
        (two_kinds, "categories face and car have different keypoints; keep"),
        (lambda content: content.update(images=5), "not as COCO has it .*; export"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_a_remedy(tmp_path, edit, fault):
    file = change(tmp_path, edit)
    with pytest.raises(UserError, match=fault) as error:
        load(tmp_path)
    assert str(error.value).startswith(f"{file}: ")


def test_no_format_and_two_formats_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"none of COCO keypoints JSON, dlib XML, CSV .*; docs/"):
        load(tmp_path)
    dlib(tmp_path)
    table(tmp_path)
    with pytest.raises(UserError, match=r"two formats at once, dlib XML \(.*faces.xml\) and CSV"):
        load(tmp_path)
    assert len(load(tmp_path / "points.csv")) == 3
