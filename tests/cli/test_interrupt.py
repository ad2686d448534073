"""Ctrl-C in a real process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path


def test_ctrl_c_ends_a_run_with_one_sentence(picture: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.psd"
    out.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "acetate", "decompose", picture, "--model", tiny_checkpoint, "-o", out],
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs tests in the background makes its children deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "loading the model\n"
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert rest == "acetate: stopped; nothing half-written is left behind.\n"
    assert out.read_bytes() == b"old" and sorted(tmp_path.iterdir()) == before
