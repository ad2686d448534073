"""Write procedural scenes for everyone to look at: documents, PNG folders or shards of records, and a contact sheet.

`python -P scripts/make_scenes.py --count 20 --out out/scenes --effects 0.5` writes out/scenes/sheet.png, all else beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from PIL import Image

from acetate.datasets.degrade import Degradation, degrade
from acetate.datasets.records import Record, scene_record
from acetate.datasets.render import Renderer
from acetate.datasets.scenes import HELD_OUT_SEED, SceneSampler, SceneSettings
from acetate.datasets.shards import ShardWriter
from acetate.datasets.sheet import records_sheet
from acetate.datasets.sprites import build_atlas
from acetate.errors import AcetateError

BATCH, ON_SHEET = 64, 40


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out/scenes"))
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--size", default="256x256", help="WIDTHxHEIGHT in pixels")
    parser.add_argument("--format", choices=("psd", "ora", "folder", "shards"), default="psd")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--objects", default="1-4", help="FEWEST-MOST objects of a scene, at most 6")
    parser.add_argument("--held-out", action="store_true", help="sprites and seeds that training never sees")
    for effect in ("contact", "reflection", "glow"):
        parser.add_argument(
            f"--{effect}", type=float, help=f"share of objects with a {effect} (default: --effects)"
        )
    parser.add_argument("--effects", type=float, default=0.0, help="share of objects with each effect")
    for name, what in (("rim", "opaque objects with a sticker rim"), ("vignette", "backgrounds with dark corners"),
                       ("large", "scenes that begin with an object as large as the canvas")):  # fmt: skip
        parser.add_argument(f"--{name}", type=float, default=0.0, help=f"share of {what}")
    parser.add_argument(
        "--degrade", type=float, default=0.0, help="share of flat pictures blurred, noisy, compressed"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args()


def settings(args: argparse.Namespace) -> SceneSettings:
    fewest, _, most = args.objects.partition("-")
    shares = {f"{name}_share": args.effects if (own := getattr(args, name)) is None else own
              for name in ("contact", "reflection", "glow")}  # fmt: skip
    shares |= {f"{name}_share": getattr(args, name) for name in ("rim", "vignette", "large")}
    return SceneSettings(min_objects=int(fewest), max_objects=int(most or fewest), **shares)


def main() -> int:
    args = arguments()
    try:
        width, height = (int(side) for side in args.size.split("x"))
        sampler = SceneSampler(build_atlas(), settings=settings(args), held_out=args.held_out)
        damage = Degradation(blur_share=args.degrade, noise_share=args.degrade, jpeg_share=args.degrade)
        seed = args.seed + (HELD_OUT_SEED if args.held_out else 0)
        args.out.mkdir(parents=True, exist_ok=True)
        write(args, sampler, damage, seed, width, height)
    except (AcetateError, ValueError, OSError) as error:
        print(f"make_scenes: {error}", file=sys.stderr)
        return 2
    return 0


def write(
    args: argparse.Namespace, sampler: SceneSampler, damage: Degradation, seed: int, width: int, height: int
) -> None:
    """Render in batches, write every record, and the first ones on the sheet."""
    renderer, shown, drawing = Renderer(sampler.atlas, args.device), list[Record](), 0.0
    with ShardWriter(args.out, prefix="scenes") as shards:
        for first in range(0, args.count, BATCH):
            scenes = [sampler.scene(seed, index) for index in range(first, min(first + BATCH, args.count))]
            start = time.perf_counter()
            rendered = renderer.render(scenes, height, width)
            drawing += time.perf_counter() - start
            for offset, scene in enumerate(scenes):
                index = first + offset
                source = {"generator": "acetate scenes", "seed": seed, "index": index}
                record, stem = scene_record(scene, rendered, offset, source), f"scene-{index:06d}"
                if args.format == "shards":
                    shards.add(stem, record)
                else:
                    suffix = "" if args.format == "folder" else f".{args.format}"
                    record.to_document().save(args.out / f"{stem}{suffix}", args.format)
                if damage.active:
                    flat = degrade(record.merged, damage, [seed, index])
                    Image.fromarray(flat, "RGBA").convert("RGB").save(args.out / f"{stem}-input.png")
                if len(shown) < ON_SHEET:
                    shown.append(record)
    sheet = records_sheet(shown, [f"#{k}" for k in range(len(shown))], side=min(256, max(width, height)))
    sheet.save(args.out / "sheet.png")
    print(
        f"{args.count} scenes of {width} x {height} pixels in {args.out}, rendered at {args.count / drawing:.0f} a second"
    )


if __name__ == "__main__":
    sys.exit(main())
