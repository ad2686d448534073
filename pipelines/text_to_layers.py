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
from .base import LayersPipeline
from .jobs import Canvas
from .outputs import LayersOutput
from .prompts import count_rows
from .sizes import check_canvas


class TextToLayersPipeline(LayersPipeline):
    """Makes layered pictures from text. See :meth:`__call__`."""

    @property
    def default_scale(self) -> float:
        own = self.config.text_guidance
        return super().default_scale if own is None else float(own)

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
        wide = self.config.default_resolution if width is None else width
        tall = self.config.default_resolution if height is None else height
        check_canvas(wide, tall)
        rows = count_rows(prompt, call.prompt_embeds)
        # A canvas that ends inside a token is made whole and cut afterwards.
        grid = (-(-tall // self.cell), -(-wide // self.cell))
        return self.run_call(
            [Canvas(width=wide, height=tall, grid=grid)] * rows,
            layers,
            self.collect_prompts(prompt, rows, layers, call),
            call,
            make_layout=Layout.text_to_layers,
            facts={"height": tall, "width": wide},
        )
