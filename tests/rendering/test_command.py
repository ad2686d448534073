"""`acetate render` with a real, small model: all tasks, the plan, the report, the exit status, the thin script."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from acetate.cli import main
from acetate.cli.render_progress import make_watcher
from acetate.layers import LayeredImage
from acetate.rendering import RenderSettings, make_plan
from acetate.rendering.estimate import EMBEDDED_STEPS, MEASURED, Estimate, estimate
from acetate.rendering.report_page import page
from acetate.rendering.sheet import draw_sheet
from acetate.rendering.summary import Line, Run
from acetate.rendering.thumbnail import UNREADABLE

from .conftest import audit, results, write_jobs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mixed(tmp_path: Path, picture: Path, tiny_checkpoint: Path) -> Path:
    model = str(tiny_checkpoint)
    return write_jobs(
        tmp_path / "jobs.jsonl",
        [
            {"id": "d", "task": "decompose", "input": "picture.png", "layers": 3, "model": model, "outputs": ["psd", "zip"]},
            {"id": "m", "task": "decompose", "input": "picture.png", "size": "model", "model": model, "outputs": ["folder"],
             "layers": [{"prompt": "a sign"}, None]},
            {"id": "g", "task": "generate", "prompt": "a <b>red</b> fish", "model": model, "outputs": ["zip", "png"],
             "size": "64x64", "layers": [{"prompt": "a fish", "box": [8, 8, 40, 40]}, {"box": [0, 0, 20, 20]}]},
            {"id": "e", "task": "edit", "input": "picture.png", "edits": ["opacity:#0,0.5"], "outputs": ["ora"]},
            {"id": "c", "task": "convert", "input": "picture.png", "outputs": ["webp", "tiff", "pptx"]},
            {"id": "../x", "task": "convert", "input": "picture.png"},
        ],
    )  # fmt: skip


@pytest.mark.slow
def test_all_tasks_and_their_documents(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], picture: Path
) -> None:
    out = tmp_path / "out"
    assert main(["render", str(mixed), "-o", str(out), "--quiet"]) == 2  # one row was wrong, the rest is done
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{out}: 5 made, 1 rejected, ")
    assert captured.err.startswith("acetate: row 6 (../x): id '../x' must be")
    audit(out, 5)
    flat = Image.open(picture).convert("RGBA")
    for name in ("document.psd", "document.zip"):
        document = LayeredImage.open(out / "d" / name)
        assert len(document.leaves()) == 3
        difference = ImageChops.difference(document.flatten().convert("RGB"), flat.convert("RGB"))
        assert max(high for _, high in difference.getextrema()) <= 1
    receipt = json.loads((out / "d" / "job.json").read_text())
    assert receipt["recomposition_error"] <= 1 and receipt["job"]["seed"] == 0
    named = LayeredImage.open(out / "m" / "document")
    assert named.width == 80  # the model's own size for this picture
    assert [layer.name for layer in named.leaves()] == ["Background", "a sign", "Layer 2"]
    assert [layer.provenance.prompt for layer in named.leaves()] == [None, "a sign", None]
    assert {path.name for path in (out / "c").iterdir()} == {
        "document.pptx", "document.tif", "document.webp", "job.json", "preview.png",
    }  # fmt: skip
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "a &lt;b&gt;red&lt;/b&gt; fish" in report and "<b>red" not in report and "<script" not in report
    assert report.count("data:image/webp;base64,") == 5 and "http" not in report.replace("http-equiv", "")
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > 300
    before = results(out)
    again = tmp_path / "again"
    assert (
        main(
            ["render", str(mixed), "-o", str(again), "--workers", "2", "--writers", "1", "--quiet", "--json"]
        )
        == 2
    )
    assert json.loads(capsys.readouterr().out)["made"] == 5
    assert results(again) == before


def test_a_dry_run_writes_nothing_and_says_everything(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path
) -> None:
    out = tmp_path / "out"
    words = ["render", str(mixed), "-o", str(out), "--dry-run", "--vary", "seed=1..3"]
    assert main(words) == 2
    text = capsys.readouterr().out
    assert text.startswith("11 to do, 0 done already, 1 rejected\n") and "row 6 (../x): id" in text
    assert f"inputs from {tmp_path}, results in {out}\n" in text and not out.exists()
    assert "  d-seed2: picture.png into 3 layers, seed 2, as psd, zip\n" in text
    assert "  and 1 more jobs; --json prints them all\n" in text
    assert main([*words, "--json"]) == 2
    plan = json.loads(capsys.readouterr().out)
    assert sorted(job["id"] for job in plan["todo"] if job["task"] == "generate") == [
        "g-seed1",
        "g-seed2",
        "g-seed3",
    ]
    assert plan["rejected"][0]["row"] == 6 and (plan["inputs"], plan["folder"]) == (str(tmp_path), str(out))
    # What is known of are one edit and one conversion: fields that a task has not are not swept.
    assert plan["estimate"] == {"seconds": 1.0, "unknown_models": [str(tiny_checkpoint)], "by_past": False}
    code = (
        "import sys\nfrom acetate.cli import main\n"
        f"main({words!r})\nassert not [m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules]"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True)


def test_estimates_follow_tries_and_steps_and_say_what_they_do_not_know(
    tmp_path: Path, picture: Path, tiny_checkpoint: Path
) -> None:
    assert json.loads((ROOT / "weights" / "model_index.json").read_text())["default_steps"] == EMBEDDED_STEPS
    plain = {"id": "a", "task": "decompose", "input": "picture.png"}

    def found(*rows: dict[str, object], workers: int = 1) -> Estimate:
        path = write_jobs(tmp_path / "jobs.jsonl", [dict(row) for row in rows])
        settings = RenderSettings(jobs=path, folder=tmp_path / "out", workers=workers)
        return estimate(make_plan(settings), settings)

    cost = MEASURED["decompose", "tiny"]
    assert found(plain).seconds == pytest.approx(cost.fixed + 10 * cost.step)
    dear = found({**plain, "best_of": 4, "steps": 50}).seconds
    assert dear == pytest.approx(cost.fixed + 200 * cost.step)
    other = {**plain, "id": "b", "model": str(tiny_checkpoint)}
    assert found(other) == Estimate(seconds=None, unknown=(str(tiny_checkpoint),))
    both = found(plain, other, workers=8)  # more workers than jobs that are known of
    assert both == Estimate(seconds=found(plain).seconds, unknown=(str(tiny_checkpoint),))


def test_what_cannot_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str], picture: Path) -> None:
    jobs = write_jobs(tmp_path / "jobs.jsonl", [{"id": "c", "task": "convert", "input": "picture.png"}])
    for words, reason in (
        (["-o", str(picture)], "is a file"),
        (["-o", str(tmp_path / "a" / "b")], "does not exist, create it first"),
        (["-o", str(tmp_path / "o"), "--workers", "0"], "--workers must lie between"),
        (["-o", str(tmp_path / "o"), "--vary", "seed"], "NAME=VALUE"),
        (["-o", str(tmp_path / "o"), "--vary", "seed=1,2", "--vary", "seed=3"], "the same field twice"),
        (["-o", str(tmp_path / "o"), "--set", "seed=x"], "must be a whole number"),
        (
            ["-o", str(tmp_path / "o"), "--set", "layer=3"],
            "no text of the list holds {layer}; did you mean layers?\n",
        ),
        (["-o", str(tmp_path / "o"), "--inputs", str(picture)], "is not a folder"),
    ):
        assert main(["render", str(jobs), *words, "--quiet"]) == 2
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_inputs_come_from_one_folder(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lists").mkdir()
    jobs = write_jobs(
        tmp_path / "lists" / "jobs.jsonl",
        [{"id": "c", "task": "convert", "input": str(picture), "outputs": ["zip"]}],
    )
    out = str(tmp_path / "out")
    assert main(["render", str(jobs), "-o", out, "-q"]) == 2
    assert "allow another folder with --inputs" in capsys.readouterr().err
    assert main(["render", str(jobs), "-o", out, "-q", "--inputs", str(tmp_path)]) == 0


def test_the_script_is_the_same_engine(tmp_path: Path, picture: Path) -> None:
    jobs = write_jobs(
        tmp_path / "jobs.jsonl", [{"id": "c", "task": "convert", "input": "picture.png", "outputs": ["zip"]}]
    )
    command = [sys.executable, "-P", ROOT / "scripts" / "render_batch.py", jobs, "-o", tmp_path / "out"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0 and f"{tmp_path / 'out'}: 1 made" in found.stdout
    assert found.stderr.startswith("1 to do, 0 done already, 0 rejected\n")
    audit(tmp_path / "out", 1)


def test_a_report_escapes_whatever_a_list_says() -> None:
    evil = '"><script>alert(1)</script>'
    text = page(
        [
            Line(id=evil, row=1, state="rejected", detail=evil),
            Line(id="a", row=2, state="failed", detail=evil),
            Line(id="b", row=3, state="done", task=evil, detail=evil, files=(f"document.{evil}",)),
        ]
    )
    assert "<script" not in text and text.count("&lt;script&gt;") == 6


def test_a_report_says_how_the_run_went() -> None:
    done = [
        Line(id=f"d{n}", row=n, state="done", task="decompose", seconds=float(n), error=1.0, files=("document.psd",),
             canvas=(64, 48), layers=3)
        for n in range(1, 4)
    ]  # fmt: skip
    failed = Line(id="f", row=9, state="failed", detail="out of memory", attempts=3)
    text = page([*done, failed], Run(made=3, seconds=7230, busy=6507, workers=1))
    for words in (
        "4 jobs · this run made 3 in 2 h 00 min · 1 worker", "3 done, 1 failed", "90%", "2.00", "3.00 s", "1/255",
        "64 × 48 · 3 layers", '<a href="d1/document.psd">psd</a>', "out of memory",
    ):  # fmt: skip
        assert words in text
    assert text.index("Needs attention") < text.index("Results") and "Needs attention" not in page(done)


def test_a_long_report_stays_one_that_a_browser_opens(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [Line(id=f"d{n}", row=n, state="done", preview=picture) for n in range(3)]
    assert page(lines).count("data:image/webp") == 3 and "have pictures" not in page(lines)
    monkeypatch.setattr("acetate.rendering.report_page.PICTURED", 2)
    text = page(lines)
    assert text.count("data:image/webp") == 2 and "The first 2 have pictures" in text
    assert text.rindex("data:image/webp") < text.index('<a href="d1/">') < text.index('<a href="d2/">')


def test_a_preview_that_is_no_picture_costs_only_itself(picture: Path, tmp_path: Path) -> None:
    torn, huge = tmp_path / "torn.png", tmp_path / "huge.png"
    torn.write_bytes(picture.read_bytes()[:60])
    Image.new("1", (30_000, 20)).save(huge)
    previews = [picture, torn, huge, tmp_path / "gone.png"]
    lines = [Line(id=f"d{n}", row=n, state="done", preview=one) for n, one in enumerate(previews)]
    text = page(lines)
    assert text.count("data:image/webp") == 1 and text.count(UNREADABLE) == 3
    assert draw_sheet(lines).size == draw_sheet([lines[0]] * 4).size


def test_progress_on_a_terminal_and_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    started = {"todo": 2, "already_done": 1, "rejected": 1, "workers": 1}
    told: list[tuple[str, dict[str, object]]] = [
        ("started", started),
        ("job_rejected", {"row": 4, "reason": "no [bold]picture"}),
        ("job_retried", {"id": "a", "reason": "the store hung up", "wait": 1.0}),
        ("job_done", {"id": "a"}),
        ("worker_lost", {"reason": "killed"}),
        ("job_failed", {"id": "b", "row": 2, "reason": "bad"}),
        ("summary", {}),
    ]
    plain = io.StringIO()
    for stream in (plain, Terminal()):
        monkeypatch.setattr(sys, "stderr", stream)
        with make_watcher(False, stream) as watcher:
            for event, facts in told:
                watcher(event, facts)
        assert (watcher.made, watcher.failed) == (1, 1)
        assert [one.text for one in watcher.complaints] == ["row 4: no [bold]picture", "row 2 (b): bad"]
    assert plain.getvalue().splitlines() == [
        "2 to do, 1 done already, 1 rejected",
        "a will be tried again in 1 s: the store hung up",
        "a worker is gone: killed",
    ]
    assert "the store hung up" in stream.getvalue()
