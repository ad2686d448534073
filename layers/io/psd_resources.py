"""The image resources of a PSD: colour profile, resolution, version info, and our provenance in an XMP
packet.
"""

from __future__ import annotations

from typing import Any

from psd_tools.constants import Resource
from psd_tools.psd.image_resources import ImageResource, ImageResources, ResoulutionInfo, VersionInfo

from ..document import LayeredImage
from . import colour as cms
from .xmp import xmp_packet

_INCHES = 1


def build_resources(doc: LayeredImage, facts: dict[str, Any]) -> ImageResources:
    """The resources of ``doc``; ``facts`` (JSON-able) is the provenance to embed."""
    dpi = round(min(max(doc.dpi, 1.0), 65535.0) * 65536)
    resolution = ResoulutionInfo(dpi, _INCHES, _INCHES, dpi, _INCHES, _INCHES)
    version = VersionInfo(version=1, has_composite=True, writer="acetate", reader="acetate", file_version=1)
    items = {
        Resource.RESOLUTION_INFO: resolution,
        Resource.ICC_PROFILE: doc.icc if doc.icc is not None else cms.srgb_profile(),
        Resource.VERSION_INFO: version,
        Resource.XMP_METADATA: xmp_packet(facts),
    }
    return ImageResources(
        [(key.value, ImageResource(key=key.value, data=data)) for key, data in items.items()]
    )


def read_icc(resources: ImageResources) -> bytes | None:
    """The embedded profile; None for none, for an unreadable one and for sRGB as acetate itself writes it."""
    data = resources.get_data(Resource.ICC_PROFILE)
    if not isinstance(data, bytes) or data == cms.srgb_profile() or not cms.profile_space(data):
        return None
    return data


def read_dpi(resources: ImageResources) -> float:
    """Horizontal resolution in dots per inch; 72 if the file names none."""
    info = resources.get_data(Resource.RESOLUTION_INFO)
    dpi = info.horizontal / 65536 if isinstance(info, ResoulutionInfo) else 0.0
    return dpi if 1.0 <= dpi <= 65535.0 else 72.0
