"""From a model's name to its parts, ready to run: backbone, codec, text encoder, scheduler, captioner.

Checks first (``folder``), then loads strictly from safetensors on this machine. Knows which class reads which folder;
nothing of tasks, settings or pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from .backbones.qwen import QwenBackbone
from .captioning import CaptionProcessor, QwenCaptioner
from .codecs.qwen_rgba import QwenRGBACodec
from .folder import EMBEDDED_ENCODER, TRANSFORMER_CLASS, CheckedFolder, check_folder, fingerprint
from .frame_embedding import FrameEmbedding
from .memory.loading import Holding
from .memory.means import Means
from .memory.residency import Residency
from .modulation.loading import load_with_table
from .registry import ModelEntry, locate, resolve
from .text import EmbeddedTextEncoder, QwenTextEncoder, TextEncoder

ALIGNMENT = 64  # bytes, of what torch allocates on the CPU


@dataclass(frozen=True, kw_only=True, eq=False)
class Components:
    """The parts of one loaded model. ``captioner`` is None when the model cannot describe pictures (then an empty
    prompt stays empty). ``revision``: the hub's commit, or a fingerprint of the folder's files. ``residency``: what
    brings parts into memory phase by phase where a plan says so; None when all of them are there."""

    entry: ModelEntry
    revision: str
    backbone: QwenBackbone
    codec: QwenRGBACodec
    text: TextEncoder
    scheduler: Any
    tokenizer: Any
    encoder: Any
    processor: CaptionProcessor | None = None
    captioner: QwenCaptioner | None = None
    residency: Residency | None = None

    @property
    def transformer(self) -> Any:
        return self.backbone.transformer

    @property
    def vae(self) -> Any:
        return self.codec.vae

    @property
    def frame_embedding(self) -> FrameEmbedding | None:
        return self.backbone.frame_embedding


def load_components(
    entry: ModelEntry | str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    download: bool = True,
    caption_language: str = "en",
    modulation_table: bool = False,
    means: Means | None = None,
) -> Components:
    """Loads every part of a model in evaluation mode. ``entry`` may be a name or a folder.

    ``modulation_table`` leaves the transformer's modulation weights, a third of it, in their files and reads them once
    per schedule: the same results, but neither training nor adapters for those layers. ``dtype`` None is float32 on the
    CPU and bfloat16 elsewhere. ``means``: how a memory plan holds the parts; it names the dtype and the table itself, and
    a pipeline must say which phase comes. Raises InputError naming the file and the remedy when the model is unknown, is
    not on this machine and cannot be fetched, or its folder does not pass the checks.
    """
    entry = locate(entry if isinstance(entry, ModelEntry) else resolve(entry), download=download)
    assert entry.path is not None
    device = torch.device(device)
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    checked = check_folder(entry.path, entry.remedy)
    holding = None if means is None else Holding(means, device)
    dtype = dtype if holding is None else holding.dtype
    with _no_progress_bars():
        backbone = _load_backbone(checked, device, dtype, entry.remedy, modulation_table, holding)
        return _load(entry, checked, backbone, device, dtype, caption_language, holding)


def _load(
    entry: ModelEntry,
    checked: CheckedFolder,
    backbone: QwenBackbone,
    device: torch.device,
    dtype: torch.dtype,
    language: str,
    holding: Holding | None,
) -> Components:
    tokenizer, encoder = _load_text(checked, device, dtype, entry.remedy, holding)
    text: TextEncoder
    if checked.encoder_class == EMBEDDED_ENCODER:
        text = EmbeddedTextEncoder(tokenizer, encoder)
        processor = None
    else:
        text = QwenTextEncoder(tokenizer, encoder)
        processor = load_processor(checked.path, tokenizer) if checked.has_processor else None
    revision = entry.revision or fingerprint(checked.path)
    captioner = None
    if processor is not None:
        captioner = QwenCaptioner(processor, encoder, language=language, revision=f"{entry.name}@{revision}")
    vae = _load_diffusers("AutoencoderKLQwenImage", checked.path / "vae", device, dtype)
    return Components(
        entry=entry,
        revision=revision,
        backbone=backbone,
        codec=QwenRGBACodec(vae if holding is None else holding.vae(vae)),
        text=text,
        scheduler=_load_scheduler(checked.path / "scheduler", entry.remedy),
        tokenizer=tokenizer,
        encoder=encoder,
        processor=processor,
        captioner=captioner,
        residency=None if holding is None else holding.residency(),
    )


def load_processor(path: Path, tokenizer: Any) -> CaptionProcessor:
    """The processor of a published folder, with the same pixels on every machine: PIL, not torchvision."""
    from transformers import Qwen2VLImageProcessorPil

    images = Qwen2VLImageProcessorPil.from_pretrained(str(path / "processor"), local_files_only=True)
    return CaptionProcessor(images, tokenizer)


def _load_diffusers(name: str, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    import diffusers

    model_class = FrameEmbedding if name == "FrameEmbedding" else getattr(diffusers, name)
    model = model_class.from_pretrained(
        str(folder), torch_dtype=dtype, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=True
    )
    return _aligned(model.to(device)).eval()


def _aligned(model: Any) -> Any:
    """What needs no cast is mapped from its file at whatever address it has there, which moves the last bit of sums: copied,
    so that results do not depend on how a folder was written or on how its weights are held."""
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % ALIGNMENT:
            parameter.data = parameter.data.clone()
    return model


def _load_backbone(
    checked: CheckedFolder,
    device: torch.device,
    dtype: torch.dtype,
    remedy: str,
    table: bool,
    holding: Holding | None,
) -> QwenBackbone:
    folder = checked.path / "transformer"
    if holding is not None:
        transformer = holding.transformer(folder, remedy)
    elif table:
        import diffusers

        transformer, _ = load_with_table(getattr(diffusers, TRANSFORMER_CLASS), folder, device, dtype, remedy)
    else:
        transformer = _load_diffusers(TRANSFORMER_CLASS, folder, device, dtype)
    embedding = None
    if checked.frame_embedding is not None:
        embedding = _load_diffusers("FrameEmbedding", checked.path / "frame_embedding", device, dtype)
    return QwenBackbone(transformer, embedding)


def _load_scheduler(folder: Path, remedy: str) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    try:
        return FlowMatchEulerDiscreteScheduler.from_pretrained(str(folder), local_files_only=True)
    except (TypeError, ValueError, OSError) as error:
        raise InputError(f"The scheduler in {folder} cannot be used ({error}); {remedy}.") from error


def _load_text(
    checked: CheckedFolder, device: torch.device, dtype: torch.dtype, remedy: str, holding: Holding | None
) -> tuple[Any, Any]:
    import transformers

    folder = checked.path / "text_encoder"
    embedded = checked.encoder_class == EMBEDDED_ENCODER
    tokenizer_class = transformers.PreTrainedTokenizerFast if embedded else transformers.Qwen2Tokenizer
    tokenizer_folder = checked.path / "tokenizer"
    try:
        tokenizer = tokenizer_class.from_pretrained(str(tokenizer_folder), local_files_only=True)
    except Exception as error:  # the tokenizers library raises plain Exception for a broken vocabulary
        raise InputError(
            f"The tokenizer in {tokenizer_folder} cannot be read ({error}); {remedy}."
        ) from error
    kind = getattr(transformers, checked.encoder_class)

    def load(home: torch.device) -> Any:
        with _no_progress_bars():
            return _load_encoder(kind, folder, dtype, remedy, home).eval()

    encoder = load(device) if holding is None else holding.encoder(kind, folder, load)
    rows = encoder.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(
            f"The tokenizer in {tokenizer_folder} has {len(tokenizer)} words, but the text encoder knows {rows}: they "
            f"belong to different models; {remedy}."
        )
    return tokenizer, encoder


def _load_encoder(kind: Any, folder: Path, dtype: torch.dtype, remedy: str, home: torch.device) -> Any:
    # Straight to an accelerator, tensor by tensor: all of it in the machine's memory may not fit there.
    straight = {} if home.type == "cpu" else {"device_map": {"": home}}
    try:
        encoder, report = kind.from_pretrained(
            str(folder),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # reported below, as a sentence
            output_loading_info=True,
            **straight,
        )
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(f"The text encoder in {folder} cannot be loaded ({error}); {remedy}.") from error
    for key, found, expected in report["mismatched_keys"]:
        raise InputError(
            f"{folder} holds {key} as {_text(found)}, but config.json asks for {_text(expected)}; {remedy}."
        )
    for key in sorted(report["missing_keys"]):
        raise InputError(f"The weights in {folder} lack {key}; {remedy}.")
    return encoder.to(home)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """The libraries' own bars stay off: progress is shown by whoever called, in one place."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    shown = [part for part in (diffusers_logging, transformers_logging) if part.is_progress_bar_enabled()]
    for part in shown:
        part.disable_progress_bar()
    try:
        yield
    finally:
        for part in shown:
            part.enable_progress_bar()


def _text(shape: Any) -> str:
    return "(" + " x ".join(str(size) for size in shape) + ")"
