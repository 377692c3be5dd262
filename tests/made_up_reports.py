"""Reports of made-up numbers on discs in place of faces: pages without a training."""

import inspect
from dataclasses import replace

import torch
from PIL import Image
from torch import nn

from common.keypoints import IMM_58
from common.metrics import METRICS
from common.report import figures, image_figures
from common.report.comparison_page import Comparison, Contestant
from common.report.error_section import Results
from common.report.face_measures import face_attributes
from common.report.lesson import Lesson
from common.report.part_page import Report
from common.snapshots import Snapshots

HEIGHT, WIDTH, COUNT = 48, 64, 12
LESSON = Lesson(
    folder="part9",
    title="Part 9: circles",
    question="Where are the points?",
    notes=("A circle is round.",),
    try_next=("Run `python x.py <2>`, then `y`.",),
)


class SmallNet(nn.Sequential):
    def __init__(self):
        features = nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 10, 3), nn.ReLU()
        head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 116), nn.Unflatten(1, (58, 2))
        super().__init__(nn.Sequential(*features), nn.Sequential(*head))


COARSE = 1 / 3


def draw_coarsely(monkeypatch):
    """Figures with fewer pixels, by ``COARSE`` along each side."""
    monkeypatch.setattr(figures, "DPI", COARSE * figures.DPI)


def draw_nothing(monkeypatch):
    """Pages without the drawing, which takes most of their time; the list of figures' marks."""
    marks = []

    def save(_figure, path, mark):
        Image.new("L", (1, 1)).save(path)
        marks.append(mark)
        return 1, 1

    for module in (figures, image_figures):
        for name, function in vars(module).items():
            drawn = inspect.isfunction(function) and "Figure" in str(function.__annotations__)
            if drawn and function.__module__ == module.__name__:
                monkeypatch.setattr(module, name, lambda *_, **__: None)
    monkeypatch.setattr(figures, "save", save)
    return marks


def discs(count):
    """Discs of different grey on a dark ground, points on circles inside: (images, points)."""
    generator = torch.Generator().manual_seed(3)
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    centres = torch.tensor([WIDTH / 2, HEIGHT / 2]) + 4 * torch.randn(count, 2, generator=generator)
    angles = torch.arange(58) * 0.7
    radii = 6 + 9 * torch.rand(58, generator=generator)
    circle = torch.stack([angles.cos(), angles.sin()], dim=-1) * radii[:, None]  # (58, 2)
    points = centres[:, None] + circle + 0.5 * torch.randn(count, 58, 2, generator=generator)
    away = (columns - centres[:, 0, None, None]) ** 2 + (rows - centres[:, 1, None, None]) ** 2
    grey = 100 + 80 * torch.rand(count, 1, 1, generator=generator)
    noise = 20 * torch.rand(count, HEIGHT, WIDTH, generator=generator)
    return (torch.where(away < 300, grey, 30.0) + noise).to(torch.uint8)[:, None], points


def results(count=COUNT, **changes):
    """Predictions for discs, each of its own group; errors rise from 1 to 12 %."""
    images, points = discs(count)
    torch.manual_seed(0)
    made = Results(
        scheme=IMM_58,
        point_ids=tuple(range(58)),
        images=images,
        truth=points,
        predicted=points + torch.randn_like(points),
        all_points=points,
        nme=torch.linspace(1, 12, count),
        names=tuple(f"circle-{index}" for index in range(count)),
        views=("front", "side") * (count // 2),
        groups=tuple(f"person {index}" for index in range(count)),
        colours=("grey", "colour") * (count // 2),
        picture_eyes=IMM_58.eye_distance(8 * points),
        norm_distance=IMM_58.eye_distance(points),
        baseline_nme=torch.linspace(10, 40, count),
    )
    return replace(made, **changes)


def many_results(**changes):
    """Forty discs whose error follows from their brightness."""
    images, points = discs(40)
    bright = face_attributes(images, points, IMM_58)["brightness"]
    eyes = 100 + 37 * torch.arange(40.0) % 40  # in no order of another measure
    return results(40, nme=torch.exp(6 - bright / 30), picture_eyes=eyes, **changes)


def snapshots(points):
    """Faces 0 and 4, whose predictions come nearer from epoch to epoch."""
    away = torch.tensor([8.0, 4, 2, 1])  # px to the right
    predicted = points[[0, 4]] + torch.stack([away, torch.zeros(4)], dim=-1)[:, None, None]
    nme = torch.tensor([[40.0, 60], [20, 30], [10, 15], [5, 7]])
    return Snapshots([0, 4], [0, 1, 2, 3], predicted, nme)


def row(epoch, train_loss, test_loss, test_nme, seconds):
    """One epoch of a history."""
    return locals()


def report(**changes):
    made = results()
    numbers = {key: 1.5 + index for index, key in enumerate(METRICS)}
    metrics = {
        **numbers,
        "per_group": {view: numbers | {"n": 6} for view in ("front", "side")},
        "baseline_mean_face": {key: 20 * value for key, value in numbers.items()} | {"loss": 0.4},
        **{"n_train": 40, "n_test": COUNT, "dataset": "circles", "synthetic": False},
        **{"seconds": 75.0, "epochs": 3},
    }
    history = [
        row(epoch, 0.3 / epoch, 0.2 / epoch, 30 / epoch, 25.0) | {"learning_rate": 1e-3}
        for epoch in (1, 2, 3)
    ]
    samples = made.images[:2], made.truth[:2]
    torch.manual_seed(0)
    whole = Report(
        lesson=LESSON,
        recipe=[("epochs", "3", "enough for circles")],
        recipe_name="best",
        network=SmallNet(),
        samples=samples,
        augmented=(samples[0].float() / 255 - 0.5, samples[1] + torch.tensor([3.0, 4.0])),
        history=history,
        metrics=metrics,
        results=made,
        synthetic=False,
        snapshots=snapshots(made.truth),
    )
    return replace(whole, **changes)


def contestant(parameters, *seeds):
    """A network whose validation NME fell as each of ``seeds`` says."""
    torch.manual_seed(parameters)

    def history(errors):  # seconds are 2, 8, 18: a median is no mean
        return [row(n, e / 50, e / 100, e, 2.0 * n**2) for n, e in enumerate(errors, 1)]

    return Contestant(
        parameters=parameters,
        multiply_adds=1000 * parameters,
        milliseconds=1.5,
        histories=[history(errors) for errors in seeds],
        errors=[{"nme": errors[-1], "loss": 0.5} for errors in seeds],
        predicted=20 + 10 * torch.rand(3, 68, 2),
        kernels=torch.randn(4, 5, 5),
    )


def comparison(networks=None, **changes):
    """Three networks, or those given, of which Plain and Normal differ in normalisation alone."""
    networks = networks or {
        "Plain": contestant(1000, (20, 10, 9), (20, 12, 11)),
        "Normal": contestant(1010, (30, 9, 6), (30, 13, 8)),
        "Large": contestant(9000, (9, 9, 9), (9, 9, 9)),
    }
    whole = Comparison(
        networks=networks,
        mean_face={"nme": 25.0, "loss": 0.9},
        images=torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8),
        truth=20 + 10 * torch.rand(3, 68, 2),
        face="Some_Body_01",
        setting="All were trained on the same 5 faces.",
        people="Two of three <people> are in both.",
        loss="wing",
        recipe=[("epochs", "3", "enough for a test")],
        synthetic=False,
        normalised=("Plain", "Normal"),
    )
    return replace(whole, **changes)
