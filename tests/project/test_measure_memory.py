"""scripts/measure_memory.py at a size that fits a test: the prediction holds, under a cap that the kernel keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "measure_memory.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's high-water mark is Linux's")
@pytest.mark.parametrize("model", ["small", "flux-small"])
def test_the_prediction_holds(model: str, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    words = ["--model", model, "--size", "128", "--steps", "1", "--preset", "80", "--json", str(out)]
    run = subprocess.run([sys.executable, "-P", str(SCRIPT), *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (row,) = json.loads(out.read_text())
    assert abs(row["predicted"] / row["measured"] - 1) < 0.2, row
    assert row["step"] > 0 and set(row["phases"]) == {"text", "encode", "denoise", "decode"}
    assert "| 80 | 128 |" in run.stdout
