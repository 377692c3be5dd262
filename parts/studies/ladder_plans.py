"""The studies of ``python run_part.py ladder 1`` (2, 3): what changes from the course's recipe
to ours, and questions beside it, part by part, as data that ``ladder.py`` runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from common.recipe import Recipe
from parts import part1_nose_tip, part2_full_face, part3_large_dataset
from parts.studies.experiment import Experiment


@dataclass(frozen=True)
class Change:
    """One named change of an experiment."""

    name: str  # as tables show it
    why: str  # why it may help, in one sentence
    # New values of the experiment or its recipe; several only where one without the others means
    # nothing, such as height and width.
    values: Mapping[str, Any] = field(default_factory=dict)


COURSE = Change("the course's recipe", "Where the study begins.")
COMPARED = "What the others are compared with."
OURS = Change("all changes together", COMPARED)
Row = tuple[str, str, str]  # of a part: name, fields, reason
AT_LENGTH = "All are trained as long as the lesson itself:"
NOT_REVERTED = {"batch", "epochs"}  # else the others would train for less time, or far longer


@dataclass(frozen=True)
class Study:
    """Changes and what they are compared with: a part's study, or a question beside it."""

    title: str  # heading of its table
    text: str  # introduction of its table
    changes: tuple[Change, ...]  # the rows of the table
    baseline: Change = OURS  # the first row; of a question, with the values that all its rows share
    measure: str = "nme"  # the error that is compared, as ``experiment.evaluate`` names it
    start: Experiment | None = None  # what is changed; None: the experiment with all changes
    # Each change keeps those before it and is compared with the one before; else it is made alone
    # and compared with the baseline.
    cumulative: bool = False
    # Of a part's study alone
    questions: tuple[Study, ...] = ()  # studies beside it
    minutes: float = 0.0  # measured time of one experiment on one core
    lesson: Experiment | None = None  # all changes at the lesson's own length, if that is longer
    quick: Mapping[str, Any] = field(default_factory=dict)  # a first look; no change sets these
    quick_seeds: int = 3  # of a first look

    def experiments(self) -> list[tuple[Change, Experiment]]:
        """The rows of the table, each with the experiment that measures it."""
        rows = [(self.baseline, self.start.changed(**self.baseline.values))]
        for change in self.changes:
            before = rows[-1 if self.cumulative else 0][1]
            rows.append((change, before.changed(**change.values)))
        return rows

    @property
    def top(self) -> Experiment:
        """A part's experiment with all changes."""
        return self.experiments()[-1][1]

    def left_out(self) -> Study:
        """Each change reverted alone, all others kept."""
        begin = asdict(self.start) | asdict(self.start.recipe)
        kept = [change.name for change in self.changes if change.values.keys() <= NOT_REVERTED]
        reverted = (
            Change(_reverted(change.name), change.why, {k: begin[k] for k in change.values})
            for change in self.changes
            if change.name not in kept
        )
        text = (
            "What a change adds to all others, not only to those before it. "
            f"Not reverted, as they set the training time of all: {', '.join(kept)}."
        )
        if self.lesson:
            text += f" {AT_LENGTH} {self.lesson.recipe.epochs} epochs."
        return Study("Each change left out", text, tuple(reverted), start=self.lesson)

    def parts(self, quick: bool) -> list[Study]:
        """The study itself and those beside it; a quick one is itself alone, shortened."""
        if not quick:
            beside = (self.left_out(), *self.questions)
            return [self, *(replace(study, start=study.start or self.top) for study in beside)]
        epochs = self.top.recipe.epochs
        minutes = self.minutes * self.quick.get("epochs", epochs) / epochs
        return [replace(self, start=self.start.changed(**self.quick), minutes=minutes)]


def _study(
    part: str, course: Recipe, ours: Recipe, rows: list[Row], folds: bool = False, **more: object
) -> Study:
    """A part's study. rows: a change's name, the fields that it sets to the values of ``ours``,
    and why."""
    return Study(
        "Changes, one at a time",
        "Each row keeps the changes of the rows above it.",
        _changes(rows, ours),
        COURSE,
        start=Experiment(part, course, folds=folds),
        cumulative=True,
        **more,
    )


def _reverted(name: str) -> str:
    return f"with {name[3:]}" if name.startswith("no ") else f"without {name}"


def _changes(rows: list[Row], recipe: Recipe) -> tuple[Change, ...]:
    return tuple(
        Change(name, why, {field: getattr(recipe, field) for field in fields.split()})
        for name, fields, why in rows
    )


def _questions(
    table: Mapping[tuple[str, ...], list[tuple[str, str, dict[str, Any]]]],
) -> tuple[Study, ...]:
    """Studies beside a part's own. table: by title, text and, if not the NME, the measure of each,
    its rows: name, reason and values of a change."""
    return tuple(
        Study(title, text, tuple(Change(*row) for row in rows), OURS, *measure)
        for (title, text, *measure), rows in table.items()
    )


