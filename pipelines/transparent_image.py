"""A prompt, or a prompt and a picture, to one transparent picture: a single noisy frame at layer index 0 (LayerDiffuse,
arXiv 2402.17113; AlphaVAE, arXiv 2507.09308).

Their task on the layered model's own codec: no offset encoder, no second decoder, and no composite beside the layer. A
picture to start from enters the flow late, as in ``revise``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..models.layout import Layout
from .arguments import CallArguments
from .images import ImageLike, read_images
from .jobs import Canvas
from .outputs import LayersOutput
from .prompts import count_rows, repeated
from .text_led import TextLedPipeline

PICTURE_STRENGTH = 0.8


class TransparentImagePipeline(TextLedPipeline):
    """Makes single RGBA layers from text, or from text and pictures. See :meth:`__call__`."""

    def __call__(
        self,
        prompt: str | Sequence[str | None] | None = None,
        *,
        image: ImageLike | Sequence[ImageLike] | None = None,
        strength: float | None = None,
        height: int | None = None,
        width: int | None = None,
        **arguments: Any,
    ) -> LayersOutput | tuple[list[Any]]:
        """Makes one layer on a transparent canvas for each prompt.

        prompt: what the layer shows. image: a picture to start from, one for all prompts or one each, resized to the
        canvas; strength: the share of the steps that changes it, in (0, 1], by default 0.8. height, width: pixels of the
        canvas, any number up to 4096 (by default a square of the model's own resolution, or with the picture's aspect).

        arguments: see :class:`~acetate.pipelines.arguments.CallArguments`; ``boxes`` and ``layer_prompts`` have no
        meaning for a layer alone.

        Returns LayersOutput with one layer per result and no composites, or (images,) with return_dict False. Raises
        InputError for what cannot be used, Cancelled when stopped.
        """
        pictures = [] if image is None else read_images(image)
        if pictures:
            if arguments.get("init_layers") is not None:
                raise InputError("Give either image or init_layers; for one layer they are the same.")
            strength = PICTURE_STRENGTH if strength is None else strength
            if (
                strength != 1 or arguments.get("mask") is not None
            ):  # at 1 only the aspect is left of a picture
                arguments["init_layers"] = [[picture] for picture in pictures]
        if strength is not None:
            arguments["strength"] = strength
        call = CallArguments(**arguments)
        call.refuse(
            "a layer alone", boxes="it has the whole canvas", layer_prompts="its words are the prompt"
        )
        if prompt is None and call.prompt_embeds is None:
            raise InputError("Say what to make: give a prompt or prompt_embeds.")
        rows = max(len(pictures), count_rows(prompt, call.prompt_embeds))
        if pictures:
            canvases = repeated([self._canvas(one, width, height) for one in pictures], rows, "images")
            if call.init_layers is not None and len(pictures) < rows:
                call = replace(call, init_layers=[[pictures[0]]] * rows)
        else:
            canvases = [self.empty_canvas(width, height)] * rows
        return self.run_call(
            canvases,
            1,
            self.collect_prompts(prompt, rows, 1, call),
            call,
            make_layout=lambda rows, columns, *_: Layout.one_layer(rows, columns),
            facts={"height": canvases[0].height, "width": canvases[0].width},
        )

    def _canvas(self, picture: np.ndarray, width: int | None, height: int | None) -> Canvas:
        if width is not None and height is not None:
            return self.empty_canvas(width, height)
        tall, wide = picture.shape[:2]
        return self.picture_canvas(wide, tall, resolution=None, wanted=(width, height))
