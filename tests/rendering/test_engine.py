"""The engine with a model that does as it is told: results, resuming, changes, retries, lost workers, two engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from acetate.errors import InputError
from acetate.rendering import RenderSettings, render
from acetate.rendering.lock import only_engine

from .conftest import audit, events, made_jobs, results, run, two_seconds, wait_for, write_jobs

Build = Callable[..., RenderSettings]


def starts(log: Path, id: str) -> int:
    return len(list(log.glob(f"{id}.*")))


def test_results_are_the_same_whatever_the_number_of_workers_and_the_order(
    settings: Build, tmp_path: Path
) -> None:
    jobs = made_jobs(12, outputs=("zip", "folder", "png"))
    one, _ = run(settings(jobs))
    two, _ = run(settings(jobs[::-1], workers=2, writers=1, folder=tmp_path / "out2"))
    assert (one.made, two.made, one.exit_status, two.exit_status) == (12, 12, 0, 0)
    assert results(tmp_path / "out") == results(tmp_path / "out2")
    audit(tmp_path / "out", 12)
    audit(tmp_path / "out2", 12)


def test_the_same_command_again_does_nothing(settings: Build, tmp_path: Path, stub_log: Path) -> None:
    run(settings(made_jobs(3)))
    outcome, told = run(settings(made_jobs(3)))
    assert (outcome.made, outcome.already_done) == (0, 3)
    assert [event for event, _ in told] == ["started", "summary", "finished"]
    assert len(list(stub_log.iterdir())) == 3
    audit(tmp_path / "out", 3)


def test_workers_that_would_have_nothing_to_do_are_not_counted(settings: Build, tmp_path: Path) -> None:
    _, told = run(settings(made_jobs(1), workers=4))
    assert next(facts["workers"] for event, facts in told if event == "started") == 1
    assert "1 worker<" in (tmp_path / "out" / "report.html").read_text()


def test_what_changed_is_made_anew_and_nothing_else(settings: Build, tmp_path: Path, stub_log: Path) -> None:
    jobs = made_jobs(4)
    run(settings(jobs))
    before = results(tmp_path / "out")
    jobs[1]["seed"] = 99  # settings
    (tmp_path / "out" / "j2" / "document.zip").unlink()  # a file is gone
    outcome, _ = run(settings(jobs))
    assert (outcome.made, outcome.already_done) == (2, 2)
    assert [starts(stub_log, f"j{number}") for number in range(4)] == [1, 2, 2, 1]
    after = results(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {
        "j1/document.zip",
        "j1/job.json",
        "j1/preview.png",
    }
    audit(tmp_path / "out", 4)


def test_a_changed_input_is_noticed_by_its_bytes(settings: Build, tmp_path: Path, picture: Path) -> None:
    jobs = [{"id": "a", "task": "convert", "input": picture.name, "outputs": ["zip"]}]
    real = {"runner": "acetate.rendering.tasks:open_runner"}
    assert run(settings(jobs, **real))[0].made == 1
    picture.touch()
    assert run(settings(jobs, **real))[0].made == 0
    Image.new("RGB", (40, 30), (1, 2, 3)).save(picture)
    assert run(settings(jobs, **real))[0].made == 1


def test_a_result_that_is_not_ours_is_never_touched(settings: Build, tmp_path: Path) -> None:
    foreign = tmp_path / "out" / "j0" / "thesis.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("ten years of work")
    run(settings(made_jobs(2)))
    (tmp_path / "out" / "j1" / "notes.txt").write_text("mine")
    jobs = made_jobs(2)
    jobs[1]["seed"] = 5
    outcome, told = run(settings(jobs))
    assert outcome.rejected == 2 and outcome.exit_status == 2
    reasons = [facts["reason"] for event, facts in told if event == "job_rejected"]
    assert "no whole result" in reasons[0] and "'notes.txt'" in reasons[1]
    assert foreign.read_text() == "ten years of work"
    assert (tmp_path / "out" / "j1" / "notes.txt").read_text() == "mine"


def test_what_may_pass_is_tried_again_and_the_rest_is_reported(
    settings: Build, tmp_path: Path, stub_log: Path
) -> None:
    prompts = [
        "plain",
        "hiccup once",
        "hiccup always",
        "bug",
        "refuse",
        "memory",
        "die once",
        "die always",
        "accelerator",
    ]
    jobs = [{**job, "prompt": prompt} for job, prompt in zip(made_jobs(9), prompts, strict=True)]
    outcome, told = run(settings(jobs, workers=2))
    failed = {facts["id"]: facts for event, facts in told if event == "job_failed"}
    assert (outcome.made, outcome.failed, outcome.exit_status) == (5, 4, 1)
    assert {id: facts["attempts"] for id, facts in failed.items()} == {"j2": 3, "j3": 1, "j4": 1, "j7": 3}
    assert failed["j2"]["reason"] == "the store hung up"
    assert "KeyError" in failed["j3"]["reason"] and "run_job" in failed["j3"]["trace"]
    assert failed["j4"]["reason"] == "the picture is fully transparent" and "trace" not in failed["j4"]
    assert failed["j7"]["reason"].startswith(
        "its worker was killed by SIGKILL, perhaps out of memory; if so, "
    )
    assert [starts(stub_log, f"j{number}") for number in (1, 2, 3, 5, 7, 8)] == [2, 3, 1, 2, 3, 2]
    audit(tmp_path / "out", 5)
    report = (tmp_path / "out" / "report.html").read_text()
    assert all(f'<td class="words">{id}</td>' in report for id in failed)
    # Failures may have been mended: the same command tries them again.
    again, _ = run(settings(jobs, retries=0))
    assert (again.already_done, again.failed) == (5, 4)


def test_backoff_doubles_and_is_counted_by_a_clock_that_nobody_sets(
    settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = iter(range(0, -(10**9), -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))  # an hour back at every look
    began = time.monotonic()
    outcome, told = run(
        settings([{**made_jobs(1)[0], "prompt": "hiccup always"}, *made_jobs(3)[1:]], backoff=0.1)
    )
    assert [facts["wait"] for event, facts in told if event == "job_retried"] == [0.1, 0.2]
    assert (outcome.made, outcome.failed) == (2, 1)
    assert 0.3 <= outcome.seconds <= time.monotonic() - began


def test_a_clock_that_jumps_between_two_renders_changes_nothing(settings: Build, tmp_path: Path) -> None:
    run(settings(made_jobs(2)))
    for path in (tmp_path / "out").rglob("*"):
        os.utime(path, (4e9, 4e9))  # the year 2096
    assert run(settings(made_jobs(2)))[0].already_done == 2


def test_a_second_engine_is_refused_and_disturbs_nothing(settings: Build, tmp_path: Path) -> None:
    stop = threading.Event()
    first = threading.Thread(target=lambda: render(settings(made_jobs(2, "sleep 30")), stop=stop))
    first.start()
    wait_for(tmp_path / "out" / "events.jsonl", '"job_started"')
    with pytest.raises(InputError, match=r"another acetate render \(process \d+\) works in"):
        render(settings(made_jobs(2)))
    limit, began = two_seconds(), time.monotonic()
    stop.set()
    first.join()
    assert time.monotonic() - began < limit
    assert [entry["event"] for entry in events(tmp_path / "out")][-1] == "stopped"
    assert run(settings(made_jobs(2)))[0].made == 2


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "lock"
    script = (
        "import sys, time, pathlib\nfrom acetate.rendering.lock import only_engine\n"
        "with only_engine(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-P", "-c", script, path], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match=f"process {holder.pid}"), only_engine(path):
        pass
    holder.kill()
    holder.wait()
    with only_engine(path):
        pass


def test_events_are_lines_of_json_and_a_half_line_is_cut(settings: Build, tmp_path: Path) -> None:
    run(settings(made_jobs(1)))
    log = tmp_path / "out" / "events.jsonl"
    with log.open("ab") as file:
        file.write(b'{"time": "20')  # what a kill leaves
    run(settings(made_jobs(1)))
    names = [entry["event"] for entry in events(tmp_path / "out")]
    assert names == [
        "started",
        "job_started",
        "job_done",
        "summary",
        "finished",
        "started",
        "summary",
        "finished",
    ]
    assert all("time" in json.loads(line) for line in log.read_text().splitlines())


def test_jobs_that_left_the_list_keep_their_results(settings: Build, tmp_path: Path) -> None:
    run(settings(made_jobs(3)))
    outcome, _ = run(settings(made_jobs(1)))
    assert (outcome.already_done, outcome.made) == (1, 0)
    audit(tmp_path / "out", 3)


def test_an_empty_list_and_a_missing_one(tmp_path: Path) -> None:
    for name, text in (("empty.jsonl", " \n"), ("missing.jsonl", None)):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=name):
            render(RenderSettings(jobs=tmp_path / name, folder=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    write_jobs(tmp_path / "jobs.jsonl", made_jobs(1))
    with pytest.raises(InputError, match="does not exist, create it first"):
        render(RenderSettings(jobs=tmp_path / "jobs.jsonl", folder=tmp_path / "no" / "out"))
