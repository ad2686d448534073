"""A folder of files becomes shards: bad files are named and skipped, a stopped run goes on, bytes are always the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from paintings import disc, poster, random_document

from acetate.datasets.build import INDEX, FileReport, build_dataset, layered_files
from acetate.datasets.curate import Rules
from acetate.datasets.shards import read_shards
from acetate.errors import InputError
from acetate.layers import Layer
from acetate.layers.composite import flatten_array

RULES = Rules(min_side=32, merge="needed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four posters of two formats, a copy, a damaged file, a flat one, and one that is no document."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "deep").mkdir()
    for number, name in enumerate(("a.psd", "b.ora", "deep/c.PSD", "d.psd")):
        doc = poster()
        extra = Layer(
            pixels=disc(10, (250, 40 * number, 9)), name=f"dot {number}", offset=(10 + 9 * number, 40)
        )
        doc.with_layers((*doc.layers, extra)).save(folder / name, name[-3:].lower())
    whole = (folder / "a.psd").read_bytes()
    (folder / "copy of a.psd").write_bytes(whole)
    (folder / "cut.psd").write_bytes(whole[: len(whole) // 2])
    (folder / "text.ora").write_bytes(b"these are words")
    doc = poster()
    doc.with_layers(doc.layers[:1]).save(folder / "flat.psd")
    (folder / "notes.txt").write_text("not a document")
    return folder


def hashes(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}


def test_every_file_is_accounted_for(folder: Path, tmp_path: Path) -> None:
    told: list[FileReport] = []
    done = build_dataset(folder, tmp_path / "out", rules=RULES, per_shard=3, on_file=told.append)
    assert (done.used, done.unwanted, done.bad, done.known) == (4, 1, 2, 1)
    assert {report.file: report.status for report in told} == {
        "a.psd": "used", "b.ora": "used", "copy of a.psd": "known", "cut.psd": "bad", "d.psd": "used",
        "deep/c.PSD": "used", "flat.psd": "unwanted", "text.ora": "bad"}  # fmt: skip
    assert all(report.why for report in told if report.status in ("bad", "unwanted"))
    rows = [json.loads(line) for line in (tmp_path / "out" / INDEX).read_text().splitlines()]
    assert [row["shard"] for row in rows if row["status"] == "used"] == ["records-000000.tar"] * 3 + [
        "records-000001.tar"
    ]
    records = dict(read_shards(tmp_path / "out"))
    assert list(records) == [row["key"] for row in rows if row["status"] == "used"]
    for row in rows:
        if row["status"] == "used":
            record = records[row["key"]]
            assert record.source["file"] == row["file"] and len(record.layers) == row["layers"] == 6
            assert record.error() == 0


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    build_dataset(folder, whole, rules=RULES, per_shard=1)

    class Stop(BaseException):
        pass

    def stop(report: FileReport) -> None:
        if report.file == "d.psd":
            raise Stop

    with pytest.raises(Stop):
        build_dataset(folder, parts, rules=RULES, per_shard=1, on_file=stop)
    assert len((parts / INDEX).read_text().splitlines()) == 4  # a, b, cut and d: all that was complete
    assert not list(parts.glob("*.tmp"))
    done = build_dataset(folder, parts, rules=RULES, per_shard=1)
    assert (done.used, done.known) == (1, 5)
    assert hashes(parts) == hashes(whole)
    before = hashes(parts)
    again = build_dataset(folder, parts, rules=RULES, per_shard=1)
    assert (again.used, again.unwanted, again.bad, again.known) == (0, 0, 0, 8)
    assert hashes(parts) == before


def test_new_files_go_into_new_shards(folder: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    (source / "a.psd").write_bytes((folder / "a.psd").read_bytes())
    build_dataset(source, out, rules=RULES)
    first = hashes(out)["records-000000.tar"]
    (source / "0.psd").write_bytes((folder / "d.psd").read_bytes())
    assert build_dataset(source, out, rules=RULES).used == 1
    assert hashes(out)["records-000000.tar"] == first and (out / "records-000001.tar").exists()
    (out / "records-000000.tar").unlink()
    with pytest.raises(InputError, match=r"lacks records-000000\.tar"):
        build_dataset(source, out, rules=RULES)


def test_other_settings_and_foreign_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    build_dataset(folder, tmp_path / "out", rules=RULES)
    with pytest.raises(InputError, match="other settings"):
        build_dataset(folder, tmp_path / "out", rules=Rules())
    with pytest.raises(InputError, match="is not empty"):
        build_dataset(folder, folder, rules=RULES)
    with pytest.raises(InputError, match="is no folder"):
        layered_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no PSD, PSB or ORA"):
        build_dataset(tmp_path / "empty", tmp_path / "out2")


def test_wild_documents_give_exact_records(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    docs = {}
    for seed in range(6):
        doc = random_document(seed, 64, opaque=bool(seed % 2), blends=False)
        docs[f"{seed}.psd"] = doc.save(source / f"{seed}.psd")
    rules = Rules(min_pixels=1, min_share=0, min_alpha=1, merge="all")
    done = build_dataset(source, tmp_path / "out", rules=rules)
    assert done.bad == 0 and done.used >= 5
    from acetate.datasets.records import premultiplied
    from acetate.layers import LayeredImage

    for _, record in read_shards(tmp_path / "out"):
        picture = flatten_array(LayeredImage.open(docs[record.source["file"]]), 8)
        # The layers' picture is the file's within a level, and specks under the rules' least can be gone.
        off = np.abs(premultiplied(picture) - premultiplied(record.merged)).max(-1)
        assert np.quantile(off, 0.99) < 1.5 and record.error() == 0
