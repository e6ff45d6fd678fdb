"""The house's one rule: a room imports only rooms of lower floors, and rooms of one floor do not
know each other. And where heavy packages may be imported, how full a folder may be, and that one
name stands for one thing.
"""

import ast
import subprocess
import sys
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1] / "workbench"
FLOORS = (
    ("core", "io"),
    ("scenes",),
    ("models", "metrics"),
    ("training", "grid", "evaluation"),
    ("stages", "study"),
    ("ui", "lab"),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS, 1) for room in rooms}
FIGURES = ("ui/*", "lab/*", "*figures*", "*/report.py", "io/theme.py", "io/page.py")
HEAVY = {
    "gradio": ("ui/*",),
    "ipywidgets": ("lab/*",),
    "nbclient": ("lab/*",),
    "jupytext": ("lab/*",),
    "diffusers": ("models/*", "scenes/*", "training/export.py", "training/plan/*"),
    "transformers": ("models/*", "metrics/*", "scenes/*", "training/plan/*"),
    "plotly": FIGURES,
    "sqlalchemy": ("study/store/*",),
    "alembic": ("study/store/*",),
    "fastapi": ("study/server/*",),
}
MOST_FILES = 15


def modules():
    """Every module but the package's own, by its path below the package."""
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT)
        if place.name != "__init__.py" or len(place.parts) > 1:
            yield place, path


def room_of(place):
    room = place.with_suffix("").parts[0]
    return "cli" if room == "__main__" else room  # the command line and its entry are one


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "workbench":
                yield from (f"workbench.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_a_room_imports_only_rooms_of_lower_floors():
    wrong = []
    for place, path in modules():
        room = room_of(place)
        for name in imports(path):
            other = name.split(".")[1] if name.startswith("workbench.") else room
            if other != room and FLOOR[other] >= FLOOR[room]:
                wrong.append((str(place), name))
    assert not wrong


def test_heavy_packages_stay_in_their_rooms():
    wrong = []
    for place, path in modules():
        for name in {name.split(".")[0] for name in imports(path)} & HEAVY.keys():
            if not any(fnmatch(str(place), pattern) for pattern in HEAVY[name]):
                wrong.append((str(place), name))
    assert not wrong


def test_the_core_imports_torch_and_accelerate_and_nothing_else_heavy():
    found = {
        name.split(".")[0]
        for place, path in modules()
        if room_of(place) == "core"
        for name in imports(path)
    }
    assert found - set(sys.stdlib_module_names) <= {
        "workbench",
        "torch",
        "accelerate",
        "numpy",
        "deepspeed",
        "bitsandbytes",
    }


def test_the_user_interface_the_recipe_and_the_study_know_no_torch():
    wrong = [
        str(place)
        for place, path in modules()
        if room_of(place) in ("ui", "study") or str(place) == "core/recipe.py"
        if "torch" in {name.split(".")[0] for name in imports(path)}
    ]
    assert not wrong


def test_no_folder_holds_more_files_than_one_looks_through():
    folders = {
        path
        for path in ROOT.rglob("*")
        if path.is_dir() and "__pycache__" not in path.parts and "weights" not in path.parts
    }
    full = {
        str(folder): count
        for folder in folders
        if (count := sum(child.is_file() for child in folder.iterdir())) > MOST_FILES
    }
    assert not full


def test_one_public_name_stands_for_one_thing():
    """Of classes and functions; `main` is what a command line calls."""
    places = defaultdict(list)
    for place, path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                places[node.name].append(str(place))
    del places["main"]
    migrations = "study/store/migrations/"  # each has an upgrade
    assert not {
        name: files
        for name, files in places.items()
        if sum(not file.startswith(migrations) for file in files) > 1
    }


def test_importing_the_workbench_imports_nothing_heavy():
    code = (
        "import sys, workbench; print([m for m in ('torch', 'diffusers', 'transformers', "
        "'gradio') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    assert result.stdout.strip() == "[]"
