from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from states import same
from test_training import FULL, RESUME, TRAIN, VALIDATION, stopped_in, tiny, train

from common import checkpoints, snapshots, training
from common.inference import predict_keypoints
from common.metrics import nme
from common.snapshots import FRAMES, SnapshotRecorder, load_snapshots, snapshot_epochs

SHOWN = [0, 1, 3, 5]  # of the six validation faces


def training_of(checkpoint):
    return checkpoints.load(checkpoint)["training"]


def test_a_short_training_is_recorded_whole_and_a_long_one_thinned_most_at_its_end():
    for epochs in (1, 2, 16, 59):
        assert snapshot_epochs(epochs) == list(range(epochs + 1))
    for epochs in (60, 61, 100, 300, 400, 12345):
        kept = snapshot_epochs(epochs)
        steps = [after - before for before, after in pairwise(kept)]
        assert len(kept) == FRAMES and kept[0] == 0 and kept[-1] == epochs
        assert 1 <= steps[0] < steps[-1]
        assert all(after - before >= -1 for before, after in pairwise(steps))


@pytest.mark.parametrize(("count", "faces"), [(14, [0, 4, 8, 13]), (2, [0, 1]), (1, [0])])
def test_the_faces_are_spread_over_the_list_and_no_more_than_there_are(count, faces):
    assert SnapshotRecorder(TRAIN.take(range(count)), FULL).faces == faces


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_frame_is_what_the_network_or_its_ema_predicts_after_an_epoch(tmp_path, ema_decay):
    network, _ = train(tmp_path / "one.pt", replace(FULL, ema_decay=ema_decay))
    state = training_of(tmp_path / "one.pt")
    frames = state["snapshots"]["frames"]
    assert state["snapshots"]["faces"] == SHOWN
    assert list(frames) == list(range(FULL.epochs + 1))
    torch.manual_seed(0)
    untrained, crops = tiny(), VALIDATION.take(SHOWN)
    training.init_bias_to_mean(untrained, training.mean_shape(TRAIN, FULL))
    for epoch, predicting in ((0, untrained), (FULL.epochs, network)):
        expected = predict_keypoints(predicting, crops.images, crops.flip_order, FULL)
        torch.testing.assert_close(frames[epoch], expected)
    assert not torch.equal(frames[1], frames[0])

    measured = load_snapshots(state, VALIDATION, FULL)
    assert measured.epochs == list(frames)
    assert torch.equal(measured.predictions, torch.stack(list(frames.values())))
    for predicted, errors in zip(measured.predictions, measured.nme, strict=True):
        torch.testing.assert_close(errors, nme(predicted, crops.points, crops.norm_distance))


def test_recording_costs_the_weights_nothing(tmp_path, monkeypatch):
    network, _ = train(tmp_path / "one.pt")
    monkeypatch.setattr(snapshots.SnapshotRecorder, "record", lambda *_: None)
    unwatched, _ = train(tmp_path / "two.pt")
    assert same(network.state_dict(), unwatched.state_dict())
    assert training_of(tmp_path / "two.pt")["snapshots"]["frames"] == {}


def test_a_checkpoint_without_snapshots_can_be_resumed(tmp_path):
    path = tmp_path / "one.pt"
    with stopped_in(2):
        train(path)
    old = checkpoints.load(path)
    del old["training"]["snapshots"]
    checkpoints.save(old, path)
    train(path, FULL, RESUME)
    assert list(training_of(path)["snapshots"]["frames"]) == [2, 3, 4, 5]


def test_the_other_processes_of_a_training_record_nothing(monkeypatch):
    recorder = SnapshotRecorder(VALIDATION, FULL)
    monkeypatch.setattr(snapshots, "is_main_process", lambda: False)
    recorder.record(0, tiny())
    assert recorder.frames == {}


def test_fewer_than_two_frames_are_no_snapshots():
    one = {"snapshots": {"faces": [0], "frames": {3: torch.ones(1, 1, 2)}}}
    assert load_snapshots({}, VALIDATION, FULL) is load_snapshots(one, VALIDATION, FULL) is None
