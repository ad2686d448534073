"""A render by the stub model in a process of its own, for tests that kill it: jobs, folder, workers."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from acetate.errors import AcetateError
from acetate.rendering import RenderSettings, render

if __name__ == "__main__":
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        outcome = render(
            RenderSettings(
                jobs=Path(sys.argv[1]),
                folder=Path(sys.argv[2]),
                workers=int(sys.argv[3]),
                runner="stub_runner:open_runner",
                backoff=0.01,
            ),
            stop=stop,
        )
    except AcetateError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    sys.exit(outcome.exit_status)
