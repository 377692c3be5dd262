"""The command line of the course: ``python run_part.py 1`` (2, 3), ``data`` and ``evaluate``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from functools import partial
from pathlib import Path

from common.system.errors import UserError


def run_part(number: str, **asked: object) -> None:
    """Train one part's network and write its page."""
    from common.recipe import Options
    from common.system.distributed import process_group
    from parts.toolkit import LESSONS

    with process_group():
        LESSONS[number].run(Options(**asked))


def data(name: str | None, download: bool, data: Path | None) -> None:
    """List the data sets, or fetch one."""
    from datasets import catalog

    if download and name:
        print(catalog.download(name, data))
    elif download:
        raise UserError("--download: name the data set to fetch, for example: data imm --download")
    else:
        print(catalog.list_sets(data, name))


def evaluate(**asked: object) -> None:
    """Print the metrics of a checkpoint on a folder of faces."""
    from parts.commands import evaluate

    print(evaluate.evaluate(**asked))


def predict(**asked: object) -> int:
    """Find faces and keypoints on one's own photos and videos."""
    from parts.commands import predict

    return predict.predict(**asked)


def compare(**asked: object) -> None:
    """Set networks side by side, trained now or before."""
    from parts.commands import compare

    compare.run(argparse.Namespace(**asked))


def ladder(**asked: object) -> None:
    """Show what each step from the mean face to a part's recipe buys."""
    from parts.studies import ladder

    print(f"the page: {ladder.ladder(**asked)}")


def explain(**asked: object) -> None:
    """Show what a network looks at on a photo."""
    from parts.commands import explain

    print(f"the page: {explain.explain(**asked)}")


def export(checkpoint: Path, output: Path, overwrite: bool) -> None:
    """Write a trained network as an ONNX file."""
    from parts.commands import export

    print(export.export(checkpoint, output, overwrite))


def check(part: str, file: Path | None, save_dir: Path) -> int:
    """Tell which exercises are done, and what is wrong with the others."""
    from exercises.check import check

    return check(part, file, save_dir)


def webcam(**asked: object) -> None:
    """Follow the faces that a camera or a video shows."""
    from parts.commands.webcam import webcam

    print(webcam(**asked))


