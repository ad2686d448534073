"""`acetate --help` answers at once (acceptance 7)."""

from __future__ import annotations

import subprocess
import sys
import time


def best_of(count: int, *command: str) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return min(times)


def test_help_takes_at_most_ten_times_an_empty_program() -> None:
    empty = best_of(5, sys.executable, "-c", "pass")
    help_text = best_of(5, sys.executable, "-P", "-m", "acetate", "--help")
    assert help_text <= 10 * empty, f"{help_text:.3f} s against {empty:.3f} s"


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from acetate.cli import main; status = main(['--help'])\n"
        "print(status, [m for m in ('numpy', 'PIL', 'torch', 'rich') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith("0 []")
