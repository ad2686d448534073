"""The VAEs' tables: AutoencoderKL as Stability and Black Forest Labs name it, Qwen-Image's as Wan's code does.

Also LayerDiffuse's two networks, which have one spelling each (layouts differ in files and prefixes alone). Knows names.
"""

from __future__ import annotations

from .modules import GAMMA, LINEAR, Module, Names, Split, same

LAYERDIFFUSE_LEVELS, LAYERDIFFUSE_ATTENTIVE = 7, 3


def kl_vae(names: Names) -> list[Module]:
    """FLUX's ae.safetensors, SDXL's and SD's VAE, AlphaVAE; any number of levels, blocks and channels."""
    levels = names.count(r"decoder\.up\.(\d+)\.", r"decoder\.up_blocks\.(\d+)\.")
    blocks = names.count(r"encoder\.down\.0\.block\.(\d+)\.", r"encoder\.down_blocks\.0\.resnets\.(\d+)\.")
    found: list[Module] = [same(name, name, optional=True) for name in ("quant_conv", "post_quant_conv")]
    for side in ("encoder", "decoder"):
        found += [
            same(f"{side}.conv_in", f"{side}.conv_in"),
            same(f"{side}.norm_out", f"{side}.conv_norm_out"),
            same(f"{side}.conv_out", f"{side}.conv_out"),
        ]
        for number in (1, 2):
            found += _kl_block(f"{side}.mid.block_{number}", f"{side}.mid_block.resnets.{number - 1}")
        theirs, ours = f"{side}.mid.attn_1", f"{side}.mid_block.attentions.0"
        found.append(same(f"{theirs}.norm", f"{ours}.group_norm"))
        found += [
            Module(f"{theirs}.{one}", (f"{ours}.{other}",), Split.POINT)
            for one, other in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0"))
        ]
    for level in range(levels):
        theirs, ours = f"encoder.down.{level}", f"encoder.down_blocks.{level}"
        for block in range(blocks):
            found += _kl_block(f"{theirs}.block.{block}", f"{ours}.resnets.{block}")
        back, mirrored = f"decoder.up.{levels - 1 - level}", f"decoder.up_blocks.{level}"
        for block in range(blocks + 1):
            found += _kl_block(f"{back}.block.{block}", f"{mirrored}.resnets.{block}")
        if level < levels - 1:
            found.append(same(f"{theirs}.downsample.conv", f"{ours}.downsamplers.0.conv"))
            found.append(same(f"{back}.upsample.conv", f"{mirrored}.upsamplers.0.conv"))
    return found


def _kl_block(theirs: str, ours: str) -> list[Module]:
    parts = [same(f"{theirs}.{name}", f"{ours}.{name}") for name in ("norm1", "conv1", "norm2", "conv2")]
    return [*parts, same(f"{theirs}.nin_shortcut", f"{ours}.conv_shortcut", optional=True)]


def wan_vae(names: Names) -> list[Module]:
    """Qwen-Image's VAE (4 channels in Qwen-Image-Layered) and Wan 2.1's, which it was made from."""
    found = [
        same("conv1", "quant_conv"),
        same("conv2", "post_quant_conv"),
        *(
            module
            for side in ("encoder", "decoder")
            for module in (
                same(f"{side}.conv1", f"{side}.conv_in"),
                same(f"{side}.head.0", f"{side}.norm_out", GAMMA),
                same(f"{side}.head.2", f"{side}.conv_out"),
                *_wan_block(f"{side}.middle.0", f"{side}.mid_block.resnets.0"),
                same(f"{side}.middle.1.norm", f"{side}.mid_block.attentions.0.norm", GAMMA),
                same(f"{side}.middle.1.to_qkv", f"{side}.mid_block.attentions.0.to_qkv"),
                same(f"{side}.middle.1.proj", f"{side}.mid_block.attentions.0.proj"),
                *_wan_block(f"{side}.middle.2", f"{side}.mid_block.resnets.1"),
            )
        ),
    ]
    for k in range(names.count(r"encoder\.downsamples\.(\d+)\.", r"encoder\.down_blocks\.(\d+)\.")):
        theirs, ours = f"encoder.downsamples.{k}", f"encoder.down_blocks.{k}"
        if names.has(f"{theirs}.resample.1.weight", f"{ours}.resample.1.weight"):
            found += _wan_resample(theirs, ours)
        else:
            found += _wan_block(theirs, ours)
    levels, blocks = _wan_decoder(names)
    for level in range(levels):
        ours = f"decoder.up_blocks.{level}"
        for block in range(blocks):
            found += _wan_block(
                f"decoder.upsamples.{level * (blocks + 1) + block}", f"{ours}.resnets.{block}"
            )
        if level < levels - 1:
            found += _wan_resample(
                f"decoder.upsamples.{level * (blocks + 1) + blocks}", f"{ours}.upsamplers.0"
            )
    return found


