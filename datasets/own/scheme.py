"""Which points your own faces have: names, lines and left-right pairs.

They come from the names in the file, from ``scheme.toml`` beside it, or from ``--pairs``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from common.keypoints import IBUG_68, Scheme
from common.system.errors import UserError

try:
    import tomllib
except ImportError:  # Python 3.10
    tomllib = None

NAME = "own"
TOML = "scheme.toml"
KEYS = ("names", "pairs", "lines", "outer_eyes")
SIDE = re.compile(r"left|right|(?<![a-z])[lr](?![a-z])", re.IGNORECASE)
OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}
UNNAMED = re.compile(r"(face-|x)?\d+")
Pairs = tuple[tuple[int, int], ...]


def scheme_of(
    names: tuple[str, ...], lines: tuple[tuple[int, ...], ...], beside: Path, pairs: str | None
) -> tuple[Scheme, str]:
    """The points of a data set, and one line about its left-right pairs.

    names, lines: as the labels give them. beside: the folder in which ``scheme.toml`` may lie.
    pairs: of ``--pairs``, such as "left_eye=right_eye,3=4"; None where it is not given.
    68 points without names are iBUG's.
    Raises UserError where a point is named that does not exist.
    """
    given, file = read_toml(beside / TOML), beside / TOML
    unnamed = len(names) == IBUG_68.n_points and all(map(UNNAMED.fullmatch, names))
    if unnamed and not given and pairs is None:
        return IBUG_68, "68 points without names are taken for those of 300-W"
    count, names = len(names), tuple(map(str, given.get("names", names)))
    if not len({*names}) == len(names) == count:
        raise UserError(f"{file}: names must give each of {count} points one of its own")
    found, about = pairs_of_names(names)
    outer = outer_eyes(names, found or ())
    if "pairs" in given:
        found, about = _indices(file, names, given["pairs"]), f"from {file}"
    if pairs is not None:
        listed = [pair.split("=") for pair in pairs.split(",") if pair]
        found, about = _indices(Path("--pairs"), names, listed), "from --pairs"
    paired = [point for pair in found or () for point in pair]
    if len({*paired}) < len(paired) or any(len(pair) != 2 for pair in found or ()):
        raise UserError(
            f"{about.removeprefix('from ')}: a pair has two points, such as left=right, and a "
            "point is in one pair; correct it"
        )
    lines = _indices(file, names, given["lines"]) if "lines" in given else lines
    lines = tuple(line for line in lines if all(0 <= point < len(names) for point in line))
    if "outer_eyes" in given:
        (outer,) = _indices(file, names, [given["outer_eyes"]])
        if len({*outer}) != 2:
            raise UserError(f"{file}: outer_eyes are two points; correct them")
    scheme = Scheme(NAME, len(names), found, lines, outer, names)
    if found is None:
        return scheme, f"left-right pairs unknown ({about}), so faces are not mirrored; name them" \
                       f" with --pairs left=right,... or in {TOML}"  # fmt: skip
    return scheme, f"left-right pairs {about}: {len(found)}"


def read_toml(file: Path) -> dict[str, Any]:
    """The keys of a ``scheme.toml``, {} where there is none; raises UserError where it is wrong.

    Python 3.10 has no reader of TOML; there each value must be a list of texts and numbers.
    """
    if not file.is_file():
        return {}
    try:
        text = file.read_text(encoding="utf-8")
        if tomllib:
            given = tomllib.loads(text)
        else:
            values = re.findall(r"^(\w+)\s*=(.+?)(?=^\w+\s*=|\Z)", text, re.MULTILINE | re.DOTALL)
            given = {key: ast.literal_eval(value.strip()) for key, value in values}
    except (ValueError, SyntaxError) as fault:
        raise UserError(f"{file}: not TOML ({fault}); write it as {TOML} in the docs") from None
    nested = {key: [given[key]] if key in ("names", "outer_eyes") else given[key] for key in given}
    for key, lists in nested.items():
        flat = isinstance(lists, list) and all(isinstance(points, list) for points in lists)
        if key not in KEYS or not flat:
            raise UserError(f"{file}: {key} is not one of the lists {', '.join(KEYS)}")
    return given


def pairs_of_names(names: tuple[str, ...]) -> tuple[Pairs | None, str]:
    """Pairs of points whose names differ by their side, and where they come from; None where no
    name has a side, or one has no counterpart."""
    place = {name.lower(): index for index, name in enumerate(names)}
    pairs = {}
    for index, name in enumerate(names):
        other = SIDE.sub(lambda side: OTHER[side[0]], name.lower())
        if other == name.lower():
            continue
        if other not in place:
            return None, f"{name} has no counterpart {other}"
        pairs[tuple(sorted((index, place[other])))] = None
    return (tuple(pairs), "from the names") if pairs else (None, "no name says left or right")


def outer_eyes(names: tuple[str, ...], pairs: Pairs) -> tuple[int, int] | None:
    """The pair whose names have ``eye`` and ``out``, as ``left_eye_outer_corner``."""
    for pair in pairs:
        if all("eye" in names[point].lower() and "out" in names[point].lower() for point in pair):
            return pair
    return None


def _indices(
    where: Path, names: tuple[str, ...], listed: list[list[str | int]]
) -> tuple[tuple[int, ...], ...]:
    """Lists of points by name or number as their indices."""
    place = {str(index): index for index in range(len(names))}
    place |= {name: index for index, name in enumerate(names)}
    points = [str(point).strip() for points in listed for point in points]
    if unknown := [point for point in points if point not in place]:
        raise UserError(f"{where}: there is no point {unknown[0]}; it has {', '.join(names)}")
    return tuple(tuple(place[str(point).strip()] for point in points) for points in listed)
