"""The house's limits on the tree: sizes of files, lines of code, no machine's paths or registries' hosts, no torchvision."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400
MAX_FILE_MIB = 16
MAX_TREE_MIB = 60
TEXT = re.compile(r"\.(py|md|toml|txt|cfg|ya?ml|sh|js|css|html|json)$|(^|/)(Makefile|run)$")
# Written in pieces, so that this file does not break its own rule.
HOSTS = re.compile(
    "|".join(
        re.escape(a + b)
        for a, b in (("py", "pi.org"), ("python", "hosted.org"), ("deb.de", "bian.org"), ("npm", "js.org"))
    )
)
MACHINE = re.compile(
    "|".join("/" + "/".join(parts) for parts in (("work", r"\w"), ("root", r"\w"), ("home", r"\w")))
)


def tree() -> list[Path]:
    """Files that git knows or would take."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in sorted(listing.stdout.split("\0")) if name and (path := ROOT / name).is_file()]


def complaints() -> Iterator[str]:
    files = tree()
    total = 0
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        size = path.stat().st_size
        total += size
        if size > MAX_FILE_MIB * 2**20:
            yield f"{name}: {size / 2**20:.1f} MiB, more than the {MAX_FILE_MIB} a file may have"
        if not TEXT.search(name) or size > 2**20:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if name.endswith(".py") and (lines := text.count("\n")) > MAX_LINES:
            yield f"{name}: {lines} lines, more than {MAX_LINES}; split it by concept"
        for what, pattern in (("a path of one machine", MACHINE), ("a registry's host", HOSTS)):
            if found := pattern.search(text):
                yield f"{name}:{text[: found.start()].count(chr(10)) + 1}: names {what}: {found.group()}"
    if total > MAX_TREE_MIB * 2**20:
        yield f"the tree weighs {total / 2**20:.0f} MiB, more than {MAX_TREE_MIB}"
    if importlib.util.find_spec("torchvision") is not None:
        yield "torchvision is installed; acetate must work without it (docs/dependencies.md), so CI runs without it"


def main() -> int:
    found = list(complaints())
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
