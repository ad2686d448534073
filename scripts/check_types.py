"""Type check of the package under its real name.

The repository root is the package ``acetate`` whatever the clone's folder is called; mypy takes a package's name from its
folder, so it is shown the root through a link of the right name. Knows nothing of how the other checks run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    house = ROOT / ".mypy_cache" / "house"
    house.mkdir(parents=True, exist_ok=True)
    link = house / "acetate"
    if not link.is_symlink() or link.resolve() != ROOT:
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)
    environment = {**os.environ, "MYPYPATH": str(house)}
    command = [sys.executable, "-P", "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    command += ["--cache-dir", str(ROOT / ".mypy_cache"), *sys.argv[1:]]
    return subprocess.run(command, cwd=house, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
