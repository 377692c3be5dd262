"""YuNet, a face detector in 232,589 bytes that finds more faces than OpenCV's Haar cascade.

Source: https://github.com/opencv/opencv_zoo, models/face_detection_yunet. Licence: MIT. Cite
W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
Research 20, 2023. It is listed and downloaded like a data set.
"""

from __future__ import annotations

from pathlib import Path

from datasets.download import RemoteFile, install_file
from datasets.location import data_folder, fetch_command

TITLE = "YuNet: a face detector for --detector yunet"
LICENCE = "MIT; cite Wu, Peng, Yu, Machine Intelligence Research 20, 2023"
FILE = RemoteFile(
    name="face_detection_yunet_2023mar.onnx",
    url="https://media.githubusercontent.com/media/opencv/opencv_zoo/"
    "47534e27c9851bb1128ccc0102f1145e27f23f98/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    mirrors=(
        "https://huggingface.co/opencv/face_detection_yunet/resolve/main/"
        "face_detection_yunet_2023mar.onnx",
    ),
)


def place(data: Path | None) -> Path:
    """The path of the file: in ``models/`` of the data folder."""
    return data_folder(data)[0] / "models" / FILE.name


def describe(data: Path | None) -> str:
    """The entry in the list of data sets: found or not, where, licence."""
    file = place(data)
    found = f"found: {file}"
    if not file.is_file():
        found = f"not found: {file}; fetch it: {fetch_command('yunet', data)}"
    return "\n      ".join([f"yunet {TITLE}", found, f"licence: {LICENCE}"])


def download(data: Path | None) -> str:
    """Download the file unless it exists; returns the text to print.

    Raises UserError where it cannot be downloaded or written.
    """
    file = place(data)
    if file.is_file():
        return f"yunet: is at {file} already; nothing was fetched"
    install_file(FILE, file)
    return describe(data)
