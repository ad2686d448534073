"""The scenes that models are judged on: drawn from held-out seeds, never seen in training, the same everywhere.

Decomposition uses the sprites held out from training as well. Text to layers uses the training sprites, whose names the
model can know, in new scenes. Needs the emoji font; :func:`acetate.datasets.sprites.find_font` says so if it is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..datasets.scenes import HELD_OUT_SEED, Scene, SceneSampler, SceneSettings
from ..datasets.sprites import Atlas, build_atlas
from ..layers.composite import quantise
from .metrics import Box, visible_box

SETTINGS = SceneSettings(min_objects=1, max_objects=4)
SIZE = 128
SEED_UNSEEN_SPRITES = HELD_OUT_SEED
SEED_KNOWN_SPRITES = HELD_OUT_SEED + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationScene:
    """``layers``: uint8 (N, H, W, 4) straight, background first; ``picture``: their composite, uint8 (H, W, 4), opaque."""

    index: int
    scene: Scene
    layers: np.ndarray
    picture: np.ndarray

    @property
    def objects(self) -> np.ndarray:
        """The layers above the background, (N - 1, H, W, 4)."""
        return self.layers[1:]

    @property
    def boxes(self) -> list[Box]:
        """The visible box of each object, bottom to top; the whole canvas for one that cannot be seen."""
        height, width = self.picture.shape[:2]
        return [visible_box(layer) or (0, 0, width, height) for layer in self.objects]


def evaluation_scenes(
    count: int, *, size: int = SIZE, known_sprites: bool = False, atlas: Atlas | None = None
) -> list[EvaluationScene]:
    """The first ``count`` scenes of 1 to 4 objects, ``size`` x ``size`` pixels.

    ``known_sprites`` False: sprites that training never saw. True: training sprites in unseen scenes. Deterministic; scene
    k is the same whatever ``count`` is. Raises InputError when the emoji font is not installed.
    """
    from ..datasets.render import Renderer

    atlas = atlas or build_atlas()
    sampler = SceneSampler(atlas, settings=SETTINGS, held_out=not known_sprites)
    seed = SEED_KNOWN_SPRITES if known_sprites else SEED_UNSEEN_SPRITES
    renderer = Renderer(atlas)
    found = []
    for index in range(count):
        scene = sampler.scene(seed, index)
        rendered = renderer.render([scene], size, size)
        layers = quantise(rendered.layers[0].movedim(1, -1).numpy(), 8)
        picture = quantise(rendered.composite[0].movedim(0, -1).numpy(), 8)
        found.append(EvaluationScene(index=index, scene=scene, layers=layers, picture=picture))
    return found
