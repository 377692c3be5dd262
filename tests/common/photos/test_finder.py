import math
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_network import checkpoint_of
from torch import nn

from common import checkpoints
from common.augmentation import to_network_input
from common.crops import read_picture, transform_points
from common.faces import Faces
from common.inference import predict_keypoints
from common.keypoints import IBUG_68
from common.loading import load_crops
from common.photos import finder as finding
from common.photos.detectors import Detector
from common.photos.finder import LEAST_CONFIDENCE, FaceKeypoints, crop_faces, optimise_for_inference
from common.photos.pose import MEAN_HEAD
from common.recipe import Recipe
from common.system.device import computes_in_bfloat16
from common.system.errors import UserError
from datasets.synthetic.render import render
from parts import toolkit
from parts.part3_large_dataset import HeatmapResNet18, ResNet18

RECIPE = Recipe(height=20, width=30, margin=2)
PLACES = torch.tensor([[4, 5], [17, 3], [12, 14]])  # (3, 2) of 30 x 20 pixels


class Finder(nn.Module):
    """Knows two points: the brightest pixel, and the one that lies ``by`` to the right of it."""

    def __init__(self, by=2):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(float(by)))
        self.batches = []

    def forward(self, faces):
        assert not self.training
        self.batches.append(len(faces))
        place = faces.flatten(1).argmax(dim=1)  # (B,)
        first = torch.stack([place % 30, place // 30], dim=1).float()
        second = first + torch.stack([self.by, torch.zeros(())])
        fractions = torch.tensor([30.0, 20.0])
        return (torch.stack([first, second], dim=1) + 0.5) / fractions  # (B, 2, 2)


def pictures(places):
    images = torch.zeros(len(places), 1, 24, 34, dtype=torch.uint8)
    for image, (x, y) in zip(images, places.tolist(), strict=True):
        image[0, y + 2, x + 2] = 200
    return images


def test_answers_are_pixels_of_the_crop_without_its_margin():
    predicted = predict_keypoints(Finder(), pictures(PLACES), torch.tensor([1, 0]), RECIPE)
    torch.testing.assert_close(predicted[:, 0], PLACES.float())
    torch.testing.assert_close(predicted[:, 1], PLACES.float() + torch.tensor([2.0, 0.0]))


def test_the_mean_of_a_face_and_its_mirror_image_is_taken_in_the_faces_own_pixels():
    averaging = Recipe(height=20, width=30, margin=2, flip_tta=True)
    predicted = predict_keypoints(Finder(), pictures(PLACES), torch.tensor([1, 0]), averaging)
    # In the mirror image the second point is found to the other side, and renamed the first:
    # the first is answered at 0 and at -2, the second at 2 and at 0.
    torch.testing.assert_close(predicted[:, 0], PLACES + torch.tensor([-1.0, 0.0]))
    torch.testing.assert_close(predicted[:, 1], PLACES + torch.tensor([1.0, 0.0]))


def test_many_faces_are_answered_in_batches_and_in_order():
    places = torch.stack([torch.arange(300) % 28, torch.arange(300) % 19], dim=1)
    finder = Finder()
    predicted = predict_keypoints(finder, pictures(places), torch.tensor([1, 0]), RECIPE)
    torch.testing.assert_close(predicted[:, 0], places.float())
    assert len(finder.batches) > 1
    assert sum(finder.batches) == 300


class Dots(nn.Module):
    """Answers the middle of the bright spot for each of 68 points; ``off`` apart from it in the
    mirror image, where the spot lies to the right. Notes the pictures that it is shown."""

    def __init__(self, off=0.0):
        super().__init__()
        self.off = nn.Parameter(torch.tensor(off))
        self.shown = []

    def forward(self, faces):
        self.shown.append(faces)
        light = (faces[:, 0] + 0.5).clamp(min=0).square()  # (B, h, w)
        height, width = light.shape[1:]
        rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        total = light.sum(dim=(1, 2))
        x, y = (light.sum(1) * columns).sum(1) / total, (light.sum(2) * rows).sum(1) / total
        x = x + self.off * (x > 0.5)
        return torch.stack([x, y], dim=1)[:, None].expand(-1, 68, 2)


PHOTO = Recipe(height=40, width=40, margin=5, box_scale=1.3)
CPU = torch.device("cpu")


def finder(network, find=None, recipe=PHOTO):
    detector = Detector("a test's", find, longest=400, fit=(0.0, 0.0, 1.0))
    return FaceKeypoints(network, recipe, detector, CPU)


def spot(size, place, radius=2):
    """A dark grey picture (H, W) with a bright disc about ``place`` (x, y)."""
    y, x = np.mgrid[: size[0], : size[1]]
    inside = np.hypot(x - place[0], y - place[1]) <= radius
    return np.where(inside, 250, 0).astype(np.uint8)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_the_crop_is_to_the_pixel_the_one_that_the_network_learned_from(tmp_path, colour, ending):
    random = np.random.default_rng(3)
    picture = Image.fromarray(random.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    picture.save(tmp_path / f"photo{ending}", quality=90)
    # Larger and smaller than the crop, between pixels, and over the edge of the picture.
    boxes = torch.tensor(
        [[30.3, 20.7, 41, 44], [60, 30, 9.5, 8], [-20, -13, 60, 50], [90, 60, 50, 45]]
    )
    recipe = replace(PHOTO, colour=colour)
    files = (tmp_path / f"photo{ending}",) * len(boxes)
    names = ("",) * len(boxes)
    faces = Faces(
        "a/test", "a", IBUG_68, files, torch.zeros(len(boxes), 68, 2), boxes, names, names
    )
    learned = load_crops(faces, recipe)

    image = np.asarray(read_picture(files[0], colour=True))
    images, matrices = crop_faces(image, boxes.numpy(), np.zeros(len(boxes)), recipe)
    torch.testing.assert_close(images, learned.images, rtol=0, atol=0)
    torch.testing.assert_close(matrices, learned.matrices, rtol=0, atol=0)

    network = Dots()
    finder(network, recipe=recipe).keypoints(image, boxes.numpy())
    torch.testing.assert_close(
        network.shown[0], to_network_input(learned.images, recipe), rtol=0, atol=0
    )


@given(
    st.floats(40, 110), st.floats(30, 80), st.floats(-8, 8), st.floats(-8, 8), st.floats(25, 60),
    st.sampled_from([0.0, 20.0, -35.0, 90.0, 180.0]),
)  # fmt: skip
def test_keypoints_are_pixels_of_the_picture_wherever_the_box_is_and_however_it_is_turned(
    x, y, right, down, side, angle
):
    image = spot((120, 160), (x, y), radius=side / 10)
    box = np.array([[x + right - side / 2, y + down - side / 2, side, side]])
    points, _ = finder(Dots()).keypoints(image, box, angles=np.array([angle]))
    assert points.shape == (1, 68, 2)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[0, 0], [x, y], atol=0.4)


def test_the_crop_of_a_turned_face_shows_it_upright():
    image = spot((100, 100), (50, 50)) | spot((100, 100), (50 + 10, 50 - 17))  # 30° clockwise of up
    box = np.array([[25.0, 25, 50, 50]])
    images, matrices = crop_faces(image, box, np.array([30.0]), PHOTO)
    top = transform_points(torch.tensor([[[60.0, 33.0]]]), matrices)[0, 0]
    middle = transform_points(torch.tensor([[[50.0, 50.0]]]), matrices)[0, 0]
    assert top[0].item() == pytest.approx(middle[0].item(), abs=0.3)
    assert top[1] < middle[1] - 8
    for place in (top, middle):
        x, y = place.round().int().tolist()
        assert images[0, 0, y, x] > 200


def test_many_faces_are_answered_as_each_by_itself():
    image = spot((120, 160), (80, 60), radius=4)
    boxes = np.array([[50.0, 30, 60, 60], [60, 45, 40, 40], [55, 35, 50, 55]])
    angles = np.array([0.0, 15.0, 0.0])
    points, confidence = finder(Dots(0.1)).keypoints(image, boxes, angles=angles)
    for index in range(3):
        alone = finder(Dots(0.1)).keypoints(image, boxes[[index]], angles=angles[[index]])
        np.testing.assert_allclose(points[[index]], alone[0], atol=1e-4)
        np.testing.assert_allclose(confidence[[index]], alone[1], atol=1e-5)
    none, nothing = finder(Dots()).keypoints(image, np.empty((0, 4)))
    assert none.shape == (0, 68, 2)
    assert nothing.shape == (0,)


def test_a_network_that_answers_otherwise_for_the_mirror_image_is_not_trusted():
    image = spot((120, 160), (80, 60), radius=4)
    box = np.array([[45.0, 30, 60, 60]])
    sure = [finder(Dots(off)).keypoints(image, box)[1].item() for off in (0.0, 0.02, 0.1, 0.4)]
    assert sure == sorted(sure, reverse=True)
    assert sure[0] > 0.95
    assert sure[-1] < 0.05


def test_a_coarse_network_is_as_sure_of_a_face_as_its_usual_doubt_allows():
    image, detector = spot((120, 160), (80, 60), radius=4), finder(Dots()).detector
    box = np.array([[50.0, 30, 60, 60]])
    coarse = Dots(0.05)
    strict, used = (FaceKeypoints(coarse, PHOTO, detector, CPU, told) for told in (0.0, 0.08))
    assert strict.keypoints(image, box)[1] < LEAST_CONFIDENCE < used.keypoints(image, box)[1]
    fine = FaceKeypoints(coarse, PHOTO, detector, CPU, 0.001)  # never stricter than the shipped
    assert fine.keypoints(image, box)[1] == strict.keypoints(image, box)[1]


def one_box(x, y, side):
    """A detector that finds this box in any picture."""
    return lambda image: (np.array([[x, y, side, side]], float), np.array([2.5]))


def test_predict_tells_all_of_a_face():
    image = spot((120, 160), (80, 60), radius=4)
    (face,) = finder(Dots(), one_box(50, 30, 60)).predict(image)
    assert face.box == pytest.approx((50, 30, 60, 60))
    assert face.score == 2.5
    assert face.confidence > 0.95
    np.testing.assert_allclose(face.keypoints, np.tile([80, 60], (68, 1)), atol=0.3)


def test_what_the_network_does_not_take_for_a_face_is_dropped():
    image = spot((120, 160), (80, 60), radius=4)
    assert finder(Dots(0.3), one_box(20, 30, 60)).predict(image) == []
    assert len(finder(Dots(0.3), one_box(20, 30, 60)).detect(image)) == 1


def nothing(image):
    return np.empty((0, 4)), np.empty(0)


def test_no_face_is_a_result():
    assert finder(Dots(), nothing).predict(np.zeros((50, 60, 3), np.uint8)) == []
    assert finder(Dots(), nothing).detect(np.zeros((50, 60, 3), np.uint8)) == []


class Upright:
    """A detector that finds a rod only where it stands upright: turned faces escape it so."""

    def __init__(self):
        self.looks = 0

    def __call__(self, image):
        self.looks += 1
        rows, columns = np.nonzero(image > 60)
        if not len(rows) or np.ptp(columns) > 0.35 * np.ptp(rows):
            return nothing(image)
        middle = np.array([columns.mean(), rows.mean()]) + 0.5
        return np.array([[*(middle - 30), 60, 60]]), np.ones(1)


def rod(angle):
    """A picture of a rod that is turned clockwise by ``angle`` degrees from upright."""
    image = np.zeros((160, 200), np.uint8)
    end = 40 * np.array([math.sin(math.radians(angle)), -math.cos(math.radians(angle))])
    ends = [tuple(np.round((100, 80) + sign * end).astype(int).tolist()) for sign in (1, -1)]
    return cv2.line(image, *ends, 255, 5)


@pytest.mark.parametrize("angle", [-45, -30, -20, 25, 45])
def test_turned_faces_are_found_where_nothing_stands_upright(angle):
    (face,) = finder(Dots(), Upright()).predict(rod(angle))
    np.testing.assert_allclose(face.keypoints[0], [100, 80], atol=0.5)
    np.testing.assert_allclose(face.box, (70.5, 50.5, 60, 60), atol=1.5)
    (found,) = finder(Dots(), Upright()).detect(rod(angle))
    assert abs(found.angle - angle) <= 15
    assert finder(Dots(), Upright()).detect(rod(angle), turned=False) == []


def test_nothing_is_turned_where_a_face_stands_upright():
    find = Upright()
    (face,) = finder(Dots(), find).predict(rod(3))
    assert find.looks == 1
    np.testing.assert_allclose(face.keypoints[0], [100, 80], atol=0.5)


def test_a_checkpoint_is_loaded_with_its_recipe(tmp_path):
    loaded = FaceKeypoints.load(checkpoint_of(tmp_path / "checkpoint.pt"), device="cpu")
    assert loaded.recipe.cached_size == (40, 40)
    points, _ = loaded.keypoints(spot((90, 90), (40, 40)), np.array([[20.0, 20, 40, 40]]))
    assert points.shape == (1, 68, 2)
    assert loaded.detector.name == "haar"


def test_the_checkpoint_for_those_who_name_none_is_the_newest_of_part_3(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(toolkit, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(UserError, match=r"python run_part\.py 3"):
        toolkit.face_keypoints()
    for age, folder in ((20, "part3"), (10, "part3-heatmap"), (0, "part1")):
        path = checkpoint_of(tmp_path / "reports" / folder / "checkpoint.pt")
        os.utime(path, (1e9 - age, 1e9 - age))
    assert toolkit.default_checkpoint() == Path("reports/part3-heatmap/checkpoint.pt")
    shipped = checkpoint_of(tmp_path / "weights" / "shipped.pt")
    assert toolkit.default_checkpoint() == shipped


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"scheme": "imm58", "points": 58}, "58 points of imm58"),
        ({"points": 1}, "1 points of ibug68"),
        ({"network": "parts.part9.Net"}, "not a network of this version"),
    ],
    ids=["imm", "nose", "network"],
)
def test_a_checkpoint_for_something_else_is_told(tmp_path, changes, fault):
    path = checkpoint_of(tmp_path / "other.pt", **changes)
    with pytest.raises(UserError, match=fault):
        FaceKeypoints.load(path)


