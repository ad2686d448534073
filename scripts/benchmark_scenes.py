"""How many scenes a second are drawn: `python -P scripts/benchmark_scenes.py --device cuda --batch 512`.

Prints three rates: describing scenes (one CPU core; workers do it ahead), packing them, and rendering them on the device.
The renderer is measured alone: packed scenes in, layers and composites on the device out. The best of the rounds counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from acetate.datasets.atlas import Atlas
from acetate.datasets.pack import pack
from acetate.datasets.render import Renderer
from acetate.datasets.scenes import SceneSampler, SceneSettings
from acetate.datasets.sprites import build_atlas


def rate(work: Callable[[], object], count: int, rounds: int, device: torch.device) -> float:
    """Scenes a second of ``work``, which handles ``count`` of them. On a CPU processor time counts, not the clock."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    best = float("inf")
    for _ in range(rounds):
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, clock() - start)
    return count / best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--atlas", type=Path, help="sprites drawn before (Atlas.save); by default from the fonts here"
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--effects", type=float, default=0.0, help="share of objects with each effect")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device, cpu = torch.device(args.device), torch.device("cpu")
    shares = dict.fromkeys(("contact_share", "reflection_share", "glow_share"), args.effects)
    sampler = SceneSampler(
        Atlas.load(args.atlas) if args.atlas else build_atlas(), settings=SceneSettings(**shares)
    )
    renderer = Renderer(sampler.atlas, device)
    scenes = [sampler.scene(9, index) for index in range(args.batch)]
    packed = pack(scenes)
    renderer.render(packed, args.size, args.size)
    described = rate(
        lambda: [sampler.scene(10, index) for index in range(args.batch)], args.batch, args.rounds, cpu
    )
    packing = rate(lambda: pack(scenes), args.batch, args.rounds, cpu)
    drawn = rate(lambda: renderer.render(packed, args.size, args.size), args.batch, args.rounds, device)
    print(f"{args.size} px, batches of {args.batch} on {args.device}: described {described:.0f}/s, packed {packing:.0f}/s, "
          f"rendered {drawn:.0f} scenes/s")  # fmt: skip


if __name__ == "__main__":
    main()
