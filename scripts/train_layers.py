"""Train the embedded layered transformer: `python -P scripts/train_layers.py --vae runs/vae/vae --minutes 90`.

Resumes from --out by itself; the rate decays to zero over the last part of the given minutes. Ends by writing the
diffusers parts transformer/, text_encoder/, tokenizer/ and frame_embedding/ (EMA weights, bf16) into --out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

from acetate.datasets.scenes import vocabulary
from acetate.datasets.sprites import build_atlas
from acetate.datasets.stream import loader
from acetate.models.backbones.qwen import QwenBackbone
from acetate.models.frame_embedding import FrameEmbedding
from acetate.models.text.embedded import EmbeddedTextEncoder, build_encoder, build_tokenizer
from acetate.training.alignment import LayerAlignment
from acetate.training.attention import MatmulAttention
from acetate.training.ema import EMA
from acetate.training.flow import FlowSettings, draw_sigma, flow_loss, pack_frames, pack_weights
from acetate.training.log import RunLog
from acetate.training.muon import Muon, split_parameters
from acetate.training.tasks import TaskBatch, TaskSettings, TaskStream

HEADS, HEAD_DIM, BLOCKS, TEXT_DIM = 4, 64, 6, 128


class Model(torch.nn.Module):
    """Everything that learns, under one state dict."""

    def __init__(self, words: list[str], latent_channels: int) -> None:
        super().__init__()
        self.transformer = QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=4 * latent_channels,
            out_channels=latent_channels,
            num_layers=BLOCKS,
            attention_head_dim=HEAD_DIM,
            num_attention_heads=HEADS,
            joint_attention_dim=TEXT_DIM,
            axes_dims_rope=(8, 28, 28),
            use_additional_t_cond=True,
            use_layer3d_rope=True,
        )
        self.tokenizer = build_tokenizer(words)
        self.text_encoder = build_encoder(len(self.tokenizer), TEXT_DIM, 2, 4)
        self.frame_embedding = FrameEmbedding(dim=HEADS * HEAD_DIM)
        for block in self.transformer.transformer_blocks:  # adaLN-zero: every block begins as the identity
            for linear in (block.img_mod[1], block.txt_mod[1]):
                torch.nn.init.zeros_(linear.weight)
                torch.nn.init.zeros_(linear.bias)
        torch.nn.init.zeros_(self.transformer.proj_out.weight)
        torch.nn.init.zeros_(self.transformer.proj_out.bias)
        torch.nn.init.zeros_(self.transformer.time_text_embed.addition_t_embedding.weight)
        self.transformer.set_attn_processor(MatmulAttention())
        self.backbone = QwenBackbone(self.transformer, self.frame_embedding)
        self.text = EmbeddedTextEncoder(self.tokenizer, self.text_encoder)

    def loss(self, batch: TaskBatch, sigma: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        tokens = pack_frames(self.backbone, batch.latents, batch.layout)
        weights = pack_weights(batch.weights, batch.layout)
        features = self.text.encode(batch.prompts, batch.layer_prompts).trimmed()
        noise = torch.randn_like(tokens[:, batch.layout.noisy_slice]) if noise is None else noise
        return flow_loss(self.backbone, tokens, weights, features, batch.layout, sigma, noise)


ADAMW = (
    "transformer.img_in",
    "transformer.txt_in",
    "transformer.proj_out",
    "transformer.norm_out",
    "transformer.time_text_embed",
    "text_encoder",
    "frame_embedding",
)


def parameters(model: Model) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Muon takes the blocks' attention and MLP matrices; modulation, heads and embeddings go to AdamW."""
    modulation = tuple(
        f"transformer.transformer_blocks.{i}.{s}_mod" for i in range(BLOCKS) for s in ("img", "txt")
    )
    return split_parameters(model, ADAMW + modulation)


