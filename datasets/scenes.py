"""Scene descriptions: which sprites lie where, over which background, in which order, and how captions say it.

A :class:`Scene` is plain data, drawn from ``(seed, index)`` alone; a renderer turns it into exact layers. Objects are
listed bottom to top in a canonical order: whatever overlaps keeps its drawn order, whatever does not is sorted from
the top of the picture down, so that one picture has one right answer. This module draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .atlas import KINDS, Atlas
from .effects import Effects, draw_effects, draw_rim, ground_below

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (247, 127, 0),
    "yellow": (252, 204, 40),
    "green": (56, 158, 72),
    "teal": (18, 140, 140),
    "blue": (40, 98, 220),
    "purple": (124, 58, 180),
    "pink": (240, 110, 170),
    "brown": (130, 84, 50),
    "black": (28, 28, 32),
    "white": (246, 246, 242),
    "grey": (136, 140, 146),
}
COLOUR_NAMES = tuple(COLOURS)
BACKGROUNDS = ("flat", "gradient", "glow", "stripes", "checks", "dots", "clouds", "texture")
_KIND_LIMITS = np.cumsum([0.62, 0.22, 0.16]) / np.cumsum([0.62, 0.22, 0.16])[-1]
_CELLS = (np.arange(12) + 0.5) / 12 - 0.5
HELD_OUT_SEED = 1 << 40
"""Scenes with a seed at or above this are for evaluation only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Background:
    """``kind`` out of BACKGROUNDS, two colours in [0,1], and two numbers that a pattern uses (angle, frequency).

    ``vignette``: how much darker the corners are, as a share of the colour, and the power of the distance from the middle
    by which it darkens; or None.
    """

    kind: str
    names: tuple[str, str]
    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    angle: float
    frequency: float
    noise_seed: int
    vignette: tuple[float, float] | None = None

    @property
    def caption(self) -> str:
        """For example "a blue and pink stripes background"."""
        first, second = self.names
        colours = first if self.kind == "flat" or first == second else f"{first} and {second}"
        return f"a {colours} {self.kind} background"


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """One sprite in the scene. Centre and size in fractions of the canvas, angle in radians, tint RGB or None."""

    sprite: int
    name: str
    kind: str
    centre: tuple[float, float]
    size: float
    angle: float
    flip: bool
    tint: tuple[float, float, float] | None
    colour: str | None
    gain: tuple[float, float, float]
    opacity: float
    shadow: tuple[float, float, float, float] | None
    """Drop shadow: offset x, y and blur sigma as fractions of the canvas, strength."""
    effects: Effects | None = None
    rim: tuple[float, float, float, float] | None = None
    """Sticker rim: RGB in [0,1] and width as a fraction of the canvas's shorter side. It belongs to the object itself."""

    @property
    def caption(self) -> str:
        """For example "a red star", "the word sale in white" or "a slice of pizza"."""
        if self.kind == "text":
            return f"the word {self.name} in {self.colour}"
        seen = "see through " if self.opacity < 1 else ""
        tint = f"{self.colour} " if self.colour else ""
        return f"a {seen}{tint}{self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A background and its objects, bottom to top."""

    background: Background
    objects: tuple[Placed, ...]

    @property
    def caption(self) -> str:
        """All objects and the background in one sentence."""
        return ", ".join([*(o.caption for o in self.objects), f"on {self.background.caption}"])

    @property
    def layer_captions(self) -> tuple[str, ...]:
        """One caption a layer, the background first."""
        return (self.background.caption, *(o.caption for o in self.objects))

    def without_effects(self) -> Scene:
        """The same scene with bare objects: no shadow of any kind, reflection or glow. Rims stay."""
        return replace(self, objects=tuple(replace(o, shadow=None, effects=None) for o in self.objects))


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneSettings:
    """How scenes are drawn. Sizes are fractions of the canvas.

    ``shadow_share`` of the objects cast a drop shadow; ``contact_share``, ``reflection_share`` and ``glow_share`` of them
    have that effect as well (``effects.py``); ``rim_share`` of the opaque ones have a sticker rim. ``vignette_share`` of the
    backgrounds darken towards the corners. ``large_share`` of the scenes begin with an object of ``large_size``, beneath
    all that overlaps it. All but drop shadows are drawn from dice of their own: a scene whose share is 0 is the scene it
    was before the effect existed.
    """

    min_objects: int = 1
    max_objects: int = 4
    min_size: float = 0.24
    max_size: float = 0.62
    shadow_share: float = 0.3
    translucent_share: float = 0.15
    min_visible: float = 0.25
    contact_share: float = 0.0
    reflection_share: float = 0.0
    glow_share: float = 0.0
    rim_share: float = 0.0
    vignette_share: float = 0.0
    large_share: float = 0.0
    large_size: tuple[float, float] = (0.6, 1.1)

    @property
    def effect_shares(self) -> tuple[float, float, float]:
        """Shares of contact shadow, reflection and glow."""
        return (self.contact_share, self.reflection_share, self.glow_share)

    def __post_init__(self) -> None:
        if not 0 <= self.min_objects <= self.max_objects <= 6:
            raise ValueError(
                f"objects must satisfy 0 <= min <= max <= 6, not {self.min_objects}..{self.max_objects}"
            )
        if not 0 < self.large_size[0] <= self.large_size[1] <= 2:
            raise ValueError(f"large_size must be two rising numbers in 0..2, not {self.large_size}")
        for name in ("shadow", "translucent", "contact", "reflection", "glow", "rim", "vignette", "large"):
            if not 0 <= (share := getattr(self, f"{name}_share")) <= 1:
                raise ValueError(f"{name}_share must lie in 0..1, not {share}")


