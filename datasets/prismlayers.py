"""PrismLayersPro (arXiv 2505.22523) as training records: its parquet files, column for column.

One row is one picture: ``whole_image``, ``whole_caption``, ``base_image`` (the background), ``base_caption``,
``style_category``, ``layer_count`` and, for XX = 00, 01 ...: ``layer_XX`` (an RGBA picture), ``layer_XX_caption``,
``layer_XX_box``, ``layer_XX_width_dst``, ``layer_XX_height_dst``. Two traps of the published readers are avoided: layers
are placed by copying, never by pasting them through their own alpha (which squares it), and resized premultiplied.
Reading needs pyarrow, the extra ``data``. Nothing is downloaded here.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..layers.composite import to_depth
from ..layers.document import Box
from ..layers.io.limits import Budget, Limits, reading
from ..layers.io.picture import read_picture
from ..layers.resample import resize
from .records import MAX_CAPTION, Record, RecordLayer
from .shards import SHARD_LIMITS

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
SPLITS: dict[str, tuple[float, float]] = {"train": (0.0, 0.9), "test": (0.9, 0.95), "val": (0.95, 1.0)}
"""Shares of each style's rows, in file order: CLD's split of 90/5/5."""


def read_prismlayers(
    files: Path | Sequence[Path], *, split: Split | None = None, limits: Limits = SHARD_LIMITS
) -> Iterator[tuple[str, Record]]:
    """(key, record) of every row of the parquet files (or of a folder of them), in file order, background first.

    ``split`` "train", "val" or "test": only those rows. A row that cannot be used is logged with its reason and skipped.
    Raises InputError when pyarrow is missing or a file is no parquet file of these columns.
    """
    paths = _paths(files)
    totals = _styles(paths) if split is not None else Counter[str]()
    place: Counter[str] = Counter()
    for path in paths:
        for number, row in enumerate(_rows(path)):
            style = str(row.get("style_category"))
            position, place[style] = place[style], place[style] + 1
            if split is not None and not _belongs(position, totals[style], split):
                continue
            what = f"row {number} of {path.name}"
            try:
                with reading(what, "a row of PrismLayersPro"):
                    record = row_record(row, what, limits)
            except InputError as error:
                logger.warning("%s", error)
                continue
            yield f"{re.sub('[^A-Za-z0-9_-]', '-', path.stem)[:60]}-{number:06d}", record


def _belongs(position: int, total: int, split: Split) -> bool:
    low, high = (round(share * total) for share in SPLITS[split])
    return low <= position < high


def row_record(row: dict[str, Any], what: str, limits: Limits = SHARD_LIMITS) -> Record:
    """The record of one row. Raises InputError for a row that lacks a column or does not fit together."""
    budget = Budget(what, limits)
    merged = _picture(row, "whole_image", what, limits, budget)
    height, width = merged.shape[:2]
    base = _picture(row, "base_image", what, limits, budget)
    if base.shape != merged.shape:
        logger.warning(
            "%s: its background is %d x %d pixels and is resized", what, base.shape[1], base.shape[0]
        )
        base = resize(base, (width, height))
    count = row.get("layer_count")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= limits.layers:
        raise InputError(
            f"{what}: 'layer_count' must be a whole number from 0 to {limits.layers}, not {count!r}"
        )
    layers = [
        RecordLayer(rgba=base, box=(0, 0, width, height), caption=_text(row, "base_caption", what), z=0)
    ]
    for index in range(count):
        name = f"layer_{index:02d}"
        pixels = _picture(row, name, what, limits, budget)
        box = layer_box(row, name, (pixels.shape[1], pixels.shape[0]), (width, height), what)
        size = (box[2] - box[0], box[3] - box[1])
        budget.pixels(*size, name)
        placed = _cut(resize(pixels, size), box, (width, height))
        if placed is None:
            logger.warning("%s: %s lies outside the canvas and is left out", what, name)
            continue
        layers.append(
            RecordLayer(
                rgba=placed[0], box=placed[1], caption=_text(row, f"{name}_caption", what), z=len(layers)
            )
        )
    source = {"dataset": "PrismLayersPro", "id": str(row.get("id")), "style": str(row.get("style_category"))}
    caption = _text(row, "whole_caption", what)
    return Record(caption=caption, canvas=(width, height), layers=tuple(layers), merged=merged, source=source)


def layer_box(
    row: dict[str, Any], name: str, size: tuple[int, int], canvas: tuple[int, int], what: str
) -> Box:
    """The half-open box of a layer, whatever convention its row follows.

    Files hold (x0, y0, x1, y1), in some entries with the last pixel included ((0, 0, W - 1, H - 1) for a full canvas), and
    one published reader takes them for (x, y, width, height). The reading whose size is the layer's ``width_dst`` and
    ``height_dst``, or else its own pixels (``size``), is taken; without such a hint (x0, y0, x1, y1), unless only
    (x, y, width, height) has an area and fits the canvas. Anything but plain corners is logged.
    """
    values = row.get(f"{name}_box")
    if isinstance(values, str):
        values = json.loads(values)
    if not isinstance(values, (list, tuple)) or len(values) != 4:
        raise InputError(f"{what}: '{name}_box' must be four numbers, not {values!r}")
    x, y, third, fourth = (round(float(value)) for value in values)
    readings = {
        "corners": (x, y, third, fourth),
        "corners included": (x, y, third + 1, fourth + 1),
        "size": (x, y, x + third, y + fourth),
    }
    hint = (row.get(f"{name}_width_dst"), row.get(f"{name}_height_dst"))
    for wanted in (hint, size):
        for how, box in readings.items():
            if (box[2] - box[0], box[3] - box[1]) == wanted and _fits(box, canvas):
                return _chosen(how, box, name, what)
    # CLD's full-canvas entries name the last pixel; nothing else says so.
    if readings["corners"] == (0, 0, canvas[0] - 1, canvas[1] - 1):
        return _chosen("corners included", readings["corners included"], name, what)
    how = "corners" if _fits(readings["corners"], canvas) or not _fits(readings["size"], canvas) else "size"
    x0, y0, x1, y1 = readings[how]
    if x1 <= x0 or y1 <= y0:
        raise InputError(f"{what}: '{name}_box' {values} has no area")
    return _chosen(how, readings[how], name, what)


def _chosen(how: str, box: Box, name: str, what: str) -> Box:
    if how != "corners":
        logger.info("%s: the box of %s is read as %s: %s", what, name, how, box)
    return box


def _fits(box: Box, canvas: tuple[int, int]) -> bool:
    return 0 <= box[0] < box[2] <= canvas[0] and 0 <= box[1] < box[3] <= canvas[1]


def _cut(pixels: np.ndarray, box: Box, canvas: tuple[int, int]) -> tuple[np.ndarray, Box] | None:
    """The part of a placed layer within the canvas, and its box."""
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], canvas[0]), min(box[3], canvas[1])
    if x0 >= x1 or y0 >= y1:
        return None
    return np.ascontiguousarray(pixels[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]), (
        x0,
        y0,
        x1,
        y1,
    )


def _picture(row: dict[str, Any], name: str, what: str, limits: Limits, budget: Budget) -> np.ndarray:
    value = row.get(name)
    data = (
        value.get("bytes") if isinstance(value, dict) else value
    )  # Hugging Face's image feature, or plain bytes
    if not isinstance(data, bytes):
        raise InputError(f"{what} lacks the picture '{name}'")
    picture = read_picture(data, limits=limits)
    budget.pixels(picture.width, picture.height, name)
    return to_depth(picture.pixels, 8)


def _text(row: dict[str, Any], name: str, what: str) -> str:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{what}: '{name}' must be a text, not {type(value).__name__}")
    return (value or "").strip()[:MAX_CAPTION]


def _paths(files: Path | Sequence[Path]) -> list[Path]:
    if isinstance(files, Path):
        files = sorted(files.rglob("*.parquet")) if files.is_dir() else [files]
    paths = [Path(path) for path in files]
    if not paths:
        raise InputError("there are no parquet files to read: give files, or a folder that holds some")
    return paths


def _open(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InputError('reading PrismLayersPro needs pyarrow: pip install "acetate[data]"') from error
    with reading(path.name, "a parquet file"):
        file = parquet.ParquetFile(path)
    missing = {"whole_image", "base_image", "layer_count", "style_category"} - set(file.schema_arrow.names)
    if missing:
        raise InputError(f"{path.name} lacks the column {min(missing)!r}: it is no file of PrismLayersPro")
    return file


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    file = _open(path)
    batches = file.iter_batches(batch_size=8)
    while True:
        with reading(path.name, "a parquet file"):
            batch = next(batches, None)
            rows = [] if batch is None else batch.to_pylist()
        if batch is None:
            return
        yield from rows


def _styles(paths: Sequence[Path]) -> Counter[str]:
    """How many rows each style has in all files together."""
    count: Counter[str] = Counter()
    for path in paths:
        count.update(
            str(style) for style in _open(path).read(columns=["style_category"])["style_category"].to_pylist()
        )
    return count
