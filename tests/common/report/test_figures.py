from itertools import combinations

import made_up_reports
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from common.keypoints import IBUG_68, IMM_58
from common.metrics import failure_rate
from common.report import figures, image_figures

ALL = range(58)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def pixels_like(path, colour):
    """(x, y) of the middle of all pixels of a colour, in shares of the picture, and their count."""
    picture = np.asarray(Image.open(path).convert("RGB")) / 255
    rows, columns = np.where(np.abs(picture - to_rgb(colour)).max(axis=2) < 0.12)
    height, width = picture.shape[:2]
    return ((columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height), len(rows)


def test_ring_and_cross_are_where_the_points_are(tmp_path):
    image = torch.zeros(60, 80, dtype=torch.uint8)
    truth, predicted = torch.tensor([[20.0, 15.0]]), torch.tensor([[60.0, 44.0]])
    figure = image_figures.face(image, truth, IMM_58, [52], predicted)
    markers = {line.get_marker(): line.get_color() for line in figure.axes[0].lines}
    assert markers == {"o": figures.SKY, "x": figures.ORANGE}  # they differ in shape, too
    figures.save(figure, tmp_path / "face.png")
    for colour, (x, y) in ((figures.SKY, (20, 15)), (figures.ORANGE, (60, 44))):
        where, _ = pixels_like(tmp_path / "face.png", colour)
        assert where == pytest.approx(((x + 0.5) / 80, (y + 0.5) / 60), abs=0.01)


@pytest.mark.parametrize("centre", [(0.0, 0.0), (79.0, 59.0), (40.0, 30.0)])
def test_a_close_up_stays_in_the_picture_and_holds_the_points(centre):
    points = (torch.rand(58, 2) * 20 + torch.tensor(centre) - 10).clamp(min=0)
    points = torch.minimum(points, torch.tensor([79.0, 59.0]))
    face = image_figures.face(torch.zeros(60, 80), points, IMM_58, ALL, around=points)
    (left, right), (bottom, top) = face.axes[0].get_xlim(), face.axes[0].get_ylim()
    (low_x, low_y), (high_x, high_y) = points.amin(dim=0), points.amax(dim=0)
    assert -0.5 <= left <= low_x and high_x <= right <= 79.5
    assert -0.5 <= top <= low_y and high_y <= bottom <= 59.5
    assert right - left == pytest.approx(bottom - top)


def test_bytes_and_network_values_show_the_same_picture():
    image = torch.arange(0, 240, dtype=torch.uint8).reshape(12, 20)
    for values in (image, image.float() / 255 - 0.5):
        (drawn,) = image_figures.face(values, torch.rand(1, 2), IMM_58, [52]).axes[0].images
        np.testing.assert_allclose(drawn.norm(drawn.get_array()), image / 255, atol=0.005)


def test_saved_figures_are_small_and_carry_their_mark(tmp_path):
    image = (torch.rand(112, 112) * 255).to(torch.uint8)
    face = image_figures.face(image, torch.rand(68, 2) * 100, IBUG_68, range(68))
    size = figures.save(face, tmp_path / "face.png", "synthetic faces")
    saved = Image.open(tmp_path / "face.png")
    assert (saved.size, saved.mode) == (size, "P")
    assert (tmp_path / "face.png").stat().st_size < 150_000
    assert [text.get_text() for text in face.texts] == ["synthetic faces"]
    assert pixels_like(tmp_path / "face.png", figures.VERMILION)[1] > 50


def test_the_baseline_is_drawn_where_it_is_known():
    history = [made_up_reports.row(n, 1 / n, 2 / n, 9 / n, seconds=1) for n in (1, 2, 3, 4)]
    above, below = figures.learning_curves(history, {"loss": 0.7, "nme": 8.0}).axes
    assert above.get_yscale() == below.get_yscale() == "log"
    drawn = {line.get_label(): list(line.get_ydata()) for line in above.lines}
    losses = {"training": [1, 1 / 2, 1 / 3, 1 / 4], "test": [2, 1, 2 / 3, 1 / 2]}
    assert drawn == losses | {"mean face": [0.7, 0.7]}
    assert list(below.lines[-1].get_ydata()) == [8.0, 8.0]
    above = figures.learning_curves(history[:1], {"nme": 8.0}).axes[0]
    assert [line.get_label() for line in above.lines] == ["training", "test"]
    assert [line.get_marker() for line in above.lines] == ["o", "o"]  # one epoch is seen, too


def test_the_cumulative_curve_leaves_the_failures_above_it():
    errors = torch.tensor([1.0, 3.0, 7.5, 8.5, 20.0])
    line = figures.cumulative_error({"network": errors}).axes[0].lines[0]
    x, share = line.get_data()
    assert share[x <= 8].max() == pytest.approx(100 - failure_rate(errors))
    assert share[x <= 20].max() == pytest.approx(100)
    assert (np.diff(share) >= 0).all()


def test_each_group_shows_all_its_faces_and_their_mean():
    nme = torch.tensor([2.0, 4.0, 6.0, 10.0])
    axes = figures.error_by_group(nme, ["b", "a", "b", "a"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    rows = [list(line.get_xdata()) for line in axes.lines]
    assert rows == [[4.0, 10.0], [7.0], [2.0, 6.0], [4.0]]


def test_an_error_against_a_measure_shows_all_faces_and_the_median_of_neighbours():
    values, nme = torch.rand(30), torch.rand(30) + 1
    dots, line = figures.error_against(values, nme, "brightness", 5).axes[0].lines
    assert dots.get_xydata() == pytest.approx(torch.stack([values, nme], dim=1).numpy())
    order = values.argsort()
    assert len(line.get_xdata()) == 26
    for place, middle in enumerate(line.get_xydata()):
        five = order[place : place + 5]
        assert middle == pytest.approx([values[five].median().item(), nme[five].median().item()])


def test_faces_side_by_side_are_cropped_about_given_points():
    images, points = torch.zeros(2, 60, 80, dtype=torch.uint8), torch.rand(2, 58, 2) * 20 + 30
    predictions = {"one": points + 1, "other": points - 1}
    whole, cut = (
        image_figures.same_faces(images, points, predictions, a).axes for a in (None, points)
    )
    assert len(whole) == len(cut) == 4
    assert [axes.get_xlim() for axes in whole] == [(-0.5, 79.5)] * 4
    for axes, face in zip(cut, (0, 0, 1, 1), strict=True):
        left, top, right, bottom = image_figures.square_around(points[face], 80, 60)
        assert axes.get_xlim() == pytest.approx((left, right)) and right - left < 40
        assert axes.get_ylim() == pytest.approx((bottom, top))


def test_points_are_coloured_by_their_mean_error():
    offsets = torch.zeros(5, 58, 2)
    offsets[:, 7] = torch.tensor([0.03, 0.04])
    axes = figures.error_on_mean_face(torch.rand(58, 2), IMM_58, ALL, offsets).axes[0]
    colours = axes.collections[-1].get_array()
    assert colours[7] == pytest.approx(5.0) and np.delete(colours, 7).max() == 0
    assert not axes.patches  # 58 ellipses would hide each other


def test_the_ellipse_of_a_single_point_holds_86_percent_of_the_predictions():
    offsets = torch.randn(2000, 1, 2) @ torch.tensor([[0.2, 0.1], [0.0, 0.05]]) + 0.3
    shape = torch.rand(58, 2)
    axes = figures.error_on_mean_face(shape, IMM_58, [52], offsets).axes[0]
    (ellipse,) = axes.patches
    outline = ellipse.get_path().transformed(ellipse.get_patch_transform())
    inside = outline.contains_points((shape[52] + offsets[:, 0]).numpy())
    assert inside.mean() == pytest.approx(1 - np.exp(-2), abs=0.03)


def test_kernels_of_one_channel_fill_rows_of_eight_and_others_have_a_row_each():
    for shape, size, kernel, rows, columns in (
        ((12, 1, 7, 5), (2 * 8 - 1, 8 * 6 - 1), (11, 0), slice(8, 15), slice(18, 23)),
        ((3, 5, 3, 3), (3 * 4 - 1, 8 * 4 - 1), (1, 2), slice(4, 7), slice(8, 11)),
    ):
        weight = torch.randn(shape)
        image = image_figures.kernels(weight).axes[0].images[0]
        board = np.ma.filled(image.get_array(), np.nan)
        assert board.shape == size and np.isfinite(board).sum() == weight.numel()
        np.testing.assert_array_equal(board[rows, columns], weight[kernel])
        assert image.get_clim() == (-weight.abs().max().item(), weight.abs().max().item())


@pytest.mark.parametrize("with_kernels", [True, False])
def test_each_response_is_below_its_name_and_kernel(with_kernels):
    kernels = torch.randn(6, 5, 5) if with_kernels else None
    names = [f"kernel {n}" for n in range(6)]
    figure = image_figures.responses(kernels, torch.randn(6, 20, 30), names)
    sizes = [axes.images[0].get_array().shape for axes in figure.axes if axes.images]
    assert sizes.count((20, 30)) == 6 and sizes.count((5, 5)) == (6 if with_kernels else 0)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == names


def test_an_overlay_lies_on_the_face_and_is_yellow_where_its_value_is_largest():
    values = torch.zeros(10, 10)
    values[2, 7] = 1
    layers = [image_figures.Overlay("a", values), image_figures.Overlay("b", torch.zeros(4, 4))]
    figure = image_figures.overlays(torch.zeros(40, 40), torch.tensor([5.0, 30.0]), layers)
    (face, heat), (_, nothing) = (axes.images for axes in figure.axes[:2])
    assert heat.get_extent() == face.get_extent() and heat.origin == face.origin
    np.testing.assert_array_equal(heat.get_array(), values)
    shown = heat.to_rgba(heat.get_array())[2, 7]
    assert shown[0] - shown[2] > 0.35 and heat.get_alpha()[2, 7] == heat.get_alpha().max() > 0.5
    assert nothing.get_alpha().max() == 0  # the face shows through


def test_names_of_networks_of_one_size_and_error_do_not_cover_each_other():
    names = [f"({letter}) network with a long name" for letter in "abc"]
    sizes = ((1_000_000, 5.0), (1_000_001, 5.01), (9_000_000, 5.0))
    figure = figures.size_against_error(dict(zip(names, sizes, strict=True)))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    boxes = [text.get_window_extent() for text in legend.get_texts()]
    assert [text.get_text() for text in legend.get_texts()] == names
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())
    assert all(figure.bbox.contains(*corner) for box in boxes for corner in (box.min, box.max))
