"""What each step buys: the steps of ``python run_part.py ladder 1`` (2, 3), part by part.

A ladder leads from the course's recipe to ours, one change at a time; then each change is taken
away from the top alone, and questions are asked beside it. ``climbing.py`` trains and tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from common.recipe import Recipe
from common.report.ablation_page import Question, Step
from parts import part1_nose_tip, part2_full_face, part3_large_dataset
from parts.studies.experiment import Trial


@dataclass(frozen=True)
class Plan:
    """A part's ladder. start: the course's recipe. ours: where it leads, at the ladder's size and
    epochs. minutes: what a run took one processor core, measured. quick, quick_seeds: what is
    changed in every step, and the seeds, for a first look at the ladder alone."""

    start: Trial
    ours: Recipe
    steps: tuple[Step, ...]
    questions: tuple[Question, ...]
    minutes: float
    quick: Mapping[str, Any] = field(default_factory=dict)
    quick_seeds: int = 3


def steps(ours: Recipe, *told: tuple[str, str, str]) -> tuple[Step, ...]:
    """Steps to the values of ``ours``: each a name, the recipe's lines that change, and why.

    Batch and epochs are not taken away again: all others would get less time, or far more.
    """
    return tuple(
        Step(name, why, {k: getattr(ours, k) for k in lines.split()}, lines not in KEPT)
        for name, lines, why in told
    )


KEPT = ("batch", "epochs")
SEEN = "How much of the picture a filter sees at once; the course takes"

OURS1 = replace(part1_nose_tip.Best(), epochs=60)
PART1 = Plan(
    start=Trial("1", part1_nose_tip.Course()),
    ours=OURS1,
    steps=steps(
        OURS1,
        ("larger batch", "batch", "One steadier step for 16 faces, so a sixteenth of the steps."),
        ("more epochs", "epochs", "Gives back some of the steps."),
        ("mean-face start", "init_bias_to_mean", "The rest is easier to learn."),
        ("higher rate", "learning_rate", "Learns faster, if it does not jump."),
        ("falling rate", "cosine", "The last steps only polish."),
        ("weight decay", "optimizer weight_decay", "Keeps weights small that nothing asks for."),
        ("SmoothL1", "loss", "Squares the small errors, but lets no single face shout."),
        ("shift", "shift", "People do not sit in the middle."),
        ("rotation", "rotation", "Heads tilt."),
        ("scale", "scale", "People sit nearer or farther."),
        ("flip", "flip", "Mirrored faces are faces: twice the people."),
        ("brightness", "brightness", "Lamps differ."),
        ("contrast", "contrast", "Cameras differ."),
        (
            "mirror mean",
            "flip_tta",
            "A face and its mirror image: two answers err less than one.",
        ),
        ("bfloat16", "bfloat16", "Half the bits: the same answers for less time?"),
    ),
    questions=(
        Question(
            "Batch size",
            "As many epochs: small batches take more steps, large ones steadier steps.",
            (
                Step("batch of 4", "Four times the steps.", {"batch": 4}),
                Step("batch of 48", "A third of the steps.", {"batch": 48}),
            ),
        ),
        Question(
            "Learning rate",
            "How far a step goes.",
            (
                Step("a quarter of the rate", "Sure, but slow.", {"learning_rate": 5e-4}),
                Step("four times the rate", "Quick, if it does not jump.", {"learning_rate": 8e-3}),
            ),
        ),
        Question(
            "Input size",
            "How many pixels the network gets of the whole picture.",
            (
                Step("60×45", "About half the pixels.", {"height": 45, "width": 60}),
                Step("120×90", "More than twice the pixels.", {"height": 90, "width": 120}),
            ),
        ),
        Question(
            "Kernel size",
            f"{SEEN} 7, 5 and 3.",
            (
                Step("3-3-3", "Fine.", {"kernels": (3, 3, 3)}),
                Step("5-5-5", "Even.", {"kernels": (5, 5, 5)}),
                Step("9-7-3", "Coarse.", {"kernels": (9, 7, 3)}),
            ),
        ),
    ),
    minutes=0.15,
)

OURS2 = replace(part2_full_face.Best(), epochs=40)
MISTAKE = "names kept"
PART2 = Plan(
    start=Trial("2", part2_full_face.Course()),
    ours=OURS2,
    steps=steps(
        OURS2,
        ("larger batch", "batch", "One steadier step for 16 faces, so a sixteenth of the steps."),
        ("more epochs", "epochs", "Gives back some of the steps."),
        ("He's weights", "he_init", "The picture does not fade on its way through five layers."),
        ("mean-face start", "init_bias_to_mean", "The rest is easier to learn."),
        ("higher rate", "learning_rate", "Learns faster, if it does not jump."),
        ("falling rate", "cosine", "The last steps only polish."),
        ("weight decay", "optimizer weight_decay", "Keeps weights small that nothing asks for."),
        ("SmoothL1", "loss", "Squares the small errors, but lets no single face shout."),
        ("grey light", "colour saturation hue", "The network sees grey: why turn hues?"),
        ("brightness", "brightness", "Lamps differ more than the course says."),
        ("contrast", "contrast", "Cameras differ more than the course says."),
        ("shift", "shift", "People do not sit in the middle."),
        ("scale", "scale", "People sit nearer or farther."),
        ("flip", "flip", "Mirrored faces are faces: twice the people."),
        (
            "mirror mean",
            "flip_tta",
            "A face and its mirror image: two answers err less than one.",
        ),
        ("bfloat16", "bfloat16", "Half the bits: the same answers for less time?"),
    ),
    questions=(
        Question(
            "Flip pairs",
            "In a mirrored face left and right exchange their names. The classic mistake moves "
            "the points and keeps their names.",
            (
                Step(MISTAKE, "Half of the faces call their right eye left.", {"pairs": False}),
                Step("no flip", "Without mirror images.", {"flip": 0.0, "flip_tta": False}),
            ),
        ),
        Question(
            "Number of points",
            "Does the nose tip of part 1 gain from points around it? The error is its own alone.",
            (
                Step("the nose", "Its 11 points.", {"points": tuple(range(47, 58))}),
                Step("the nose tip", "Part 1's question.", {"points": part1_nose_tip.NOSE}),
            ),
            measure="nme_nose",
        ),
        Question(
            "Rotation",
            "The course turns faces as well, and ours keeps that.",
            (Step("no rotation", "Heads tilt.", {"rotation": 0.0}),),
        ),
        *PART1.questions[:2],
        Question(
            "Input size",
            "How many pixels the network gets of the whole picture.",
            (
                Step("120×90", "About half the pixels.", {"height": 90, "width": 120}),
                Step("240×180", "More than twice the pixels.", {"height": 180, "width": 240}),
            ),
        ),
        Question(
            "Kernel size",
            f"{SEEN} 7, 5, 3, 3 and 3.",
            (
                Step("3-3-3-3-3", "Fine.", {"kernels": (3, 3, 3, 3, 3)}),
                Step("9-5-3-3-3", "Coarse.", {"kernels": (9, 5, 3, 3, 3)}),
            ),
        ),
    ),
    minutes=0.2,
    quick_seeds=2,  # three would take a quarter of an hour of two slow cores
)

SMALL = {"height": 64, "width": 64, "margin": 8, "epochs": 12}  # what two cores have time for
OURS3 = replace(part3_large_dataset.Best(), **SMALL)
FACES = 2794  # to learn from, every tenth training face held out
PART3 = Plan(
    start=Trial("3", replace(part3_large_dataset.Course(), **SMALL)),
    ours=OURS3,
    steps=steps(
        OURS3,
        (
            "larger batch",
            "batch",
            "Batch normalisation needs a batch: of one crop of 64 pixels the last layers have 4 "
            "values to normalise by; of the course's 224, 49.",
        ),
        ("wing loss", "loss", "Keeps pulling when the error is a fraction of a pixel."),
        ("falling rate", "cosine", "The last steps only polish."),
        ("warm-up", "warmup", "Small steps until batch normalisation has settled."),
        ("weight decay", "optimizer weight_decay", "Eleven million weights for 2794 faces."),
        ("bfloat16", "bfloat16", "Half the bits: the same answers for less time?"),
        ("heatmaps", "head", "A map of each point keeps its place."),
        ("cross-entropy of maps", "heatmap_weight", "Tells every cell what it should be."),
        ("flip", "flip", "Mirrored faces are faces."),
        ("more rotation", "rotation", "Photographed heads tilt more than 10°."),
        (
            "box error",
            "scale box_shift box_scale_spread",
            "A detector's box is never quite the landmarks' box.",
        ),
        ("occlusion", "occlusion", "Hands, hair, microphones."),
        (
            "calm end",
            "no_aug_fraction",
            "Faces as they are, but for mirroring and the box's error.",
        ),
        (
            "mirror mean",
            "flip_tta",
            "A face and its mirror image: two answers err less than one.",
        ),
        ("closer crop", "box_scale", "More pixels for the face; only the worst boxes lose by it."),
    ),
    questions=(
        Question(
            "Loss",
            "Four losses on the same coordinates.",
            (
                Step("MSE", "Squares every error.", {"loss": "mse"}),
                Step("L1", "Pulls alike at every distance.", {"loss": "l1"}),
                Step("SmoothL1", "Squares small errors alone.", {"loss": "smooth_l1"}),
            ),
            first={"head": "coordinates"},
            against="wing",
        ),
        Question(
            "Crop box",
            "Most published figures cut a face by its true points; users live with a detector.",
            (Step("dlib's boxes", "To learn from and to be asked with.", {"boxes": "file"}),),
        ),
        Question(
            "First weights",
            "Random, or those that torchvision trained on ImageNet's photos.",
            (Step("ImageNet's", "Edges need not be learned anew.", {"pretrained": True}),),
        ),
        Question(
            "Input side",
            "More pixels cost more time.",
            (
                Step(
                    "96",
                    "Two and a quarter times as many.",
                    {"height": 96, "width": 96, "margin": 12},
                ),
                Step("128", "The recipe's own.", {"height": 128, "width": 128, "margin": 16}),
            ),
        ),
        Question(
            "More variation",
            "What else real pictures vary in. A short run has to learn the faces first.",
            (
                Step("rotation by 30°", "Some heads lie down.", {"rotation": 30.0}),
                Step("brightness", "Sun and lamps differ by more.", {"brightness": 0.3}),
                Step("contrast", "And cameras.", {"contrast": 0.3}),
                Step("light from one side", "A window.", {"side_light": 0.3}),
                Step("blur", "Motion and bad focus.", {"blur": 0.2}),
                Step("compression", "Pictures from the web.", {"compression": 0.2}),
            ),
        ),
        Question(
            "Number of training faces",
            "The learning curve: fewer faces, each seen more often, in about as many steps.",
            tuple(
                Step(
                    f"{count} faces",
                    f"{100 * count / FACES:.0f} % of them.",
                    {"faces": count, "epochs": SMALL["epochs"] * FACES // count},
                )
                for count in (250, 500, 1000, 2000)
            ),
        ),
        Question(
            "dlib's leaky split",
            "dlib's two lists are a random split of all of 300-W. Both networks learn from as many "
            "faces, and are asked for those standard test faces that stand in dlib's training "
            "list. One has seen them.",
            (Step("dlib's split", "It has seen the faces asked for.", {"dlib_list": "seen"}),),
            first={"dlib_list": "unseen"},
            against="the standard split",
        ),
    ),
    minutes=5.0,
    quick={"epochs": 1, "max_steps": 150},  # in batches of 16 most of an epoch
    quick_seeds=1,
)
PLANS = {"1": PART1, "2": PART2, "3": PART3}
