"""Who may import whom, read from the source."""

import ast
import re
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("common", "datasets", "parts", "exercises", "notebooks", "benchmarks")
LESSONS = (
    "parts", "parts.part1_nose_tip", "parts.part2_full_face", "parts.part3_large_dataset",
    "parts.udacity_networks", "parts.protocols_300w", "parts.own_points",
)  # fmt: skip
LAYERS = (  # from the lowest; a module imports its own layer and those below
    ("common.system",),
    ("common",),
    ("common.photos",),
    ("common.report",),
    ("datasets",),
    LESSONS,
    ("parts.part3_variants", "parts.toolkit", "parts.web_page", "parts.package"),
    ("parts.commands",),
    ("parts.studies",),
    ("exercises", "notebooks", "benchmarks"),
    ("run_part",),
)


NUMBERS = {name: number for number, names in enumerate(LAYERS) for name in names}


def module_name(file):
    return ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    module_name(file): file
    for pattern in ("run_part.py", *(f"{folder}/**/*.py" for folder in FOLDERS))
    for file in sorted(REPOSITORY.glob(pattern))
    if "files" not in file.relative_to(REPOSITORY).parts[1:-1]  # data sets, not code
}


def layer(name):
    """The number of the layer that holds a module, or the closest package around it."""
    while name not in NUMBERS:
        name = name.rpartition(".")[0]
    return NUMBERS[name]


@cache
def tree(name):
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


@cache
def imports(name):
    """The modules of ours that a module imports, within functions too."""
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {module for module in found if module in FILES}


def test_the_walk_sees_the_project():
    assert {"run_part", "datasets.imm", "parts.commands.evaluate"} <= FILES.keys()
    assert "common.system.errors" in imports("run_part")
    assert "common.augmentation" in imports("common.training")
    assert layer("common.system.files") < layer("common.training") < layer("common.photos.finder")
    assert layer("datasets.synthetic.render") < layer("parts.part1_nose_tip")
    assert layer("parts.part3_large_dataset") < layer("parts.commands.predict")


def test_nothing_imports_upwards():
    for name in FILES:
        assert [module for module in imports(name) if layer(module) > layer(name)] == [], name


def test_exercises_notebooks_and_benchmarks_are_imported_by_run_part_alone():
    outer = {"exercises", "notebooks", "benchmarks"}
    own = {"notebooks": {"notebooks", "exercises"}}  # whose judge checks the cells
    for name in FILES:
        folder = name.partition(".")[0]
        imported = {module.partition(".")[0] for module in imports(name)} & outer
        assert folder == "run_part" or imported <= own.get(folder, {folder}), name


def test_no_module_is_imported_by_its_name_in_a_string():
    for name, file in FILES.items():
        if name == "benchmarks.kills":  # runs the command line itself, in a fork
            continue
        source = file.read_text(encoding="utf-8")
        assert not re.search(r"\b(import_module|__import__|runpy)\b", source), name


def test_common_holds_no_path_into_the_folders_above_it():
    for name in FILES:
        for node in ast.walk(tree(name)) if name.startswith("common") else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in ("parts", "datasets"), f"{name}, line {node.lineno}"


def test_nothing_imports_in_a_circle():
    below = {name: imports(name) - {name} for name in FILES}
    while free := [name for name, modules in below.items() if not modules & below.keys()]:
        for name in free:
            del below[name]
    assert below == {}
