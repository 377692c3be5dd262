"""``python run_part.py data``: list the data sets, or fetch one."""

from __future__ import annotations

import argparse

from common.system.errors import UserError
from parts.commands.options import add_data


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``data``."""
    add_data(parser)
    parser.add_argument("name", nargs="?", help="imm, ibug, youtube_faces or yunet")
    parser.add_argument("--download", action="store_true", help="fetch the data set NAME")


def run(options: argparse.Namespace) -> None:
    """Print the list, or what was fetched.

    Raises UserError for an unknown name, or where the set cannot be fetched or written.
    """
    if options.download and not options.name:
        raise UserError("--download: name the data set to fetch, for example: data imm --download")
    from datasets import catalog

    if options.download:
        print(catalog.download(options.name, options.data))
    else:
        print(catalog.list_sets(options.data, options.name))
