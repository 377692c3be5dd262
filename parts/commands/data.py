"""``python run_part.py data``: list the data sets, fetch one, or check labels of your own."""

from __future__ import annotations

import argparse

from common.system.errors import UserError
from parts.commands.options import add_data, add_device, add_reports


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``data``."""
    add_data(parser)
    parser.add_argument("name", nargs="?", help="imm, ibug, youtube_faces, yunet, or a path")
    parser.add_argument("--download", action="store_true", help="fetch the data set NAME")
    parser.add_argument(
        "--audit", action="store_true", help="list the labels at PATH that are probably wrong"
    )
    add_device(parser)
    add_reports(parser)


def run(options: argparse.Namespace) -> None:
    """Print the list, what was fetched, or the labels to check.

    Raises UserError for an unknown name, or where the set cannot be fetched, read or written.
    """
    if options.audit and options.name:
        from parts.commands import audit

        return audit.run(options)
    if options.audit:
        raise UserError("--audit: name the labels to check, for example: data my_faces --audit")
    if options.download and not options.name:
        raise UserError("--download: name the data set to fetch, for example: data imm --download")
    from datasets import catalog

    if options.download:
        print(catalog.download(options.name, options.data))
    else:
        print(catalog.list_sets(options.data, options.name))
