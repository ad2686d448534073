"""`acetate ui`: serve the studio."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError


def serve(arguments: argparse.Namespace) -> int:
    from ..ui.app import launch
    from ..ui.settings import StudioSettings

    settings = StudioSettings(
        host=arguments.host,
        port=arguments.port,
        auth=tuple(parse_login(text) for text in arguments.auth),
        models=tuple(arguments.model) or ("tiny",),
        memory=arguments.memory,
        quantise=arguments.quantise,
        transformer=None if arguments.transformer is None else Path(arguments.transformer),
        transparency=None if arguments.transparency is None else Path(arguments.transparency),
        loras=tuple(arguments.lora),
        store=None if arguments.store is None else Path(arguments.store),
        hours=arguments.hours,
        max_upload_mib=arguments.max_upload,
    )
    return launch(settings)


def parse_login(text: str) -> tuple[str, str]:
    """``"anna:secret"`` as ("anna", "secret"). Raises InputError."""
    name, colon, password = text.partition(":")
    if not colon or not name or not password:
        raise InputError("--auth is written NAME:PASSWORD, neither of them empty")
    return name, password
