"""Renders a list of jobs with the engine of `acetate render`; the same arguments, for places where scripts are called:
``python -P scripts/render_batch.py jobs.jsonl -o results --workers 2``."""

from __future__ import annotations

import sys

from acetate.cli import main

if __name__ == "__main__":
    sys.exit(main(["render", *sys.argv[1:]]))
