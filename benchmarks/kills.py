"""Kills ``predict``, ``webcam`` and ``export`` at random moments and counts what they leave.

``python -m benchmarks.kills [--count 100] [--seed 1]`` renders a film and makes a small network.
Each command has older results in its folder, which it may overwrite. A kill is Ctrl-C, Ctrl-C
twice, SIGTERM, SIGHUP or SIGKILL, up to as long after the start as the command takes. Then must
hold: input is as it was; results are those of before, or new and complete; nothing else is left,
apart from hidden files after SIGKILL; the process ended within LIMIT seconds. Exit status 1 where
something does not hold. Libraries are imported once, in a process of which each command is a fork.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from benchmarks import parser_of, run
from benchmarks.fuzz import trained
from common import checkpoints
from common.keypoints import IBUG_68
from common.photos.video import Frames, Recorder
from datasets.synthetic.render import render
from parts.commands.predict import files_of

REPOSITORY = Path(__file__).resolve().parents[1]
SIGNALS: dict[str, tuple[signal.Signals, ...]] = {
    "Ctrl-C": (signal.SIGINT,),
    "Ctrl-C twice": (signal.SIGINT, signal.SIGINT),
    "SIGTERM": (signal.SIGTERM,),
    "SIGHUP": (signal.SIGHUP,),
    "SIGKILL": (signal.SIGKILL,),
}
COMMANDS = {
    "predict": "predict film.mp4 --checkpoint c.pt --save-dir . --overwrite",
    "webcam": "webcam --video film.mp4 --checkpoint c.pt --no-window --record film.faces.mp4 "
    "--overwrite",
    "export": "export c.pt face.onnx --overwrite",
}
LIBRARIES = ["benchmarks.fuzz", "parts.commands.webcam", "parts.commands.export", "torch.export",
             "torch.onnx", "onnx", "onnxruntime", "onnxscript"]  # fmt: skip
FORKS = multiprocessing.get_context("forkserver")
LIMIT = 60.0  # seconds after the last signal
FRAMES, OLDER = 16, 2  # of the film, and of an older result


def write_film(path: Path, frames: int) -> None:
    """A synthetic face that moves."""
    images, _, _ = render([4], IBUG_68, size=(96, 128), leave_out=("occluders",))
    picture = images[0].permute(1, 2, 0).numpy()
    with closing(Recorder(path, 24.0, picture.shape[1::-1], overwrite=True)) as recorder:
        for number in range(frames):
            recorder.write(np.roll(picture, 2 * number, axis=1), number / 24)


def frames_of(path: Path) -> int:
    """The number of frames of a video."""
    with closing(Frames(path)) as frames:
        return len(list(frames))


def faults_of(folder: Path, command: str, before: dict[str, bytes], killed: bool) -> list[str]:
    """What does not hold after a kill of ``command``, whose files were ``before``."""
    now = {file.name: file.read_bytes() for file in folder.iterdir()}
    faults = [f"{name} left" for name in now if name not in before]
    if killed:
        faults = [fault for fault in faults if not fault.startswith(".")]
    faults += [f"{name} lost" for name in before if name not in now]
    if faults:
        return faults
    changed = {name for name in before if now[name] != before[name]}
    faults += [f"{name} changed" for name in ("film.mp4", "c.pt") if name in changed]
    if command == "predict" and changed:
        lines = [json.loads(line) for line in now["film.jsonl"].decode().splitlines()]
        counts = len(lines), frames_of(folder / "film.faces.mp4")
        # The two results are renamed one after the other: SIGKILL may come between them.
        if set(counts) - ({FRAMES, OLDER} if killed else {FRAMES}):
            faults.append(f"{counts} frames")
    if command == "webcam" and changed and not 1 <= frames_of(folder / "film.faces.mp4") <= FRAMES:
        faults.append("recording damaged")
    with redirect_stderr(io.StringIO()):  # which counts other files
        taken = {Path(file).name for file in files_of(str(folder), Path("elsewhere"))}
    return faults + [f"{name} taken for a video" for name in taken if name not in before]


def start(folder: Path, command: str) -> BaseProcess:
    """Run a command in ``folder``."""
    process = FORKS.Process(target=command_line, args=(folder, COMMANDS[command].split()))
    process.start()
    return process


def command_line(folder: Path, line: list[str]) -> None:
    """Be the process ``python run_part.py`` with a line of arguments in ``folder``."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os.chdir(folder)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # this benchmark may run under nohup
    sys.argv = [str(REPOSITORY / "run_part.py"), *line]
    runpy.run_path(sys.argv[0], run_name="__main__")


def kill(
    random: np.random.Generator, folder: Path, command: str, takes: float
) -> tuple[str, list[str]]:
    """Kill a command once; the kind of kill, and the faults."""
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    kind = str(random.choice(list(SIGNALS)))
    process = start(folder, command)
    time.sleep(takes * random.uniform(0, 1))
    for number in SIGNALS[kind]:
        if process.is_alive():
            os.kill(process.pid, number)
        time.sleep(random.uniform(0, 0.2))
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
        return kind, [f"still running after {LIMIT:.0f} s"]
    return kind, faults_of(folder, command, before, kind == "SIGKILL")


@contextmanager
def copy_of(folder: Path) -> Iterator[Path]:
    """A copy of a folder, which is removed at the end."""
    with tempfile.TemporaryDirectory() as copy:
        yield Path(shutil.copytree(folder, copy, dirs_exist_ok=True))


def duration(folder: Path, command: str) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    start(folder, command).join()
    return time.perf_counter() - began


def main() -> int:
    """Print the faults, and the counts of kills; 1 where there is a fault."""
    options = parser_of(__doc__, count=100, seed=1).parse_args()
    random, kills, faults = np.random.default_rng(options.seed), Counter(), 0
    FORKS.set_forkserver_preload(LIBRARIES)
    with tempfile.TemporaryDirectory() as name:
        prepared, takes = Path(name), {}
        checkpoints.save(trained(), prepared / "c.pt")
        write_film(prepared / "film.mp4", FRAMES)
        write_film(prepared / "film.faces.mp4", OLDER)
        (prepared / "film.jsonl").write_text('{"image": "film.mp4"}\n' * OLDER)
        (prepared / "face.onnx").write_bytes(b"an older network")
        for command in ("predict", *COMMANDS):  # the first one waits for the libraries, too
            with copy_of(prepared) as folder:
                takes[command] = duration(folder, command)
            print(f"{command} takes {takes[command]:.1f} s", flush=True)
        for number in range(options.count):
            command = str(random.choice(list(COMMANDS)))
            with copy_of(prepared) as folder:
                kind, found = kill(random, folder, command, takes[command])
            kills[command, kind] += 1
            faults += bool(found)
            print(f"{number + 1} {command}, {kind}: {', '.join(found) or 'as before'}", flush=True)
    for (command, kind), count in sorted(kills.items()):
        print(f"{command}, {kind}: {count}")
    print(f"{options.count} kills, {faults} with a fault")
    return int(faults > 0)


if __name__ == "__main__":
    run(main)
