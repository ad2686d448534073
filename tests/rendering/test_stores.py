"""Inputs and results in an S3 store: moto's server on this machine, spoken to by s3fs as Amazon's would be."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from acetate.cli import main
from acetate.errors import AcetateError, Cancelled, InputError
from acetate.rendering.copies import Copies
from acetate.rendering.fetching import RemoteInputs

from .conftest import audit, events, results, write_jobs

pytest.importorskip("s3fs", reason="s3fs is not installed: pip install s3fs")
moto_server = pytest.importorskip("moto.moto_server.werkzeug_app", reason="moto's server is not installed")
BUCKET = "s3://studio"


class Server:
    """moto behind a door that can be shut: answers 503 while ``failing`` is above 0, each answer taking one off."""

    def __init__(self) -> None:
        from werkzeug.serving import make_server

        self.failing = 0
        self.seen: list[tuple[str, str]] = []
        self._moto = moto_server.DomainDispatcherApplication(moto_server.create_backend_app)
        self._server = make_server("127.0.0.1", 0, self.answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        if self.failing > 0:
            self.failing -= 1
            start("503 Slow Down", [("Content-Type", "text/plain")])
            return [b"busy"]
        self.seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        return self._moto(environ, start)

    def end(self) -> None:
        self._server.shutdown()


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    yield server
    server.end()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The server with an empty bucket, and s3fs told of it as people tell it: by variables."""
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    # s3fs itself would try five times more, under ours.
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    running.failing = 0
    store = s3fs.S3FileSystem()
    store.mkdir("studio")
    running.seen.clear()
    yield running
    running.failing = 0
    store.rm("studio", recursive=True)


def stored(prefix: str) -> dict[str, bytes]:
    import s3fs

    store = s3fs.S3FileSystem()
    store.invalidate_cache()
    return {
        name.removeprefix(f"studio/{prefix}/"): store.cat_file(name)
        for name in store.find(f"studio/{prefix}")
    }


def put(folder: Path, prefix: str = "in") -> None:
    import s3fs

    s3fs.S3FileSystem().put(f"{folder}/", f"studio/{prefix}/", recursive=True)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for number, place in enumerate(("a.png", "b.png", "more/c.png")):
        Image.new("RGB", (40 + number, 30), (50 * number, 90, 10)).save(folder / place)
    return folder


def jobs_of(tmp_path: Path) -> Path:
    return write_jobs(
        tmp_path / "jobs.jsonl",
        [
            {"id": "a", "task": "convert", "input": "a.png", "outputs": ["zip", "psd"]},
            {"id": "b", "task": "edit", "input": "b.png", "edits": ["opacity:#0,0.5"], "outputs": ["folder"]},
            {"id": "c", "task": "convert", "input": "more/c.png", "outputs": ["ora"]},
        ],
    )


