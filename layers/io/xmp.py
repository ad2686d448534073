"""Provenance inside files: an XMP packet with one property of our own namespace, a JSON text.

Photoshop, Krita and GIMP carry XMP along when they save a file again. In a PSD the JSON holds the document's
metadata and, by layer id, each layer's provenance; in flat pictures the metadata alone.
"""

from __future__ import annotations

import json
from typing import Any
from xml.sax.saxutils import escape

from ...errors import InputError
from .limits import LIMITS, Limits
from .xmltree import parse_xml

NAMESPACE = "urn:acetate:document:1:"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def xmp_packet(facts: dict[str, Any]) -> bytes:
    """``facts`` as a UTF-8 XMP packet; equal facts give equal bytes."""
    try:
        text = escape(json.dumps(facts, sort_keys=True, allow_nan=False))
    except ValueError as error:
        raise InputError(f"the metadata cannot be stored ({error}): use finite numbers only") from error
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
        f'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:acetate="{NAMESPACE}">'
        "<xmp:CreatorTool>acetate</xmp:CreatorTool>"
        f"<acetate:document>{text}</acetate:document>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def read_xmp(packet: bytes, what: str, limits: Limits = LIMITS) -> dict[str, Any]:
    """The facts of :func:`xmp_packet`; {} if the packet holds none of ours. InputError if it is unsafe or
    broken.
    """
    if NAMESPACE.encode() not in packet:
        return {}
    root = parse_xml(packet.strip(b"\0 \r\n\t"), f"the XMP metadata of {what}", max_bytes=limits.text_bytes)
    tag = f"{{{NAMESPACE}}}document"
    element = root.find(f".//{tag}")
    text = element.text if element is not None else None
    if text is None:  # Photoshop turns simple properties into attributes
        text = next((e.attrib[tag] for e in root.iter(f"{{{_RDF}}}Description") if tag in e.attrib), None)
    if text is None:
        return {}
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise InputError(f"the acetate metadata of {what} is not an object: save the file again")
    return facts
