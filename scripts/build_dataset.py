"""Turn a folder of PSD, PSB and OpenRaster files into shards of training records; run it again to go on.

`python -P scripts/build_dataset.py documents/ out/dataset` prints a line per file; out/dataset/index.jsonl says why.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from acetate.datasets.build import FileReport, build_dataset
from acetate.datasets.curate import Rules
from acetate.datasets.psd import Captioner
from acetate.errors import AcetateError, InputError


def arguments() -> argparse.Namespace:
    rules = Rules()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder of layered files, searched below too")
    parser.add_argument("out", type=Path, help="new folder, or one that this script began")
    merge = "layers that overlap nowhere become one: all that can, only until --max-layers remain, or none"
    parser.add_argument("--merge", choices=("all", "needed", "none"), default=rules.merge, help=merge)
    parser.add_argument("--min-layers", type=int, default=rules.min_layers)
    parser.add_argument("--max-layers", type=int, default=rules.max_layers)
    parser.add_argument("--captioner", type=Path, help="model folder whose text encoder describes pictures")
    parser.add_argument("--caption-layers", action="store_true", help="let it describe every layer too")
    parser.add_argument("--per-shard", type=int, default=64)
    return parser.parse_args()


def captioner(folder: Path) -> Captioner:
    """The caption function of a folder in the layout of Qwen-Image-Layered: processor/, tokenizer/ and text_encoder/."""
    missing = [name for name in ("processor", "tokenizer", "text_encoder") if not (folder / name).is_dir()]
    if missing:
        raise InputError(f"{folder} lacks the folder {missing[0]}/ of a model that describes pictures")
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    from acetate.models.captioning import QwenCaptioner
    from acetate.models.loading import load_processor

    tokenizer = AutoTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        str(folder / "text_encoder"), local_files_only=True
    )
    return QwenCaptioner(load_processor(folder, tokenizer), model.eval(), revision=str(folder)).caption


def told(report: FileReport) -> None:
    detail = f"{report.facts['layers']} layers" if report.status == "used" else report.why
    print(f"{report.status:<9}{report.file}  {detail}", flush=True)


def main() -> int:
    args = arguments()
    try:
        rules = Rules(merge=args.merge, min_layers=args.min_layers, max_layers=args.max_layers)
        caption = captioner(args.captioner) if args.captioner is not None else None
        done = build_dataset(args.source, args.out, rules=rules, caption=caption, caption_layers=args.caption_layers,
                             per_shard=args.per_shard, on_file=told)  # fmt: skip
    except (AcetateError, OSError) as error:
        print(f"build_dataset: {error}", file=sys.stderr)
        return getattr(error, "exit_status", 1)
    print(f"{done.used} used, {done.unwanted} unwanted, {done.bad} bad, {done.known} known before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
