"""Bring a checkpoint from one published layout into another, exactly; without --to, say what it is.

    python -P scripts/convert_checkpoint.py flux1-dev.safetensors
    python -P scripts/convert_checkpoint.py flux1-dev.safetensors transformer/ --to diffusers --config config.json
    python -P scripts/convert_checkpoint.py model/transformer qwen_image_layered.safetensors --to comfy
    python -P scripts/convert_checkpoint.py style_kohya.safetensors style.safetensors --to diffusers
    python -P scripts/convert_checkpoint.py model/transformer cut/ --to pruned --with depth.bin --intervals "[[3,4],[5,7]]"

Tensors are copied row by row, never all in memory; existing files are left alone. docs/checkpoints.md lists the layouts.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from acetate.errors import AcetateError, InputError
from acetate.models.conversion import convert_checkpoint, describe_checkpoint, open_checkpoint
from acetate.models.conversion.ppcl import Pruning, Ranges
from acetate.models.conversion.views import PARTS
from acetate.models.folder import read_json


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a file of weights, or the folder of a model's part")
    parser.add_argument(
        "out", type=Path, nargs="?", help="a .safetensors file, or a new folder in diffusers' layout"
    )
    parser.add_argument(
        "--to",
        metavar="LAYOUT",
        help="the layout to make; without it, the layouts that can be made are listed",
    )
    parser.add_argument("--with", dest="beside", type=Path, action="append", default=[], metavar="FILE",
                        help="what belongs to it: LayerDiffuse's other file, PPCL's students (may be repeated)")  # fmt: skip
    parser.add_argument("--part", choices=tuple(PARTS), help="which model of a file that holds several")
    parser.add_argument(
        "--family", choices=("flux", "qwen"), help="what a LoRA is for, where its names do not tell"
    )
    parser.add_argument(
        "--config", type=Path, help="config.json for a folder (default: the one beside the input)"
    )
    parser.add_argument(
        "--shard-size", type=float, default=10, metavar="GB", help="largest file of a folder (default: 10)"
    )
    parser.add_argument("--replace", action="store_true", help="let OUT take the place of a file")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    pruned = parser.add_argument_group("PPCL")
    pruned.add_argument("--intervals", help="blocks that one student replaces each: [[3,4],[5,7]]")
    pruned.add_argument(
        "--removed", default="[]", help="places, after that, of blocks that were taken out: [0,5]"
    )
    pruned.add_argument(
        "--text-ranges", default="[]", help="ranges whose text stream was fitted as frozen: [[13,14],[50,59]]"
    )
    pruned.add_argument("--frozen", default="[]", help="which of these ranges are used, from 0: [1]")
    pruned.add_argument("--linear", default="[]", help="blocks whose MLPs are linear: [2,58,59]")
    return parser.parse_args()


def pruning(args: argparse.Namespace) -> Pruning:
    return Pruning(
        intervals=ranges("--intervals", args.intervals or "[]"),
        removed=numbers("--removed", args.removed),
        text_ranges=ranges("--text-ranges", args.text_ranges),
        frozen=numbers("--frozen", args.frozen),
        linear=numbers("--linear", args.linear),
    )


def ranges(name: str, text: str) -> Ranges:
    value = parsed(name, text)
    if not all(isinstance(pair, list) and len(pair) == 2 and all(map(whole, pair)) for pair in value):
        raise InputError(f"{name} must be pairs of block numbers, such as [[3,4],[5,7]]; not {text!r}")
    return tuple((pair[0], pair[1]) for pair in value)


def numbers(name: str, text: str) -> tuple[int, ...]:
    value = parsed(name, text)
    if not all(map(whole, value)):
        raise InputError(f"{name} must be a list of numbers, such as [2,58]; not {text!r}")
    return tuple(value)


def whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def parsed(name: str, text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{name} must be a list, such as [[3,4],[5,7]]; not {text!r}") from error
    if not isinstance(value, list):
        raise InputError(f"{name} must be a list, such as [[3,4],[5,7]]; not {text!r}")
    return value


def convert(args: argparse.Namespace) -> None:
    source = open_checkpoint(args.source)
    if args.to is None:
        found = describe_checkpoint(source, part=args.part, family=args.family)
        print(f"{args.source} is {found.words}, {found.tensors} tensors; --to {', '.join(found.targets)}")
        return
    if args.out is None:
        raise InputError("--to needs a name for the result: a .safetensors file, or a new folder")
    if not 0 < args.shard_size <= 1000:
        raise InputError(f"--shard-size is in GB, above 0 and at most 1000; not {args.shard_size:g}")
    plan = convert_checkpoint(
        source,
        args.to,
        part=args.part,
        family=args.family,
        beside=tuple(open_checkpoint(path) for path in args.beside),
        pruning=pruning(args),
        config=None if args.config is None else read_json(args.config, "give the model's own config.json"),
    )
    shown = 0

    def told(done: int, total: int) -> None:
        nonlocal shown
        if total > 10**9 and done * 20 // total > shown:
            shown = done * 20 // total
            print(f"{done / 1e9:.1f} of {total / 1e9:.1f} GB", file=sys.stderr, flush=True)

    written = plan.write(
        args.out,
        replace=args.replace,
        shard_bytes=int(args.shard_size * 1e9),
        on_bytes=None if args.quiet else told,
    )
    for path in written:
        print(f"written: {path}")


def main() -> int:
    try:
        convert(arguments())
    except AcetateError as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("convert_checkpoint: stopped; nothing half-written is left", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
