import pytest
import small_sets
import torch

from common.keypoints import IBUG_68
from common.system.errors import NotHereError
from datasets import splits
from datasets.synthetic import cached
from parts import udacity_networks
from parts.studies import experiment, ladder_plans
from parts.studies.experiment import Trial, ask, crops_of, held_out


def test_persons_are_held_out_whole_and_each_in_one_fold(small_root):
    trial = ladder_plans.PART1.start
    asked = [crops_of(trial, small_root, fold)[1] for fold in range(experiment.FOLDS)]
    groups = [set(crops.faces.groups) for crops in asked]
    assert sorted(int(person) for fold in groups for person in fold) == [1, 2, 3, 32]
    for fold, persons in enumerate(groups):
        learned, _ = crops_of(trial, small_root, fold)
        assert not persons & set(learned.faces.groups)
        assert all(int(person) % 4 == fold for person in persons)


def test_drawn_people_are_held_out_whole_too(tmp_path, monkeypatch):
    monkeypatch.setitem(cached.COUNTS, ("portrait", "train"), 48)
    faces = cached.load("portrait", "train")
    folds = [held_out(faces, fold) for fold in range(experiment.FOLDS)]
    assert torch.stack(folds).sum(dim=0).tolist() == [1] * 48
    for out in folds:
        people = [{faces.groups[i] for i in which.nonzero()} for which in (out, ~out)]
        assert people[0] and not people[0] & people[1]


def test_of_faces_without_persons_every_tenth_is_held_out(small_root):
    learned, asked = crops_of(ladder_plans.PART3.start, small_root)
    assert (len(learned), len(asked)) == (5, 1)
    assert held_out(learned.faces).tolist() == [True] + [False] * 4


def test_without_pairs_a_flip_keeps_all_names(small_root):
    start = ladder_plans.PART2.start
    with_pairs, _ = crops_of(start, small_root)
    without, asked = crops_of(start.changed(pairs=False), small_root)
    assert not torch.equal(with_pairs.flip_order, torch.arange(58))
    assert torch.equal(without.flip_order, torch.arange(58))
    assert torch.equal(asked.flip_order, torch.arange(58))
    assert torch.equal(with_pairs.points, without.points)
    assert torch.equal(with_pairs.eye_distance, without.eye_distance)


def test_fewer_faces_are_some_of_all(small_root):
    start = ladder_plans.PART3.start
    all_files = crops_of(start, small_root)[0].faces.files
    few = crops_of(start.changed(faces=2), small_root)[0].faces.files
    assert len(few) == 2 and set(few) < set(all_files)
    assert few == crops_of(start.changed(faces=2), small_root)[0].faces.files


def test_dlibs_split_has_seen_what_it_is_asked_for(real_data):
    faces = splits.split("ibug", "train", real_data, "landmarks", IBUG_68)
    seen, asked = experiment.around_dlibs_list(faces, True, real_data)
    unseen, again = experiment.around_dlibs_list(faces, False, real_data)
    assert len(seen) == len(unseen) == 2888
    assert asked.files == again.files and len(asked) == 188
    assert set(asked.files) <= set(seen.files)
    assert not set(asked.files) & set(unseen.files)


def test_drawn_faces_have_no_lists(tmp_path, monkeypatch):
    few = {key: 12 if key[1] == "train" else 3 for key in cached.COUNTS}
    monkeypatch.setattr(cached, "COUNTS", few)
    for change in ({"boxes": "file"}, {"dlib_list": "seen"}):
        with pytest.raises(NotHereError, match="dlib's lists"):
            crops_of(ladder_plans.PART3.start.changed(**change), tmp_path)


def test_a_network_of_the_udacity_route_is_asked_for_people_it_never_saw(tmp_path):
    small_sets.write_youtube_faces(tmp_path)
    recipe = udacity_networks.Course()
    trial = Trial("3", recipe, network="LightNet")
    learned, asked = crops_of(trial, tmp_path)
    assert learned.faces.groups and asked.faces.groups
    assert not set(learned.faces.groups) & set(asked.faces.groups)
    network, again = (experiment.network_of(trial, seed=1) for _ in range(2))
    assert isinstance(network, udacity_networks.LightNet)
    assert torch.equal(network.head[-1].weight, again.head[-1].weight)
    assert trial.told() != Trial("3", recipe, network="LightNetBN").told()


def test_the_nose_tip_is_measured_by_itself(small_root):
    start = ladder_plans.PART2.start
    _, asked = crops_of(start, small_root)
    network = experiment.network_of(start, 0)
    errors, answers = ask(network, asked, start.recipe)
    side = torch.tensor([160.0, 120.0])
    off = (answers * side - 0.5 - asked.points)[:, 52].norm(dim=1)
    expected = (100 * off / asked.eye_distance).mean().item()
    assert errors["nme_nose"] == pytest.approx(expected, rel=1e-4)
    assert errors["nme_nose"] != pytest.approx(errors["nme"], rel=1e-2)

    alone = start.changed(points=(52,))
    _, asked = crops_of(alone, small_root)
    errors, answers = ask(experiment.network_of(alone, 0), asked, alone.recipe)
    assert answers.shape == (len(asked), 1, 2)
    assert errors["nme_nose"] == pytest.approx(errors["nme"])


def test_the_same_seed_gives_the_same_score(small_root):
    trial = Trial("1", ladder_plans.PART1.start.recipe).changed(epochs=1, batch=4)
    learned, asked = crops_of(trial, small_root)
    first, again = (experiment.score(trial, 3, learned, asked) for _ in range(2))
    assert first == again
    assert experiment.score(trial, 4, learned, asked) != first