@pytest.mark.slow
def test_from_a_bucket_to_a_bucket_gives_the_bytes_of_a_disk(
    server: Server, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(pictures)
    jobs = jobs_of(tmp_path)
    local, out = tmp_path / "local", tmp_path / "out"
    assert main(["render", str(jobs), "-o", str(local), "--inputs", str(pictures), "-q"]) == 0
    words = [
        "render",
        str(jobs),
        "-o",
        str(out),
        "--inputs",
        f"{BUCKET}/in",
        "--copy-to",
        f"{BUCKET}/out",
        "-q",
    ]
    server.failing = 3  # the store begins with a bad moment
    assert main([*words, "--workers", "2"]) == 0
    assert results(out) == results(local) == stored("out")

    server.seen.clear()  # again: every input is asked for and none is fetched, every receipt is compared and nothing sent
    assert main(words) == 0
    methods = [method for method, path in server.seen if "/in/" in path]
    assert set(methods) == {"HEAD"} and "PUT" not in [method for method, _ in server.seen]

    Image.new("RGB", (9, 9), (1, 2, 3)).save(pictures / "a.png")
    put(pictures)
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0 and capsys.readouterr().out.startswith("1 to do, 2 done already")
    assert main(words) == 0
    assert main(["render", str(jobs), "-o", str(local), "--inputs", str(pictures), "-q"]) == 0
    assert results(out) == results(local) == stored("out")
    shutil.rmtree(out / ".acetate" / "inputs")  # only a cache
    audit(out, 3)


def test_an_upload_that_was_interrupted_goes_on(server: Server, tmp_path: Path, pictures: Path) -> None:
    jobs, out = jobs_of(tmp_path), tmp_path / "out"
    words = ["render", str(jobs), "-o", str(out), "--inputs", str(pictures), "-q"]
    assert main(words) == 0
    copies = Copies(f"{BUCKET}/out")

    class Cut(BaseException):
        """The cord is pulled."""

    sent: list[str] = []
    send = copies._store.put_file

    def cut(local: str, path: str) -> None:
        if len(sent) == 1:
            raise Cut
        sent.append(path)
        send(local, path)

    copies._store.put_file = cut
    with pytest.raises(Cut):
        copies.put(out / "a")
    copies._store.put_file = send
    assert sent == ["studio/out/a/document.psd"] and "a/job.json" not in stored("out")
    server.seen.clear()
    assert main([*words, "--copy-to", f"{BUCKET}/out"]) == 0
    assert stored("out") == results(out)
    written = [path for method, path in server.seen if method == "PUT"]
    assert "/studio/out/a/document.zip" in written and "/studio/out/a/document.psd" not in written


@pytest.mark.slow
def test_a_store_that_is_away_for_a_while_and_one_that_stays_away(
    server: Server,
    tmp_path: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(pictures)
    waits: list[float] = []
    inputs = RemoteInputs(f"{BUCKET}/in", tmp_path / "cache")
    monkeypatch.setattr(inputs, "_pause", waits.append)
    server.failing = 4
    assert inputs.find("a.png").read_bytes() == (pictures / "a.png").read_bytes()
    assert waits == [1, 2, 4, 8]
    server.failing = 10**6
    for name in ("b.png", "more/c.png"):
        with pytest.raises(InputError, match=rf"'{name}' cannot be fetched from s3://studio/in"):
            inputs.find(name)
    with pytest.raises(AcetateError, match=r"s3://studio/in is out of reach .*same command again later"):
        inputs.find("b.png")

    # Results are never lost by it: they are made, the command says what is not copied, and the next one sends it.
    monkeypatch.setattr("acetate.rendering.engine.Copies", lambda url, _: Copies(url, pause=waits.append))
    jobs, out = jobs_of(tmp_path), tmp_path / "out"
    words = [
        "render",
        str(jobs),
        "-o",
        str(out),
        "--inputs",
        str(pictures),
        "--copy-to",
        f"{BUCKET}/out",
        "-q",
    ]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "3 made, 3 not copied" in said.out and "cannot copy a to s3://studio/out" in said.err
    assert sorted(entry["id"] for entry in events(out) if entry["event"] == "copy_failed") == ["a", "b", "c"]
    server.failing = 0
    assert main(words) == 0 and stored("out") == results(out)


def test_a_list_reaches_nothing_but_the_folder_of_the_store_that_was_allowed(
    server: Server, tmp_path: Path, pictures: Path
) -> None:
    put(pictures)
    put(pictures, "secret")
    server.seen.clear()
    hostile = [
        "../secret/a.png", "s3://studio/secret/a.png", "s3://studio/in/../secret/a.png", "/etc/passwd", "//studio/a.png",
        "file:///etc/passwd", "https://example.org/a.png", "a\u0000.png", "x/./a.png", "..", "more", "missing.png",
        "x" * 400, "simplecache::s3://studio/secret/a.png", "..\\a.png", "filecache::file:///etc/passwd",
    ]  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"id": f"h{n}", "task": "convert", "input": name} for n, name in enumerate(hostile)
    ]
    rows.append({"id": "good", "task": "convert", "input": f"{BUCKET}/in/more/c.png", "outputs": ["zip"]})
    jobs, out = write_jobs(tmp_path / "jobs.jsonl", rows), tmp_path / "out"
    assert main(["render", str(jobs), "-o", str(out), "--inputs", f"{BUCKET}/in", "-q"]) == 2
    told = events(out)
    rejected = {entry["id"]: entry["reason"] for entry in told if entry["event"] == "job_rejected"}
    assert set(rejected) == {f"h{n}" for n in range(len(hostile))} and [
        path.name for path in out.glob("*/job.json")
    ]
    assert server.seen and not any("secret" in path for _, path in server.seen)
    # Without --inputs a list reaches no store at all.
    plain = write_jobs(tmp_path / "plain.jsonl", [{"task": "convert", "input": f"{BUCKET}/in/a.png"}])
    assert main(["render", str(plain), "-o", str(tmp_path / "plain"), "-q"]) == 2
    assert "allow it with --inputs s3://studio/in" in json.dumps(events(tmp_path / "plain"))


def test_a_bucket_that_does_not_exist_is_noticed_at_once_and_not_made(
    server: Server, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import s3fs

    words = ["render", str(jobs_of(tmp_path)), "-o", str(tmp_path / "out"), "--inputs", str(pictures), "-q"]
    for extra in ([], ["--dry-run"]):
        assert main([*words, "--copy-to", "s3://sutdio/out", *extra]) == 2
        assert "--copy-to s3://sutdio/out: there is no bucket 'sutdio'" in capsys.readouterr().err
    assert [bucket for bucket in s3fs.S3FileSystem().ls("") if "sutdio" in bucket] == []
    assert not list((tmp_path / "out").glob("*/job.json"))


def test_a_stop_does_not_wait_for_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, hung = threading.Event(), threading.Event()
    inputs = RemoteInputs("memory://nowhere", tmp_path / "cache", stop)
    monkeypatch.setattr(inputs, "_fetch", lambda _: hung.wait(60))
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Cancelled):
        inputs.find("a.png")
    hung.set()


def test_results_themselves_need_a_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = write_jobs(tmp_path / "jobs.jsonl", [{"task": "convert", "input": "a.png"}])
    assert main(["render", str(jobs), "-o", f"{BUCKET}/out"]) == 2
    assert "the URL to --copy-to" in capsys.readouterr().err
    assert main(["render", str(tmp_path), "-o", str(tmp_path / "o"), "--inputs", f"{BUCKET}/in"]) == 2
    assert "needs a list that names the inputs" in capsys.readouterr().err
    assert not os.path.exists("s3:")
