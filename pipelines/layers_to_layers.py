"""Some layers of a stack from the others: background to foreground, foreground to background, any gap between.

LASAGNA (arXiv 2601.15507) as a layout: noisy [composite, the missing layers], the given layers clean at their own indices.
What differs: any number of layers where the paper has one object, captions and boxes per layer, and given layers that come
back as they were, not as the model would redraw them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..errors import InputError
from ..models.layout import Layout
from .arguments import CallArguments
from .given import GivenStack, IncompleteLayers, as_sets, read_stack
from .jobs import Canvas
from .outputs import LayersOutput
from .prompts import count_rows, repeated
from .text_led import TextLedPipeline


class LayersToLayersPipeline(TextLedPipeline):
    """Makes the layers that a stack is missing. See :meth:`__call__`."""

    def __call__(
        self,
        layers: IncompleteLayers | Sequence[IncompleteLayers],
        prompt: str | Sequence[str | None] | None = None,
        *,
        missing: Sequence[int] | None = None,
        resolution: int | None = None,
        height: int | None = None,
        width: int | None = None,
        **arguments: Any,
    ) -> LayersOutput | tuple[list[Any]]:
        """Makes the missing layers of each stack, given its other layers.

        layers: a list with one picture or None per layer, bottom to top, the background included: None is made. Or a
        document, each top-level node a given layer, with ``missing``: the numbers, from 1 at the bottom, of the layers of
        the result that are to be made. Or a list of either, all with equally many layers.

        prompt: the whole scene. ``layer_prompts`` has one entry per layer of the result; given layers may be described
        too. ``boxes`` are in pixels of the canvas, which has the size of the given layers.

        resolution: square root of the working area in pixels (the model's default), or explicit height and width in
        pixels, multiples of a token. The model sees the given layers at that size and what it makes is brought to the
        size of the canvas; with nothing given the canvas is the working size.

        arguments: see :class:`~acetate.pipelines.arguments.CallArguments`.

        Returns LayersOutput, or (images,) with return_dict False. Given layers come back with exactly their own pixels,
        in documents as the very layers that were given; for output type "latent" as encoded. Raises InputError for what
        cannot be used, Cancelled when stopped.
        """
        call = CallArguments(**arguments)
        stacks = [read_stack(one, missing) for one in as_sets(layers)]
        counts = sorted({count for count, _ in stacks})
        if len(counts) != 1:
            raise InputError(
                f"The sets have {', '.join(map(str, counts))} layers; give sets of equally many, with None for those to "
                "make."
            )
        count = counts[0]
        canvases = [self._canvas(given, resolution, (width, height)) for _, given in stacks]
        rows = max(len(canvases), count_rows(prompt, call.prompt_embeds))
        numbers = [canvas.given_numbers for canvas in canvases]
        return self.run_call(
            repeated(canvases, rows, "sets of layers"),
            count,
            self.collect_prompts(prompt, rows, count, call),
            call,
            make_layout=lambda rows, columns, boxes, given: Layout.missing_layers(
                rows, columns, count, given, boxes
            ),
            facts={
                "given": list(numbers[0]) if len(set(numbers)) == 1 else [list(one) for one in numbers],
                "resolution": resolution,
                "height": height,
                "width": width,
            },
        )

    def _canvas(
        self, given: GivenStack | None, resolution: int | None, wanted: tuple[int | None, int | None]
    ) -> Canvas:
        own = self.config.default_resolution
        size = (own, own) if given is None else given.size
        canvas = self.picture_canvas(*size, resolution=resolution, wanted=wanted)
        if given is None:
            return canvas
        return replace(canvas, given=given, pictures=given.working_pictures(canvas.width, canvas.height))
