"""The wheel, installed into an empty environment outside the repository, is the whole workbench."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.serving import free_port, wait_for

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that nothing is written into the repository."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(
        ROOT / "workbench", source / "workbench", ignore=shutil.ignore_patterns("__pycache__")
    )
    for path in ROOT.iterdir():
        if path.is_file() and (
            path.suffix in (".toml", ".md") or path.name in ("LICENSE", "NOTICE")
        ):
            shutil.copy(path, source)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", source / "dist"],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (path,) = (source / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The `bin` of an environment with the wheel, and this environment's other packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--no-deps",
            "--no-index",
            wheel,
        ],
        check=True,
        capture_output=True,
        env=environment(),
    )
    # only now: pip must not find another copy of the package. An editable one here is not found
    # later either, since Python does not read the .pth files of a folder that a .pth file names
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"])
    return folder / "bin"


def environment() -> dict[str, str]:
    """This one without its way to the repository."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "HF_HUB_OFFLINE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def run(installed: Path, folder: Path, *arguments: object) -> str:
    """The output of a command of the environment, in `folder`."""
    done = subprocess.run(
        [installed / str(arguments[0]), *map(str, arguments[1:])],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "workbench").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_installed_package_is_the_wheels(installed, tmp_path):
    code = "import workbench; print(workbench.__file__); from workbench import Recipe"
    assert str(installed.parent) in run(installed, tmp_path, "python", "-c", code)
    for name in ("workbench", "dp-dmd-workbench"):
        assert run(installed, tmp_path, name, "--version").startswith("workbench ")


def test_it_trains_a_round_evaluates_it_and_creates_a_study(installed, tmp_path):
    common = ("--device", "cpu")
    small = ("--rounds", 1, "--batch", 2, "--fake-updates-per-round", 1, "--teacher-steps", 4)
    run(
        installed,
        tmp_path,
        "workbench",
        "train",
        *small,
        "--k",
        2,
        "--sample-every",
        0,
        "--out",
        "run",
        *common,
    )
    (tmp_path / "prompts.txt").write_text("a red circle\ntwo stars\n")
    output = run(
        installed,
        tmp_path,
        "workbench",
        "evaluate",
        "--models",
        "teacher,run",
        "--seeds",
        2,
        "--teacher-steps",
        2,
        "--prompts",
        "prompts.txt",
        "--metrics",
        "diversity",
        "--out",
        "evaluation",
        *common,
    )
    assert "diversity lite0" in output
    assert (tmp_path / "evaluation" / "report.html").stat().st_size > 10_000
    run(
        installed,
        tmp_path,
        "workbench",
        "study",
        "create",
        "--evaluation",
        "evaluation",
        "--out",
        "study",
        "--gold",
        0,
        "--repeats",
        0,
    )
    assert "0 participants" in run(installed, tmp_path, "workbench", "study", "status", "study")


def test_it_opens_the_app(installed, tmp_path):
    port, log = free_port(), tmp_path / "app.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [installed / "workbench", "app", "--port", str(port)],
            cwd=tmp_path,
            env=environment() | {"TMPDIR": str(tmp_path)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/", process, log)  # an answer of 200
    finally:
        process.terminate()
        process.wait(30)
