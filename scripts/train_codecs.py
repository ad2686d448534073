"""Train a transparent codec from scratch on procedural scenes, beside the embedded model's own (`train_vae.py`).

    python -P scripts/train_codecs.py alphavae --minutes 60
    python -P scripts/train_codecs.py layerdiffuse --rehearse

`alphavae`: a small AutoencoderKL, first on pictures alone, then widened to four channels and trained with AlphaVAE's loss.
`layerdiffuse`: the same RGB start, frozen, under an offset encoder and a U-Net. Prints held-out PSNR (premultiplied RGBA,
dB) at the start and at the end of the transparent part, and writes the parts into --out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from acetate.datasets.atlas import Atlas
from acetate.datasets.render import Renderer
from acetate.datasets.sprites import build_atlas
from acetate.datasets.stream import CropStream, loader
from acetate.models.codecs import LayerDiffuseCodec, widen_rgb_vae
from acetate.models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet
from acetate.training.alphavae import AlphaVAELossSettings, alphavae_loss, flatten_some
from acetate.training.layerdiffuse import LayerDiffuseLossSettings, layerdiffuse_loss, trainable
from acetate.training.muon import Muon

Step = Callable[[Tensor], tuple[Tensor, Tensor, dict[str, Tensor]]]
CROP, BATCH = 32, 8


def make_vae(width: int) -> AutoencoderKL:
    vae = AutoencoderKL(
        latent_channels=16,
        block_out_channels=(width, width, 2 * width, 2 * width),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    )
    with torch.no_grad():  # start with little noise on the latents: a short run has no time to find that out
        vae.encoder.conv_out.bias[vae.config.latent_channels :] = -6
    return vae


def rgb_step(vae: AutoencoderKL) -> Step:
    """Opaque pictures, plain error: what a base model's VAE has learned before transparency comes."""

    def step(pixels: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        shown = flatten_some(pixels, 1.0)[:, :3]
        posterior = vae.encode(shown).latent_dist
        made = vae.decode(posterior.sample()).sample
        error = (made - shown).square().mean()
        loss = error + (made - shown).abs().mean() + 1e-5 * posterior.kl().mean()
        return loss, made, {"psnr": -10 * torch.log10(error / 4)}

    return step


def train(
    parameters: list[torch.nn.Parameter], step: Step, pictures: Iterator[Tensor], seconds: float, lr: float
) -> int:
    matrices = [p for p in parameters if p.ndim > 1 and min(p.shape[0], p[0].numel()) > 4]
    others = [p for p in parameters if not any(p is one for one in matrices)]
    optimiser, began, steps = Muon(matrices, others, lr=5 * lr, adamw_lr=lr), time.monotonic(), 0
    while (share := (time.monotonic() - began) / seconds) < 1:
        optimiser.scale_lr(min(1.0, (steps + 1) / 20) * min(1.0, 2 - 2 * share))
        loss = step(next(pictures))[0]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        steps += 1
    return steps


@torch.no_grad()
def psnr(step: Step, held: list[Tensor]) -> float:
    return sum(step(one)[2]["psnr"].item() for one in held) / len(held)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("alphavae", "layerdiffuse"))
    parser.add_argument("--out", type=Path, default=Path("runs/codecs"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument(
        "--rgb",
        type=float,
        default=0.3,
        help="share of the time for the RGB VAE that both start from (0: random)",
    )
    parser.add_argument("--width", type=int, default=8, help="channels of the VAE's finest level")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--atlas", type=Path, help="sprites drawn before (Atlas.save); by default from the fonts here"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rehearse", action="store_true", help="two minutes from a random VAE, to see that all works"
    )
    args = parser.parse_args()
    seconds, rgb = (120.0, 0.0) if args.rehearse else (60 * args.minutes, args.rgb)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    atlas = Atlas.load(args.atlas) if args.atlas else build_atlas()
    renderer = Renderer(atlas, args.device)
    plans = loader(CropStream(atlas, sizes=(128,), crop=CROP, batch=BATCH, seed=1 + args.seed), workers=1)
    pictures = (plan.draw(renderer) for plan in plans)
    held = [next(pictures) for _ in range(8)]
    vae = make_vae(args.width).to(args.device)
    if rgb > 0:
        first = train(list(vae.parameters()), rgb_step(vae), pictures, rgb * seconds, 3e-3)
        print(f"RGB VAE: {first} steps, {psnr(rgb_step(vae), held):.1f} dB on flattened pictures", flush=True)
    out = args.out / args.kind
    if args.kind == "alphavae":
        wide, settings = widen_rgb_vae(vae), AlphaVAELossSettings()
        parameters, saved = list(wide.parameters()), {"vae": wide}

        def step(pixels: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
            return alphavae_loss(wide, pixels, settings, reference=vae_as_reference)

        vae_as_reference = widen_rgb_vae(vae).requires_grad_(False)
    else:
        decoder = TransparentUNet(widths=(16, 16, 32, 32), attention_levels=1).to(args.device)
        encoder = LatentOffsetEncoder(widths=(16, 16, 32, 32)).to(args.device)
        codec, losses = LayerDiffuseCodec(vae, decoder, encoder), LayerDiffuseLossSettings()
        parameters, saved = trainable(codec), {"vae": vae, "decoder": decoder, "encoder": encoder}

        def step(pixels: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
            return layerdiffuse_loss(codec, pixels, losses)

    before = psnr(step, held)
    steps = train(parameters, step, pictures, (1 - rgb) * seconds, 2e-3)
    after = psnr(step, held)
    print(f"{args.kind}: {steps} steps, {before:.1f} -> {after:.1f} dB, {after - before:+.1f}", flush=True)
    for name, module in saved.items():
        module.save_pretrained(out / name)


if __name__ == "__main__":
    main()