def test_a_damaged_checkpoint_is_told(tmp_path):
    path = checkpoint_of(tmp_path / "whole.pt")
    (tmp_path / "half.pt").write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UserError, match=r"half\.pt: damaged"):
        FaceKeypoints.load(tmp_path / "half.pt")
    with pytest.raises(UserError, match=r"none\.pt: no such checkpoint"):
        FaceKeypoints.load(tmp_path / "none.pt")


class Upright68(Dots):
    """Answers as trained networks do: the mean head in the middle of the crop, half as far turned
    as the white spot, which lies on the chin, says; beyond 30 degrees it is at a loss."""

    def forward(self, faces):
        answers = []
        for x, y in super().forward(faces)[:, 0].tolist():  # where the spot is
            x, y = x - 0.5, y - 0.5
            lean = math.degrees(math.atan2(-x, y))
            lean = math.radians(lean if abs(lean) < 30 else 0.6 * lean)
            turn = np.array([[math.cos(lean), -math.sin(lean)], [math.sin(lean), math.cos(lean)]])
            head = (MEAN_HEAD[:, :2] - (0, 40)) / 220 @ turn.T + 0.5
            answers.append(torch.tensor(head, dtype=torch.float32))
        return torch.stack(answers)


@pytest.mark.parametrize("angle", [0, 10, -35, 45, -55])
def test_a_face_that_leans_is_cut_anew_upright_and_answered_there(angle):
    chin = 24 * np.array([-math.sin(math.radians(angle)), math.cos(math.radians(angle))])
    image = spot((160, 200), (100, 80) + chin, radius=4)
    (face,) = finder(Upright68(), one_box(60.5, 40.5, 80)).predict(image)
    assert face.pose.roll == pytest.approx(angle, abs=3)
    across = face.keypoints[45] - face.keypoints[36]
    assert math.degrees(math.atan2(across[1], across[0])) == pytest.approx(angle, abs=3)
    middle = (face.keypoints[36] + face.keypoints[45]) / 2 - face.keypoints[8]
    assert middle @ chin < 0  # the eyes lie on the other side than the chin


