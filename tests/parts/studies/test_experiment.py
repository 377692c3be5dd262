from dataclasses import replace

import pytest
import small_sets
import torch

from common.keypoints import IBUG_68, IMM_58
from common.recipe import Options
from common.system.errors import NotHereError
from datasets import ibug, splits
from datasets.synthetic import cached
from parts import udacity_networks
from parts.studies import experiment
from parts.studies.experiment import Experiment, crops_of, evaluate, is_held_out, network_of
from parts.studies.ladder_plans import PART1, PART2, PART3

ALL = torch.arange(58)


def test_persons_are_held_out_whole_and_each_in_one_fold(small_root):
    runs = [replace(PART1.start, seed=seed) for seed in range(experiment.FOLDS)]
    folds = [crops_of(run, small_root) for run in runs]
    people = [[{int(group) for group in crops.faces.groups} for crops in fold] for fold in folds]
    assert [out for _, out in people] == [{32}, {1}, {2}, {3}]
    assert all(train == {1, 2, 3, 32} - out for train, out in people)


@pytest.mark.slow
def test_synthetic_people_are_held_out_whole_too():
    faces = cached.load("portrait", "train", 24)
    folds = [is_held_out(faces, fold) for fold in range(experiment.FOLDS)]
    assert torch.stack(folds).sum(dim=0).tolist() == [1] * 24
    for out in folds:
        people = [{faces.groups[i] for i in which.nonzero()} for which in (out, ~out)]
        assert people[0] and not people[0] & people[1]


def test_of_faces_without_persons_every_tenth_is_held_out(small_root):
    train, held_out = crops_of(PART3.start, small_root)
    assert (len(train), len(held_out)) == (5, 1)
    assert is_held_out(train.faces).tolist() == [True] + [False] * 4


def test_without_pairs_a_flip_keeps_all_names(small_root):
    with_pairs, _ = crops_of(PART2.start, small_root)
    without, held_out = crops_of(PART2.start.changed(pairs=False), small_root)
    for crops, names in (with_pairs, IMM_58.flip_order), (without, ALL), (held_out, ALL):
        assert torch.equal(crops.flip_order, names)
    assert torch.equal(with_pairs.points, without.points)
    assert torch.equal(with_pairs.norm_distance, without.norm_distance)


def test_fewer_faces_are_some_of_all(small_root):
    every, few, again = (
        crops_of(PART3.start.changed(faces=count), small_root)[0].faces.files for count in (0, 2, 2)
    )
    assert len(few) == 2 and set(few) < set(every) and few == again


@pytest.mark.slow
def test_dlibs_split_has_seen_its_test_faces(real_data):
    faces = splits.split("ibug", "train", real_data, "landmarks", IBUG_68)
    seen, test = experiment.around_dlibs_list(faces, True, real_data)
    unseen, again = experiment.around_dlibs_list(faces, False, real_data)
    assert len(seen) == len(unseen) == 2888
    assert test.files == again.files and len(test) == 188
    assert set(test.files) <= set(seen.files) and not set(test.files) & set(unseen.files)


@pytest.mark.parametrize("change", [{"boxes": "file"}, {"dlib_list": "seen"}])
def test_synthetic_faces_have_no_lists(small_root, monkeypatch, change):
    faces = replace(ibug.load(small_root, "train"), synthetic=True)
    monkeypatch.setattr(experiment, "train_and_test", lambda *_: (faces, faces))
    with pytest.raises(NotHereError, match="dlib's lists"):
        crops_of(PART3.start.changed(**change), small_root)


def test_a_network_of_the_udacity_route_is_evaluated_on_people_it_never_saw(tmp_path):
    small_sets.write_youtube_faces(tmp_path)
    light = Experiment("3", udacity_networks.Course(), network="LightNet", seed=1)
    trained_on, held_out = (set(crops.faces.groups) for crops in crops_of(light, tmp_path))
    assert trained_on and held_out and not trained_on & held_out
    assert isinstance(network_of(light), udacity_networks.LightNet)


def test_the_nose_tip_is_measured_by_itself(small_root):
    for one, place in (PART2.start, 52), (PART2.start.changed(points=(52,)), 0):
        _, held_out = crops_of(one, small_root)
        errors, predictions = evaluate(network_of(one), held_out, one.recipe)
        off = predictions * torch.tensor([160.0, 120.0]) - 0.5 - held_out.points
        expected = (100 * off[:, place].norm(dim=1) / held_out.norm_distance).mean().item()
        assert errors["nme_nose"] == pytest.approx(expected, rel=1e-4)
    assert errors["nme_nose"] == pytest.approx(errors["nme"])


def test_the_mean_face_is_that_of_the_training_faces(small_root):
    train, held_out = crops_of(PART3.start, small_root)
    off = (train.points.mean(dim=0) - held_out.points).norm(dim=2).mean(dim=1)
    expected = (100 * off / held_out.norm_distance).mean().item()
    found = experiment.mean_face_error(train, held_out, PART3.start.recipe)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_run_is_repeated_by_its_seed_and_names_its_device(small_root, tmp_path, monkeypatch):
    start, options = PART1.start.changed(epochs=1, batch=4), Options(data=small_root, device="cpu")
    runs = []
    for number, (seed, can) in enumerate([(3, True), (3, False), (4, True)]):
        monkeypatch.setattr(experiment, "computes_in_bfloat16", lambda device, can=can: can)
        file = tmp_path / f"{number}.pt"
        runs.append(experiment.run(replace(start, seed=seed), options, file))
    assert [run["device"] for run in runs] == ["cpu", "cpu without bfloat16", "cpu"]
    assert runs[0]["errors"] == runs[1]["errors"] != runs[2]["errors"]
    assert runs[0]["faces"] == [6, 2] and runs[0]["seed"] == 3 and runs[0]["seconds"] > 0
    train, held_out = crops_of(replace(start, seed=3), small_root)
    network, _ = experiment.trained(replace(start, seed=3), train)
    assert evaluate(network, held_out, start.recipe)[1][0].tolist() == runs[0]["prediction"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert experiment.device_name(torch.device("cuda")) == "NVIDIA H100 80GB HBM3"
