"""The two published forms of LayerDiffuse (arXiv 2402.17113): what their files take for granted. Numbers only."""

from __future__ import annotations

from dataclasses import dataclass

from ....errors import InputError


@dataclass(frozen=True, kw_only=True)
class Form:
    """``latent_channels`` of the VAE. ``alpha_first``: the channels into the offset encoder and out of the decoder are
    (alpha, red, green, blue), else (red, green, blue, alpha). ``clip``: the RGB picture is clipped before the decoder
    sees it."""

    name: str
    latent_channels: int
    alpha_first: bool
    clip: bool


SDXL = Form(name="SDXL", latent_channels=4, alpha_first=True, clip=True)
FLUX = Form(name="FLUX", latent_channels=16, alpha_first=False, clip=False)

OFFSET_SCALE = 300.0
"""What the encoder's output is multiplied by, where the file was trained with it; the Forge files have it inside."""


def form_of(latent_channels: int) -> Form:
    """The form for a VAE with so many latent channels. Raises InputError when there is none."""
    for form in (SDXL, FLUX):
        if form.latent_channels == latent_channels:
            return form
    raise InputError(
        f"LayerDiffuse was published for VAEs of 4 (SDXL) and 16 (FLUX) latent channels, not of {latent_channels}."
    )