def blocks(count, side):
    """Smooth noise, float32 (count, 1, side, side)."""
    coarse = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)) - 0.5
    return nn.functional.interpolate(coarse, size=side, mode="bilinear")


def test_folding_batch_normalisation_changes_no_answer(monkeypatch):
    torch.manual_seed(0)
    network, faces = HeatmapResNet18(68, channels=16), blocks(4, 64)
    with torch.no_grad():
        for _ in range(3):
            network(faces)  # in training mode: the running means are no longer 0 and 1
    network.eval()
    monkeypatch.setattr(finding, "computes_in_bfloat16", lambda device: False)
    folded = optimise_for_inference(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(faces) * 64, network(faces) * 64, rtol=0, atol=1e-3)


HALF = computes_in_bfloat16(torch.device("cpu"))


def test_half_the_bits_move_the_points_of_faces_by_hundredths_of_a_pixel(monkeypatch):
    if not HALF:  # such a processor rounds as others do, but cannot pack
        monkeypatch.setattr(finding, "_pack", lambda network: None)
    monkeypatch.setattr(finding, "computes_in_bfloat16", lambda device: True)
    trained = checkpoints.load(toolkit.default_checkpoint())
    network, side = checkpoints.network_of(trained), trained["recipe"]["height"]
    images, _, _ = render(range(16), IBUG_68, size=(side, side))
    faces = images.float().mean(dim=1, keepdim=True) / 255 - 0.5
    with torch.inference_mode():
        moved = (optimise_for_inference(network)(faces.bfloat16()) - network(faces)).norm(
            dim=-1
        ) * side
    assert moved.mean() < 0.05
    assert moved.max() < 0.5


