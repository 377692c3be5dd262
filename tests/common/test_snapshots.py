from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from test_training import CPU, FULL, TRAIN, VALIDATION, Tiny, stopped_in, train

from common import checkpoints, snapshots, training
from common.inference import predict_keypoints
from common.metrics import nme
from common.snapshots import FRAMES, SnapshotRecorder, load_snapshots, snapshot_epochs


def snapshots_of(checkpoint):
    return checkpoints.load(checkpoint)["training"]["snapshots"]


@pytest.mark.parametrize("epochs", [1, 2, 16, 59])
def test_a_short_training_is_kept_whole(epochs):
    assert snapshot_epochs(epochs) == list(range(epochs + 1))


@pytest.mark.parametrize("epochs", [60, 61, 100, 300, 400, 12345])
def test_a_long_training_is_thinned_most_at_its_end(epochs):
    kept = snapshot_epochs(epochs)
    steps = [after - before for before, after in pairwise(kept)]
    assert len(kept) == FRAMES and kept[0] == 0 and kept[-1] == epochs
    assert 1 <= steps[0] < steps[-1]
    assert all(after - before >= -1 for before, after in pairwise(steps))


def test_the_faces_are_spread_over_the_list_and_no_more_than_there_are():
    assert SnapshotRecorder(TRAIN, FULL).faces == [0, 4, 8, 13]
    assert SnapshotRecorder(VALIDATION.take([0, 1]), FULL).faces == [0, 1]
    assert SnapshotRecorder(VALIDATION.take([3]), FULL).faces == [0]


def test_a_frame_is_what_the_network_answers_before_the_first_and_after_every_epoch(tmp_path):
    network, _ = train(tmp_path / "one.pt", replace(FULL, ema_decay=0.0))
    played = snapshots_of(tmp_path / "one.pt")
    assert played["faces"] == [0, 1, 3, 5]
    assert list(played["frames"]) == list(range(FULL.epochs + 1))
    torch.manual_seed(0)
    untrained = Tiny()
    training.init_bias_to_mean(untrained, training.mean_shape(TRAIN, FULL))
    images = VALIDATION.images[[0, 1, 3, 5]]
    for epoch, teller in ((0, untrained), (FULL.epochs, network)):
        expected = predict_keypoints(teller, images, VALIDATION.flip_order, FULL)
        torch.testing.assert_close(played["frames"][epoch], expected)
    assert not torch.equal(played["frames"][1], played["frames"][0])


def test_where_weights_are_averaged_the_average_is_asked(tmp_path):
    network, _ = train(tmp_path / "one.pt")
    images = VALIDATION.images[[0, 1, 3, 5]]
    expected = predict_keypoints(network, images, VALIDATION.flip_order, FULL)
    torch.testing.assert_close(snapshots_of(tmp_path / "one.pt")["frames"][FULL.epochs], expected)


def test_watching_costs_the_weights_nothing(tmp_path, monkeypatch):
    network, _ = train(tmp_path / "one.pt")
    monkeypatch.setattr(snapshots.SnapshotRecorder, "record", lambda *_: None)
    unwatched, _ = train(tmp_path / "two.pt")
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, unwatched.state_dict()[name])
    assert snapshots_of(tmp_path / "two.pt")["frames"] == {}


def test_a_resumed_training_continues_its_snapshots(tmp_path):
    train(tmp_path / "undisturbed.pt")
    with stopped_in(2):
        train(tmp_path / "stopped.pt")
    train(tmp_path / "stopped.pt", FULL, replace(CPU, resume=True))
    one, other = snapshots_of(tmp_path / "undisturbed.pt"), snapshots_of(tmp_path / "stopped.pt")
    assert list(one["frames"]) == list(other["frames"])
    assert all(torch.equal(one["frames"][epoch], other["frames"][epoch]) for epoch in one["frames"])


def test_a_checkpoint_without_snapshots_can_be_resumed(tmp_path):
    path = tmp_path / "one.pt"
    with stopped_in(2):
        train(path)
    old = checkpoints.load(path)
    del old["training"]["snapshots"]
    checkpoints.save(old, path)
    train(path, FULL, replace(CPU, resume=True))
    assert list(snapshots_of(path)["frames"]) == [2, 3, 4, 5]


def test_the_other_processes_of_a_training_keep_nothing(monkeypatch):
    played = SnapshotRecorder(VALIDATION, FULL)
    monkeypatch.setattr(snapshots, "is_main_process", lambda: False)
    played.record(0, Tiny())
    assert played.frames == {}


def test_the_played_is_measured_face_by_face(tmp_path):
    train(tmp_path / "one.pt")
    state = checkpoints.load(tmp_path / "one.pt")["training"]
    played = load_snapshots(state, VALIDATION, FULL)
    assert played.epochs == [0, 1, 2, 3, 4, 5]
    assert played.predictions.shape == (6, 4, 1, 2) and played.nme.shape == (6, 4)
    truth = VALIDATION.points[[0, 1, 3, 5]]
    for predicted, errors in zip(played.predictions, played.nme, strict=True):
        expected = nme(predicted, truth, VALIDATION.eye_distance[[0, 1, 3, 5]])
        torch.testing.assert_close(errors, expected)


@pytest.mark.parametrize(
    "state", [{}, {"snapshots": {"faces": [0], "frames": {3: torch.ones(1, 1, 2)}}}]
)
def test_fewer_than_two_frames_are_no_played(state):
    assert load_snapshots(state, VALIDATION, FULL) is None
