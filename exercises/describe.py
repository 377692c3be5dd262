"""Describes a wrong result that no known mistake has: how it relates to the right one, and where.

A constant factor or offset, a transposition, and a mean over the wrong dimension are recognised
whatever the task is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

CLOSE = 1e-4  # of the largest value: more than rounding, an eighth of half a pixel of 640
POINTS, MATRICES = ("face", "point", ""), ("face", "row", "column")
PICTURES = ("face", "channel", "row", "column")


def close(found: Tensor, expected: Tensor) -> Tensor:
    """Whether each value is the expected one, up to ``CLOSE`` of the largest: bool, the same shape.

    found, expected: float64, the same shape.
    """
    limit = CLOSE * expected.nan_to_num(0, 0, 0).abs().max().item() if expected.numel() else 0
    return torch.isclose(found, expected, rtol=0, atol=limit, equal_nan=True)


def shapes(result: Sequence[Tensor]) -> str:
    """The shapes of a result, in words."""
    return " and ".join(str(tuple(one.shape)) if one.ndim else "a single number" for one in result)


def describe(
    own: Sequence[Tensor],
    right: Sequence[Tensor],
    arguments: Sequence[Any],
    function: Callable[..., Any],
    names: Sequence[str],
) -> str:
    """What is wrong with a learner's result: relation, place, and input.

    own, right: float64 tensors. arguments: of the trial. function: the learner's, for the
    names of the arguments. names: of the results, where a task has several.
    """
    if shapes(own) != shapes(right):
        text = f"the shape is {shapes(own)}, expected is {shapes(right)}"
        return "".join([text, *_other_dimension(own[0], right[0], arguments, function)])
    number = next(
        n for n, pair in enumerate(zip(own, right, strict=True)) if not close(*pair).all()
    )
    found, expected = own[number], right[number]
    wrong = ~close(found, expected)
    off = (found - expected).abs().nan_to_num(float("inf"))
    worst = tuple(int(place) for place in torch.unravel_index(off.argmax(), off.shape))
    parts = [_only(wrong), _relation(*_wrong_part(found, expected, wrong))]
    at = ", ".join(_place(name, index) for name, index in zip(_axes(found), worst, strict=True))
    parts.append(f"{at and at + ': '}{found[worst]:.6g} instead of {expected[worst]:.6g}")
    part = f"{names[number]}: " if names else ""
    return part + "; ".join(filter(None, parts)) + inputs(arguments, function, found.shape, worst)


def inputs(
    arguments: Sequence[Any],
    function: Callable[..., Any],
    shape: Sequence[int] = (),
    worst: Sequence[int] = (),
) -> str:
    """The arguments of a trial in words; of a tensor of this shape, its value at ``worst``."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ""
    words = []
    for name, given in zip(names, arguments, strict=False):
        if isinstance(given, Tensor) and worst and given.shape == shape:
            words.append(f"{name}[{', '.join(map(str, worst))}] = {given[tuple(worst)].item():.6g}")
        elif isinstance(given, Tensor):
            words.append(f"{name} of shape {tuple(given.shape)}")
        elif isinstance(given, int | float | tuple):
            words.append(f"{name} = {given}")
    return f" (input: {', '.join(words)})" if words else ""


def _axes(values: Tensor) -> tuple[str, ...]:
    """What the dimensions of a result count; "" is x and y."""
    if values.ndim == 4:
        return PICTURES
    if values.shape[-2:] == (2, 3):
        return MATRICES[3 - values.ndim :]
    if values.ndim and values.shape[-1] == 2:
        return POINTS[3 - values.ndim :]
    return ("number",) * values.ndim


def _place(axis: str, index: int) -> str:
    return f"{axis} {index}" if axis else "xy"[index]


def _only(wrong: Tensor) -> str:
    """Where alone a result is wrong: "wrong only in y", or ""."""
    words = []
    for dimension, axis in enumerate(_axes(wrong)):
        places = wrong.movedim(dimension, 0).flatten(1).any(1) if wrong.ndim > 1 else wrong
        indices = places.nonzero().flatten().tolist()
        if len(indices) == 1 < len(places):
            words.append(_place(axis, indices[0]))
        elif len(indices) < len(places):
            words.append(f"{len(indices)} of {len(places)} {axis}s")
    return f"wrong only in {', '.join(words)}" if words else ""


def _wrong_part(found: Tensor, expected: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
    """Both results without the indices at which everything is right, such as all x."""
    for dimension in range(wrong.ndim):
        places = wrong.movedim(dimension, 0).reshape(wrong.shape[dimension], -1).any(1).nonzero()
        found, expected = (
            values.index_select(dimension, places.flatten()) for values in (found, expected)
        )
        wrong = wrong.index_select(dimension, places.flatten())
    return found, expected


def _relation(found: Tensor, expected: Tensor) -> str:
    """How all values of a result follow from the expected ones, or ""."""
    if not found.any():
        return "all zeros" if found.numel() > 1 else ""
    for words, other in _changed(expected):
        if other.shape == found.shape and close(found, other).all():
            return words
    if found.numel() > 1 and found.isfinite().all():
        offset = (found - expected).mean()
        if close(found, expected + offset).all():
            return f"{abs(offset):.4g} too {'large' if offset > 0 else 'small'} everywhere"
    if not found.isfinite().all():
        return "not a number" if found.isnan().any() else "infinite"
    factor = (found * expected).sum() / expected.square().sum()
    whole = max(abs(factor), 1 / abs(factor)) if factor else torch.tensor(0.5)
    if found.numel() == 1 and (whole - whole.round()).abs() > CLOSE * whole:
        return ""  # any two numbers have a factor
    if factor and close(found, factor * expected).all():
        return f"{factor:.4g} times what is expected"
    return ""


def _changed(expected: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The expected result as simple mistakes change it, with words for each."""
    yield "the sign is the opposite", -expected
    yield "rounded to whole numbers", expected.round()
    yield "cut to whole numbers", expected.trunc()
    yield "cut to whole numbers", expected.floor()
    yield "the square of what is expected", expected.square()
    yield "the square root of what is expected", expected.sqrt()
    if expected.ndim >= 2:
        yield "transposed", expected.mT
        yield "the last dimension is the other way round", expected.flip(-1)
    if expected.ndim:
        yield "the first dimension is the other way round", expected.flip(0)


def _other_dimension(
    own: Tensor, right: Tensor, arguments: Sequence[Any], function: Callable[..., Any]
) -> Iterator[str]:
    """How a result of another shape comes about: transposed, or a mean over a wrong dimension."""
    if own.ndim == right.ndim >= 2 and own.shape == right.mT.shape and close(own.mT, right).all():
        yield ": transposed"
        return
    for count in range(1, right.ndim + 1):
        for dims in combinations(range(right.ndim), count):
            for words, other in (("mean", right.mean(dims)), ("sum", right.sum(dims))):
                if own.shape == other.shape and close(own, other).all():
                    axes = " and ".join(_axes(right)[dim] or "x and y" for dim in dims)
                    yield f": the {words} over its {axes}s was taken as well"
                    return
    for name, given in zip(inspect.signature(function).parameters, arguments, strict=False):
        if isinstance(given, Tensor) and own.ndim == right.ndim == 1 < given.ndim:
            kept, wanted = (
                list(given.shape).index(len(one)) if len(one) in given.shape else None
                for one in (own, right)
            )
            if kept is not None and wanted is not None:
                yield (
                    f": a mean or sum over the wrong dimension, it keeps dimension {kept} of "
                    f"{name} and not dimension {wanted}"
                )
                return
