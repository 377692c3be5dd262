import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import estimate_transform

from common.keypoints import IBUG_68, IMM_58, SCHEMES, fit_similarity, flip_order_within, neighbours
from common.system.errors import UserError
from datasets import imm

both_schemes = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)


@both_schemes
def test_a_point_is_in_one_pair_at_most_and_the_rest_lie_on_the_middle_line(scheme):
    paired = [index for pair in scheme.flip_pairs for index in pair]
    assert len(paired) == len(set(paired))
    middle = set(range(scheme.n_points)) - set(paired)
    # Counted on the annotators' drawings: chin, mouth (2) and nose base; chin, bridge (4), nose
    # base, and four on the lips.
    expected = {"imm58": {6, 41, 45, 52}, "ibug68": {8, 27, 28, 29, 30, 33, 51, 57, 62, 66}}
    assert middle == expected[scheme.name]
    assert {index for line in scheme.lines for index in line} == set(range(scheme.n_points))


@both_schemes
def test_eye_distance_is_that_of_the_outer_corners(scheme):
    points = torch.zeros(3, scheme.n_points, 2)
    points[:, scheme.outer_eyes[0]] = torch.tensor([10.0, 20.0])
    points[:, scheme.outer_eyes[1]] = torch.tensor([40.0, 60.0])
    assert scheme.eye_distance(points).tolist() == [50.0] * 3
    assert tuple(sorted(scheme.outer_eyes)) in {tuple(sorted(p)) for p in scheme.flip_pairs}


@given(st.data())
def test_a_choice_of_points_mirrors_as_the_whole_face_does(data):
    scheme = data.draw(st.sampled_from(list(SCHEMES.values())))
    order = scheme.flip_order.tolist()
    half = data.draw(st.sets(st.integers(0, scheme.n_points - 1), min_size=1))
    kept = data.draw(st.permutations(sorted({*half, *(order[index] for index in half)})))
    points = torch.arange(scheme.n_points * 2.0).view(scheme.n_points, 2)
    within = flip_order_within(scheme, kept)
    assert torch.equal(points[kept][within], points[scheme.flip_order][kept])
    assert torch.equal(points[kept][within][within], points[kept])  # twice gives the face back


def test_a_choice_without_its_mirror_image_is_refused():
    with pytest.raises(UserError, match="45"):
        flip_order_within(IBUG_68, (27, 36))
    assert flip_order_within(IMM_58, (52,)).tolist() == [0]


def test_real_faces_are_nearly_their_own_mirror_image_point_by_point(real_data):
    faces = imm.load(real_data)
    left, right = (faces.points[:, index, None] for index in faces.scheme.outer_eyes)  # (N, 1, 2)
    axis, centred = torch.view_as_complex(right - left), faces.points - (left + right) / 2
    # Eyes level, the middle between them at 0, their distance 1.
    shape = torch.view_as_real((torch.view_as_complex(centred) / axis).mean(dim=0))  # (K, 2)
    renamed = (shape * torch.tensor([-1.0, 1.0]))[faces.scheme.flip_order]
    assert (renamed - shape).norm(dim=-1).max() < 0.05  # of the eyes' distance
    # Point by point: no other point lies nearer to a mirrored one than the one it is paired with.
    assert torch.cdist(renamed, shape).argmin(dim=1).tolist() == list(range(faces.scheme.n_points))


def test_neighbours_are_joined_where_both_are_kept_by_their_places():
    assert neighbours(IMM_58, (52,)) == []
    assert neighbours(IMM_58, (4, 3, 9, 2)) == [(3, 1), (1, 0)]  # jaw: 2-3, 3-4
    joined = neighbours(IBUG_68, range(68))
    assert len(joined) == sum(len(line) - 1 for line in IBUG_68.lines)
    assert (0, 1) in joined and (16, 17) not in joined  # jaw and brow are two lines


def test_a_fitted_similarity_is_that_of_scikit_image():
    sources = torch.rand(3, 20, 2, dtype=torch.float64) * 100
    target = torch.rand(20, 2, dtype=torch.float64) * 50
    for source, matrix in zip(sources, fit_similarity(sources, target), strict=True):
        expected = estimate_transform("similarity", source.numpy(), target.numpy()).params[:2]
        torch.testing.assert_close(matrix, torch.from_numpy(expected))
