"""`make check`: every check that is no test, one line each; the output of those that failed comes last."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTHON = (sys.executable, "-P")

CHECKS: dict[str, tuple[str, ...]] = {
    "lint (ruff)": (*PYTHON, "-m", "ruff", "check", "."),
    "types (mypy)": (*PYTHON, "scripts/check_types.py"),
    "import layering": (str(BIN / "lint-imports"), "--no-logo"),
    "the house's limits": (*PYTHON, "scripts/check_tree.py"),
    "documentation blocks": (*PYTHON, "scripts/check_docs.py"),
}


def main() -> int:
    failures = []
    for name, command in CHECKS.items():
        began = time.perf_counter()
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        print(f"{'ok    ' if result.returncode == 0 else 'FAILED'}  {name:<24} {seconds:6.1f} s", flush=True)
        if result.returncode != 0:
            failures.append(f"--- {name}\n{result.stdout}{result.stderr}")
    print("\n".join(failures), end="")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
