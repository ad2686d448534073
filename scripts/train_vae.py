"""Train the embedded RGBA codec: `python -P scripts/train_vae.py --out runs/vae --minutes 30`. Resumes by itself."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage

from acetate.datasets.sprites import build_atlas
from acetate.datasets.stream import CropStream, loader
from acetate.models.codecs import install_still_convolutions
from acetate.training.ema import EMA
from acetate.training.log import RunLog
from acetate.training.muon import Muon, split_parameters
from acetate.training.vae import VAELossSettings, clear_video_taps, measure_latents, vae_loss

CONFIG = dict(
    base_dim=24,
    z_dim=32,
    dim_mult=[1, 2, 3, 4],
    num_res_blocks=1,
    temperal_downsample=[False, False, False],
    input_channels=4,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/vae"))
    parser.add_argument(
        "--minutes", type=float, default=30, help="stop after this long; the rate decays to zero by then"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, help="crops a step (default 16 on cpu, 256 on cuda)")
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rehearse", action="store_true", help="one minute, to see that everything works")
    args = parser.parse_args()
    batch = args.batch or (16 if args.device == "cpu" else 256)
    minutes = 1.0 if args.rehearse else args.minutes
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    vae = AutoencoderKLQwenImage(**CONFIG).to(args.device)
    restore = install_still_convolutions(vae, channels_last=True)
    matrices, others = split_parameters(
        vae, ("encoder.conv_in", "decoder.conv_out", "quant_conv", "post_quant_conv")
    )
    optimiser = Muon(matrices, others, lr=0.012, adamw_lr=2e-3)
    ema, step, state_file = EMA(vae, 0.995), 0, args.out / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, map_location=args.device)
        vae.load_state_dict(state["vae"])
        optimiser.load_state_dict(state["optimiser"])
        ema.load_state_dict(state["ema"])
        step = state["step"]
    atlas = build_atlas()
    batches = loader(CropStream(atlas, size=128, crop=args.crop, batch=batch, start=step), workers=1)
    log, settings, began, saved, first = (
        RunLog(args.out / "log.jsonl"),
        VAELossSettings(),
        time.monotonic(),
        time.monotonic(),
        step,
    )
    while True:
        share = (time.monotonic() - began) / (60 * minutes)
        if share >= 1:
            break
        optimiser.scale_lr(
            min(1, (step - first + 1) / 50)
            * (1.0 if share < 0.2 else 0.5 + 0.5 * math.cos(math.pi * (share - 0.2) / 0.8))
        )
        loss, seen = vae_loss(vae, next(batches).to(args.device), settings)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        ema.update(vae)
        step += 1
        if step % 50 == 0:
            log.write(step=step, loss=float(loss), share=share, **seen)
        if time.monotonic() - saved > 180:
            saved = save(args.out, vae, optimiser, ema, step)
    save(args.out, vae, optimiser, ema, step)
    vae.load_state_dict(ema.shadow)
    clear_video_taps(vae)
    mean, std = measure_latents(vae, [next(batches).to(args.device) for _ in range(16)])
    restore()
    vae.register_to_config(latents_mean=mean, latents_std=std)
    vae.to(torch.bfloat16).save_pretrained(args.out / "vae")


def save(out: Path, vae: AutoencoderKLQwenImage, optimiser: Muon, ema: EMA, step: int) -> float:
    """Write the state beside its place and rename it; returns the time."""
    torch.save(
        {"vae": vae.state_dict(), "optimiser": optimiser.state_dict(), "ema": ema.state_dict(), "step": step},
        out / "state.tmp",
    )
    (out / "state.tmp").replace(out / "state.pt")
    return time.monotonic()


if __name__ == "__main__":
    main()
