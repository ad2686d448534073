"""A flat picture to layers: the Qwen-Image-Layered task (arXiv 2512.15603), background first, any picture.

Noisy frames [composite, L1 .. LN], the encoded picture as a clean condition frame at layer index -1. Results
come at the model's working size; bringing them to the picture's own size is the API's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from ..layers.composite import quantise
from ..models.layout import Layout
from .arguments import CallArguments
from .base import LayersPipeline
from .images import ImageLike, fit_to, read_images
from .jobs import Canvas
from .outputs import LayersOutput
from .prompts import count_rows, repeated


class ImageToLayersPipeline(LayersPipeline):
    """Takes pictures apart into layers. See :meth:`__call__`."""

    def __call__(
        self,
        image: ImageLike | Sequence[ImageLike] | None = None,
        layers: int = 4,
        prompt: str | Sequence[str | None] | None = None,
        *,
        resolution: int | None = None,
        height: int | None = None,
        width: int | None = None,
        image_latents: torch.Tensor | None = None,
        **arguments: Any,
    ) -> LayersOutput | tuple[list[Any]]:
        """Takes each image apart into ``layers`` layers, the background included.

        image: one or many pictures of any size and mode, files, arrays (H, W[, C]) or (B, H, W, C), or
        tensors (C, H, W) or (B, C, H, W), integers or floats in [0, 1]. Each keeps its own aspect, results
        keep the order.

        prompt: what the whole picture shows, hidden parts included; one for all or one per image; one image
        with many prompts gives a result for each. None or blank: captioned where the model can, otherwise
        left empty.

        resolution: square root of the working area in pixels (the model's default), or explicit height and
        width in pixels, multiples of a token. image_latents: (B, C, h, w) instead of ``image``, as the
        codec encodes.

        arguments: see :class:`~acetate.pipelines.arguments.CallArguments`.

        Returns LayersOutput, or (images,) with return_dict False. Raises InputError for what cannot be used,
        Cancelled when stopped.
        """
        call = CallArguments(**arguments)
        if (image is None) == (image_latents is None):
            raise InputError(
                "Give an image to take apart (or its image_latents); for a prompt alone use generate."
            )
        if image_latents is not None:
            pictures, canvases = None, self._latent_canvases(image_latents)
        else:
            pictures = read_images(image)
            canvases = [self._canvas(pixels, resolution, (width, height)) for pixels in pictures]
        rows = max(len(canvases), count_rows(prompt, call.prompt_embeds))
        canvases = repeated(canvases, rows, "images")
        prompts = self.collect_prompts(prompt, rows, layers, call)
        if pictures is not None and call.prompt_embeds is None and self.captioner is not None:
            shown = [Image.fromarray(quantise(canvas.pictures[0], 8)) for canvas in canvases]
            if self.residency is not None:
                self.residency.text()
            prompts = prompts.with_scene(self.captioner.fill(shown, prompts.scene))
        return self.run_call(
            canvases,
            layers,
            prompts,
            call,
            make_layout=lambda rows, columns, boxes, _: Layout.image_to_layers(rows, columns, layers, boxes),
            facts={"resolution": resolution, "height": height, "width": width},
        )

    def _canvas(
        self, pixels: np.ndarray, resolution: int | None, wanted: tuple[int | None, int | None]
    ) -> Canvas:
        canvas = self.picture_canvas(pixels.shape[1], pixels.shape[0], resolution=resolution, wanted=wanted)
        return replace(canvas, pictures=(fit_to(pixels, canvas.width, canvas.height),))

    def _latent_canvases(self, latents: torch.Tensor) -> list[Canvas]:
        channels, patch = self.backbone.capabilities.latent_channels, self.backbone.patch_size
        if latents.ndim == 5 and latents.shape[2] == 1:
            latents = latents[:, :, 0]  # (B, C, 1, h, w), one frame, as the VAE encodes
        if (
            latents.ndim != 4
            or latents.shape[1] != channels
            or any(side % patch for side in latents.shape[2:])
        ):
            raise InputError(
                f"image_latents must have shape (B, {channels}, h, w) with h and w multiples of {patch}; "
                f"got {tuple(latents.shape)}."
            )
        rows, columns = latents.shape[2] // patch, latents.shape[3] // patch
        size = {"width": columns * self.cell, "height": rows * self.cell, "grid": (rows, columns)}
        return [Canvas(**size, pictures=(one,)) for one in latents]
