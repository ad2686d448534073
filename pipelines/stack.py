"""Which pictures of a result the frames of a layout are: 0 the composite, from 1 the layers, bottom to top.

A layout without a noisy composite counts its lowest frame as layer 1; frames at negative indices (the condition, a mask)
are no pictures of the result. Knows layouts only.
"""

from __future__ import annotations

from ..models.layout import Layout, Role


def picture_places(layout: Layout) -> dict[int, int]:
    """The number of every picture of the result, in rising order -> the place of its frame in ``layout.frames``."""
    shown = {frame.index: place for place, frame in enumerate(layout.frames) if frame.index >= 0}
    first = 0 if redraws(layout) else 1
    lowest = min(shown)
    return {index - lowest + first: shown[index] for index in sorted(shown)}


def redraws(layout: Layout) -> bool:
    """Whether the whole picture is sampled beside its layers."""
    return any(frame.role is Role.COMPOSITE for frame in layout.noisy_frames)


def made_places(layout: Layout) -> dict[int, int]:
    """Those of :func:`picture_places` that are sampled; the others are given."""
    return {number: place for number, place in picture_places(layout).items() if layout.frames[place].noisy}


def noisy_slots(layout: Layout) -> list[int]:
    """For each noisy frame its place in a draw of noise that has one part for every picture of the result, given ones
    included: so a layer starts from the same noise whichever others are given."""
    slots = list(picture_places(layout).values())
    return [slots.index(place) for place in range(len(layout.noisy_frames))]
