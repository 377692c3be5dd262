import math
from dataclasses import replace

import cv2
import dots
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from common.augmentation import to_network_input
from common.crops import read_picture
from common.faces import Faces, landmark_boxes
from common.keypoints import IBUG_68
from common.loading import load_crops
from common.photos import finder as finding
from common.photos import placement
from common.photos.detectors import Detector
from common.photos.finder import LEAST_CONFIDENCE, FaceKeypoints, optimise_for_inference
from common.photos.pose import MEAN_HEAD
from common.recipe import Recipe
from common.system.errors import UserError
from datasets.synthetic.props import clutter
from datasets.synthetic.render import render
from parts import toolkit
from parts.part3_large_dataset import HeatmapResNet18


class Dots(nn.Module):
    """Predicts the middle of the bright spot for each of 68 points, ``off`` beside it where the
    spot lies to the right of the crop. Notes its inputs."""

    def __init__(self, off=0.0):
        super().__init__()
        self.off = nn.Parameter(torch.tensor(off))
        self.inputs = []

    def forward(self, faces):
        self.inputs.append(faces)
        light = (faces[:, 0] + 0.5).clamp(min=0).square()  # (B, h, w)
        height, width = light.shape[1:]
        rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        total = light.sum(dim=(1, 2))
        x, y = (light.sum(1) * columns).sum(1) / total, (light.sum(2) * rows).sum(1) / total
        x = x + self.off * (x > 0.5)
        return torch.stack([x, y], dim=1)[:, None].expand(-1, 68, 2)


PHOTO = Recipe(height=40, width=40, margin=5, box_scale=1.3)
CPU = torch.device("cpu")


def finder(network, find=None, recipe=PHOTO, **more):
    detector = Detector("a test's", find, longest=640, fit=(0.0, 0.0, 1.0))
    return FaceKeypoints(network, recipe, detector, CPU, **more)


SPOT = dots.draw([(80, 60)], 120, 160)


