from dataclasses import dataclass, replace

import pytest

from common.recipe import Options, Recipe, reasons
from common.system.errors import UserError


@dataclass(frozen=True)
class Example(Recipe):
    height: int = 60  # because of, say, a reason with a # in it
    learning_rate: float = 1e-4  # small
    colour: bool = True  # for hue


@dataclass(frozen=True)
class Longer(Example):
    height: int = 90  # finer
    epochs: int = 50  # more time


def test_reasons_are_the_comments_behind_the_lines_and_values_those_of_the_run():
    height, *others = reasons(Example())
    assert height == ("height", "60", "because of, say, a reason with a # in it")
    assert others == [("learning_rate", "0.0001", "small"), ("colour", "True", "for hue")]
    height = ("height", "7", "set for this run, instead of the recipe's 60")
    assert reasons(replace(Example(), height=7)) == [height, *others]
    # A recipe that builds on another shows the lines of both.
    height, epochs = ("height", "90", "finer"), ("epochs", "50", "more time")
    assert reasons(Longer()) == [height, *others, epochs]


def test_epochs_of_the_command_line_replace_the_recipes_own_and_impossible_values_are_refused():
    recipes = {"best": Example}
    assert Options().choose(recipes) == Example()
    assert Options(epochs=9).choose(recipes) == replace(Example(), epochs=9)
    for seed in (-1, 2**32, 10**20):  # torch cannot take them
        with pytest.raises(UserError, match=f"--seed {seed}: .* 0 to 4294967295"):
            Options(seed=seed).choose(recipes)
