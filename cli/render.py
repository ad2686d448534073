"""`acetate render`: the list, its plan, the engine with progress on stderr, and what came of it."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import InputError
from ..rendering import Outcome, RenderSettings, make_plan
from ..rendering import render as run
from ..rendering.copies import Copies
from ..rendering.estimate import describe_plan, plan_lines
from ..rendering.finding import passing_inputs
from ..rendering.places import check_results
from ..rendering.plan import Plan
from ..rendering.stores import is_url
from ..rendering.variables import parse_set, parse_vary
from .render_progress import Complaint, make_watcher

SHOWN = 20
"""Failures named one by one at the end; the report has them all."""


def render(arguments: argparse.Namespace) -> int:
    from ..rendering.group import find_place, open_group, serve

    place = find_place()
    if place is not None:
        _check_group(arguments)
    if place is not None and place.rank > 0:  # `accelerate launch` starts this command once per accelerator
        return 0 if arguments.dry_run else serve(place)
    settings = RenderSettings(
        jobs=Path(arguments.jobs),
        folder=Path(arguments.output),
        inputs=None if arguments.inputs is None or is_url(arguments.inputs) else Path(arguments.inputs),
        inputs_url=arguments.inputs if arguments.inputs is not None and is_url(arguments.inputs) else None,
        defaults=dict(parse_set(text) for text in arguments.set),
        sweeps=tuple(parse_vary(text) for text in arguments.vary),
        workers=arguments.workers if place is None else place.size,
        threads=arguments.threads,
        writers=arguments.writers,
        retries=arguments.retries,
        max_megapixels=arguments.max_megapixels,
        cluster=arguments.cluster,
        copy_to=arguments.copy_to,
    )
    check_results(settings.folder)
    if arguments.dry_run:
        if settings.copy_to is not None:
            Copies(settings.copy_to)  # complains now rather than in the morning
        with passing_inputs(settings) as find:
            return _show(make_plan(settings, find=find), settings, arguments.json)
    with ExitStack() as opened:
        members = None if place is None else opened.enter_context(open_group(place))
        stop = opened.enter_context(_stop_by_signal())
        watcher = opened.enter_context(make_watcher(arguments.quiet))
        outcome = run(settings, stop=stop, watch=watcher, members=members)
    _announce(outcome, watcher.complaints, settings, arguments.json)
    return outcome.exit_status


def _check_group(arguments: argparse.Namespace) -> None:
    if arguments.workers != 1 or arguments.cluster is not None:
        option = "--cluster" if arguments.cluster is not None else "--workers"
        raise InputError(
            f"{option} has no place under a launcher: every process that it starts is one worker"
        )


def _show(plan: Plan, settings: RenderSettings, as_json: bool) -> int:
    if as_json:
        print(json.dumps(describe_plan(plan, settings), indent=2, ensure_ascii=False))
    else:
        print("\n".join(plan_lines(plan, settings)))
    return 2 if plan.rejected else 0


def _announce(
    outcome: Outcome, complaints: Sequence[Complaint], settings: RenderSettings, as_json: bool
) -> None:
    for complaint in complaints[:SHOWN]:
        print(f"acetate: {complaint.text}", file=sys.stderr)
    if len(complaints) > SHOWN:
        print(
            f"acetate: and {len(complaints) - SHOWN} more, all in {settings.folder / 'report.html'}",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps({**vars(outcome), "exit_status": outcome.exit_status}, indent=2))
        return
    facts = [f"{outcome.made} made"]
    for count, words in (
        (outcome.already_done, "done already"),
        (outcome.failed, "failed"),
        (outcome.rejected, "rejected"),
        (outcome.uncopied, "not copied"),
        (outcome.left, "left"),
    ):
        if count:
            facts.append(f"{count} {words}")
    print(f"{settings.folder}: {', '.join(facts)}, {outcome.seconds:.1f} s")
    if outcome.stopped:
        print("acetate: stopped; the same command again goes on from here.", file=sys.stderr)


@contextmanager
def _stop_by_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and a polite kill set, where this is the main thread; elsewhere nobody sets it."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
