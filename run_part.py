"""The command line of the course: ``python run_part.py 1`` (2, 3), ``predict``, ``data``, ...

Each command declares its options in its own file below ``parts/commands``. Only the file of the
command that is called is imported, so that ``--help`` needs no library.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

from common.system.errors import UserError
from common.system.files import drop_stdout
from common.system.signals import STOPS

COMMANDS = {
    "1": "part 1: the nose tip",
    "2": "part 2: the full face",
    "3": "part 3: a large data set",
    "compare": "compare networks on one page",
    "ladder": "the ablation of a part: what each change of its recipe is worth",
    "ablation": "the same as ladder",
    "data": "list the data sets, or fetch one",
    "evaluate": "print the metrics of a trained network",
    "predict": "find the keypoints on your own photos and videos",
    "explain": "show what a network looks at on a photo",
    "export": "write a trained network as an ONNX file",
    "check": "check the exercises of a part",
    "webcam": "follow the faces of a camera or a video",
    "site": "write the course as static pages",
}


def module_of(command: str) -> ModuleType:
    """The file of a command, imported only now: it has ``add_options`` and ``run``."""
    if command in ("1", "2", "3"):
        from parts.commands import train as module
    elif command in ("ladder", "ablation"):
        from parts.studies import ladder as module
    elif command == "compare":
        from parts.commands import compare as module
    elif command == "data":
        from parts.commands import data as module
    elif command == "evaluate":
        from parts.commands import evaluate as module
    elif command == "predict":
        from parts.commands import predict as module
    elif command == "explain":
        from parts.commands import explain as module
    elif command == "export":
        from parts.commands import export as module
    elif command == "webcam":
        from parts.commands import webcam as module
    elif command == "site":
        from parts.commands import site as module
    else:
        from exercises import check as module
    return module


def main(line: list[str] | None = None) -> int:
    """Run one command; returns the exit status, other than 0 with one line about the reason."""
    line = sys.argv[1:] if line is None else line
    called = next((word for word in line if word in COMMANDS), None)
    try:
        module = module_of(called) if called else None
        parser = argparse.ArgumentParser(
            prog="python run_part.py",
            description="Facial keypoints: nose tip, full face, large data set.",
        )
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        for name, about in COMMANDS.items():
            command = commands.add_parser(name, help=about, description=about)
            if name == called:
                module.add_options(command)
        options = parser.parse_args(line)  # exits where no command is named
        if getattr(options, "mine", None):
            from exercises import mine as module
        status = module.run(options) or 0
        sys.stdout.flush()  # a full disk shows here at the latest
        return status
    except (Exception, KeyboardInterrupt) as fault:
        return report(fault)


def report(fault: BaseException) -> int:
    """Say in one line what ended a command; returns the exit status: 130 stopped, 2 user error.

    Raises ``fault`` where it is an error of this program.
    """
    if isinstance(fault, BrokenPipeError):  # the reader of our lines needs no more of them
        drop_stdout()
        return 0
    if stops or isinstance(fault, KeyboardInterrupt):
        print("stopped; parts go on with --resume, others by the same command", file=sys.stderr)
        return 130
    if isinstance(fault, ImportError) and not _is_ours(fault):
        fault = UserError(
            f"the package {fault.name} is missing or broken ({fault}); install all "
            "that is needed with: python -m pip install -e ."
        )
    if isinstance(fault, OSError) and fault.strerror:  # a folder that may not be entered, ...
        if not fault.filename:
            drop_stdout()
        where = fault.filename or "stdout"
        fault = UserError(f"{where}: {fault.strerror}; check name, permissions and space")
    if not isinstance(fault, UserError):
        raise fault
    print(f"error: {fault}", file=sys.stderr)
    return 2


def _is_ours(fault: ImportError) -> bool:
    """Whether the module that cannot be imported is of this program: installing does not help."""
    package = (fault.name or "").partition(".")[0]
    return bool(package) and (Path(__file__).parent / package).is_dir()


def stop(number: int, frame: object) -> None:
    """Handle a signal of STOPS; recorded, since a library may raise another error instead."""
    if stops:  # the second signal, which torchrun sends, too: exit at once
        os._exit(130)
    stops.append(number)
    raise KeyboardInterrupt


stops: list[int] = []  # the signals that stopped this process


if __name__ == "__main__":
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed: the next file to be opened would take its number
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files are not always UTF-8
    for number in STOPS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # as of nohup
            signal.signal(number, stop)
    sys.exit(main())
