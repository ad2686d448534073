"""What the pipelines share whose layers follow words: the guidance that text needs, and canvases with nothing on them.

Knows sizes and stored settings; not layouts.
"""

from __future__ import annotations

from .base import LayersPipeline
from .jobs import Canvas
from .sizes import check_canvas


class TextLedPipeline(LayersPipeline):
    """Use ``TextToLayersPipeline``, ``LayersToLayersPipeline`` or ``TransparentImagePipeline``."""

    @property
    def default_scale(self) -> float:
        own = self.config.text_guidance
        return super().default_scale if own is None else float(own)

    def empty_canvas(self, width: int | None, height: int | None) -> Canvas:
        """A canvas of any size up to 4096 pixels a side, by default a square of the model's own resolution. Raises
        InputError for other sizes."""
        wide = self.config.default_resolution if width is None else width
        tall = self.config.default_resolution if height is None else height
        check_canvas(wide, tall)
        # A canvas that ends inside a token is made whole and cut afterwards.
        return Canvas(width=wide, height=tall, grid=(-(-tall // self.cell), -(-wide // self.cell)))