BATCH = "larger batch", "batch", "One less noisy step for 16 faces, so a sixteenth of the steps."
EPOCHS = "more epochs", "epochs", "Brings back some of the steps."
HE_INIT = "He's weights", "he_init", "Signals keep their size through all layers."
COSINE = "falling learning rate", "cosine", "Small last steps come closer to the minimum."
LESS_TO_LEARN = "Leaves only the differences from it to learn."
MEAN_START = "mean-face start", "init_bias_to_mean", LESS_TO_LEARN
RATE = "higher learning rate", "learning_rate", "Learns faster, if training does not diverge."
SMOOTH_L1 = "SmoothL1", "loss", "Quadratic near zero, linear beyond: robust to outliers."
COLOURS = "colour saturation hue brightness contrast"
NO_JITTER = "no colour jitter", COLOURS, "The light in IMM's studio hardly differs."
SHIFT = "shift", "shift", "Faces are not always in the middle of the picture."
ROTATION = "rotation", "rotation", "Heads tilt in the plane of the picture."
SCALE = "scale", "scale", "People sit nearer to the camera or farther from it."
FLIP = "flip", "flip", "A mirrored face is a face, too: twice the training data."
FLIP_TTA = "test-time flip", "flip_tta", "Errors for a face and its mirror image partly cancel."
BFLOAT16 = "bfloat16", "bfloat16", "Half the bits: the same error in less time?"

STEPS = {
    ("Batch size", "As many epochs: small batches make more steps, large ones less noisy steps."): [
        ("batch of 4", "Four times the steps.", {"batch": 4}),
        ("batch of 48", "A third of the steps.", {"batch": 48}),
    ],
    ("Learning rate", "The size of a step."): [
        ("0.0005", "Stable, but slow.", {"learning_rate": 5e-4}),
        ("0.004", "Fast, if it does not diverge.", {"learning_rate": 4e-3}),
    ],
}
INPUT_SIZE = "Input size", "How many pixels the network gets of the whole picture."
KERNELS = "How much of the picture a kernel covers; the course takes"

QUESTIONS1 = {
    **STEPS,
    INPUT_SIZE: [
        ("60×45", "About half the pixels.", {"height": 45, "width": 60}),
        ("120×90", "More than twice the pixels.", {"height": 90, "width": 120}),
    ],
    ("Kernel size", f"{KERNELS} 7, 5 and 3."): [
        ("3-3-3", "Small details.", {"kernels": (3, 3, 3)}),
        ("5-5-5", "The same in every layer.", {"kernels": (5, 5, 5)}),
        ("9-7-3", "Large shapes.", {"kernels": (9, 7, 3)}),
    ],
}
LATER = [SMOOTH_L1, COSINE, HE_INIT, ROTATION, SCALE, FLIP, FLIP_TTA]
PART2_VALUES = "epochs loss learning_rate he_init rotation scale flip flip_tta"
ALL_OF_PART2 = "part 2's recipe", PART2_VALUES, "All that part 2 changes but the picture's size."
PART1 = _study(
    "1",
    part1_nose_tip.Course(),
    part1_nose_tip.Best(),
    [BATCH, EPOCHS, MEAN_START, SHIFT],
    questions=(
        Study(
            "More values",
            "What later parts add, each alone and then together, with part 1's network.",
            _changes([*LATER, ALL_OF_PART2], replace(part2_full_face.Best(), cosine=True)),
        ),
        *_questions(QUESTIONS1),
    ),
    folds=True,
    minutes=0.3,
)

MIRRORED = (
    "In a mirrored face left and right points exchange their names. The classic mistake "
    "mirrors the points and keeps their names."
)
NOSE_ALONE = "Does part 1's nose tip gain from points around it? The error is its own alone."
QUESTIONS2 = {
    ("Flip pairs", MIRRORED): [
        ("names kept", "Half of the faces have left as right.", {"pairs": False}),
        ("no flip", "No mirror images at all.", {"flip": 0.0, "flip_tta": False}),
    ],
    ("Number of points", NOSE_ALONE, "nme_nose"): [
        ("the nose", "Its 11 points.", {"points": tuple(range(47, 58))}),
        ("the nose tip", "Part 1's task.", {"points": part1_nose_tip.NOSE}),
    ],
    ("Falling learning rate", "Part 3 lets the learning rate fall to zero."): [
        ("cosine", COSINE[2], {"cosine": True})
    ],
    **STEPS,
    INPUT_SIZE: [
        ("120×90", "About half the pixels.", {"height": 90, "width": 120}),
        ("240×180", "More than twice the pixels.", {"height": 180, "width": 240}),
    ],
    ("Kernel size", f"{KERNELS} 7, 5, 3, 3 and 3."): [
        ("3-3-3-3-3", "Small details.", {"kernels": (3, 3, 3, 3, 3)}),
        ("9-5-3-3-3", "Large shapes.", {"kernels": (9, 5, 3, 3, 3)}),
    ],
}
LESSON2 = Experiment("2", part2_full_face.Best(), folds=True)
NOTHING_VARIED = {"rotation": 0.0, "shift": 0.0, "scale": 0.0, "flip": 0.0}
PART2 = _study(
    "2",
    part2_full_face.Course(),
    replace(part2_full_face.Best(), epochs=60),
    [BATCH, EPOCHS, MEAN_START, SMOOTH_L1, SHIFT, NO_JITTER, HE_INIT, RATE, SCALE, FLIP, FLIP_TTA],
    questions=(
        Study(
            "Augmentation",
            "Rotation, which the course has as well, and all augmentation together. "
            f"{AT_LENGTH} {LESSON2.recipe.epochs} epochs.",
            (
                Change("no rotation", ROTATION[2], {"rotation": 0.0}),
                Change("no augmentation", "The training faces alone.", NOTHING_VARIED),
            ),
            start=LESSON2,
        ),
        *_questions(QUESTIONS2),
    ),
    folds=True,
    minutes=0.8,
    lesson=LESSON2,
    quick_seeds=2,
)

