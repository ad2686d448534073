"""Records are exact, their shards are the same bytes every time, and hostile shards are refused by name."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from paintings import disc, plate
from PIL import Image

from acetate.datasets.records import Record, RecordLayer, on_grey, scene_record
from acetate.datasets.render import Renderer
from acetate.datasets.scenes import SceneSampler
from acetate.datasets.shards import ShardWriter, read_shard, read_shards, record_files
from acetate.datasets.sheet import records_sheet
from acetate.datasets.sprites import Atlas
from acetate.errors import InputError
from acetate.layers.io.limits import Limits
from acetate.layers.io.png import encode_png


def record(shade: int = 40) -> Record:
    layers = (
        RecordLayer(rgba=plate(40, 30, (shade, 90, 160)), box=(0, 0, 40, 30), caption="a blue wall", z=0),
        RecordLayer(rgba=disc(12, (0, 0, 0), 0.1), box=(20, 10, 32, 22), caption="", z=1),
    )
    return Record(caption="a shadow on a wall", canvas=(40, 30), layers=layers, source={"id": 7})


def same(a: Record, b: Record) -> bool:
    pairs = zip(a.layers, b.layers, strict=True)
    return (
        (a.caption, a.canvas, a.source) == (b.caption, b.canvas, b.source)
        and np.array_equal(a.merged, b.merged)
        and all(
            (x.box, x.caption, x.z) == (y.box, y.caption, y.z) and np.array_equal(x.rgba, y.rgba)
            for x, y in pairs
        )
    )


def test_a_scenes_record_is_exact(atlas: Atlas) -> None:
    sampler = SceneSampler(atlas)
    scenes = [sampler.scene(6, index) for index in range(4)]
    batch = Renderer(atlas).render(scenes, 40, 56)
    for index, scene in enumerate(scenes):
        made = scene_record(scene, batch, index, {"index": index})
        assert made.canvas == (56, 40) and made.error() == 0
        assert [layer.caption for layer in made.layers] == list(scene.layer_captions)
        assert made.layers[0].box == (0, 0, 56, 40)
        drawn = batch.composite[index, :3].movedim(0, -1).numpy() * 255
        assert np.abs(made.merged[..., :3] - drawn).max() < 1.6
        for layer, pixels in zip(made.stack(), batch.layers[index], strict=False):
            np.testing.assert_allclose(layer[..., 3] / 255, pixels[3], atol=0.51 / 255)


def test_layers_are_placed_by_copying(atlas: Atlas) -> None:
    made = record()
    placed = made.stack()[1]
    assert (
        placed[16, 26, 3] == made.layers[1].rgba[6, 6, 3] == 26
    )  # a paste through its own alpha would leave 3
    grey = on_grey(np.array([[[200, 100, 50, 128], [9, 9, 9, 0]]], np.uint8))
    assert grey.tolist() == [[[164, 114, 89], [128, 128, 128]]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canvas": (39, 30)}, "leaves the canvas"),
        ({"caption": 3}, "must be a text"),
        ({"source": {"a": float("nan")}}, "storable as JSON"),
        ({"merged": np.zeros((30, 39, 4), np.uint8)}, "the merged picture is 39 x 30"),
        ({"layers": (replace(record().layers[0], z=1),)}, "z is 1 at 0"),
    ],
)
def test_a_record_that_does_not_fit_together_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(record(), **change)  # type: ignore[arg-type]


def test_a_layer_must_fill_its_box() -> None:
    with pytest.raises(InputError, match=r"does not fit its 12 x 12 pixels"):
        RecordLayer(rgba=disc(12, (1, 2, 3)), box=(0, 0, 12, 11))
    with pytest.raises(InputError, match="uint8 pixels"):
        RecordLayer(rgba=np.zeros((4, 4, 4), np.float32), box=(0, 0, 4, 4))


def test_shards_are_read_back_exactly_and_always_the_same_bytes(tmp_path: Path) -> None:
    records = [record(shade) for shade in range(40, 45)]
    hashes = []
    for folder in ("a", "b"):
        with ShardWriter(tmp_path / folder, per_shard=2, first=3) as writer:
            done = [writer.add(f"r{k}", one) for k, one in enumerate(records)]
        names = sorted(path.name for path in (tmp_path / folder).iterdir())
        assert names == ["records-000003.tar", "records-000004.tar", "records-000005.tar"]
        assert [path is not None for path in done] == [False, True, False, True, False]
        hashes.append([hashlib.sha256((tmp_path / folder / name).read_bytes()).hexdigest() for name in names])
    assert hashes[0] == hashes[1]
    read = dict(read_shards(tmp_path / "a"))
    assert list(read) == ["r0", "r1", "r2", "r3", "r4"]
    assert all(same(one, read[f"r{k}"]) for k, one in enumerate(records))


def test_an_exception_leaves_no_half_shard(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the disk burns"), ShardWriter(tmp_path, per_shard=2) as writer:
        for k in range(3):
            writer.add(f"r{k}", record())
        raise RuntimeError("the disk burns")
    assert [path.name for path in tmp_path.iterdir()] == ["records-000000.tar"]


def test_a_shard_ends_by_bytes_too(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, max_bytes=1) as writer:
        assert writer.add("one", record()) == tmp_path / "records-000000.tar"
    with pytest.raises(InputError, match="at least one record"):
        ShardWriter(tmp_path, per_shard=0)
    with pytest.raises(InputError, match="a record's key"), ShardWriter(tmp_path) as writer:
        writer.add("../x", record())


def hostile(path: Path, edit: Callable[[dict[str, bytes]], None], kind: bytes = tarfile.REGTYPE) -> Path:
    """A shard of one record whose files were edited."""
    files = dict(record_files("r", record()))
    edit(files)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = (len(data), tarfile.REGTYPE) if kind == tarfile.REGTYPE else (0, kind)
            info.linkname = "elsewhere" if kind != tarfile.REGTYPE else ""
            tar.addfile(info, io.BytesIO(data))
    return path


def changed(**facts: object) -> Callable[[dict[str, bytes]], None]:
    def edit(files: dict[str, bytes]) -> None:
        files["r.json"] = json.dumps({**json.loads(files["r.json"]), **facts}).encode()

    return edit


def layer_changed(**facts: object) -> Callable[[dict[str, bytes]], None]:
    def edit(files: dict[str, bytes]) -> None:
        record = json.loads(files["r.json"])
        record["layers"][1].update(facts)
        files["r.json"] = json.dumps(record).encode()

    return edit


def replaced(name: str, data: bytes | None) -> Callable[[dict[str, bytes]], None]:
    def edit(files: dict[str, bytes]) -> None:
        files.pop(name)
        if data is not None:
            files[name] = data

    return edit


def animated() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGBA", (12, 12), (k, 0, 0, 255)) for k in (1, 2)]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda files: files.update({"../r.01.png": b""}), "no file of a record"),
        (lambda files: files.update({"s.00.png": b""}), "is not of the record r"),
        (replaced("r.json", b"{}"), "comes without its JSON"),
        (replaced("r.01.png", None), "lacks its file 01.png"),
        (lambda files: files.update({"r.02.png": files["r.01.png"]}), "files that its JSON does not name"),
        (changed(format="other"), "was not written by acetate"),
        (changed(version=2), "'version' must be"),
        (changed(canvas=[40, 10**9]), "'canvas' must be"),
        (changed(canvas=[41, 30]), "is 40 x 30 pixels, not 41 x 30"),
        (changed(caption=None), "'caption' must be"),
        (changed(caption="x" * 20_000), "'caption' must be"),
        (changed(source=[]), "'source' must be an object"),
        (changed(layers="all"), "'layers' must be a list"),
        (layer_changed(box=[20, 10, 32]), "four whole numbers"),
        (layer_changed(box=[20, 10, 32, True]), "four whole numbers"),
        (layer_changed(box=[30, 10, 42, 22]), "leaves the canvas"),
        (layer_changed(box=[21, 10, 32, 22]), "is 12 x 12 pixels, not 11 x 12"),
        (layer_changed(z=5), "'z' must be"),
        (layer_changed(file="r.00.png"), "its file must be r.01.png"),
        (replaced("r.01.png", b"\x89PNG nonsense"), "is not a PNG"),
        (replaced("r.01.png", encode_png(disc(12, (1, 2, 3)))[:-40]), "damaged"),
        (replaced("r.01.png", encode_png(disc(12, (1, 2, 3)).astype(np.uint16))), "16 bits"),
        (replaced("r.01.png", animated()), "animated"),
        (lambda files: files.update({"r.json": b'{"format": NaN}'}), "NaN"),
        (lambda files: files.update({"r.json": b"[" * 100_000}), "nests too deep|not valid JSON"),
    ],
)
def test_hostile_shards_are_refused(
    tmp_path: Path, edit: Callable[[dict[str, bytes]], None], message: str
) -> None:
    path = hostile(tmp_path / "bad.tar", edit)
    with pytest.raises(InputError, match=message) as caught:
        list(read_shard(path))
    assert "bad.tar" in str(caught.value) or "record r" in str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(InputError, match="no file of a record"):
        list(read_shard(hostile(tmp_path / "bad.tar", lambda files: None, kind)))


def test_truncated_empty_and_missing_shards_are_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        writer.add("r", record())
    whole = (tmp_path / "records-000000.tar").read_bytes()
    for name, data in (("cut.tar", whole[:1400]), ("empty.tar", b""), ("noise.tar", b"\7" * 3000)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            list(read_shard(tmp_path / name))
    with pytest.raises(InputError, match=r"gone\.tar"):
        list(read_shard(tmp_path / "gone.tar"))
    with pytest.raises(InputError, match="no shards"):
        list(read_shards(tmp_path / "nowhere"))


def test_limits_hold(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        writer.add("r", record())
    for limits, message in ((Limits(total_pixels=2000), "megapixels"), (Limits(layers=1), "more than 1 layers"),
                            (Limits(pixels=100), "megapixels|MB"), (Limits(text_bytes=10), "MB")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            list(read_shard(tmp_path / "records-000000.tar", limits=limits))


def test_the_sheet_shows_every_layer() -> None:
    sheet = records_sheet([record(), record(90)], ["one", "two"], side=40)
    assert sheet.size == (8 + 3 * 48, 2 * (30 + 48 + 8) + 8)
    assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 50
