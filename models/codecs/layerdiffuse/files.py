"""LayerDiffuse's published files: which tensors they hold, and which offset scale they were trained with.

    TransparentVAE.pth (FLUX)                                     encoder.* (18), decoder.* (538), perhaps sd_vae.*
    ld_diffusers_sdxl_vae_transparent_{encoder,decoder}           the tensors alone; the offset times 300
    [layer_sd15_]vae_transparent_{encoder,decoder} (Forge)        the tensors alone; the offset as it is

Strict: every name and shape is compared before anything is loaded; a pickle may hold tensors only. Knows files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ....errors import InputError
from ...inventory import expected_shapes
from ..tensor_file import State, check_state, fill, read_tensors
from .forms import OFFSET_SCALE
from .offset_encoder import LatentOffsetEncoder
from .transparent_unet import TransparentUNet

PUBLISHED_DECODER: dict[str, Any] = {"widths": (32, 32, 64, 128, 256, 512, 512)}
PUBLISHED_ENCODER: dict[str, Any] = {"widths": (32, 64, 128, 256)}
REMEDY = "use the file as it was published"
WITHIN = "sd_vae."  # the FLUX form may carry the whole VAE, which the base model has already


@dataclass(frozen=True, kw_only=True)
class LayerDiffuseParts:
    """The tensors of a decoder and, where there is one, of an offset encoder."""

    decoder: State
    encoder: State | None
    latent_channels: int
    offset_scale: float

    def build(
        self, device: torch.device, dtype: torch.dtype
    ) -> tuple[TransparentUNet, LatentOffsetEncoder | None]:
        """The networks with these tensors, in evaluation mode and frozen."""
        with torch.device("meta"):
            decoder = TransparentUNet(**PUBLISHED_DECODER, latent_channels=self.latent_channels)
            encoder = LatentOffsetEncoder(**PUBLISHED_ENCODER, latent_channels=self.latent_channels)
        fill(decoder, self.decoder, device, dtype)
        if self.encoder is None:
            return decoder, None
        fill(encoder, self.encoder, device, dtype)
        return decoder, encoder


def read_layerdiffuse(path: Path, encoder: Path | None, offset_scale: float | None) -> LayerDiffuseParts:
    """Reads and checks the files; see :meth:`LayerDiffuseCodec.from_file`."""
    tensors = read_tensors(path, REMEDY)
    if any(key.startswith(("encoder.", "decoder.")) for key in tensors):
        parts: dict[str, State] = {"encoder": {}, "decoder": {}}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            if part in parts:
                parts[part][name] = value
            elif not key.startswith(WITHIN):
                raise InputError(f"{path} holds {key}, which is no part of LayerDiffuse; {REMEDY}.")
        if encoder is not None:
            raise InputError(f"{path} holds an encoder already; leave {encoder} out.")
        found: State | None = parts["encoder"]
        decoder, encoder = parts["decoder"], path
        scale = OFFSET_SCALE if offset_scale is None else offset_scale
    else:
        decoder = tensors
        found = None if encoder is None else read_tensors(encoder, REMEDY)
        scale = _scale(encoder, offset_scale)
    if "latent_conv_in.weight" not in decoder:
        what = "an offset encoder" if "blocks.0.weight" in decoder else "something else"
        raise InputError(f"{path} holds {what}, not LayerDiffuse's decoder; name the decoder's file first.")
    channels = int(decoder["latent_conv_in.weight"].shape[1])
    expected = expected_shapes(TransparentUNet, {**PUBLISHED_DECODER, "latent_channels": channels})
    check_state(decoder, expected, path, REMEDY)
    if found is not None and encoder is not None:
        expected = expected_shapes(LatentOffsetEncoder, {**PUBLISHED_ENCODER, "latent_channels": channels})
        check_state(found, expected, encoder, REMEDY)
    return LayerDiffuseParts(decoder=decoder, encoder=found, latent_channels=channels, offset_scale=scale)


def _scale(encoder: Path | None, given: float | None) -> float:
    """Never guessed: the wrong one gives latents 300 times off."""
    if given is not None or encoder is None:
        return OFFSET_SCALE if given is None else given
    if encoder.stem.startswith("ld_diffusers_"):
        return OFFSET_SCALE
    if encoder.stem.endswith("vae_transparent_encoder"):
        return 1.0
    raise InputError(
        f"The name {encoder.name} does not tell how its offset is scaled; say offset_scale=300 for files of the diffusers "
        "release, 1 for files of Forge and ComfyUI."
    )
