"""Our codecs beside the published code, on the same random weights, in float32 (docs/checkpoints.md has the figures).

Needs a folder with checkouts of the published repositories, named in ACETATE_REFERENCES; nothing of them is in ours:

    LayerDiffuse_DiffusersCLI/  Flux-version-LayerDiffuse/  art-msra/
    diffusers-0.31/  (`pip install --no-deps --target` of diffusers 0.31.0, for ART's transformer)

torchvision, which they import, is replaced by the two things that ART's decoder takes from it; ART needs einops.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from safetensors.torch import save_file

from acetate.models.backbones import FluxBackbone
from acetate.models.codecs import LayerDiffuseCodec, RegionDecoder
from acetate.models.codecs.layerdiffuse import pad_rgb
from acetate.models.frame_embedding import LayerEmbedding
from acetate.models.layout import Frame, Layout, Role
from acetate.models.text import TextFeatures

ROOT = os.environ.get("ACETATE_REFERENCES")
pytestmark = [
    pytest.mark.external,
    pytest.mark.skipif(not ROOT, reason="ACETATE_REFERENCES names no folder of published code"),
]


class _Nothing:
    def __getattr__(self, name: str) -> Any:
        return _Nothing()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _Nothing()


class _Perceptron(torch.nn.Sequential):
    """torchvision's MLP of two layers, by what its documentation says it is."""

    def __init__(
        self, width: int, hidden: list[int], activation_layer: Any, dropout: float, inplace: Any
    ) -> None:
        first, last, drop = (
            torch.nn.Linear(width, hidden[0]),
            torch.nn.Linear(*hidden),
            torch.nn.Dropout(dropout),
        )
        super().__init__(first, activation_layer(), drop, last, torch.nn.Dropout(dropout))


def load(monkeypatch: pytest.MonkeyPatch, path: str) -> Any:
    """A module of a reference checkout, by its file."""
    file = Path(str(ROOT)) / path
    if not file.is_file():
        pytest.skip(f"{file} is missing")
    for name in ("torchvision", "torchvision.models", "torchvision.models.vision_transformer"):
        stub = types.ModuleType(name)
        stub.__getattr__ = lambda name: _Nothing()  # type: ignore[method-assign]
        stub.ops = types.SimpleNamespace(misc=types.SimpleNamespace(MLP=_Perceptron))  # type: ignore[attr-defined]
        stub.vit_b_32 = lambda **_: types.SimpleNamespace(encoder=torch.nn.Module())  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, stub)
    spec = importlib.util.spec_from_file_location(f"reference_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def randomise(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Random values at a scale that keeps activations near one, also where the published code starts at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() > 1:
                p.copy_(noise / p[0].numel() ** 0.5)
            else:
                p.copy_(float("norm" in name and name.endswith("weight")) + 0.1 * noise)
    return module.eval()


def make_vae(latents: int, scale: float, shift: float | None) -> AutoencoderKL:
    torch.manual_seed(5)
    return AutoencoderKL(
        latent_channels=latents,
        block_out_channels=(8, 8, 16, 16),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=scale,
        shift_factor=shift,
    ).eval()


@pytest.fixture
def picture() -> np.ndarray:
    """uint8 64 x 128 x 4 with empty, half and fully opaque parts."""
    values = np.random.default_rng(0).integers(0, 256, (64, 128, 4), dtype=np.uint8)
    values[:20, :, 3], values[40:, :64, 3] = 0, 255
    return values


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).float().movedim(-1, 0)[None] / 255


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


