"""``python run_part.py 1`` (2, 3): train one part's network and write its page."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from parts.commands.options import add_data, add_device, add_reports

NETWORKS = ("NaimishNet", "LightNet", "LightNetBN", "FourConvNet", "ResNet18")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``1``, ``2`` and ``3``."""
    number = parser.prog.split()[-1]  # argparse ends it with the command's name
    add_data(parser)
    add_device(parser)
    add_reports(parser)
    recipes = ("course", "best") + (("long", "from-heatmaps") if number == "3" else ())
    parser.add_argument(
        "--recipe", choices=recipes, default="best", help="the course's or ours (default: best)"
    )
    sets = (
        "ibug, synthetic, mixed, youtube_faces, a path of yours"
        if number == "3"
        else "imm, synthetic"
    )
    parser.add_argument("--dataset", metavar="NAME", help=f"what to train on, of {sets}")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of all random numbers (default: 0)"
    )
    parser.add_argument("--resume", action="store_true", help="continue a stopped run")
    parser.add_argument(
        "--mine", type=Path, metavar="MY.py",
        help="train with the functions of your exercises where they are written; pages go to mine/",
    )  # fmt: skip
    if number != "3":
        return
    parser.add_argument(
        "--step", choices=("crops", "coordinates", "heatmaps"), default="heatmaps",
        help="part 2's network on crops, ResNet18 with coordinates, or with heatmaps (default)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", action="store_true",
        help="train all three steps on small crops and show them side by side: 15 minutes",
    )  # fmt: skip
    parser.add_argument(
        "--network", metavar="NAME", type=network_name,
        help="NaimishNet, LightNet, LightNetBN or FourConvNet of the Udacity course, by its "
        "recipes, or your own, FILE.py:CLASS (default: part 3's own ResNet18)",
    )  # fmt: skip
    parser.add_argument(
        "--loss", choices=("mse", "smooth_l1", "l1", "wing"), help="instead of the recipe's"
    )
    parser.add_argument(
        "--pairs", metavar="A=B,…", help="left-right pairs of your own points, by name or number"
    )
    parser.add_argument(
        "--pretrained", nargs="?", const="imagenet", metavar="FILE",
        help="start from a checkpoint's weights; without FILE from ImageNet's",
    )  # fmt: skip
    parser.add_argument(
        "--allow-random", action="store_true",
        help="if ImageNet's cannot be fetched, start from random ones",
    )  # fmt: skip


def network_name(name: str) -> str:
    """``name``, if a network may have it; raises ArgumentTypeError."""
    if ":" not in name and name not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise argparse.ArgumentTypeError(f"no network {name}; take {known} or FILE.py:CLASS")
    return name


def run(options: argparse.Namespace) -> None:
    """Train the part that is the command's name, alone or with the processes of torchrun."""
    from common.recipe import Options
    from common.system.device import best_device
    from common.system.distributed import process_group
    from common.system.files import make_writable
    from parts.toolkit import LESSONS

    best_device(options.device)  # whatever is refused is refused before faces are rendered
    make_writable(options.reports)
    with suppress(OSError):  # holds something
        options.reports.rmdir()
    given = vars(options)
    part = LESSONS[given.pop("command")]
    if given.pop("steps", False):
        from parts.commands.compare import steps

        return steps(Options(**given))
    with process_group():
        part.run(Options(**given))