@pytest.mark.parametrize(("colour", "ending"), [(False, ".png"), (True, ".jpg")])
def test_photos_are_cropped_as_training_faces_are_to_the_pixel(tmp_path, colour, ending):
    random = np.random.default_rng(3)
    picture = Image.fromarray(random.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    picture.save(tmp_path / f"photo{ending}", quality=90)
    # Larger and smaller than the crop, between pixels, and over the edge of the picture.
    boxes = torch.tensor(
        [[30.3, 20.7, 41, 44], [60, 30, 9.5, 8], [-20, -13, 60, 50], [90, 60, 50, 45]]
    )
    recipe = replace(PHOTO, colour=colour)
    files, names = (tmp_path / f"photo{ending}",) * 4, ("",) * 4
    faces = Faces("a/test", "a", IBUG_68, files, torch.zeros(4, 68, 2), boxes, names, names)
    training = load_crops(faces, recipe)

    network, image = Dots(), np.asarray(read_picture(files[0], colour=True))
    finder(network, recipe=recipe).keypoints(image, boxes.numpy())
    torch.testing.assert_close(
        network.inputs[0][:4], to_network_input(training.images, recipe), rtol=0, atol=0
    )


@settings(max_examples=40)
@given(
    st.floats(40, 110), st.floats(30, 80), st.floats(-8, 8), st.floats(-8, 8), st.floats(25, 60),
    st.sampled_from([0.0, 20.0, -35.0, 90.0, 180.0]),
)  # fmt: skip
def test_keypoints_are_pixels_of_the_picture_wherever_the_box_is_and_however_it_is_turned(
    x, y, right, down, side, angle
):
    image = dots.draw([(x, y)], 120, 160, sigma=side / 20)
    box = np.array([[x + right - side / 2, y + down - side / 2, side, side]])
    points, _ = finder(Dots()).keypoints(image, box, angles=np.array([angle]))
    np.testing.assert_allclose(points, np.tile(np.float32([x, y]), (1, 68, 1)), atol=0.4)


def test_many_boxes_give_what_each_gives_alone():
    boxes = np.array([[50.0, 30, 60, 60], [60, 45, 40, 40], [55, 35, 50, 55]])
    angles = np.array([0.0, 15.0, 0.0])
    points, confidence = finder(Dots(0.1)).keypoints(SPOT, boxes, angles=angles)
    for index in range(3):
        alone = finder(Dots(0.1)).keypoints(SPOT, boxes[[index]], angles=angles[[index]])
        np.testing.assert_allclose(points[[index]], alone[0], atol=1e-4)
        np.testing.assert_allclose(confidence[[index]], alone[1], atol=1e-5)
    none, nothing = finder(Dots()).keypoints(SPOT, np.empty((0, 4)))
    assert (none.shape, nothing.shape) == ((0, 68, 2), (0,))


@pytest.mark.parametrize(("off", "confidence"), [(0.0, 1), (0.0295, 0.5), (0.059, 2**-41)])
def test_confidence_falls_as_the_flip_disagreement_grows(off, confidence):
    # The spot lies to the right of the crop, and to the left of its mirror image.
    _, found = finder(Dots(off)).keypoints(SPOT, np.array([[45.0, 30, 60, 60]]))
    assert found.item() == pytest.approx(confidence, abs=1e-3)


@pytest.mark.parametrize(
    ("flip", "average", "times", "beside"),
    [(True, True, 2, 0.05), (True, False, 2, 0.1), (False, True, 1, 0.1)],
)
def test_the_flip_is_averaged_measured_or_left_out(flip, average, times, beside):
    network, box = Dots(0.1), np.array([[45, 30, 60, 60]])
    points, confidence = finder(network).keypoints(SPOT, box, flip=flip, average=average)
    assert sum(map(len, network.inputs)) == times
    # The crop's side is 1.3 times the box's; the mean is half as far off.
    np.testing.assert_allclose(points[0, 0], [80 + beside * 78, 60], atol=0.4)
    assert (confidence == 1) == (not flip)


def test_a_weak_network_is_calibrated_by_its_own_flip_disagreement():
    box = np.array([[50.0, 30, 60, 60]])
    finders = [finder(Dots(0.05), flip_disagreement=known) for known in (0.0, 0.08, 0.001)]
    strict, weak, good = (one.keypoints(SPOT, box)[1] for one in finders)
    assert strict < LEAST_CONFIDENCE < weak
    assert good == strict  # never stricter than for the network that ships


def one_box(x, y, side):
    """A detector that finds this box in any picture."""
    return lambda image: (np.array([[x, y, side, side]], float), np.array([2.5]))


def test_boxes_may_take_the_place_of_the_detector_and_none_is_dropped():
    boxes = [[20, 30, 60, 60], [50, 35, 60, 60]]
    one, other = finder(Dots(0.3)).predict(SPOT, np.array(boxes))
    assert [list(one.box), list(other.box)] == boxes
    assert one.score is other.score is None
    assert one.confidence < LEAST_CONFIDENCE
    (detected,) = finder(Dots(), one_box(50, 35, 60)).predict(SPOT)
    assert (detected.box, detected.score) == (pytest.approx((50, 35, 60, 60)), 2.5)
    assert detected.confidence > 0.95
    np.testing.assert_allclose(detected.keypoints, np.tile([80, 60], (68, 1)), atol=0.3)
    (given,) = finder(Dots()).predict(SPOT, np.array(boxes[1:]))
    np.testing.assert_allclose(given.keypoints, detected.keypoints, atol=1e-4)
    assert finder(Dots()).predict(SPOT, np.empty((0, 4))) == []


def test_many_photos_give_the_faces_of_each_in_whatever_form_they_come():
    other = SPOT[:, ::-1]
    one = finder(Dots(), one_box(50, 35, 60))
    (left,), (right,) = one.predict(SPOT), one.predict(other)
    batch = torch.from_numpy(np.stack([SPOT, other.copy()]))[:, None] / 255  # (2, 1, H, W)
    pictures = [Image.fromarray(SPOT), other[..., None] / 255]
    for photos in (batch, batch.permute(0, 2, 3, 1).numpy(), pictures, tuple(pictures)):
        (first,), (second,) = one.predict(photos)
        np.testing.assert_allclose(first.keypoints, left.keypoints, atol=1e-4)
        np.testing.assert_allclose(second.keypoints, right.keypoints, atol=1e-4)
    assert one.predict([]) == []
    given = one.predict(pictures, boxes=[[[50, 35, 60, 60]] * 2, []])
    assert [len(faces) for faces in given] == [2, 0]
    for photos, boxes, fault in (
        (pictures, [[]], "boxes: of 1 photos, and there are 2"),
        (SPOT, [1, 2, 3], "boxes: expected"),
        ([["a.jpg"]], None, "str: no picture"),
    ):
        with pytest.raises(UserError, match=fault):
            one.predict(photos, boxes)


def nothing(image):
    return np.empty((0, 4)), np.empty(0)


def test_false_alarms_are_dropped_and_finding_no_face_is_not_an_error():
    alarm, none = finder(Dots(0.3), one_box(20, 30, 60)), finder(Dots(), nothing)
    assert len(alarm.detect(SPOT)) == 1
    assert alarm.predict(SPOT) == none.predict(SPOT) == none.detect(SPOT) == []


class Upright:
    """A detector that finds a rod only where it is upright, as detectors do with faces."""

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


@pytest.mark.parametrize("angle", [-85, -45, -30, -20, 3, 25, 45, 75, 90])  # 180 looks like 0
def test_turned_faces_are_found_where_nothing_is_upright(angle):
    find, upright = Upright(), angle == 3
    (face,) = finder(Dots(), find).predict(rod(angle))
    assert (find.looks == 1) == upright
    np.testing.assert_allclose(face.keypoints[0], [100, 80], atol=0.5)
    np.testing.assert_allclose(face.box, (70.5, 50.5, 60, 60), atol=1.5)
    (found,) = finder(Dots(), Upright()).detect(rod(angle))
    assert abs((found.angle - angle + 90) % 180 - 90) <= 15
    assert len(finder(Dots(), Upright()).detect(rod(angle), turned=False)) == upright


class Upright68(Dots):
    """Predicts as trained networks do: the mean head in the middle of the crop, turned as the white
    spot on its chin, but by too little where that is more than 30 degrees."""

    def forward(self, faces):
        x, y = (super().forward(faces)[:, 0] - 0.5).unbind(dim=-1)  # where the spot is
        lean = torch.atan2(-x, y)
        lean = torch.where(lean.abs() < math.radians(30), lean, 0.6 * lean)
        turn = torch.stack([lean.cos(), lean.sin(), -lean.sin(), lean.cos()], dim=-1)
        head = torch.tensor((MEAN_HEAD[:, :2] - (0, 40)) / 220, dtype=torch.float32)
        return head @ turn.view(-1, 2, 2) + 0.5  # (B, 68, 2)


class Strict68(Upright68):
    """Predicts for a head that leans in its crop by 12 degrees what its flip contradicts."""

    def forward(self, faces):
        points = super().forward(faces)
        across = points[:, 45] - points[:, 36]
        leans = torch.atan2(across[:, 1], across[:, 0]).abs() > math.radians(12)
        upright = torch.tensor((MEAN_HEAD[:, :2] - (0, 40)) / 220 + 0.7, dtype=torch.float32)
        return torch.where(leans[:, None, None], upright, points)


@pytest.mark.parametrize("angle", [-22, 0, 18])
def test_a_face_that_the_network_refuses_is_tried_again_leaning(angle):
    chin = 24 * np.array([-math.sin(math.radians(angle)), math.cos(math.radians(angle))])
    image = dots.draw([(100, 80) + chin], 160, 200)
    upright = np.array([[60.5, 40.5, 80, 80]]), np.array([1.0])
    find = iter([upright, *[nothing(None)] * 99])
    (face,) = finder(Strict68(), lambda _: next(find)).predict(image)
    assert face.pose.roll == pytest.approx(angle, abs=3)


def test_photos_in_which_haar_may_miss_faces_are_counted():
    for size, find, name, missed in (
        ((120, 160), nothing, "haar", 1),
        ((120, 160), one_box(50, 35, 60), "haar", 0),
        ((120, 1300), one_box(50, 35, 60), "haar", 1),
        ((120, 160), nothing, "yunet", 0),
    ):
        used = finder(Dots(), find)
        used.detector = replace(used.detector, name=name)
        used.predict(np.pad(SPOT, ((0, 0), (0, size[1] - 160))))
        assert used.missed == missed


@pytest.fixture(scope="module")
def shipped():
    return toolkit.face_keypoints(detector="haar", device="cpu")


def on_canvas(image, angle):
    """A picture (H, W, 3) turned clockwise on a square that holds it at any angle, its edge
    repeated, and the matrix (2, 3) from its pixels to the square's."""
    middle, side = (np.array(image.shape[1::-1]) - 1) / 2, math.ceil(math.hypot(*image.shape[:2]))
    matrix = cv2.getRotationMatrix2D(middle.tolist(), -angle, 1.0)
    matrix[:, 2] += (side - 1) / 2 - middle
    how = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REPLICATE}
    return cv2.warpAffine(image, matrix, (side, side), **how), matrix


