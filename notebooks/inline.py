"""What a notebook shows below its cells: figures of ``common.report`` and the run's page.

Jupyter and Colab call ``_repr_html_`` of a cell's last value; nothing of theirs is imported here.
Looks are written into the HTML, so that they hold in a static view, too.
"""

from __future__ import annotations

import base64
import inspect
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partialmethod
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn
from tqdm import tqdm

import parts.toolkit  # noqa: F401  registers all networks: pages load other parts' checkpoints
from common.augmentation import augment, to_network_input
from common.loading import Crops
from common.recipe import Options, Recipe, reasons
from common.report import figures, image_figures
from common.report.network_summary import layers
from common.report.page import rounded
from common.training import fit
from exercises.judge import Function, judge
from exercises.tasks import TASKS

COUNT = 8  # faces
CODE = "font-family: monospace; text-align: left"
History = list[dict[str, float]]


@dataclass(frozen=True)
class Html:
    """A value that is shown as HTML below its cell."""

    text: str

    def _repr_html_(self) -> str:
        return self.text


def recipe(recipe: Recipe) -> Html:
    """Every value that the recipe sets, and why."""
    return _table(("value", "set to", "why"), reasons(recipe))


def faces(crops: Crops, recipe: Recipe) -> Html:
    """Some training faces as the network's input, and below them augmented, with their points."""
    some = torch.linspace(0, len(crops) - 1, min(COUNT, len(crops))).long()  # many people
    images, points = crops.images[some], crops.points[some]
    plain = to_network_input(images, recipe), points
    rows = []
    for inputs, targets in (plain, augment(images, points, recipe, crops.flip_order)):
        pairs = zip(inputs[:, 0], targets, strict=True)
        drawn = (image_figures.face(*pair, crops.faces.scheme, crops.point_ids) for pair in pairs)
        rows.append("".join(_picture(one, "A training face with its points") for one in drawn))
    return Html("<br>".join(rows))


def network(network: nn.Module, recipe: Recipe) -> Html:
    """The network's source and the output of each of its layers."""
    source = escape(inspect.getsource(type(network)))
    picture = torch.zeros(1, 1, recipe.height, recipe.width)
    heads = ("step", "what it does", "output", "parameters")
    steps = layers(network, picture)
    rows = [(one.name, one.does, one.output, rounded(one.parameters or None)) for one in steps]
    return Html(f'<pre style="{CODE}">{source}</pre>{_table(heads, rows).text}')


def curves(history: History) -> Html:
    """Losses and NME over the epochs."""
    alt = "Training and test loss, and test NME, per epoch"
    return figure(figures.learning_curves(history, {}), alt)


def curves_together(histories: dict[str, History]) -> Html:
    """Those of several runs, by their names; thin lines are the losses on the training faces."""
    runs = {name: [history] for name, history in histories.items()}
    alt = "Losses and test NME per epoch of " + ", ".join(histories)
    return figure(figures.curves_together(runs), alt)


def figure(figure: Figure, alt: str) -> Html:
    """Any figure, ``alt`` for those who cannot see it."""
    return Html(_picture(figure, alt, width=500))


def short_run(
    new_network: Callable[[], nn.Module],
    train: Crops,
    test: Crops,
    recipe: Recipe,
    options: Options,
) -> History:
    """Train a new network, by the seed of ``options``, and keep nothing but its history."""
    torch.manual_seed(options.seed)
    with TemporaryDirectory() as folder:
        path, fresh = Path(folder, "checkpoint.pt"), replace(options, resume=False)
        return fit(new_network(), train, test, recipe, fresh, path)


def compare(guess: float | None, measured: float, unit: str) -> Html:
    """A guess beside what was measured, which is not shown before there is a guess."""
    if guess is None:
        return Html("No guess yet: write a number in the cell above, and run both again.")
    return Html(f"Your guess: {guess:.3g} {unit}. Measured: {measured:.3g} {unit}.")


def check(function: Function) -> Html:
    """What the judge of the exercises says of a learner's function, and its picture of a mistake.

    The function is found by its name; lines in the message are those of its cell.
    """
    name = function.__name__
    verdict = judge(TASKS[name], function, Path(function.__code__.co_filename))
    line = f'<pre style="{CODE}; white-space: pre-wrap">{name}: {escape(verdict.message)}</pre>'
    if verdict.picture is None:
        return Html(line)
    alt = "The right points and yours"
    return Html(f'{line}<img src="{_data(verdict.picture)}" alt="{alt}" style="width: 600px">')


class OneLine:
    """Where progress bars write in a notebook: one line, which each refresh replaces.

    Written to stderr, each refresh would stay in a saved notebook as a line of its own.
    display: IPython's function, which every notebook has.
    """

    encoding = "utf-8"  # so that bars are drawn as blocks

    def __init__(self, display: Callable[..., Any]) -> None:
        self.display, self.handle = display, None

    def write(self, text: str) -> None:
        """Show a line; a blank one ends the bar, nothing at all is a test by tqdm."""
        line = {"text/plain": text.strip()}
        if text and not text.strip():
            self.handle = None
        elif text and self.handle is None:
            self.handle = self.display(line, raw=True, display_id=True)
        elif text:
            self.handle.update(line, raw=True)

    def flush(self) -> None:
        """Nothing waits."""


def bars_in_one_line(display: Callable[..., Any]) -> None:
    """Let all progress bars of this process write to a ``OneLine``."""
    tqdm.__init__ = partialmethod(tqdm.__init__, file=OneLine(display))


def page(path: Path) -> Html:
    """The page that the run wrote, with its figures, in a frame of its own."""
    text = path.read_text(encoding="utf-8")
    for file in set(re.findall(r'src="(figures/[^"]+)"', text)):
        text = text.replace(f'src="{file}"', f'src="{_data((path.parent / file).read_bytes())}"')
    text = re.sub(r' href="[^#][^"]*"', "", text)  # other files cannot be reached from here
    return Html(
        f'<iframe title="The page of this run" srcdoc="{escape(text)}" '
        'style="width: 100%; height: 48rem; border: 1px solid"></iframe>'
    )


def _picture(figure: Figure, alt: str, width: int = 100) -> str:
    file = io.BytesIO()
    figure.savefig(file, dpi=2 * width / figure.get_figwidth())
    style = f"width: {width}px; display: inline; margin: 2px"
    return f'<img src="{_data(file.getvalue())}" alt="{alt}" style="{style}">'


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Html:
    look = 'style="text-align: left"'
    head = "".join(f"<th {look}>{escape(cell)}</th>" for cell in heads)
    cells = ("".join(f"<td {look}>{escape(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return Html(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