@torch.no_grad()
def validate(model: Model, ema: EMA, batches: list[TaskBatch]) -> dict[str, float]:
    """Velocity error of the EMA weights at fixed noise, averaged over sigma .1 .3 .5 .7 .9, by task."""
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(ema.shadow)
    result: dict[str, list[float]] = {}
    for i, batch in enumerate(batches):
        generator = torch.Generator().manual_seed(i)
        shape = pack_frames(model.backbone, batch.latents, batch.layout)[:, batch.layout.noisy_slice].shape
        noise = torch.randn(shape, generator=generator)
        for level in (0.1, 0.3, 0.5, 0.7, 0.9):
            loss = model.loss(batch, torch.full((shape[0],), level), noise)
            result.setdefault(f"val_{batch.task}", []).append(float(loss))
            result.setdefault(f"val_{batch.task}_{level}", []).append(float(loss))
    model.load_state_dict(kept)
    return {k: sum(v) / len(v) for k, v in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, default=Path("weights/vae"))
    parser.add_argument("--out", type=Path, default=Path("runs/layers"))
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--tokens", type=int, default=3072, help="image tokens a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--decay", type=float, default=0.35, help="share of the time over which the rate falls to zero"
    )
    parser.add_argument("--align", type=float, default=0.5, help="weight of the alignment head at the start")
    parser.add_argument(
        "--align-until", type=float, default=0.5, help="share of the time at which it has faded to 0"
    )
    parser.add_argument("--rehearse", action="store_true", help="one minute, to see that everything works")
    args = parser.parse_args()
    minutes = 1.0 if args.rehearse else args.minutes
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    atlas = build_atlas()
    latent_channels = AutoencoderKLQwenImage.load_config(args.vae)["z_dim"]
    model = Model(vocabulary(atlas), latent_channels)
    optimiser = Muon(*parameters(model), lr=0.02, adamw_lr=1.5e-3)
    alignment = LayerAlignment(model.transformer, dim=HEADS * HEAD_DIM, block=BLOCKS // 2, max_layers=6)
    head = torch.optim.AdamW(alignment.parameters(), lr=2e-3)
    ema, step, state_file = EMA(model, 0.998), 0, args.out / "state.pt"
    if state_file.exists():
        state = torch.load(state_file)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        ema.load_state_dict(state["ema"])
        step = state["step"]
        torch.manual_seed(step)
    held_out = TaskStream(atlas, args.vae, settings=TaskSettings(tokens=4096), seed=1 << 20, held_out=True)
    validation = [batch for batch, _ in zip(held_out, range(4), strict=False)]
    stream = loader(
        TaskStream(atlas, args.vae, settings=TaskSettings(tokens=args.tokens), start=step), workers=1
    )
    log, flow, began, saved, first, sums = (
        RunLog(args.out / "log.jsonl"),
        {"image": FlowSettings(mean=0.8), "text": FlowSettings(), "boxes": FlowSettings()},
        time.monotonic(),
        time.monotonic(),
        step,
        {},
    )
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        optimiser.scale_lr(min(1.0, (step - first + 1) / 60, max(0.0, (1 - share) / args.decay)))
        batch = next(stream)
        loss = model.loss(batch, draw_sigma(len(batch.latents), flow[batch.task], batch.latents.device))
        aligned = args.align * max(0.0, 1 - share / args.align_until) if batch.task == "image" else 0.0
        if aligned:
            extra = alignment.loss(batch.layout, batch.coverage, batch.visible)
            sums.setdefault("align", []).append(float(extra.detach()))
        optimiser.zero_grad()
        head.zero_grad()
        (loss + aligned * extra if aligned else loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        head.step()
        ema.update(model)
        step += 1
        sums.setdefault(batch.task, []).append(float(loss.detach()))
        if step % 50 == 0:
            log.write(step=step, share=share, **{k: sum(v) / len(v) for k, v in sums.items()})
            sums = {}
        if step % 500 == 0:
            log.write(step=step, **validate(model, ema, validation))
        if time.monotonic() - saved > 180:
            saved = save(args.out, model, optimiser, ema, step)
    save(args.out, model, optimiser, ema, step)
    log.write(step=step, **validate(model, ema, validation))
    export(args.out, model, ema)


def save(out: Path, model: Model, optimiser: Muon, ema: EMA, step: int) -> float:
    """Write the state beside its place and rename it; returns the time."""
    torch.save(
        {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "ema": ema.state_dict(),
            "step": step,
        },
        out / "state.tmp",
    )
    (out / "state.tmp").replace(out / "state.pt")
    return time.monotonic()


def export(out: Path, model: Model, ema: EMA) -> None:
    """The EMA weights as diffusers and transformers folders, in bf16, every file below 16 MiB."""
    model.load_state_dict(ema.shadow)
    model.tokenizer.save_pretrained(out / "tokenizer")
    for name in ("transformer", "text_encoder", "frame_embedding"):
        getattr(model, name).to(torch.bfloat16).save_pretrained(out / name, max_shard_size="14MB")


if __name__ == "__main__":
    main()
