"""What the operator of a studio decides. Plain numbers; knows nothing of Gradio or of visitors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layers.io.limits import Limits
from ..models.lora import LoraLike, read_loras
from ..models.memory.budget import parse_memory
from ..models.registry import DEFAULT_MODEL
from ..run import alpha_path, gguf_path
from ..session import ModelOptions

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class StudioSettings:
    """Everything that holds for all visitors of one studio. Raises InputError in the words of ``acetate ui``."""

    host: str = "127.0.0.1"
    port: int = 7860
    """0 takes any free port."""
    auth: tuple[tuple[str, str], ...] = ()
    """(name, password) of those who may enter; empty: everybody who reaches the port."""
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    """Names or folders a visitor may choose from, by their last path part; the first is the default."""
    memory: str | None = None
    """How models are held, as `--memory` of the other commands; None loads everything."""
    quantise: str | None = None
    """In how few bits their weights are kept, as `--quantise` of the other commands."""
    transformer: Path | None = None
    """A GGUF file with the weights of the one model's transformer, as `--transformer` of the other commands."""
    transparency: Path | None = None
    """Where the one model takes alpha from, if it is FLUX, as `--transparency` of `acetate generate`."""
    loras: tuple[LoraLike, ...] = ()
    """Laid over the one model, as `--lora` of the other commands."""
    store: Path | None = None
    """Where documents lie while their visitors work; None: a temporary folder that is removed at the end."""
    hours: float = 4.0
    """Hours without use after which a document is removed."""
    max_upload_mib: int = 256
    max_megapixels: int = 64
    """Pixels of an opened canvas: a browser shows no larger one."""
    max_layers: int = 512
    max_documents: int = 256
    """Documents of all visitors together."""
    max_per_visitor: int = 8
    max_hot: int = 12
    """Documents held in memory with their history; others wait on disk."""
    max_waiting: int = 32
    """Runs that may wait in the queue."""
    history: int = 60
    """Steps of undo."""
    history_mib: int = 1024
    """Memory that the history of one document may hold."""
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port must lie between 0 and 65535, not {self.port}")
        if not self.models:
            raise InputError("the studio needs at least one --model")
        if self.memory is not None:
            parse_memory(self.memory)
        ModelOptions(
            loras=read_loras(self.loras), transformer=gguf_path(self.transformer), quantise=self.quantise
        )
        if (self.transformer or self.transparency or self.loras) and len(self.models) > 1:
            raise InputError(
                "--transformer, --transparency and --lora belong to one model: give one --model with them"
            )
        alpha_path(self.transparency)
        if not 0 < self.hours <= 24 * 365:
            raise InputError(f"--hours must be a positive number of hours, not {self.hours}")
        for name in ("max_upload_mib", "max_megapixels", "max_layers", "max_documents", "max_per_visitor"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        for user, password in self.auth:
            if not user or not password:
                raise InputError("--auth is written NAME:PASSWORD, neither of them empty")
        limits = Limits(
            side=32_768,
            pixels=self.max_megapixels * 10**6,
            total_pixels=8 * self.max_megapixels * 10**6,
            layers=self.max_layers,
            depth=16,
            file_bytes=self.max_upload_mib * 2**20,
            entries=4 * self.max_layers,
        )
        object.__setattr__(self, "limits", limits)

    @property
    def public(self) -> bool:
        """Whether other machines can reach the studio."""
        return self.host not in LOCAL_HOSTS

    @property
    def held(self) -> dict[str, Any]:
        """The arguments of every run that say how its model is held, and what lies over it."""
        return {name: getattr(self, name) for name in ("memory", "quantise", "transformer", "loras")}

    @property
    def choices(self) -> dict[str, str]:
        """What visitors see of each model, and what it is called here: visitors never name a folder."""
        return {Path(model).name if Path(model).is_absolute() else model: model for model in self.models}
