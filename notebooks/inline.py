"""What a notebook shows below its cells: figures of ``common.report`` and the run's page.

Jupyter and Colab call ``_repr_html_`` of a cell's last value; nothing of theirs is imported here.
"""

from __future__ import annotations

import base64
import inspect
import io
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import parts.toolkit  # noqa: F401  registers all networks: pages load other parts' checkpoints
from common.augmentation import augment, to_network_input
from common.loading import Crops
from common.recipe import Recipe, reasons
from common.report import figures, image_figures
from common.report.network_summary import layers
from common.report.page import rounded

COUNT = 8  # faces


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
    return Html(f"<pre>{source}</pre>{_table(heads, rows).text}")


def curves(history: list[dict[str, float]]) -> Html:
    """Losses and NME over the epochs."""
    alt = "Training and test loss, and test NME, per epoch"
    return Html(_picture(figures.learning_curves(history, {}), alt, width=500))


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
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return Html(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
