"""PrismLayersPro's columns, its three ways to write a box, and the traps of its published readers."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paintings import disc, plate
from PIL import Image

from acetate.datasets.prismlayers import layer_box, read_prismlayers, row_record
from acetate.errors import InputError
from acetate.layers.io.limits import Limits

CANVAS = (40, 32)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def row(number: int = 0, style: str = "toy", *, wrapped: bool = True) -> dict[str, Any]:
    """A row with two layers: a disc with a box of its own size, and a soft plate that is to be enlarged."""

    def image(pixels: np.ndarray) -> Any:
        return {"bytes": png(pixels), "path": None} if wrapped else png(pixels)

    made: dict[str, Any] = {
        "id": f"id-{number}",
        "style_category": style,
        "whole_image": image(plate(*CANVAS, (9, 99, 199))),
        "whole_caption": f"picture {number}",
        "base_image": image(plate(*CANVAS, (90, 20, 20))[..., :3]),
        "base_caption": "a red wall",
        "layer_count": 2,
    }
    layers = ((disc(12, (250, 200, 0)), [4, 6, 16, 18]), (plate(10, 5, (0, 90, 0), 128), [20, 10, 40, 20]))
    for index, (pixels, box) in enumerate(layers):
        made[f"layer_{index:02d}"] = image(pixels)
        made[f"layer_{index:02d}_caption"] = f"thing {index}"
        made[f"layer_{index:02d}_box"] = box
        made[f"layer_{index:02d}_width_dst"] = box[2] - box[0]
        made[f"layer_{index:02d}_height_dst"] = box[3] - box[1]
    return made


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_row_becomes_a_record(wrapped: bool) -> None:
    record = row_record(row(wrapped=wrapped), "row 0")
    assert (record.caption, record.canvas) == ("picture 0", CANVAS)
    assert [layer.caption for layer in record.layers] == ["a red wall", "thing 0", "thing 1"]
    assert [layer.box for layer in record.layers] == [(0, 0, 40, 32), (4, 6, 16, 18), (20, 10, 40, 20)]
    assert np.array_equal(record.layers[1].rgba, disc(12, (250, 200, 0)))
    assert np.array_equal(record.merged[..., :3], plate(*CANVAS, (9, 99, 199))[..., :3])
    assert record.source == {"dataset": "PrismLayersPro", "id": "id-0", "style": "toy"}


def test_placing_keeps_alpha_where_a_masked_paste_would_square_it() -> None:
    placed = row_record(row(), "row 0").stack()[2]
    inside = placed[13:17, 24:36]
    assert (inside[..., 3] == 128).all()
    np.testing.assert_allclose(inside[..., 1], 90, atol=1)
    layer = Image.fromarray(plate(4, 4, (200, 100, 50), 128))
    squared = Image.new("RGBA", (4, 4))
    squared.paste(layer, (0, 0), layer)
    assert np.asarray(squared)[0, 0, 3] == 64  # the trap


@pytest.mark.parametrize(
    ("box", "hint", "size", "expected"),
    [
        ([4, 6, 16, 18], (12, 12), (12, 12), (4, 6, 16, 18)),
        ([4, 6, 15, 17], (12, 12), (12, 12), (4, 6, 16, 18)),  # last pixel included
        ([4, 6, 12, 13], (12, 13), (12, 13), (4, 6, 16, 19)),  # x, y, width, height
        ([0, 0, 39, 31], (None, None), (80, 64), (0, 0, 40, 32)),  # a full canvas by its last pixel
        ([0, 0, 39, 31], (40, 32), (40, 32), (0, 0, 40, 32)),
        ([30, 20, 8, 9], (None, None), (50, 50), (30, 20, 38, 29)),  # no area as corners
        (
            [10, 10, 60, 60],
            (None, None),
            (99, 99),
            (10, 10, 60, 60),
        ),  # leaves the canvas either way: corners, cut later
        ([4.4, 5.6, 16.2, 18.0], (None, None), (99, 99), (4, 6, 16, 18)),
        ("[4, 6, 16, 18]", (12, 12), (12, 12), (4, 6, 16, 18)),
    ],
)
def test_every_convention_of_a_box_is_understood(
    box: object,
    hint: tuple[int | None, int | None],
    size: tuple[int, int],
    expected: tuple[int, int, int, int],
) -> None:
    entry = {"layer_00_box": box, "layer_00_width_dst": hint[0], "layer_00_height_dst": hint[1]}
    assert layer_box(entry, "layer_00", size, CANVAS, "row 0") == expected


def test_a_layer_is_cut_to_the_canvas_or_left_out(caplog: pytest.LogCaptureFixture) -> None:
    leaving = row() | {"layer_00_box": [-6, -4, 6, 8], "layer_01_box": [60, 50, 80, 60]}
    with caplog.at_level(logging.WARNING):
        record = row_record(leaving, "row 5")
    assert [layer.box for layer in record.layers] == [(0, 0, 40, 32), (0, 0, 6, 8)]
    assert np.array_equal(record.layers[1].rgba, disc(12, (250, 200, 0))[4:, 6:])
    assert "row 5: layer_01 lies outside the canvas" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"whole_image": None}, "lacks the picture 'whole_image'"),
        ({"layer_01": {"bytes": b"no picture"}}, "picture"),
        ({"layer_count": 3}, "lacks the picture 'layer_02'"),
        ({"layer_count": 10**6}, "'layer_count' must be"),
        ({"layer_count": True}, "'layer_count' must be"),
        ({"layer_00_box": [1, 2, 3]}, "must be four numbers"),
        ({"layer_00_box": [5, 5, 5, 5]}, "megapixels|leaves|area|four"),
        ({"layer_00_box": [0, 0, 10**6, 10**6]}, "longer than the .* pixels a side"),
        ({"whole_caption": 7}, "'whole_caption' must be a text"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    broken = row() | change
    if change.get("layer_00_box") == [5, 5, 5, 5]:
        broken |= {"layer_00_box": [5, 5, -5, -5], "layer_00_width_dst": None, "layer_00_height_dst": None}
    with pytest.raises(InputError, match=message):
        row_record(broken, "row 0")


def test_limits_hold_for_rows() -> None:
    with pytest.raises(InputError, match="megapixels"):
        row_record(row(), "row 0", Limits(total_pixels=3000))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow comes with the extra [data]")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_a_parquet_file_is_read_row_by_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = row(1) | {"layer_01_box": [9, 9, -9, -9], "layer_01_width_dst": 0}
    path = write(tmp_path / "toy-00000-of-00001.parquet", [row(0), broken, row(2)])
    with caplog.at_level(logging.WARNING):
        records = list(read_prismlayers(path))
    assert [key for key, _ in records] == ["toy-00000-of-00001-000000", "toy-00000-of-00001-000002"]
    assert [record.caption for _, record in records] == ["picture 0", "picture 2"]
    assert "row 1 of toy-00000-of-00001.parquet" in caplog.text


def test_the_split_is_by_style_in_file_order(tmp_path: Path) -> None:
    styles = ["toy"] * 20 + ["ink"] * 20
    rows = [row(k, style) for k, style in enumerate(styles)]
    write(tmp_path / "a.parquet", rows[:15])
    write(tmp_path / "b.parquet", rows[15:])
    ids = {split: [record.source["id"] for _, record in read_prismlayers(tmp_path, split=split)]
           for split in ("train", "test", "val")}  # fmt: skip
    assert ids["test"] == ["id-18", "id-38"] and ids["val"] == ["id-19", "id-39"]
    assert ids["train"] == [f"id-{k}" for k in (*range(18), *range(20, 38))]


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    other = write(tmp_path / "other.parquet", [{"id": 1}])
    with pytest.raises(InputError, match=r"other\.parquet lacks the column 'base_image'"):
        next(read_prismlayers(other))
    (tmp_path / "cut.parquet").write_bytes(other.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cut\.parquet is damaged"):
        next(read_prismlayers(tmp_path / "cut.parquet"))
    with pytest.raises(InputError, match="no parquet files"):
        next(read_prismlayers([]))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r'pip install "acetate\[data\]"'):
        next(read_prismlayers(tmp_path / "any.parquet"))
