"""Put trained parts together as the embedded model: what scripts/train_vae.py and train_layers.py wrote becomes weights/.

A diffusers folder that `from_pretrained` and the command line load. Every file stays below 16 MiB, all of them together
below 40 MiB.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from acetate.models.frame_embedding import FrameEmbedding
from acetate.pipelines import ImageToLayersPipeline

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 40 * 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, default=Path("runs/vae/vae"))
    parser.add_argument(
        "--layers", type=Path, default=Path("runs/layers"), help="folder written by scripts/train_layers.py"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "weights")
    parser.add_argument(
        "--resolution", type=int, default=256, help="pixels along a side of the model's own square"
    )
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--shift", type=float, default=1.5, help="static shift of the sigma schedule")
    parser.add_argument("--guidance", type=float, default=1.0, help="for image to layers")
    parser.add_argument("--text-guidance", type=float, default=3.0)
    parser.add_argument(
        "--no-keep-whole", action="store_true", help="the model keeps objects whole by itself"
    )
    args = parser.parse_args()
    dtype = torch.bfloat16
    pipeline = ImageToLayersPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=args.shift),
        vae=AutoencoderKLQwenImage.from_pretrained(args.vae, torch_dtype=dtype),
        transformer=QwenImageTransformer2DModel.from_pretrained(
            args.layers / "transformer", torch_dtype=dtype
        ),
        text_encoder=T5EncoderModel.from_pretrained(args.layers / "text_encoder", dtype=dtype),
        tokenizer=PreTrainedTokenizerFast.from_pretrained(args.layers / "tokenizer"),
        frame_embedding=FrameEmbedding.from_pretrained(args.layers / "frame_embedding", torch_dtype=dtype),
        default_resolution=args.resolution,
        default_steps=args.steps,
        default_guidance=args.guidance,
        text_guidance=args.text_guidance,
        size_multiple=16,
        max_layers=5,
        transparent_fill=0.5,
        keep_whole=not args.no_keep_whole,
    )
    pipeline.save_pretrained(args.out, max_shard_size="14MB")
    total = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    print(f"{args.out}: {total / 2**20:.1f} MiB")
    return 0 if total <= LIMIT else f"the folder weighs more than {LIMIT >> 20} MiB"  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