SMALL = {"height": 64, "width": 64, "margin": 8, "epochs": 12}  # what two cores have time for
FACES = 2794  # for training, every tenth training face held out
CROPPED = "Most published results crop a face by its true points; users depend on a detector."
VARIED = (
    "What else differs between real pictures. A short training may not be long enough to gain "
    "from it."
)
CURVE = "The learning curve: fewer faces, each seen more often, in about as many steps."
QUESTIONS3 = {
    ("Crop box", CROPPED): [("dlib's boxes", "For training and evaluation.", {"boxes": "file"})],
    ("Initial weights", "Random, or those that torchvision trained on ImageNet's photos."): [
        ("ImageNet's", "Edges are learned already.", {"pretrained": True})
    ],
    ("Input side", "More pixels cost more time."): [
        ("96", "2¼ times as many.", {"height": 96, "width": 96, "margin": 12}),
        ("128", "The recipe's own.", {"height": 128, "width": 128, "margin": 16}),
    ],
    ("More augmentation", VARIED): [
        ("rotation by 30°", "Some people lie down or lean far to one side.", {"rotation": 30.0}),
        ("brightness", "Sun and lamps differ by more.", {"brightness": 0.3}),
        ("contrast", "Cameras differ in contrast.", {"contrast": 0.3}),
        ("light from one side", "Faces beside a window.", {"side_light": 0.3}),
        ("blur", "Motion and bad focus.", {"blur": 0.2}),
        ("compression", "Pictures from the web.", {"compression": 0.2}),
    ],
    ("Number of training faces", CURVE): [
        (
            f"{count} faces",
            f"{100 * count / FACES:.0f} % of them.",
            {"faces": count, "epochs": SMALL["epochs"] * FACES // count},
        )
        for count in (250, 500, 1000, 2000)
    ],
}
PART3 = _study(
    "3",
    replace(part3_large_dataset.Course(), **SMALL),
    replace(part3_large_dataset.Best(), **SMALL),
    [
        (
            "larger batch",
            "batch",
            "Batch normalisation needs a batch: of one crop of 64 pixels the last layers have 4 "
            "values to normalise by; of the course's 224, 49.",
        ),
        ("wing loss", "loss", "Its gradient stays large for errors below a pixel."),
        COSINE,
        ("warm-up", "warmup", "Small steps until batch normalisation has settled."),
        ("weight decay", "optimizer weight_decay", "Eleven million weights for 2794 faces."),
        BFLOAT16,
        ("heatmaps", "head", "A heatmap keeps the position of its point."),
        ("cross-entropy of heatmaps", "heatmap_weight", "Gives every cell a target."),
        FLIP,
        ("more rotation", "rotation", "Photographed heads tilt more than 10°."),
        ("box error", "scale box_shift box_scale_spread", "Detectors' boxes are not exact."),
        ("occlusion", "occlusion", "Hands, hair and microphones cover faces."),
        ("unvaried end", "no_aug_fraction", "Ends on faces as they are, but for flips and boxes."),
        FLIP_TTA,
        ("closer crop", "box_scale", "More pixels for the face; only the worst boxes lose by it."),
    ],
    questions=(
        Study(
            "Loss",
            "Four losses on the same coordinates.",
            (
                Change("MSE", "Squares every error.", {"loss": "mse"}),
                Change("L1", "The same gradient at every distance.", {"loss": "l1"}),
                Change("SmoothL1", "Squares small errors only.", {"loss": "smooth_l1"}),
            ),
            Change("wing", COMPARED, {"head": "coordinates"}),
        ),
        *_questions(QUESTIONS3),
        Study(
            "dlib's leaky split",
            "dlib's two lists are a random split of all of 300-W. Both networks train on as many "
            "faces and are evaluated on the standard test faces that are in dlib's training list. "
            "One has seen them.",
            (Change("dlib's split", "It has seen its test faces.", {"dlib_list": "seen"}),),
            Change("the standard split", COMPARED, {"dlib_list": "unseen"}),
        ),
    ),
    minutes=5.0,
    quick={"epochs": 1, "max_steps": 150},  # in batches of 16 most of an epoch
    quick_seeds=1,
)
STUDIES = {"1": PART1, "2": PART2, "3": PART3}
