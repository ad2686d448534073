"""A picture and a mask to two layers: the background without the object, and the object with its shadow and reflection.

LayerDecomp (arXiv 2411.17864) as a layout: noisy [background, object with its effects], clean [picture, mask], the loss
and the sampling on the noisy ones only. What differs: one RGBA codec for all four frames; the mask is a white picture
whose alpha is the mask; each frame has a layer index of its own (1, 2, -1, -2) beside its role.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..layers.resample import resize_plane
from ..models.layout import Layout
from .arguments import CallArguments
from .base import LayersPipeline
from .given import mask_planes
from .images import INVISIBLE, ImageLike, fit_to, read_images
from .jobs import Canvas
from .outputs import LayersOutput
from .prompts import count_rows, repeated

LAYERS = 2


class ExtractObjectPipeline(LayersPipeline):
    """Lifts objects out of pictures, with what they cast. See :meth:`__call__`."""

    @property
    def default_scale(self) -> float:
        """1: the mask says what is meant, so there are no words to be guided by."""
        return 1.0

    def __call__(
        self,
        image: ImageLike | Sequence[ImageLike],
        mask: ImageLike | Sequence[ImageLike],
        *,
        prompt: str | Sequence[str | None] | None = None,
        resolution: int | None = None,
        height: int | None = None,
        width: int | None = None,
        **arguments: Any,
    ) -> LayersOutput | tuple[list[Any]]:
        """Takes the masked object out of each image: two layers, the background and the object.

        image: one or many, as for ``ImageToLayersPipeline``. mask: white where the object is, black elsewhere, of the
        image's size; one for all or one per image. It need not be tight and leaves out what the object casts. prompt:
        what the whole picture shows; not needed.

        resolution: square root of the working area in pixels (the model's default), or explicit height and width in
        pixels, multiples of a token. Results come at that size.

        arguments: see :class:`~acetate.pipelines.arguments.CallArguments`; ``boxes`` and ``layer_prompts`` have no
        meaning here.

        Returns LayersOutput with two layers per result and no composites, or (images,) with return_dict False. Raises
        InputError for what cannot be used, Cancelled when stopped.
        """
        call = CallArguments(**arguments)
        call.refuse(
            "an object and its background", boxes="the mask says where it is", layer_prompts="it needs none"
        )
        pictures = read_images(image)
        masks = mask_planes(mask, len(pictures))
        canvases = [
            self._canvas(pixels, plane, resolution, (width, height))
            for pixels, plane in zip(pictures, masks, strict=True)
        ]
        rows = max(len(canvases), count_rows(prompt, call.prompt_embeds))
        return self.run_call(
            repeated(canvases, rows, "images"),
            LAYERS,
            self.collect_prompts(prompt, rows, LAYERS, call),
            call,
            make_layout=lambda rows, columns, *_: Layout.object_with_effects(rows, columns),
            facts={"resolution": resolution, "height": height, "width": width},
        )

    def _canvas(
        self,
        pixels: np.ndarray,
        mask: np.ndarray,
        resolution: int | None,
        wanted: tuple[int | None, int | None],
    ) -> Canvas:
        if mask.shape != pixels.shape[:2]:
            sizes = (
                f"{mask.shape[1]} x {mask.shape[0]} pixels, the picture {pixels.shape[1]} x {pixels.shape[0]}"
            )
            raise InputError(f"The mask has {sizes}; give a mask of the picture's size.")
        if not mask.any():
            raise InputError("The mask is black everywhere; paint the object white.")
        canvas = self.picture_canvas(pixels.shape[1], pixels.shape[0], resolution=resolution, wanted=wanted)
        size = (canvas.width, canvas.height)
        return replace(canvas, pictures=(fit_to(pixels, *size), mask_picture(resize_plane(mask, size))))


def mask_picture(mask: np.ndarray) -> np.ndarray:
    """(H, W) float32 in [0, 1] -> H x W x 4 as the model sees it: white with the mask as alpha, nothing elsewhere."""
    alpha = np.where(mask > INVISIBLE, mask, np.float32(0))[..., None]
    return np.concatenate([np.repeat((alpha > 0).astype(np.float32), 3, axis=-1), alpha], axis=-1)