def _colour(rng: np.random.Generator) -> tuple[str, tuple[float, float, float]]:
    name = COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]
    noise = rng.normal(0, 0.03, 3).tolist()
    red, green, blue = (
        min(max(level / 255 + n, 0.0), 1.0) for level, n in zip(COLOURS[name], noise, strict=True)
    )
    return name, (red, green, blue)


def _background(rng: np.random.Generator) -> Background:
    first, second = _colour(rng), _colour(rng)
    return Background(
        kind=BACKGROUNDS[rng.integers(len(BACKGROUNDS))],
        names=(first[0], second[0]),
        colours=(first[1], second[1]),
        angle=float(rng.uniform(0, np.pi)),
        frequency=float(rng.uniform(2, 9)),
        noise_seed=int(rng.integers(1 << 31)),
    )


def _placed(
    rng: np.random.Generator, atlas: Atlas, pools: dict[str, np.ndarray], settings: SceneSettings
) -> Placed:
    # Same draws as rng.choice, which costs ten times as much for a single item.
    kind = KINDS[int(np.searchsorted(_KIND_LIMITS, rng.random(), side="right"))]
    sprite = int(pools[kind][rng.integers(len(pools[kind]))])
    description = atlas.sprites[sprite]
    size = float(np.exp(rng.uniform(np.log(settings.min_size), np.log(settings.max_size))))
    if kind == "text":
        size = min(0.9, size * 1.6)
    margin = 0.3 * size
    centre = (float(rng.uniform(margin, 1 - margin)), float(rng.uniform(margin, 1 - margin)))
    colour, tint = _colour(rng)
    shadow = None
    if rng.random() < settings.shadow_share:
        shadow = (
            float(rng.uniform(-0.04, 0.04)),
            float(rng.uniform(0.01, 0.06)),
            float(rng.uniform(0.008, 0.03)),
            float(rng.uniform(0.25, 0.65)),
        )
    translucent = description.tinted and kind == "shape" and rng.random() < settings.translucent_share * 2
    return Placed(
        sprite=sprite,
        name=description.name,
        kind=kind,
        centre=centre,
        size=size,
        angle=float(rng.normal(0, 0.12) if kind == "text" else rng.normal(0, 0.3)),
        flip=bool(rng.random() < 0.5) and kind != "text",
        tint=tint if description.tinted else None,
        colour=colour if description.tinted else None,
        gain=tuple(float(v) for v in rng.uniform(0.88, 1.1, 3)),  # type: ignore[arg-type]
        opacity=float(rng.uniform(0.45, 0.85)) if translucent else 1.0,
        shadow=shadow,
    )


def _large(rng: np.random.Generator, settings: SceneSettings) -> tuple[float, tuple[float, float]] | None:
    """Size and centre of a scene's large object, or None."""
    dice, size, x, y = rng.random(4).tolist()
    if dice >= settings.large_share:
        return None
    low, high = settings.large_size
    return low + size * (high - low), (0.35 + 0.3 * x, 0.35 + 0.3 * y)


def _vignette(rng: np.random.Generator, share: float) -> tuple[float, float] | None:
    dice, strength, power = rng.random(3).tolist()
    return (0.2 + 0.5 * strength, 1.2 + 1.8 * power) if dice < share else None


def _overlap(a: Placed, b: Placed) -> bool:
    reach = 0.5 * (a.size + b.size)
    return abs(a.centre[0] - b.centre[0]) < reach and abs(a.centre[1] - b.centre[1]) < reach


def canonical_order(objects: tuple[Placed, ...]) -> tuple[Placed, ...]:
    """The same picture's one agreed stack: overlapping pairs keep their order, free choices go top of picture first."""
    remaining, ordered = list(objects), []
    while remaining:
        free = [o for i, o in enumerate(remaining) if not any(_overlap(o, below) for below in remaining[:i])]
        chosen = min(free, key=lambda o: (o.centre[1], o.centre[0]))
        ordered.append(chosen)
        remaining.remove(chosen)
    return tuple(ordered)


