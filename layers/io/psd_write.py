"""Writes PSD and PSB, streaming: one layer in memory at a time.

The structures are psd-tools' low-level records; the order of writing is ours, so that nothing but the
compressed layer at hand is ever held, no preview is rendered by psd-tools, and the merged image comes from
our own compositor. Layer pixels are stored exactly, cropped to what is visible; colour under alpha 0 inside
that crop is kept.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from psd_tools.constants import ColorMode, Compression
from psd_tools.psd.color_mode_data import ColorModeData
from psd_tools.psd.header import FileHeader
from psd_tools.psd.layer_and_mask import LayerRecords

from ...errors import InputError
from ..document import Group, Layer, LayeredImage, Mask, Node
from .depth import to_depth
from .psd_channels import encode_plane
from .psd_records import Entry, entries, opacity_byte
from .psd_resources import build_resources

PSD_SIDE = 30_000
PSB_SIDE = 300_000
_EMPTY_CHANNEL = struct.pack(">H", Compression.RAW)
_BAND_PIXELS = 1 << 21
_INT32 = 2**31 - 1
_INT16 = 2**15 - 1


def write_psd(doc: LayeredImage, file: BinaryIO, *, big: bool = False) -> None:
    """Write ``doc`` to a seekable binary file as PSD, or as PSB if ``big`` or a side is longer than 30000
    pixels.

    Raises InputError for what the format cannot hold: sides above 300000, offsets beyond 32 bits, a file
    above 2 GiB that is not PSB, more than 32767 records.
    """
    if max(doc.width, doc.height) > PSB_SIDE:
        raise InputError(
            f"the canvas is {doc.width} x {doc.height}; PSB ends at {PSB_SIDE}: save it as zip instead"
        )
    version = 2 if big or max(doc.width, doc.height) > PSD_SIDE else 1
    doc = stored_form(doc)
    records = [entry for _, entry in entries(doc)]
    _check(records)
    header = FileHeader(
        version=version,
        channels=4,
        width=doc.width,
        height=doc.height,
        depth=doc.depth,
        color_mode=ColorMode.RGB,
    )
    header.write(file)
    ColorModeData().write(file)
    build_resources(doc, _facts(doc)).write(file)
    with _length(file, version):
        _write_sections(records, doc.depth, version, file)
    _write_merged(doc, version, file)
    if version == 1 and file.tell() > _INT32:
        raise InputError("the document takes more than 2 GiB, too much for PSD: save it as .psb")


def _write_sections(records: list[Entry], depth: int, version: int, file: BinaryIO) -> None:
    """The layer section, the (empty) global mask information and the tagged blocks."""
    none = bytes(4 * version)
    if records and depth == 8:
        with _length(file, version):
            _write_layers(records, depth, version, file)
        file.write(bytes(4))
    elif records:
        # Photoshop keeps the layers of 16-bit documents in a tagged block and leaves the usual section empty.
        # No other block may come before it: GIMP 2.10 then sees the merged image only.
        file.write(none + bytes(4) + b"8BIMLr16")
        with _length(file, version):
            _write_layers(records, depth, version, file)
    else:
        # Without a layer count there is no sign to say that the merged image has transparency: a block does.
        file.write(none + bytes(4) + (b"8BIMMtrn" if depth == 8 else b"8BIMMt16") + none)


def stored_form(doc: LayeredImage) -> LayeredImage:
    """The document with the opacities and pixel depths that the file will hold, so that its merged image
    matches.
    """

    def stored(node: Node) -> Node:
        changes: dict[str, Any] = {"opacity": opacity_byte(node.opacity) / 255}
        if node.mask is not None and _is_deeper(node.mask.pixels, doc.depth):
            pixels = to_depth(node.mask.pixels, doc.depth)
            changes["mask"] = dataclasses.replace(node.mask, pixels=pixels)
        if isinstance(node, Group):
            changes["layers"] = tuple(stored(child) for child in node.layers)
        elif _is_deeper(node.pixels, doc.depth):
            changes["pixels"] = to_depth(node.pixels, doc.depth)
        return node.replace(**changes)

    return doc.with_layers([stored(node) for node in doc.layers])


def _is_deeper(pixels: np.ndarray, depth: int) -> bool:
    return pixels.dtype.itemsize * 8 > depth


def _check(records: list[Entry]) -> None:
    if len(records) > _INT16:
        raise InputError(
            f"PSD holds at most {_INT16} layers and group ends, not {len(records)}: merge some first"
        )
    for entry in records:
        record, mask = entry.record, entry.mask
        edges = [
            record.left,
            record.top,
            record.right,
            record.bottom,
            *(mask.box if mask is not None else ()),
        ]
        if max(map(abs, edges)) > _INT32:
            raise InputError(f"layer {record.name!r} lies too far from the canvas for PSD: move it closer")


def _facts(doc: LayeredImage) -> dict[str, Any]:
    """What no PSD field holds, for the XMP packet: metadata, and per layer id our own id and the
    provenance.
    """
    nodes = {}
    for number, (node, _) in enumerate(_flat(doc.layers), start=1):
        if node is not None:
            facts = node.provenance.as_dict() if isinstance(node, Layer) else {}
            nodes[str(number)] = {"id": node.id, **({"provenance": facts} if facts else {})}
    return {"format": "acetate", "version": 1, "metadata": doc.metadata, "nodes": nodes}


def _flat(nodes: tuple[Node, ...]) -> Iterator[tuple[Node | None, None]]:
    for node in nodes:
        if isinstance(node, Group):
            yield None, None
            yield from _flat(node.layers)
        yield node, None


@contextmanager
def _length(file: BinaryIO, version: int) -> Iterator[None]:
    """Reserve a length field (4 bytes, 8 in PSB), run the block, pad it to 4 bytes and fill the length in."""
    place = file.tell()
    file.write(bytes(4 * version))
    start = file.tell()
    yield
    file.write(bytes(-(file.tell() - start) % 4))
    end = file.tell()
    if version == 1 and end - start > 0xFFFFFFFF:
        raise InputError("the layers take more than 4 GiB, too much for PSD: save the document as .psb")
    file.seek(place)
    file.write(struct.pack((">I", ">Q")[version - 1], end - start))
    file.seek(end)


def _write_layers(records: list[Entry], depth: int, version: int, file: BinaryIO) -> None:
    """Count (negative: the merged image's fourth channel is its transparency), records, channels."""
    file.write(struct.pack(">h", -len(records)))
    start = file.tell()
    listed = LayerRecords([entry.record for entry in records])
    listed.write(file, version=version)
    middle = file.tell()
    for entry in records:
        channels = list(_channels(entry, depth, version))
        for info, data in zip(entry.record.channel_info, channels, strict=True):
            info.length = len(data)
            file.write(data)
    end = file.tell()
    file.seek(start)
    listed.write(
        file, version=version
    )  # again, with the channel lengths known now; their size does not change
    assert file.tell() == middle
    file.seek(end)


def _channels(entry: Entry, depth: int, version: int) -> Iterator[bytes]:
    """The compressed channels of one record in the order of its channel list: alpha, red, green, blue,
    mask.
    """
    if entry.layer is None or entry.crop is None:
        yield from (_EMPTY_CHANNEL,) * 4
    else:
        x0, y0, x1, y1 = entry.crop
        pixels = entry.layer.pixels[y0:y1, x0:x1]
        for plane in (3, 0, 1, 2):
            yield encode_plane(to_depth(pixels[..., plane], depth), version)
    if entry.mask is not None:
        yield encode_plane(_mask_plane(entry.mask, depth), version)


def _mask_plane(mask: Mask, depth: int) -> np.ndarray:
    return to_depth(mask.pixels, depth)


def _write_merged(doc: LayeredImage, version: int, file: BinaryIO) -> None:
    """The merged image, RLE: colours blended against white as readers expect, then the transparency."""
    from psd_tools.compression import encode_rle

    from ..composite import flatten_array

    rows = max(16, min(1024, _BAND_PIXELS // doc.width))
    entry_bytes = 2 * version
    tables: list[list[bytes]] = [[] for _ in range(4)]
    bodies: list[list[bytes]] = [[] for _ in range(4)]
    for top in range(0, doc.height, rows):
        bottom = min(top + rows, doc.height)
        values = _on_white(flatten_array(doc, box=(0, top, doc.width, bottom)))
        if doc.depth == 16:
            values = values.astype(">u2")
        for plane in range(4):
            packed = encode_rle(
                np.ascontiguousarray(values[..., plane]).tobytes(),
                doc.width,
                bottom - top,
                doc.depth,
                version,
            )
            split = (bottom - top) * entry_bytes
            tables[plane].append(packed[:split])
            bodies[plane].append(packed[split:])
    file.write(struct.pack(">H", Compression.RLE))
    for part in (tables, bodies):
        for chunks in part:
            file.writelines(chunks)


def _on_white(pixels: np.ndarray) -> np.ndarray:
    """Straight RGBA with the colours blended against white, alpha as it was; opaque pixels are returned as
    they are.
    """
    most = np.float32(np.iinfo(pixels.dtype).max)
    if pixels[..., 3].min() == most:
        return pixels
    alpha = pixels[..., 3:] / most
    blended = pixels[..., :3] * alpha + (most * (1 - alpha) + np.float32(0.5))
    pixels[..., :3] = np.minimum(blended, most)
    return pixels
