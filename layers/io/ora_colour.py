"""The colour profile of an OpenRaster document that does not name one: programs put it into the PNGs.

Knows which profiles the pictures carry and what follows for document and layers; pixels are converted by
``colour.py``.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from . import colour as cms
from .archive import ArchiveReader
from .ora_ops import MASK_OP
from .png_read import png_profile

_MERGED = "mergedimage.png"


class PictureProfiles:
    """What the PNGs of an archive say about colour. ``icc`` is the one RGB profile that all layers share (None: sRGB);
    where they differ, :attr:`mixed`, every layer becomes sRGB.

    Layers that name no profile at all count as having that of the merged picture.
    """

    def __init__(self, archive: ArchiveReader, stack: Element) -> None:
        self._archive = archive
        self._names = set(archive.names())
        sources = {
            element.get("src", "")
            for element in stack.iter("layer")
            if element.get("composite-op") != MASK_OP
        }
        self._profiles = {source: self._profile(source) for source in sorted(sources & self._names)}
        meant = {_rgb(profile) for profile in self._profiles.values()}
        self.icc: bytes | None = None
        self.mixed = len(meant) > 1
        if len(meant) == 1:
            self.icc = meant.pop()
        if not any(self._profiles.values()):
            self.icc = _rgb(self._profile(_MERGED))

    def _profile(self, name: str) -> bytes | None:
        if name not in self._names:
            return None
        with self._archive.beginning(name) as file:
            return png_profile(file, f"{name[:80]!r} in {self._archive.what}")

    def applied(self, pixels: np.ndarray, source: str) -> np.ndarray:
        """H x W x 4 uint8 or uint16 ``pixels`` of the file ``source`` in the document's colours, same dtype."""
        profile = self._profiles.get(source)
        if profile is None:
            return pixels
        if cms.profile_space(profile) == "GRAY":
            colour = cms.grey_to_srgb(np.ascontiguousarray(pixels[..., 0]), profile)
        elif self.mixed and _rgb(profile) is not None:
            colour = cms.to_srgb(np.ascontiguousarray(pixels[..., :3]), profile)
        else:
            return pixels
        return np.concatenate([colour, pixels[..., 3:]], axis=2)


def _rgb(profile: bytes | None) -> bytes | None:
    """The profile if it is one of RGB colours that are not sRGB; else None."""
    if profile is None or cms.profile_space(profile) != "RGB" or cms.is_srgb(profile):
        return None
    return profile