@pytest.mark.skipif(not HALF, reason="the processor does not multiply bfloat16")
def test_packed_weights_give_the_same_answer_bit_for_bit(monkeypatch):
    torch.manual_seed(0)
    network = HeatmapResNet18(68, channels=16).eval()
    faces = blocks(2, 64).bfloat16().to(memory_format=torch.channels_last)
    monkeypatch.setattr(finding, "computes_in_bfloat16", lambda device: True)
    packed = optimise_for_inference(network)
    assert not any(isinstance(module, nn.Conv2d) for module in packed.modules())
    monkeypatch.setattr(finding, "_pack", lambda network: None)
    with torch.inference_mode():
        torch.testing.assert_close(
            packed(faces), optimise_for_inference(network)(faces), rtol=0, atol=0
        )


def test_the_detector_sees_less_of_a_video():
    shapes = []
    looking = finder(Dots(), lambda image: (shapes.append(image.shape), nothing(image))[1])
    looking.detector = replace(looking.detector, longest=640)
    frame = np.zeros((500, 1000, 3), np.uint8)
    looking.detect(frame, turned=False)
    looking.for_video().detect(frame, turned=False)
    assert shapes == [(320, 640, 3), (240, 480, 3)]


def test_coordinates_are_not_rounded_to_half_the_bits():
    network = ResNet18(68)
    assert optimise_for_inference(network) is network
