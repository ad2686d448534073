"""Where a transformer's modulation sits: the module that embeds the conditions, and the layers that read it.

One entry per diffusers class. Knows the names inside those classes, no values and no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import InputError


@dataclass(frozen=True, kw_only=True)
class Site:
    """One layer ``linear(activation(embedding))``, both by their names below the transformer.

    ``all_rows``: it sees every row of the embedding (Qwen's ``zero_cond_t`` gives some layers only the first half).
    ``late``: the class casts what the activation returns to the tokens' dtype before the layer sees it.
    """

    activation: str
    linear: str
    all_rows: bool = True
    late: bool = False


@dataclass(frozen=True, kw_only=True)
class ModulationSites:
    """``embedding``: the module that turns the conditions into the vector that all sites read. ``conditions``: which of
    its arguments differ between samples, the time first. ``paired``: its rows are [samples, the same samples at time 0].
    ``time_scale``: what the class multiplies the time by before. ``time_only``: nothing but the time counts, so one table
    serves every prompt."""

    embedding: str
    conditions: tuple[int, ...]
    sites: tuple[Site, ...]
    paired: bool = False
    time_scale: int = 1
    time_only: bool = True

    @property
    def put_away(self) -> tuple[str, ...]:
        """The modules whose weights are not needed once their values are known."""
        return (self.embedding, *(site.linear for site in self.sites))


def modulation_sites(transformer: Any) -> ModulationSites:
    """The sites of a transformer, by the name of its class. Raises InputError for a class that is not known."""
    name = type(transformer).__name__
    if name not in _CLASSES:
        known = " and ".join(_CLASSES)
        raise InputError(f"There is no modulation table for a {name}; it is made for {known}.")
    return _CLASSES[name](transformer.config)


def _qwen(config: Any) -> ModulationSites:
    """QwenImageTransformer2DModel: time and the RGB/RGBA flag; two layers per block, a third of all weights."""
    paired = bool(config.zero_cond_t)
    blocks = [f"transformer_blocks.{number}" for number in range(config.num_layers)]
    streams = [(f"{block}.{stream}_mod", stream == "img") for block in blocks for stream in ("img", "txt")]
    sites = [Site(activation=f"{m}.0", linear=f"{m}.1", all_rows=image or not paired) for m, image in streams]
    return ModulationSites(
        embedding="time_text_embed",
        conditions=(0, 2),
        sites=(*sites, _final(not paired)),
        paired=paired,
    )


def _flux(config: Any) -> ModulationSites:
    """FluxTransformer2DModel: time, guidance where it is distilled, and the pooled prompt; 3.2 of 12 B weights."""
    sites = []
    for number in range(config.num_layers):
        for norm in ("norm1", "norm1_context"):
            path = f"transformer_blocks.{number}.{norm}"
            sites.append(Site(activation=f"{path}.silu", linear=f"{path}.linear"))
    for number in range(config.num_single_layers):
        path = f"single_transformer_blocks.{number}.norm"
        sites.append(Site(activation=f"{path}.silu", linear=f"{path}.linear"))
    return ModulationSites(
        embedding="time_text_embed",
        conditions=(0, 1, 2) if config.guidance_embeds else (0, 1),
        sites=(*sites, _final(True)),
        time_scale=1000,
        time_only=False,
    )


def _final(all_rows: bool) -> Site:
    return Site(activation="norm_out.silu", linear="norm_out.linear", all_rows=all_rows, late=True)


_CLASSES = {"QwenImageTransformer2DModel": _qwen, "FluxTransformer2DModel": _flux}