@torch.no_grad()
@pytest.mark.slow
def test_sdxl_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, picture: np.ndarray) -> None:
    reference = load(monkeypatch, "LayerDiffuse_DiffusersCLI/lib_layerdiffuse/vae.py")
    vae = make_vae(4, 0.13025, None)
    unet = randomise(reference.UNet1024(in_channels=3, out_channels=4), 0)
    offset = randomise(reference.LatentTransparencyOffsetEncoder(), 1)
    for p in offset.blocks[16].parameters():
        p.mul_(3e-3)  # 300 times this is an offset of order one
    paths = [
        tmp_path / f"ld_diffusers_sdxl_vae_transparent_{part}.safetensors" for part in ("decoder", "encoder")
    ]
    for path, module in zip(paths, (unet, offset), strict=True):
        save_file(module.state_dict(), path)
    ours = LayerDiffuseCodec.from_file(paths[0], vae, encoder=paths[1])
    for size in ((128, 128), (128, 192)):
        x, z = torch.rand(1, 3, *size), torch.randn(1, 4, size[0] // 8, size[1] // 8)
        assert gap(unet(x, z), ours.decoder(x, z)) == 0
    encoder = reference.TransparentVAEEncoder(paths[1], dtype=torch.float32)
    latents = encoder(vae, [picture]) * vae.config.scaling_factor
    assert gap(latents, ours.encode(tensor(picture) * 2 - 1)) <= 1e-5
    decoder = reference.TransparentVAEDecoder(paths[0], dtype=torch.float32)
    raw = latents / vae.config.scaling_factor
    seen = decoder.estimate_augmented((vae.decode(raw).sample * 0.5 + 0.5).clip(0, 1), raw)
    assert gap(torch.cat([seen[:, 1:], seen[:, :1]], 1) * 2 - 1, ours.decode(latents)) <= 1e-5


@torch.no_grad()
@pytest.mark.slow
def test_flux_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, picture: np.ndarray) -> None:
    reference = load(monkeypatch, "Flux-version-LayerDiffuse/lib_layerdiffuse/vae.py")
    vae = make_vae(16, 0.3611, 0.1159)
    theirs = reference.TransparentVAE(vae, dtype=torch.float32).eval()
    randomise(theirs.encoder, 2)
    randomise(theirs.decoder, 3)
    for p in theirs.encoder.blocks[16].parameters():
        p.mul_(3e-3)
    torch.save(theirs.state_dict(), tmp_path / "TransparentVAE.pth")
    ours = LayerDiffuseCodec.from_file(tmp_path / "TransparentVAE.pth", vae)
    rgba = tensor(picture)
    padded = torch.from_numpy(reference.pad_rgb(rgba[0].movedim(0, -1).numpy())).movedim(-1, 0)[None]
    on_grey = (rgba[:, :3] * 2 - 1) * rgba[:, 3:]
    latents = theirs.encode(rgba, on_grey, padded)
    assert gap(latents, ours.encode(rgba * 2 - 1)) <= 1e-5
    raw = latents / 0.3611 + 0.1159
    for augmented in (True, False):
        ours.augmented = augmented
        _, seen = theirs.decode(raw, aug=augmented)
        assert gap(seen * 2 - 1, ours.decode(latents, clamp=False)) <= 1e-5


@pytest.mark.parametrize("shape", [(64, 128), (37, 91), (1, 20), (20, 1), (3, 2), (513, 400)])
def test_padded_colour(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    reference = load(monkeypatch, "LayerDiffuse_DiffusersCLI/lib_layerdiffuse/vae.py")
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (*shape, 4), dtype=np.uint8)
    picture[rng.random(shape) < 0.7, 3] = 0
    for _ in range(2):
        ours = pad_rgb(tensor(picture))[0].movedim(0, -1)
        assert gap(torch.from_numpy(reference.pad_rgb(picture)), ours) <= 1e-5
        picture[..., 3] = 0


