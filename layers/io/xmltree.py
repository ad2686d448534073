"""XML from strangers: parsed with neither document types nor entities, and bounded in size and depth."""

from __future__ import annotations

from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from ...errors import InputError

_MAX_DEPTH = 100


def parse_xml(data: bytes, what: str, *, max_bytes: int) -> ElementTree.Element:
    """The root element of ``data``. Raises InputError for malformed XML, a DTD, an entity, or too much of
    anything.

    Without a document type there are no entities, so neither expansion bombs nor references to files can
    occur.
    """
    if len(data) > max_bytes:
        raise InputError(f"{what} is larger than {max_bytes // 2**20} MiB: it is damaged or hostile")
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    depth = 0

    def refuse(*_: object) -> NoReturn:
        raise InputError(
            f"{what} declares a document type or entities, which acetate does not read: remove them"
        )

    def qualified(name: str) -> str:
        return "{" + name if "}" in name else name

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise InputError(f"{what} nests elements more than {_MAX_DEPTH} deep: it is damaged or hostile")
        builder.start(qualified(name), {qualified(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(qualified(name))

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError(f"{what} is not well-formed XML ({error}): save the file again") from error
    return builder.close()
