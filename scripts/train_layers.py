"""Train the embedded layered transformer: `python -P scripts/train_layers.py --vae runs/vae/vae --minutes 90`.

Several GPUs: `accelerate launch scripts/train_layers.py --device cuda ...`. Resumes from --out by itself; the rate decays
to zero over the last part of the given minutes. Ends by writing the diffusers parts transformer/, text_encoder/,
tokenizer/ and frame_embedding/ (averaged weights, bf16) into --out. --device sets sizes that suit it; --rehearse runs for
one minute, to see that everything works.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKLQwenImage

from acetate.datasets.atlas import Atlas
from acetate.datasets.scenes import vocabulary
from acetate.datasets.sprites import build_atlas
from acetate.training.loop import LoopSettings, Trainer
from acetate.training.model import LayersModel, ModelSettings
from acetate.training.processes import open_accelerator
from acetate.training.supply import PRESETS, open_supply
from acetate.training.tasks import TaskSettings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vae", type=Path, default=Path("weights/vae"))
    parser.add_argument("--start", type=Path, help="go on from the weights of this folder, such as weights/")
    parser.add_argument("--out", type=Path, default=Path("runs/layers"))
    parser.add_argument(
        "--minutes", type=float, default=90, help="in all, those before a stop included (default: 90)"
    )
    parser.add_argument("--device", choices=tuple(PRESETS), default="cpu")
    parser.add_argument(
        "--atlas", type=Path, help="sprites drawn before (Atlas.save); by default from the fonts here"
    )
    parser.add_argument("--tokens", type=int, help="image tokens of one batch")
    parser.add_argument("--batches", type=int, default=3, help="batches a step")
    parser.add_argument("--workers", type=int, help="processes that describe scenes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--average", type=float, default=0.999, help="decay of the weights' average")
    parser.add_argument("--images", type=float, help="share of image to layers among plain stacks")
    parser.add_argument(
        "--decay", type=float, default=0.4, help="last share of the time, in which the rate falls to zero"
    )
    parser.add_argument("--align", type=float, default=0.5, help="weight of the alignment head at the start")
    parser.add_argument(
        "--align-until", type=float, default=0.4, help="share of the time at which it is let go"
    )
    parser.add_argument("--no-muon", action="store_true", help="AdamW for everything")
    parser.add_argument("--large", type=float, help="share of chunks on large grids at the end (256 pixels)")
    parser.add_argument(
        "--eager",
        action="store_true",
        help="do not compile the blocks (a minute or two at the start; needs a C++ compiler on a CPU)",
    )
    parser.add_argument("--rehearse", action="store_true", help="one minute, to see that everything works")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    with open_accelerator(args.device) as accelerator:
        train(args, accelerator)


def train(args: argparse.Namespace, accelerator: Accelerator) -> None:
    """This process's part of the run."""
    preset = PRESETS[args.device]
    device, began = accelerator.device, time.monotonic()
    atlas = Atlas.load(args.atlas) if args.atlas else build_atlas()
    channels = AutoencoderKLQwenImage.load_config(args.vae)["z_dim"]
    sizes = ModelSettings.of(args.start) if args.start else ModelSettings(latent_channels=channels)
    model = LayersModel(vocabulary(atlas), sizes)
    if args.start:
        model.load(args.start)
    final = preset.large if args.large is None else args.large
    settings = LoopSettings(
        minutes=1.0 if args.rehearse else args.minutes,
        batches=args.batches,
        decay=args.decay,
        align=args.align,
        align_until=args.align_until,
        muon=not args.no_muon,
        muon_lr=0.02 * args.rate,
        adamw_lr=1.5e-3 * args.rate,
        average=args.average,
        large=(min(0.1, final), final),
        seed=args.seed,
        log_every=50 if args.device == "cuda" else 10,
        validate_every=120.0 if args.device == "cuda" else 900.0,
    )
    tasks = TaskSettings(tokens=args.tokens or preset.tokens)
    if args.images is not None:
        tasks = replace(
            tasks, stack=(args.images, *(share * (1 - args.images) / 0.4 for share in tasks.stack[1:]))
        )
    args.out.mkdir(parents=True, exist_ok=True)
    state = args.out / "state.pt"
    step = int(torch.load(state, map_location="cpu")["step"]) if state.exists() else 0
    supply = open_supply(
        atlas,
        model.tokenizer,
        args.vae,
        preset if args.workers is None else replace(preset, workers=args.workers),
        device,
        seed=2 + args.seed + accelerator.process_index,
        start=step * 64,
        large=settings.large[0],
    )
    model.to(device)
    if not args.eager:
        model.hurry(compiled=True, flash=args.device == "cuda")
    validation = supply.validation(max(tasks.tokens // 4, 4096), large=bool(final))
    trainer = Trainer(model, supply.pool, validation, settings, tasks, accelerator, supply.large, args.out)
    trainer.resume()
    torch.manual_seed(args.seed + trainer.step + accelerator.process_index)
    print(
        f"ready after {time.monotonic() - began:.1f} s, {sum(p.numel() for p in model.parameters()):,} parameters",
        flush=True,
    )
    trainer.run()


if __name__ == "__main__":
    main()