@torch.no_grad()
@pytest.mark.slow
def test_art_decoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("einops")
    reference = load(monkeypatch, "art-msra/multi_layer_gen/custom_model_transp_vae.py")
    theirs = randomise(reference.AutoencoderKLTransformerTraining(), 4)
    torch.save({"model": theirs.state_dict()}, tmp_path / "transparent_decoder_ckpt.pt")
    ours = RegionDecoder.from_file(tmp_path / "transparent_decoder_ckpt.pt")
    boxes: list[Any] = [(0, 0, 192, 128), (0, 0, 192, 128), (16, 32, 112, 96), None, (96, 0, 192, 64)]
    latents = torch.randn(5, 16, 16, 24)
    rgb, alpha = theirs(latents, [boxes])
    frames = [
        Frame(role=Role.LAYER, index=number, box=tuple(side // 8 for side in box))
        for number, box in enumerate(boxes)
        if box is not None
    ]
    kept = [number for number, box in enumerate(boxes) if box is not None]
    seen = ours(latents[kept], Layout(height=16, width=24, frames=tuple(frames)))
    assert gap(torch.cat([rgb, alpha], 1)[kept], seen) <= 1e-5


# Runs in a process of its own, because ART's transformer needs the blocks of diffusers 0.31.
ART_TRANSFORMER = """
import sys, importlib.util, huggingface_hub, torch, transformers.utils
root, out = sys.argv[1:]
sys.path.insert(0, root + "/diffusers-0.31")
transformers.utils.FLAX_WEIGHTS_NAME = "flax_model.msgpack"  # gone since, and imported by that diffusers
huggingface_hub.cached_download = None
spec = importlib.util.spec_from_file_location("art", root + "/art-msra/multi_layer_gen/custom_model_mmdit.py")
art = importlib.util.module_from_spec(spec)
spec.loader.exec_module(art)
data = torch.load(out)
model = art.CustomFluxTransformer2DModel(**data["config"]).eval()
generator = torch.Generator().manual_seed(0)
with torch.no_grad():
    for p in model.parameters():
        p.copy_(torch.randn(p.shape, generator=generator) * (p[0].numel() ** -0.5 if p.dim() > 1 else 0.1))
    data["output"] = model(**data["inputs"], list_layer_box=data["boxes"], return_dict=False)[0]
torch.save({**data, "state": model.state_dict()}, out)
"""


@torch.no_grad()
@pytest.mark.slow
def test_art_transformer(tmp_path: Path) -> None:
    if not (Path(str(ROOT)) / "diffusers-0.31").is_dir():
        pytest.skip("there is no diffusers-0.31 beside the checkouts")
    config = {
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 32,
        "num_attention_heads": 2,
        "joint_attention_dim": 24,
        "pooled_projection_dim": 12,
        "guidance_embeds": True,
        "axes_dims_rope": (4, 14, 14),
    }
    boxes: list[Any] = [(0, 0, 128, 96), (0, 0, 128, 96), (16, 32, 96, 80), None, (64, 0, 128, 48)]
    kept = [number for number, box in enumerate(boxes) if box is not None]
    frames = [
        Frame(role=Role.LAYER, index=number, box=tuple(side // 16 for side in boxes[number]))
        for number in kept
    ]
    layout = Layout(height=6, width=8, frames=tuple(frames))
    generator = torch.Generator().manual_seed(1)
    inputs = {
        "hidden_states": torch.randn(1, 5, 16, 12, 16, generator=generator),
        "encoder_hidden_states": torch.randn(1, 6, 24, generator=generator),
        "pooled_projections": torch.randn(1, 12, generator=generator),
        "timestep": torch.tensor([0.7]),
        "img_ids": layout.positions().float(),
        "txt_ids": torch.zeros(6, 3),
        "guidance": torch.tensor([4.0]),
    }
    path = tmp_path / "art.pt"
    torch.save({"config": {**config, "max_layer_num": 8}, "inputs": inputs, "boxes": boxes}, path)
    subprocess.run([sys.executable, "-P", "-c", ART_TRANSFORMER, str(ROOT), str(path)], check=True)
    theirs = torch.load(path)
    embedding = LayerEmbedding(64, 8)
    embedding.load_state_dict({"layer_pe": theirs["state"].pop("layer_pe")})
    model = FluxTransformer2DModel(**config).eval()
    model.load_state_dict(theirs["state"], strict=True)
    backbone = FluxBackbone(model, embedding, guidance=4.0)

    def tokens(latents: torch.Tensor) -> torch.Tensor:
        packed = backbone.pack(latents[0, kept])
        return torch.cat([layout.crop(packed[i : i + 1], frame) for i, frame in enumerate(frames)], 1)

    text = TextFeatures(embeds=inputs["encoder_hidden_states"], pooled=inputs["pooled_projections"])
    seen = backbone.velocity(tokens(inputs["hidden_states"]), torch.tensor([0.7]), text, layout)
    assert gap(seen, tokens(theirs["output"])) <= 1e-5
