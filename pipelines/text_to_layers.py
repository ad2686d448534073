"""A prompt to layers: noisy frames [composite, L1 .. LN] and nothing given but text.

The text-to-layers stage of Qwen-Image-Layered (arXiv 2512.15603, section 4); with boxes, frames cropped to
their layer's place (ART, arXiv 2502.18364; MRT). There is no condition frame: positions come from the
layout, so the stock network's rule that the last picture is the condition cannot turn the top layer into
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..models.layout import Layout
from .arguments import CallArguments
from .outputs import LayersOutput
from .prompts import count_rows
from .text_led import TextLedPipeline


class TextToLayersPipeline(TextLedPipeline):
    """Makes layered pictures from text. See :meth:`__call__`."""

    def __call__(
        self,
        prompt: str | Sequence[str | None] | None = None,
        layers: int = 4,
        *,
        height: int | None = None,
        width: int | None = None,
        **arguments: Any,
    ) -> LayersOutput | tuple[list[Any]]:
        """Makes a picture of ``layers`` layers, the background included, for each prompt.

        prompt: the whole scene. height, width: pixels of the canvas, any number up to 4096 (by default a
        square of the model's own resolution); ``boxes`` are in these pixels and a layer is transparent
        outside its box.

        arguments: see :class:`~acetate.pipelines.arguments.CallArguments`.

        Returns LayersOutput, or (images,) with return_dict False. Raises InputError for what cannot be used,
        Cancelled when stopped.
        """
        call = CallArguments(**arguments)
        if prompt is None and call.prompt_embeds is None and not call.layer_prompts:
            raise InputError("Say what to make: give a prompt, layer_prompts or prompt_embeds.")
        canvas = self.empty_canvas(width, height)
        rows = count_rows(prompt, call.prompt_embeds)
        return self.run_call(
            [canvas] * rows,
            layers,
            self.collect_prompts(prompt, rows, layers, call),
            call,
            make_layout=lambda rows, columns, boxes, _: Layout.text_to_layers(rows, columns, layers, boxes),
            facts={"height": canvas.height, "width": canvas.width},
        )
