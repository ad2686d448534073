"""What pays in training the layered transformer: a short run a variant, the same first weights, judged by the same batches.

`python -P scripts/ablate_layers.py --vae runs/vae/vae --device cuda --seconds 10`: prints a table of validation errors by
task (velocity error of the averaged weights on held-out scenes at fixed noise) and writes it to --out as JSON. Every
variant gets the same time (or, with --steps, the same number of steps: on a machine that others use, too), the same decay
to zero, small grids only, and differs from the first in one thing.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKLQwenImage

from acetate.datasets.atlas import Atlas
from acetate.datasets.scenes import vocabulary
from acetate.datasets.sprites import build_atlas
from acetate.training.flow import FlowSettings
from acetate.training.loop import LoopSettings, Trainer
from acetate.training.model import LayersModel, ModelSettings
from acetate.training.processes import open_accelerator
from acetate.training.supply import PRESETS, open_supply
from acetate.training.tasks import TASKS, TaskSettings

EVEN = dict.fromkeys(TASKS, FlowSettings(uniform=1.0))
VARIANTS = (
    "base",
    "AdamW",
    "no alignment",
    "uniform noise levels",
    "clean head",
    "even weights",
    "more noise",
    "ERW warm-up",
    "TREAD",
    "wide",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vae", type=Path, default=Path("weights/vae"))
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--steps", type=int, help="steps of every variant, instead of seconds")
    parser.add_argument("--reuse", type=float, help="how often the pool serves a scene")
    parser.add_argument("--device", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--variants", nargs="*", default=VARIANTS, choices=VARIANTS, metavar="NAME")
    parser.add_argument("--small", action="store_true", help="a smaller model: width 128, four blocks")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first weights: another one shows how much is chance"
    )
    parser.add_argument("--eager", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with open_accelerator(args.device) as accelerator:
        ablate(args, accelerator)


def ablate(args: argparse.Namespace, accelerator: Accelerator) -> None:
    """Train every variant and print the table."""
    preset, device = PRESETS[args.device], accelerator.device
    atlas = Atlas.load(args.atlas) if args.atlas else build_atlas()
    words, channels = vocabulary(atlas), AutoencoderKLQwenImage.load_config(args.vae)["z_dim"]
    tokenizer = LayersModel(words, ModelSettings(latent_channels=channels)).tokenizer
    preset = replace(
        preset,
        workers=preset.workers if args.workers is None else args.workers,
        reuse=args.reuse or preset.reuse,
    )
    supply = open_supply(atlas, tokenizer, args.vae, preset, device)
    tasks = TaskSettings(tokens=args.tokens or preset.tokens // 2)
    validation = supply.validation(max(tasks.tokens, 12288), large=False)
    rows = {}
    for name in ("warming up", *args.variants):
        torch.manual_seed(args.seed)
        sizes = {
            "small": (4, 32, (8, 12, 12), 4),
            "large": (4, 56, (8, 24, 24), 8),
            "wide": (4, 64, (8, 28, 28), 6),
        }
        size = "wide" if name == "wide" else "small" if args.small else "large"
        chosen_sizes = dict(zip(("heads", "head_dim", "axes", "blocks"), sizes[size], strict=True))
        model = LayersModel(words, ModelSettings(latent_channels=channels, **chosen_sizes)).to(device)
        model.clean_head = name == "clean head"
        if args.device == "cuda":
            model.hurry(compiled=not args.eager, flash=True)
        settings = LoopSettings(
            minutes=args.seconds / 60,
            steps=args.steps and (2 if name == "warming up" else args.steps),
            muon=name != "AdamW",
            align=0.0 if name == "no alignment" else 0.5,
            large=(0.0, 0.0),
            average=0.97,
            warm_up=20,
            save_every=math.inf,
            warm_blocks=0.15 if name == "ERW warm-up" else 0.0,
            route=0.5 if name == "TREAD" else 1.0,
        )
        if name == "uniform noise levels":
            settings = replace(settings, flows=EVEN)
        if name == "more noise":
            more = {task: replace(flow, mean=flow.mean + 0.5) for task, flow in settings.flows.items()}
            settings = replace(settings, flows=more)
        chosen_tasks = replace(tasks, even_weights=name == "even weights")
        trainer = Trainer(
            model,
            supply.pool,
            validation,
            settings,
            chosen_tasks,
            accelerator,
            supply.large,
            args.out / name.replace(" ", "_"),
        )
        trainer.run()
        if name == "warming up":
            continue
        found = trainer.validate()
        rows[name] = {
            "steps": trainer.step,
            "tokens": trainer.tokens,
            **{k: v for k, v in found.items() if k.count("_") == 1},
        }
        print(name, rows[name], flush=True)
        (args.out / "table.json").write_text(json.dumps(rows, indent=1))
    columns = [f"val_{task}" for task in TASKS]
    print("| variant | steps | " + " | ".join(TASKS) + " |")
    for name, row in rows.items():
        print(f"| {name} | {row['steps']} | " + " | ".join(f"{row[c]:.3f}" for c in columns) + " |")


if __name__ == "__main__":
    main()
