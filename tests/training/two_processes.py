"""What tests/training/test_processes.py starts twice: three steps of a tiny run, then what this process ended with.

`torchrun --standalone --nproc_per_node 2 two_processes.py FOLDER`, a folder with atlas.npz and vae/
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from diffusers import AutoencoderKLQwenImage

from acetate.datasets.atlas import Atlas
from acetate.datasets.render import Renderer
from acetate.datasets.scenes import vocabulary
from acetate.models.codecs import QwenRGBACodec
from acetate.training.chunks import ChunkSettings, ChunkStream
from acetate.training.loop import LoopSettings, Trainer
from acetate.training.model import LayersModel, ModelSettings
from acetate.training.pool import Pool
from acetate.training.processes import open_accelerator
from acetate.training.tasks import TaskSettings

SIZES = ModelSettings(
    latent_channels=4,
    heads=2,
    head_dim=16,
    axes=(4, 6, 6),
    blocks=3,
    text_dim=16,
    text_blocks=1,
    text_heads=2,
)


def main(out: str) -> None:
    with open_accelerator("cpu") as accelerator:
        train(Path(out), accelerator)


def train(folder: Path, accelerator: Accelerator) -> None:
    rank = accelerator.process_index
    atlas = Atlas.load(folder / "atlas.npz")
    torch.manual_seed(rank)  # the processes begin with different weights, and must not keep them
    model = LayersModel(vocabulary(atlas), SIZES)
    settings = ChunkSettings(scenes=8, group=4)
    stream = ChunkStream(
        atlas, model.tokenizer, settings=settings, large=multiprocessing.Value("d", 0.0), seed=2 + rank
    )
    vae = AutoencoderKLQwenImage.from_pretrained(folder / "vae").requires_grad_(False)
    pool = Pool(iter(stream), Renderer(atlas), QwenRGBACodec(vae), size=2, reuse=2.0)
    loop = LoopSettings(minutes=0.2, batches=1, warm_up=1, average=0.5, log_every=1)
    trainer = Trainer(
        model,
        pool,
        [],
        loop,
        TaskSettings(tokens=512),
        accelerator,
        multiprocessing.Value("d", 0.0),
        folder,
    )
    seen: list[float] = []
    kept = trainer._step

    def step(rng: np.random.Generator, share: float) -> None:
        kept(rng, share)
        seen.append(share)

    trainer._step = step  # type: ignore[method-assign]
    torch.manual_seed(11 + rank)
    trainer.run()
    digest = [float(value.double().sum()) for value in trainer.ema.shadow.values()]
    told = gather_object([{"rank": rank, "digest": digest, "shares": seen, "scenes": pool.scenes}])
    if accelerator.is_main_process:
        (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