def _covered(target: Placed, above: list[Placed]) -> float:
    """Rough share of ``target``'s square that lies under the squares above it."""
    x, y = target.centre[0] + _CELLS * target.size, target.centre[1] + _CELLS * target.size
    hidden = np.zeros((12, 12), bool)
    for o in above:
        half = 0.45 * o.size
        hidden |= (np.abs(y - o.centre[1]) < half)[:, None] & (np.abs(x - o.centre[0]) < half)
    return int(np.count_nonzero(hidden)) / hidden.size


class SceneSampler:
    """Draws scenes. ``held_out`` picks the sprite pool; a scene depends on (seed, index) and nothing else."""

    def __init__(
        self, atlas: Atlas, *, settings: SceneSettings | None = None, held_out: bool = False
    ) -> None:
        self.atlas, self.settings, self.held_out = atlas, settings or SceneSettings(), held_out
        allowed = atlas.indices(held_out=held_out)
        kinds = np.array([atlas.sprites[i].kind for i in allowed])
        self.pools = {kind: allowed[kinds == kind] for kind in KINDS}

    def scene(self, seed: int, index: int, *, count: int | None = None) -> Scene:
        """The scene of this seed and index; ``count`` asks for a number of objects (fewer when they do not fit)."""
        rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, index])
        background = _background(rng)
        drawn = int(rng.integers(self.settings.min_objects, self.settings.max_objects + 1))
        count = drawn if count is None else count
        entropy = [seed & 0xFFFFFFFF, seed >> 32, index]
        large = (
            _large(np.random.default_rng([*entropy, 6]), self.settings) if self.settings.large_share else None
        )
        objects: list[Placed] = []
        for _ in range(40):
            if len(objects) == count:
                break
            new = _placed(rng, self.atlas, self.pools, self.settings)
            if large is not None and not objects:
                new = replace(new, size=large[0], centre=large[1])
            if all(
                _covered(o, [*objects[i + 1 :], new]) <= 1 - self.settings.min_visible
                for i, o in enumerate(objects)
            ):
                objects.append(new)
        lit = self._with_effects(self._with_rims(objects, [*entropy, 4]), [*entropy, 2])
        return Scene(background=self._darkened(background, [*entropy, 5]), objects=canonical_order(lit))

    def scene_like(self, layout: Scene, seed: int, index: int) -> Scene:
        """Another scene whose objects lie where those of ``layout`` do, in the same order: other sprites, colours and
        background. Batches with given boxes are made of such scenes."""
        entropy = [seed & 0xFFFFFFFF, seed >> 32, index]
        rng = np.random.default_rng([*entropy, 1])
        background = _background(rng)
        drawn = [_placed(rng, self.atlas, self.pools, self.settings) for _ in layout.objects]
        objects = [
            replace(new, centre=old.centre, size=old.size)
            for new, old in zip(drawn, layout.objects, strict=True)
        ]
        lit = self._with_effects(self._with_rims(objects, [*entropy, 7]), [*entropy, 3])
        return Scene(background=self._darkened(background, [*entropy, 8]), objects=lit)

    def _darkened(self, background: Background, entropy: list[int]) -> Background:
        if not (share := self.settings.vignette_share):
            return background
        return replace(background, vignette=_vignette(np.random.default_rng(entropy), share))

    def _with_rims(self, objects: list[Placed], entropy: list[int]) -> list[Placed]:
        if not (share := self.settings.rim_share):
            return objects
        rng = np.random.default_rng(entropy)
        rims = [draw_rim(rng, share, _colour(rng)[1]) for _ in objects]
        return [replace(o, rim=rim) if o.opacity == 1 else o for o, rim in zip(objects, rims, strict=True)]

    def _with_effects(self, objects: list[Placed], entropy: list[int]) -> tuple[Placed, ...]:
        shares = self.settings.effect_shares
        if not any(shares):
            return tuple(objects)
        rng, lit = np.random.default_rng(entropy), []
        for placed in objects:
            effects = draw_effects(rng, shares, _colour(rng)[1])
            if effects is not None:
                ground = ground_below(self.atlas.pixels[placed.sprite], placed.angle, placed.flip)
                ground += placed.rim[3] / placed.size if placed.rim else 0.0
                effects = replace(effects, ground=ground)
            lit.append(replace(placed, effects=effects))
        return tuple(lit)


def vocabulary(atlas: Atlas) -> list[str]:
    """Every word a caption can hold, sorted."""
    said = [s.name for s in atlas.sprites] + list(COLOURS) + list(BACKGROUNDS)
    said.append("a an the word in on with and of see through background layer scene picture ,")
    return sorted({word for text in said for word in text.split()})
