"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_data(parser: argparse.ArgumentParser) -> None:
    """``--data``: where data sets lie."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where data sets lie (default: FACE_DATA)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``: what the network is computed on."""
    parser.add_argument(
        "--device", metavar="D", help="cpu, cuda, mps (default: the best available)"
    )


def add_reports(parser: argparse.ArgumentParser) -> None:
    """``--reports``: where pages are written."""
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR",
        help="where pages go (default: reports)",
    )  # fmt: skip


def add_boxes(parser: argparse.ArgumentParser) -> None:
    """``--boxes``: see ``own_points.read_boxes``."""
    parser.add_argument(
        "--boxes", metavar="whole|FILE",
        help="where the points are, without a search: the whole picture, or a CSV of boxes",
    )  # fmt: skip


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """``--checkpoint``: which network, see ``toolkit.choose_network``."""
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE",
        help="shipped, or a file (default: the newest of part 3 in reports, else shipped)",
    )  # fmt: skip


def add_finder(parser: argparse.ArgumentParser) -> None:
    """What ``toolkit.face_keypoints`` takes: where data lie, device, detector and network."""
    add_data(parser)
    add_device(parser)
    parser.add_argument(
        "--detector", choices=("auto", "haar", "lbp", "yunet"), default="auto",
        help="what finds the faces (default: yunet where `data yunet --download` put it, or haar)",
    )  # fmt: skip
    add_checkpoint(parser)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """``--engine``: what computes the network."""
    parser.add_argument(
        "--engine", choices=("auto", "torch", "onnx"), default="auto",
        help="what computes the network: PyTorch, or ONNX Runtime in int8 (default: onnx for "
        "webcam where installed, else torch)",
    )  # fmt: skip
