"""What a person asks of a run on the command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from common.errors import UserError
from common.recipe import Recipe

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def need_one(option: str, count: int) -> None:
    """Raises UserError where ``count``, asked for by ``option``, is below 1."""
    if count < 1:
        raise UserError(f"{option} {count}: nothing would be done; take 1 or more")


@dataclass(frozen=True)
class Options:
    """The options of ``python run_part.py 1`` (2, 3).

    dataset: a data set's name; None takes the part's own, or drawn faces where it is missing.
    data: the folder below which data sets lie; None means FACE_DATA, else datasets/files.
    epochs, loss, head: instead of the recipe's own.
    network: part 3's; None takes its own ResNet18, a name one of the Udacity route's by the
        route's recipes.
    pretrained: what part 3 starts from instead of random weights: "imagenet" or a checkpoint's
        file; allow_random: go on from random ones where ImageNet's cannot be fetched.
    device: such as "cpu" or "cuda:1"; None takes the best there is.
    """

    recipe: str = "best"
    dataset: str | None = None
    data: Path | None = None
    epochs: int | None = None
    loss: str | None = None
    head: str | None = None
    network: str | None = None
    pretrained: str | None = None
    allow_random: bool = False
    seed: int = 0
    device: str | None = None
    reports: Path = Path("reports")
    resume: bool = False

    def choose(self, recipes: dict[str, type[AnyRecipe]]) -> AnyRecipe:
        """The recipe asked for, with the values asked for."""
        if self.epochs is not None:
            need_one("--epochs", self.epochs)
        if not 0 <= self.seed < 2**32:
            raise UserError(f"--seed {self.seed}: take a whole number from 0 to {2**32 - 1}")
        if self.recipe not in recipes:
            raise UserError(
                f"--recipe {self.recipe}: not for this network; it has {', '.join(recipes)}"
            )
        asked = {"epochs": self.epochs, "loss": self.loss, "head": self.head}
        changes = {name: value for name, value in asked.items() if value is not None}
        return replace(recipes[self.recipe](), **changes)