@pytest.mark.slow
def test_a_drawn_face_is_found_at_any_angle_with_the_points_of_the_upright_one(shipped):
    images, _, _ = render([6], IBUG_68, "portrait", size=(150, 200))
    image = images[0].permute(1, 2, 0).numpy()
    straight, matrix = on_canvas(image, 0)
    (face,) = shipped.predict(straight)
    around = landmark_boxes(torch.from_numpy(face.keypoints)[None])
    (face,) = shipped.predict(straight, around)  # a turned face is cropped by its points, too
    points = (face.keypoints - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T  # of the picture
    eyes = np.linalg.norm(points[45] - points[36])
    for angle in (0, 15, 30, 75, 90, 135, 180, 240, 345):
        turned, matrix = on_canvas(image, angle)
        (face,) = shipped.predict(turned)
        off = face.keypoints - (points @ matrix[:, :2].T + matrix[:, 2])
        bar = 0.02 if angle == 0 else 0.01  # Haar's box, not that of the points
        assert np.linalg.norm(off, axis=1).mean() < bar * eyes, angle


@pytest.mark.slow
def test_pictures_without_a_face_have_none_in_any_direction(shipped):
    random = np.random.default_rng(0)
    pictures = [np.uint8(255 * clutter(random, (180, 240)).clip(0, 1)) for _ in range(4)]
    pictures.append(random.integers(0, 256, (180, 240, 3), dtype=np.uint8))
    pictures.append(cv2.resize(pictures[-1][:12, :16], (240, 180), interpolation=cv2.INTER_CUBIC))
    text = np.full((180, 240, 3), 230, np.uint8)
    for row in range(20, 180, 20):
        cv2.putText(text, "Bo 8% of {oo} @ 0O:QD", (4, row), row % 8, 0.6, (20, 20, 40), 1)
    assert shipped.predict([*pictures, text]) == [[]] * 7


@pytest.mark.slow
@pytest.mark.parametrize("cut", [(0.03, 0.03), (-0.12, 0.1), (0.1, -0.12)])
def test_faces_that_fill_the_picture_or_reach_beyond_it_are_found(shipped, cut):
    images, points, _ = render([6], IBUG_68, "portrait", size=(300, 400))
    image, truth = images[0].permute(1, 2, 0).numpy(), points[0].numpy()
    size = np.ptp(truth, axis=0)
    left, top = np.round(truth.min(axis=0) - size * cut).astype(int)
    right, bottom = np.round(truth.max(axis=0) + size * 0.03).astype(int)
    (face,) = shipped.predict(image[top:bottom, left:right])
    off = face.keypoints + (left, top) - truth
    assert np.linalg.norm(off, axis=1).mean() < 0.08 * np.linalg.norm(truth[45] - truth[36])


def test_yunet_is_found_where_the_download_puts_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FACE_DATA", str(tmp_path))
    loaded = []
    monkeypatch.setattr(toolkit.detectors, "load", lambda *what: loaded.append(what))
    monkeypatch.setattr(toolkit, "FaceKeypoints", lambda *_: None)
    toolkit.face_keypoints(detector="yunet")
    toolkit.face_keypoints()
    place = tmp_path / "models" / "face_detection_yunet_2023mar.onnx"
    assert loaded == [("yunet", place), ("auto", place)]


@pytest.mark.parametrize("angle", [0, 10, -35, 45, -55])
def test_a_face_that_leans_is_cropped_again_upright(angle, monkeypatch):
    monkeypatch.setattr(placement, "BOX_OFF", math.inf)  # the box of this network's points differs
    chin = 24 * np.array([-math.sin(math.radians(angle)), math.cos(math.radians(angle))])
    image = dots.draw([(100, 80) + chin], 160, 200)
    (face,) = finder(Upright68(), one_box(60.5, 40.5, 80)).predict(image)
    assert face.pose.roll == pytest.approx(angle, abs=3)
    across = face.keypoints[45] - face.keypoints[36]
    assert math.degrees(math.atan2(across[1], across[0])) == pytest.approx(angle, abs=3)
    middle = (face.keypoints[36] + face.keypoints[45]) / 2 - face.keypoints[8]
    assert middle @ chin < 0  # the eyes lie on the other side than the chin


def test_folding_batch_normalisation_changes_no_prediction(monkeypatch):
    torch.manual_seed(0)
    network, faces = HeatmapResNet18(68, channels=16), torch.rand(2, 1, 64, 64) - 0.5
    with torch.no_grad():
        network(faces)  # in training mode: the running statistics are no longer 0 and 1
    network.eval()
    monkeypatch.setattr(finding, "computes_in_bfloat16", lambda device: False)
    folded = optimise_for_inference(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(faces) * 64, network(faces) * 64, rtol=0, atol=1e-3)
    coordinates = Dots()  # draws no heatmaps: it is not rounded to bfloat16
    assert optimise_for_inference(coordinates) is coordinates


@pytest.mark.slow
def test_bfloat16_moves_the_points_of_faces_by_hundredths_of_a_pixel(monkeypatch):
    monkeypatch.setattr(finding, "computes_in_bfloat16", lambda device: True)
    shipped = toolkit.named(toolkit.SHIPPED)
    network, side = shipped.network, shipped.recipe.height
    images, _, _ = render(range(2), IBUG_68, size=(side, side))
    faces = images.float().mean(dim=1, keepdim=True) / 255 - 0.5
    with torch.inference_mode():
        halved = optimise_for_inference(network)(faces.bfloat16())
        moved = (halved - network(faces)).norm(dim=-1) * side  # (2, 68)
    assert moved.mean() < 0.05
    assert moved.max() < 0.5


def test_for_videos_the_network_is_optimised_and_frames_are_shrunk_for_the_detector():
    shapes = []
    for video in (False, True):
        network = HeatmapResNet18(68, channels=16)
        used = finder(
            network, lambda image: (shapes.append(image.shape), nothing(image))[1], video=video
        )
        used.detect(np.zeros((500, 1000, 3), np.uint8), turned=False)
        assert video != any(isinstance(module, nn.BatchNorm2d) for module in used.network.modules())
    assert shapes == [(320, 640, 3), (240, 480, 3)]
