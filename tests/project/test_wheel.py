"""The wheel: it builds, holds every package and the embedded weights, and nothing that is not for users."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listing.stdout.split("\0")):  # a copy: building leaves folders behind
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-P", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    result = subprocess.run(
        [*command, "-w", str(folder), str(folder / "source")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return zipfile.ZipFile(next(folder.glob("acetate-*.whl")))


@pytest.mark.slow
def test_the_wheel_holds_the_code_and_the_weights(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "packages"
    ]
    for package in set(packages) - {"acetate.weights"}:
        assert f"{package.replace('.', '/')}/__init__.py" in names
    for path in (ROOT / "weights").rglob("*"):
        if path.is_file():
            assert f"acetate/{path.relative_to(ROOT).as_posix()}" in names
    assert "acetate/weights/model_index.json" in names
    assert "acetate/py.typed" in names


@pytest.mark.slow
def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"acetate", next(name for name in tops if name.endswith(".dist-info"))}
    inside = {name.split("/")[1] for name in wheel.namelist() if name.startswith("acetate/")}
    assert not inside & {"tests", "scripts", "docs", ".venv", "out"}
