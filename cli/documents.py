"""`acetate inspect`, `flatten`, `convert` and `edit`: commands on documents that exist. No model runs here."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layers.document import Group, Layer, LayeredImage, Node
from ..layers.edit import OPERATIONS, parse_operation
from ..layers.io import open_document
from .output import check_layers_fit, check_output, not_taken_over, save


def inspect(arguments: argparse.Namespace) -> int:
    document = open_document(arguments.file)
    if arguments.json:
        print(json.dumps(describe(document), indent=2, ensure_ascii=False))
    else:
        print("\n".join(tree_lines(document, arguments.file)))
        _tell_dropped(document)
    return 0


def flatten(arguments: argparse.Namespace) -> int:
    check_output(arguments.output, flat=True)
    document = open_document(arguments.file)
    check_output(arguments.output, flat=True, depth=document.depth)
    save(document, arguments.output)
    return _announce(document, arguments.output)


def convert(arguments: argparse.Namespace) -> int:
    check_output(arguments.output)
    document = open_document(arguments.file)
    check_output(arguments.output, depth=document.depth)
    check_layers_fit(document, arguments.output)
    save(document, arguments.output)
    return _announce(document, arguments.output)


def edit(arguments: argparse.Namespace) -> int:
    operations = [parse_operation(text) for text in arguments.operations]
    check_output(arguments.output)
    document = open_document(arguments.file)
    target = Path(arguments.output)
    if _dropped(document) and target.exists() and target.samefile(arguments.file):
        raise InputError(
            f"{arguments.file} would lose what acetate cannot read ({'; '.join(_dropped(document))}): give another output"
        )
    for operation in operations:
        document = operation(document)
    check_output(arguments.output, depth=document.depth)
    check_layers_fit(document, arguments.output)
    save(document, arguments.output)
    return _announce(document, arguments.output)


def operations_help() -> str:
    """What can stand for OP in `acetate edit`, for a terminal."""
    lines = [f"  {word}:{operation.arguments}" for word, operation in OPERATIONS.items()]
    width = max(map(len, lines)) + 2
    texts = [operation.help for operation in OPERATIONS.values()]
    head = "operations (NAME is a layer's name, its id, or #0.2: child 2 of node 0, counted from the bottom):"
    return "\n".join([head, *(line.ljust(width) + text for line, text in zip(lines, texts, strict=True))])


def describe(document: LayeredImage) -> dict[str, Any]:
    """The document without its pixels, JSON-able; layers bottom to top."""
    return {
        "width": document.width,
        "height": document.height,
        "depth": document.depth,
        "dpi": document.dpi,
        "icc": document.icc is not None,
        "metadata": document.metadata,
        "layers": [_describe_node(node) for node in document.layers],
    }


def _describe_node(node: Node) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": node.id,
        "name": node.name,
        "type": "layer" if isinstance(node, Layer) else "group",
        "opacity": node.opacity,
        "blend": node.blend.value,
        "visible": node.visible,
        "locked": node.locked,
        "clipping": node.clipping,
        "mask": None if node.mask is None else list(node.mask.box),
    }
    if isinstance(node, Layer):
        return {**facts, "box": list(node.box), "provenance": node.provenance.as_dict()}
    return {**facts, "layers": [_describe_node(child) for child in node.layers]}


def tree_lines(document: LayeredImage, name: str) -> list[str]:
    """The tree as a layers panel shows it, topmost layer first; ``#`` is how `acetate edit` selects a node."""
    size = f"{document.width} x {document.height} px, {document.depth} bits, {document.dpi:g} dpi"
    count = len(document.leaves())
    lines = [f"{name}: {size}, {count} {'layer' if count == 1 else 'layers'}"]
    rows = [("#", "name", "box", "opacity", "blend", "notes"), *_rows(document.layers, ())]
    widths = [max(_columns(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [text + " " * (width - _columns(text)) for text, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[5]]).rstrip())
    return lines


def _rows(nodes: tuple[Node, ...], path: tuple[int, ...]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for index in reversed(range(len(nodes))):
        node, here = nodes[index], (*path, index)
        number = "#" + ".".join(map(str, here))
        box = ",".join(map(str, node.box)) if isinstance(node, Layer) else ""
        name = "  " * len(path) + node.name + ("/" if isinstance(node, Group) else "")
        rows.append((number, name, box, f"{node.opacity:.0%}", node.blend.value, ", ".join(_notes(node))))
        if isinstance(node, Group):
            rows += _rows(node.layers, here)
    return rows


def _notes(node: Node) -> list[str]:
    known = {
        "hidden": not node.visible,
        "locked": node.locked,
        "clipping": node.clipping,
        "mask": node.mask is not None and node.mask.enabled,
        "mask off": node.mask is not None and not node.mask.enabled,
    }
    return [word for word, holds in known.items() if holds]


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian characters take two."""
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _announce(document: LayeredImage, path: str) -> int:
    count = len(document.leaves())
    print(f"{path}: {count} {'layer' if count == 1 else 'layers'}, {document.width} x {document.height} px")
    _tell_dropped(document)
    return 0


def _dropped(document: LayeredImage) -> list[str]:
    """What of its file could not be read."""
    found = document.metadata.get("dropped")
    return [str(one) for one in found] if isinstance(found, list) else []


def _tell_dropped(document: LayeredImage) -> None:
    if dropped := _dropped(document):
        print(f"acetate: {not_taken_over(dropped)}", file=sys.stderr)
