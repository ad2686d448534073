"""A render by the stub model under a launcher, as `acetate render` does it: jobs, folder."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from acetate.rendering import RenderSettings, render
from acetate.rendering.group import find_place, open_group, serve

if __name__ == "__main__":
    place = find_place()
    assert place is not None, "run this with accelerate launch"
    if place.rank > 0:
        sys.exit(serve(place))
    stop = threading.Event()
    with open_group(place) as members:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        outcome = render(
            RenderSettings(
                jobs=Path(sys.argv[1]),
                folder=Path(sys.argv[2]),
                workers=place.size,
                runner="stub_runner:open_runner",
                backoff=0.01,
            ),
            stop=stop,
            members=members,
        )
    sys.exit(outcome.exit_status)
