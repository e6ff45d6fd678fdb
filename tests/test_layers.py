"""The direction of imports: lower rows never import higher ones, and heavy packages stay in their rows."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1] / "workbench"
ROWS = {
    0: ("schedules", "seeds", "recipe", "cards", "progress"),
    1: ("prediction", "denoiser"),
    2: ("mixture", "sampler", "objectives", "derivation", "derivation_noise"),
    3: ("distiller", "learner", "engine_learner", "runs", "prompts", "safety", "scenes"),
    4: ("backends", "metrics", "stages", "study"),
    5: ("presets", "build", "models", "training", "export_student", "grid", "grid_request", "export_grid", "png_settings", "plan_report",
        "evaluation", "evaluation_request", "evaluation_metrics", "evaluation_numbers", "evaluation_tables", "evaluation_report",
        "image_store", "readings", "prompt_lists", "paper_tables", "tables", "study_stimuli", "study_report", "study_tables",
        "recording", "examination", "gradient_probe", "figures", "stages_report", "sweep", "sweep_table"),
    6: ("cli", "command_models", "evaluation_commands", "study_commands", "ui", "lab", "__main__"),
}
ROW = {name: row for row, names in ROWS.items() for name in names}
HEAVY = {"diffusers": ("backends", "scenes", "export_student"), "transformers": ("backends", "scenes", "metrics"), "gradio": ("ui",),
         "plotly": ("figures", "stages_report", "evaluation_report", "ui", "lab"),
         "ipywidgets": ("lab",), "nbclient": ("lab",), "jupytext": ("lab",)}


def modules():
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] != "__init__":
            yield path, parts[0]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "workbench":
                yield from (f"workbench.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_lower_rows_never_import_higher_ones():
    wrong = [(str(path.relative_to(ROOT)), name) for path, top in modules() for name in imports(path)
             if name.startswith("workbench.") and ROW[name.split(".")[1]] > ROW[top]]
    assert not wrong


def test_heavy_packages_stay_in_their_rows():
    wrong = [(str(path.relative_to(ROOT)), name) for path, top in modules() for name in imports(path)
             if name.split(".")[0] in HEAVY and top not in HEAVY[name.split(".")[0]]]
    assert not wrong


def test_the_user_interface_the_recipe_and_the_study_know_no_torch():
    wrong = [str(path.relative_to(ROOT)) for path, top in modules() if top in ("ui", "recipe", "study") and "torch" in set(imports(path))]
    assert not wrong


def test_importing_the_workbench_imports_nothing_heavy():
    code = "import sys, workbench; print([m for m in ('torch', 'diffusers', 'transformers', 'gradio') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert result.stdout.strip() == "[]"
