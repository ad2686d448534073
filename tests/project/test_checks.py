"""The checks of `make check` find what they are for."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tree_check_names_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = script("check_tree")
    monkeypatch.setattr(check, "ROOT", tmp_path)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "long.py").write_text("x = 1\n" * 401)
    (tmp_path / "host.md").write_text("see https://py" + "pi.org/project\n")
    (tmp_path / "path.md").write_text("fine\nlook into /wo" + "rk/main\n")
    (tmp_path / "heavy.bin").write_bytes(bytes(17 * 2**20))
    (tmp_path / "good.py").write_text("y = 2\n")
    found = "\n".join(check.complaints())
    assert "long.py: 401 lines" in found
    assert "host.md:1: names a registry's host" in found
    assert "path.md:2: names a path of one machine" in found
    assert "heavy.bin: 17.0 MiB" in found
    assert "good.py" not in found


def test_the_documentation_check_names_what_is_wrong(tmp_path: Path) -> None:
    check = script("check_docs")
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- begin: cli-table -->\nold\n<!-- end: cli-table -->\n\n[gone](gone.md)\n\n"
        "```console\n$ acetate decompose in.png --sparkle -o out.psd\n$ make coffee\n```\n\n"
        "```python\nprint(1\n```\n"
    )
    found = "\n".join(check.complaints(page))
    assert "'cli-table' is not what the code says" in found
    assert "gone.md leads nowhere" in found
    assert "--sparkle" in found and "no target coffee" in found
    assert "does not compile" in found


def test_python_blocks_are_run_and_compared(tmp_path: Path) -> None:
    check = script("check_docs")
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 2\nprint(x)\n```\n\n```text\n2\n```\n\n```python\nprint(x + 1)\n```\n\n```text\n4\n```\n"
    )
    wrong = list(check.run_python(page))
    assert len(wrong) == 1 and "prints\n3\n" in wrong[0]


def test_ci_runs_check_and_test() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert "make check" in text and "make test" in text and "set -euo pipefail" in text
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_the_makefile_sets_itself_up(target: str) -> None:
    """Nothing is run: `make -n` in a place without .venv shows the set-up before the command."""
    result = subprocess.run(
        ["make", "-n", "VENV=/nonexistent/venv", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    steps = result.stdout
    assert (
        steps.index("-m venv")
        < steps.index(" torch\n")
        < steps.index("--editable")
        < steps.rindex("/bin/python -P")
    )
