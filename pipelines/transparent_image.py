"""A prompt to one transparent picture: a single noisy frame at layer index 0 (LayerDiffuse, arXiv 2402.17113; AlphaVAE,
arXiv 2507.09308).

Their task on the layered model's own codec: no offset encoder, no second decoder, and no composite beside the layer.
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


class TransparentImagePipeline(TextLedPipeline):
    """Makes single RGBA layers from text. See :meth:`__call__`."""

    def __call__(
        self,
        prompt: str | Sequence[str | None] | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        **arguments: Any,
    ) -> LayersOutput | tuple[list[Any]]:
        """Makes one layer on a transparent canvas for each prompt.

        prompt: what the layer shows. height, width: pixels of the canvas, any number up to 4096 (by default a square of
        the model's own resolution).

        arguments: see :class:`~acetate.pipelines.arguments.CallArguments`; ``boxes`` and ``layer_prompts`` have no
        meaning for a layer alone.

        Returns LayersOutput with one layer per result and no composites, or (images,) with return_dict False. Raises
        InputError for what cannot be used, Cancelled when stopped.
        """
        call = CallArguments(**arguments)
        call.refuse(
            "a layer alone", boxes="it has the whole canvas", layer_prompts="its words are the prompt"
        )
        if prompt is None and call.prompt_embeds is None:
            raise InputError("Say what to make: give a prompt or prompt_embeds.")
        canvas = self.empty_canvas(width, height)
        rows = count_rows(prompt, call.prompt_embeds)
        return self.run_call(
            [canvas] * rows,
            1,
            self.collect_prompts(prompt, rows, 1, call),
            call,
            make_layout=lambda rows, columns, *_: Layout.one_layer(rows, columns),
            facts={"height": canvas.height, "width": canvas.width},
        )