def command_line() -> argparse.ArgumentParser:
    """The parser; each command names the function that handles it."""
    parser = argparse.ArgumentParser(
        prog="python run_part.py",
        description="Facial keypoints: nose tip, full face, large data set.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--data", type=Path, metavar="DIR", help="where data sets lie (default: FACE_DATA)"
    )
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", metavar="D", help="cpu, cuda, mps (default: the best there is)")
    pages = argparse.ArgumentParser(add_help=False)
    pages.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR",
        help="where pages go (default: reports)",
    )  # fmt: skip
    finder = argparse.ArgumentParser(add_help=False)
    finder.add_argument(
        "--detector", choices=("haar", "lbp", "yunet"), default="haar",
        help="what finds the faces (default: haar); yunet finds more: data yunet --download",
    )  # fmt: skip

    for number, title in (("1", "the nose tip"), ("2", "the full face"), ("3", "a large data set")):
        part = commands.add_parser(
            number, parents=[where, device, pages], help=f"part {number}: {title}"
        )
        recipes = ("course", "best") + (("long", "coordinates") if number == "3" else ())
        part.add_argument(
            "--recipe", choices=recipes, default="best", help="the course's or ours (default: best)"
        )
        sets = "ibug, synthetic, mixed, youtube_faces" if number == "3" else "imm, synthetic"
        part.add_argument("--dataset", metavar="NAME", help=f"to learn from, of {sets}")
        part.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's")
        part.add_argument(
            "--seed", type=int, default=0, metavar="N", help="of all chance (default: 0)"
        )
        part.add_argument("--resume", action="store_true", help="go on where a stopped run was")
        if number == "3":
            part.add_argument(
                "--head",
                choices=("coordinates", "heatmap"),
                help="how the network answers (default: the recipe's)",
            )
            part.add_argument(
                "--network",
                choices=("NaimishNet", "LightNet", "LightNetBN", "FourConvNet", "ResNet18"),
                help="one of the Udacity route, by its recipes (default: part 3's own ResNet18)",
            )
            part.add_argument(
                "--loss",
                choices=("mse", "smooth_l1", "l1", "wing"),
                help="instead of the recipe's",
            )
            part.add_argument(
                "--pretrained", nargs="?", const="imagenet", metavar="FILE",
                help="start from a checkpoint's weights; without FILE from ImageNet's",
            )  # fmt: skip
            part.add_argument(
                "--allow-random",
                action="store_true",
                help="if ImageNet's cannot be fetched, start from random ones",
            )
        part.set_defaults(handle=partial(run_part, number))

    rivals = commands.add_parser(
        "compare", parents=[where, device, pages], help="set networks side by side, on one page"
    )
    rivals.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="as part 3's --network, or ResNet18-ImageNet (default: all five of --network)",
    )
    rivals.add_argument(
        "--recipe", choices=("course", "best"), default="course", help="default: course"
    )
    rivals.add_argument("--dataset", metavar="NAME", help="default: youtube_faces")
    rivals.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's")
    rivals.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each network")
    rivals.add_argument("--quick", action="store_true", help="a short recipe: twelve minutes")
    rivals.set_defaults(handle=compare)

    rungs = commands.add_parser(
        "ladder", parents=[where, device, pages], help="what each step of a part's recipe buys"
    )
    rungs.add_argument("part", choices=("1", "2", "3"))
    rungs.add_argument("--quick", action="store_true", help="the ladder alone; 3: 150 steps")
    rungs.add_argument(
        "--seeds", type=int, metavar="N", help="runs of each step (default: 3; --quick: 3, 2, 1)"
    )
    rungs.add_argument("--so-far", action="store_true", help="train nothing, show what is trained")
    rungs.add_argument(
        "--at-once", type=int, metavar="N", help="runs side by side (default: one a core, up to 4)"
    )
    rungs.set_defaults(handle=ladder)

    listing = commands.add_parser("data", parents=[where], help="list the data sets, or fetch one")
    listing.add_argument("name", nargs="?", help="imm, ibug, youtube_faces or yunet")
    listing.add_argument("--download", action="store_true", help="fetch the data set NAME")
    listing.set_defaults(handle=data)

    scores = commands.add_parser(
        "evaluate", parents=[where, device], help="print the metrics of a trained network"
    )
    scores.add_argument("checkpoint", type=Path, nargs="?", help="default: the one that ships")
    scores.add_argument("--dataset", metavar="NAME", help="default: the one it was trained on")
    scores.add_argument(
        "--split", default="test", metavar="NAME", help="such as helen/testset (default: test)"
    )
    scores.add_argument(
        "--boxes", choices=("landmarks", "file", "haar", "lbp", "yunet"), default="landmarks",
        help="cut by the true points (default), the data set's boxes, or what a detector finds",
    )  # fmt: skip
    scores.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    scores.set_defaults(handle=evaluate)

    photos = commands.add_parser(
        "predict",
        parents=[where, device, finder],
        help="find the keypoints on your own photos and videos",
    )
    photos.add_argument(
        "paths", nargs="+", metavar="PATH", help="picture, folder, video, or - for stdin"
    )
    photos.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="default: the one that ships"
    )
    photos.add_argument(
        "--filter", dest="art", metavar="NAME", help="what to put on the faces: sunglasses, ..."
    )
    photos.add_argument(
        "--show",
        metavar="LIST",
        help="of boxes, points, mesh, pose (default: boxes,points; with --filter none)",
    )
    photos.add_argument(
        "--save-dir", type=Path, default=Path("predictions"), metavar="DIR",
        help="where results go (default: predictions)",
    )  # fmt: skip
    photos.add_argument(
        "--format",
        dest="formats",
        default="json",
        metavar="LIST",
        help="of json, csv, pts (default: json)",
    )
    photos.add_argument("--overwrite", action="store_true", help="results that are there already")
    photos.set_defaults(handle=predict)

    looks = commands.add_parser(
        "explain",
        parents=[where, device, finder, pages],
        help="show what a network looks at on a photo",
    )
    looks.add_argument("photo", metavar="PHOTO", help="picture, or - for stdin")
    looks.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="default: the one that ships"
    )
    looks.add_argument("--point", type=int, metavar="N", help="0 to 67 (default: the nose tip, …)")
    looks.set_defaults(handle=explain)

    onnx = commands.add_parser("export", help="write a trained network as an ONNX file")
    onnx.add_argument("checkpoint", type=Path)
    onnx.add_argument("output", type=Path, metavar="OUT.onnx")
    onnx.add_argument("--overwrite", action="store_true", help="OUT.onnx if it is there already")
    onnx.set_defaults(handle=export)

    tasks = commands.add_parser("check", help="check the exercises of a part")
    tasks.add_argument("part", choices=("1", "2", "3"))
    tasks.add_argument(
        "--file", type=Path, metavar="MY.py", help="default: exercises/partN.py, edited in place"
    )
    tasks.add_argument(
        "--save-dir", type=Path, default=Path("reports/exercises"), metavar="DIR",
        help="where pictures of mistakes go (default: reports/exercises)",
    )  # fmt: skip
    tasks.set_defaults(handle=check)

    live = commands.add_parser(
        "webcam", parents=[where, device, finder], help="follow the faces of a camera or a video"
    )
    source = live.add_mutually_exclusive_group()
    source.add_argument("--camera", type=int, default=0, metavar="N", help="which one (default: 0)")
    source.add_argument("--video", type=Path, metavar="FILE", help="instead of a camera")
    live.add_argument(
        "--filter", dest="art", metavar="NAME", help="what to put on the faces: sunglasses, ..."
    )
    live.add_argument(
        "--record", type=Path, metavar="FILE", help="write what is shown, .mp4 or .avi"
    )
    live.add_argument("--no-window", dest="window", action="store_false", help="show nothing")
    live.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: the one that ships")
    live.add_argument("--overwrite", action="store_true", help="a recording that is there already")
    live.set_defaults(handle=webcam)
    return parser


