"""Train the embedded RGBA codec: `python -P scripts/train_vae.py --out runs/vae --minutes 30`.

Resumes from --out by itself. Small crops first, whole pictures at the end, so that the codec's one attention layer meets
the sizes it will work at; the rate decays to zero by then. Ends by writing the diffusers folder vae/ (averaged weights,
bf16, latents measured) into --out. `--start weights/vae --decoder-only` goes on with a codec that a transformer
already uses: latents stay as they are, and only the pictures made of them get better.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKLQwenImage

from acetate.datasets.atlas import Atlas
from acetate.datasets.render import Renderer
from acetate.datasets.sprites import build_atlas
from acetate.datasets.stream import CropStream, loader
from acetate.models.codecs import install_still_convolutions
from acetate.training.ema import EMA
from acetate.training.log import RunLog
from acetate.training.muon import Muon, split_parameters
from acetate.training.precision import mixed
from acetate.training.processes import agreed, average_gradients, open_accelerator, same_weights
from acetate.training.vae import VAELossSettings, clear_video_taps, measure_latents, vae_loss

HEADS = ("encoder.conv_in", "decoder.conv_out", "quant_conv", "post_quant_conv")


@dataclass(frozen=True)
class Stage:
    """Until ``until`` of the time: crops of ``crop`` pixels from pictures of ``sizes``, ``batch`` a step."""

    until: float
    crop: int
    sizes: tuple[int, ...]
    batch: int


STAGES = {
    "cpu": (Stage(0.85, 64, (128, 256), 16), Stage(1.0, 128, (128, 256), 4)),
    "cuda": (
        Stage(0.6, 64, (128, 256), 384),
        Stage(0.85, 128, (128, 256), 96),
        Stage(1.0, 256, (256,), 24),
    ),
}


def rate(share: float, steps: int) -> float:
    """Factor of the learning rate: a short warm-up, a fifth of the time at the top, then a cosine down to zero."""
    falling = 1.0 if share < 0.2 else 0.5 + 0.5 * math.cos(math.pi * (share - 0.2) / 0.8)
    return min(1.0, (steps + 1) / 50) * falling


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/vae"))
    parser.add_argument(
        "--minutes", type=float, default=30, help="in all, those before a stop included (default: 30)"
    )
    parser.add_argument("--device", choices=tuple(STAGES), default="cpu")
    parser.add_argument(
        "--atlas", type=Path, help="sprites drawn before (Atlas.save); by default from the fonts here"
    )
    parser.add_argument("--channels", type=int, default=16, help="latent channels")
    parser.add_argument("--start", type=Path, help="go on from this folder's weights, such as weights/vae")
    parser.add_argument(
        "--decoder-only", action="store_true", help="keep the encoder, and so all latents, as they are"
    )
    parser.add_argument(
        "--overlap", type=float, default=0.0, help="weight of the alphas' soft IoU in the loss"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--workers", type=int, help="processes that describe scenes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rehearse", action="store_true", help="one minute, to see that everything works")
    args = parser.parse_args()
    if args.decoder_only and args.start is None:
        parser.error("--decoder-only needs --start: the codec whose latents are to stay")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    with open_accelerator(args.device) as accelerator:
        train(args, accelerator)


def train(args: argparse.Namespace, accelerator: Accelerator) -> None:
    """This process's part of the run."""
    device = accelerator.device
    minutes = 1.0 if args.rehearse else args.minutes
    workers = (1 if args.device == "cpu" else 13) if args.workers is None else args.workers
    vae = (new_codec(args.channels) if args.start is None else load_codec(args.start)).to(device)
    if args.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    restore = install_still_convolutions(vae, channels_last=True)
    optimiser = Muon(*split_parameters(vae, HEADS), lr=0.012 * args.rate, adamw_lr=2e-3 * args.rate)
    same_weights(accelerator, (vae,))
    ema, step, seconds, state_file = EMA(vae, 0.998), 0, 0.0, args.out / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, map_location=device)
        vae.load_state_dict(state["vae"])
        optimiser.load_state_dict(state["optimiser"])
        ema.load_state_dict(state["ema"])
        step, seconds = state["step"], state["seconds"]
    atlas = Atlas.load(args.atlas) if args.atlas else build_atlas()
    renderer, stages = Renderer(atlas, device), list(STAGES[args.device])
    log, settings = RunLog(args.out / "log.jsonl"), VAELossSettings(overlap=args.overlap)
    saved = time.monotonic()
    began = saved - seconds
    torch.manual_seed(args.seed + 1 + accelerator.process_index)
    stage, plans, seen = None, iter(()), 0
    # The first process's clock: one that left the loop alone would leave the others waiting for its gradients.
    while (share := agreed(accelerator, (time.monotonic() - began) / (60 * minutes))[0]) < 1:
        if stage is None or share >= stage.until:
            stage = next(s for s in stages if share < s.until)
            stream = CropStream(
                atlas,
                sizes=stage.sizes,
                crop=stage.crop,
                batch=stage.batch,
                seed=1 + args.seed + accelerator.process_index,
                start=step * 64,
            )
            plans = loader(stream, workers=workers)
        optimiser.scale_lr(rate(share, step))
        pixels = next(plans).draw(renderer)
        loss, figures = vae_loss(vae, pixels, settings)
        optimiser.zero_grad()
        loss.backward()
        average_gradients(accelerator, (p for p in vae.parameters() if p.requires_grad))
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        ema.update(vae)
        step, seen = step + 1, seen + len(pixels)
        if not accelerator.is_main_process:
            continue
        if step % 50 == 0:
            shown = {name: float(value) for name, value in figures.items()}
            log.write(step=step, loss=loss.item(), share=share, crop=stage.crop, crops=seen, **shown)
        if time.monotonic() - saved > 180:
            saved = save(args.out, vae, optimiser, ema, step, began)
    if not accelerator.is_main_process:
        return
    save(args.out, vae, optimiser, ema, step, began)
    vae.load_state_dict(ema.shadow)
    clear_video_taps(vae)
    if not args.decoder_only:
        pictures = [next(plans).draw(renderer) for _ in range(16)]
        with mixed(device.type):
            mean, std = measure_latents(vae, pictures)
        vae.register_to_config(latents_mean=mean, latents_std=std)
    restore()
    vae.to("cpu", torch.bfloat16).save_pretrained(args.out / "vae")


def new_codec(channels: int) -> AutoencoderKLQwenImage:
    """The embedded model's sizes, random weights."""
    return AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=channels,
        dim_mult=[1, 2, 3, 4],
        num_res_blocks=1,
        temperal_downsample=[False, False, False],
        input_channels=4,
    )


def load_codec(folder: Path) -> AutoencoderKLQwenImage:
    """A trained codec, in float32."""
    return AutoencoderKLQwenImage.from_pretrained(folder, torch_dtype=torch.float32)


def save(out: Path, vae: AutoencoderKLQwenImage, optimiser: Muon, ema: EMA, step: int, began: float) -> float:
    """Write the state of a run that ``began`` then beside its place and rename it; returns the time."""
    now = time.monotonic()
    state = {
        "vae": vae.state_dict(),
        "optimiser": optimiser.state_dict(),
        "ema": ema.state_dict(),
        "step": step,
        "seconds": now - began,
    }
    torch.save(state, out / "state.tmp")
    (out / "state.tmp").replace(out / "state.pt")
    return now


if __name__ == "__main__":
    main()