def _wan_decoder(names: Names) -> tuple[int, int]:
    """(levels, residual blocks in each). The original counts blocks and upsamplings of all levels in one row."""
    rows = names.count(r"decoder\.upsamples\.(\d+)\.", r"$^()")
    if names.style == "diffusers":
        pattern = r"decoder\.up_blocks\.0\.resnets\.(\d+)\."
        return names.count("", r"decoder\.up_blocks\.(\d+)\."), names.count("", pattern)
    resampled = (k for k in range(rows) if f"decoder.upsamples.{k}.resample.1.weight" in names.keys)
    blocks = next(resampled, rows)
    return -(-rows // (blocks + 1)) if rows else 0, blocks


def _wan_block(theirs: str, ours: str) -> list[Module]:
    return [
        same(f"{theirs}.residual.0", f"{ours}.norm1", GAMMA),
        same(f"{theirs}.residual.2", f"{ours}.conv1"),
        same(f"{theirs}.residual.3", f"{ours}.norm2", GAMMA),
        same(f"{theirs}.residual.6", f"{ours}.conv2"),
        same(f"{theirs}.shortcut", f"{ours}.conv_shortcut", optional=True),
    ]


def _wan_resample(theirs: str, ours: str) -> list[Module]:
    return [
        same(f"{theirs}.resample.1", f"{ours}.resample.1"),
        same(f"{theirs}.time_conv", f"{ours}.time_conv", optional=True),
    ]


def layerdiffuse_encoder(names: Names) -> list[Module]:
    """LayerDiffuse's offset encoder: nine convolutions at the even places."""
    return [same(f"blocks.{k}", f"blocks.{k}") for k in range(0, 17, 2)]


def layerdiffuse_decoder(names: Names) -> list[Module]:
    """LayerDiffuse's U-Net, as published; the keys are those of ``TransparentUNet``."""
    found = [same(name, name) for name in ("conv_in", "latent_conv_in", "conv_norm_out", "conv_out")]
    last = LAYERDIFFUSE_LEVELS - 1

    def block(name: str, attentive: bool, resnets: int, sampler: str | None) -> None:
        for k in range(resnets):
            parts = [f"{name}.resnets.{k}.{part}" for part in ("norm1", "conv1", "norm2", "conv2")]
            if attentive:
                parts += [
                    f"{name}.attentions.{k}.{part}"
                    for part in ("group_norm", "to_q", "to_k", "to_v", "to_out.0")
                ]
            shortcut = f"{name}.resnets.{k}.conv_shortcut"
            found.extend(
                [*(same(part, part, LINEAR) for part in parts), same(shortcut, shortcut, optional=True)]
            )
        if sampler is not None:
            found.append(same(f"{name}.{sampler}", f"{name}.{sampler}"))

    for level in range(LAYERDIFFUSE_LEVELS):
        attentive = level > last - LAYERDIFFUSE_ATTENTIVE
        block(f"down_blocks.{level}", attentive, 2, None if level == last else "downsamplers.0.conv")
        block(f"up_blocks.{last - level}", attentive, 3, None if level == 0 else "upsamplers.0.conv")
    for k in range(2):
        parts = [f"mid_block.resnets.{k}.{part}" for part in ("norm1", "conv1", "norm2", "conv2")]
        found += [same(part, part) for part in parts]
    parts = [f"mid_block.attentions.0.{part}" for part in ("group_norm", "to_q", "to_k", "to_v", "to_out.0")]
    return [*found, *(same(part, part) for part in parts)]
