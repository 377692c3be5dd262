"""Who may import whom, read from the source."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
HOUSES = ("common", "datasets", "parts", "exercises", "notebooks")
MAY_IMPORT = {  # of our own
    "common": {"common"},
    "datasets": {"common", "datasets"},
    "parts": {"common", "datasets", "parts"},
    "exercises": {"common"},  # a learner's files, which nobody imports
    "notebooks": {"common", "notebooks"},  # and the parts, by their names
    "run_part": {"common", "datasets", "parts"},
}


def module_name(file):
    return ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    module_name(file): file
    for file in [
        REPOSITORY / "run_part.py",
        *(file for house in HOUSES for file in sorted((REPOSITORY / house).rglob("*.py"))),
    ]
    if "files" not in file.relative_to(REPOSITORY).parts[1:-1]  # data sets, not code
}


def imports(name):
    """The modules of ours that a module imports, within functions too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {module for module in found if module in FILES}


def test_the_walk_sees_the_project():
    assert {"run_part", "common.training", "datasets.imm", "parts.evaluation"} <= FILES.keys()
    assert "common.errors" in imports("run_part")
    assert "parts.part1_nose_tip" in imports("run_part")
    assert "common.augmentation" in imports("common.training")


@pytest.mark.parametrize("name", FILES)
def test_nothing_imports_upwards(name):
    house = name.partition(".")[0]
    assert {module.partition(".")[0] for module in imports(name)} <= MAY_IMPORT[house]


def test_nothing_imports_in_a_circle():
    below = {name: imports(name) - {name} for name in FILES}
    while free := [name for name, modules in below.items() if not modules & below.keys()]:
        for name in free:
            del below[name]
    assert below == {}
