"""What is built and shipped: the package list, the declared dependencies, the lazy public names."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import acetate

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOT_PACKAGES = {"tests", "scripts", "docs", "build", "out", "runs", "dist"}
IMPORT_NAMES = {
    "pillow": "PIL",
    "psd-tools": "psd_tools",
    "python-pptx": "pptx",
    "opencv-python-headless": "cv2",
}


def packages_on_disk() -> set[str]:
    names = {"acetate", "acetate.weights"}
    for marker in ROOT.glob("[a-z]*/**/__init__.py"):
        parts = marker.parent.relative_to(ROOT).parts
        if parts[0] not in NOT_PACKAGES:
            names.add(".".join(("acetate", *parts)))
    return names


def test_the_package_list_is_the_tree() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages_on_disk()


def test_the_readme_shows_every_room() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = {name.split(".")[1] for name in packages_on_disk() if "." in name}
    assert {room for room in rooms if f"\n{room}/ " not in readme} == set()


def test_the_versions_agree() -> None:
    assert PROJECT["project"]["version"] == acetate.__version__


@pytest.mark.parametrize("name", acetate.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(acetate, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = acetate.nonsense


def declared(*lists: list[str]) -> set[str]:
    names = set()
    for requirement in (line for lines in lists for line in lines):
        distribution = requirement.split(">")[0].split("<")[0].split("=")[0].split("[")[0].strip()
        names.add(IMPORT_NAMES.get(distribution, distribution.replace("-", "_")))
    return names


def third_party_imports(path: Path) -> list[tuple[str, bool]]:
    """(top-level name, whether the import happens when the module loads) of every absolute import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node) for outer in ast.walk(tree) if isinstance(outer, ast.FunctionDef) for node in ast.walk(outer)
    }
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        found += [(name.split(".")[0], id(node) not in inside) for name in names]
    return [
        (name, eager) for name, eager in found if name not in sys.stdlib_module_names and name != "__future__"
    ]


def test_every_import_is_a_declared_dependency() -> None:
    project = PROJECT["project"]
    core = declared(project["dependencies"])
    extras = declared(*project["optional-dependencies"].values())
    wrong = []
    for name in packages_on_disk():
        for path in ROOT.joinpath(*name.split(".")[1:]).glob("*.py"):
            for module, eager in third_party_imports(path):
                if module in core or (module in extras and not eager):
                    continue
                wrong.append(
                    f"{path.relative_to(ROOT)}: {module}{' at import time' if module in extras else ''}"
                )
    assert wrong == []


def test_the_document_loads_no_torch() -> None:
    script = (
        "import sys, acetate.layers, acetate.layers.io, acetate.layers.edit, acetate.layers.recompose\n"
        "print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_models_load_without_a_word_of_other_packages() -> None:
    """On a CPU with AVX-512 BF16, bitsandbytes 0.50 warns of a kernel that it misses as soon as diffusers is imported."""
    script = "import acetate, bitsandbytes; from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel"
    result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == result.stderr == ""