def stop(number: int, frame: object) -> None:
    """What Ctrl-C and SIGTERM do; noted, since a library may make another error of it."""
    if stops:  # asked again, as torchrun does: at once
        os._exit(130)
    stops.append(number)
    raise KeyboardInterrupt


stops: list[int] = []  # the signals that asked this process to stop


def main(line: list[str] | None = None) -> int:
    """Run one command; returns the exit status, other than 0 with one line about the reason."""
    asked = vars(command_line().parse_args(line))
    del asked["command"]  # its handler stands for it
    handle = asked.pop("handle")
    try:
        return handle(**asked) or 0
    except (Exception, KeyboardInterrupt) as fault:
        return tell(fault)


def tell(fault: BaseException) -> int:
    """Say in one line what ended a command; returns the exit status: 130 stopped, 2 to be mended.

    Raises ``fault`` where it is one of this program.
    """
    if isinstance(fault, BrokenPipeError):  # whoever read our lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if stops or isinstance(fault, KeyboardInterrupt):
        print("stopped; parts go on with --resume, others by the same command", file=sys.stderr)
        return 130
    if isinstance(fault, ImportError) and not _is_ours(fault):
        fault = UserError(
            f"the package {fault.name} is missing or broken ({fault}); install all "
            "that is needed with: python -m pip install -e ."
        )
    if not isinstance(fault, UserError):
        raise fault
    print(f"error: {fault}", file=sys.stderr)
    return 2


def _is_ours(fault: ImportError) -> bool:
    """Whether what could not be imported is of this program, which no installation mends."""
    package = (fault.name or "").partition(".")[0]
    return bool(package) and (Path(__file__).parent / package).is_dir()


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files are not always UTF-8
    for asks_to_stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asks_to_stop, stop)
    sys.exit(main())
