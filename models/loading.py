"""From a model's name to its parts, ready to run: backbone, VAE, text encoders, scheduler, captioner.

Checks first (``folder``), then loads strictly from safetensors on this machine. Knows which class reads which folder;
nothing of tasks, settings or pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from .backbones import Backbone, FluxBackbone, QwenBackbone
from .captioning import CaptionProcessor, QwenCaptioner
from .checked import CheckedFolder
from .family import FLUX, Family, check_family, check_task
from .folder import EMBEDDED_ENCODER, check_folder, fingerprint
from .folder_flux import VAE_CLASS as FLUX_VAE
from .folder_qwen import VAE_CLASS as QWEN_VAE
from .memory.loading import Holding
from .memory.means import Means
from .memory.residency import Residency
from .modulation.loading import load_with_table
from .parts import component_class, load_part
from .registry import ModelEntry, locate, resolve
from .text import EmbeddedTextEncoder, FluxTextEncoder, QwenTextEncoder, TextEncoder
from .transparency import check_alpha, find_alpha, load_alpha


@dataclass(frozen=True, kw_only=True, eq=False)
class Components:
    """The parts of one loaded model. ``captioner`` is None when the model cannot describe pictures (then an empty
    prompt stays empty). ``revision``: the hub's commit, or a fingerprint of the folder's files. ``more``: what only some
    models have, by diffusers' names: text_encoder_2, tokenizer_2, and what FLUX takes alpha from. ``residency``: what brings
    parts into memory phase by phase where a plan says so; None when all of them are there."""

    entry: ModelEntry
    family: Family
    revision: str
    backbone: Backbone
    vae: Any
    text: TextEncoder
    scheduler: Any
    tokenizer: Any
    encoder: Any
    more: Mapping[str, Any] = field(default_factory=dict)
    processor: CaptionProcessor | None = None
    captioner: QwenCaptioner | None = None
    residency: Residency | None = None

    @property
    def transformer(self) -> Any:
        return self.backbone.transformer

    @property
    def frame_embedding(self) -> Any:
        return self.backbone.frame_embedding


def load_components(
    entry: ModelEntry | str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    download: bool = True,
    caption_language: str = "en",
    modulation_table: bool = False,
    transparency: str | Path | None = None,
    family: Family | None = None,
    task: str | None = None,
    means: Means | None = None,
    transformer: str | Path | None = None,
) -> Components:
    """Loads every part of a model in evaluation mode. ``entry`` may be a name or a folder.

    ``modulation_table`` leaves the transformer's modulation weights, a third of it, in their files and reads them once
    per schedule: the same results, but neither training nor adapters for those layers. ``dtype`` None is float32 on the
    CPU and bfloat16 elsewhere. ``transparency``: where FLUX takes alpha from (``transparency.find_alpha``); ``family``:
    what the model must be, and ``task``: a command that it must be able to do, known before anything is loaded.
    ``means``: how a memory plan holds the model; it names the dtype and the table itself, and a pipeline must say which
    phase comes. ``transformer``: a GGUF file with the transformer's weights, in the place of the folder's. Raises
    InputError naming the file and the remedy when the model is unknown, is not on this machine and cannot be fetched, its
    folder does not pass the checks, or cannot do the task.
    """
    entry = entry if isinstance(entry, ModelEntry) else resolve(entry)
    file = None if transformer is None else Path(transformer)
    entry = locate(entry, download=download, transformer=file is None)
    assert entry.path is not None
    device = torch.device(device)
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    checked = check_folder(entry.path, entry.remedy, transformer=file is None)
    if family is not None:
        check_family(checked.family, family, entry.name)
    if task is not None:
        check_task(checked.family, task, entry.name)
    given = None if transparency is None else Path(transparency)
    if checked.family is not FLUX and given is not None:
        raise InputError(f"{entry.name} makes alpha by itself; leave transparency out, which is for FLUX.")
    if file is not None and means is None:
        means = Means(dtype=str(dtype).removeprefix("torch."), table=modulation_table)
    holding = None if means is None else Holding(means, device)
    dtype = dtype if holding is None else holding.dtype
    alpha: dict[str, Any] = {}
    with no_progress_bars():
        if checked.family is FLUX:
            source = find_alpha(checked.path, given, entry.remedy)
            if task is not None:
                check_alpha(source, task, entry.name)
            alpha = load_alpha(source, checked, device, dtype)
        if holding is not None:
            folder = checked.path / "transformer"
            network = holding.transformer(checked.family, folder, entry.remedy, file)
        else:
            network = _load_transformer(checked, device, dtype, modulation_table, entry.remedy)
        if checked.family is FLUX:
            return _load_flux(entry, checked, network, alpha, device, dtype, holding)
        return _load_qwen(entry, checked, network, device, dtype, caption_language, holding)


def _load_qwen(
    entry: ModelEntry,
    checked: CheckedFolder,
    transformer: Any,
    device: torch.device,
    dtype: torch.dtype,
    language: str,
    holding: Holding | None,
) -> Components:
    embedding = None
    if "frame_embedding" in checked.parts:
        embedding = load_part("FrameEmbedding", checked.path / "frame_embedding", device, dtype)
    backbone = QwenBackbone(transformer, embedding)
    embedded = checked.encoder_class == EMBEDDED_ENCODER
    words = "PreTrainedTokenizerFast" if embedded else "Qwen2Tokenizer"
    tokenizer, encoder = _load_text(
        checked.path, "", words, checked.encoder_class, device, dtype, entry.remedy, holding
    )
    text: TextEncoder
    processor = None
    if embedded:
        text = EmbeddedTextEncoder(tokenizer, encoder)
    else:
        text = QwenTextEncoder(tokenizer, encoder)
        processor = load_processor(checked.path, tokenizer) if checked.has_processor else None
    revision = entry.revision or fingerprint(checked.path)
    captioner = None
    if processor is not None:
        captioner = QwenCaptioner(processor, encoder, language=language, revision=f"{entry.name}@{revision}")
    vae = load_part(QWEN_VAE, checked.path / "vae", device, dtype)
    return Components(
        entry=entry,
        family=checked.family,
        revision=revision,
        backbone=backbone,
        vae=vae if holding is None else holding.vae(vae),
        text=text,
        scheduler=_load_scheduler(checked.path / "scheduler", entry.remedy),
        tokenizer=tokenizer,
        encoder=encoder,
        processor=processor,
        captioner=captioner,
        residency=None if holding is None else holding.residency(),
    )


def _load_flux(
    entry: ModelEntry,
    checked: CheckedFolder,
    transformer: Any,
    alpha: dict[str, Any],
    device: torch.device,
    dtype: torch.dtype,
    holding: Holding | None,
) -> Components:
    """``alpha``: what :func:`load_alpha` made, a VAE in the place of the folder's own included."""
    path, remedy = checked.path, entry.remedy
    how = (device, dtype, remedy, holding)
    tokenizer, clip = _load_text(path, "", "CLIPTokenizer", checked.encoder_class, *how)
    tokenizer_2, t5 = _load_text(path, "_2", "T5TokenizerFast", EMBEDDED_ENCODER, *how)
    vae = alpha.pop("vae", None)
    return Components(
        entry=entry,
        family=checked.family,
        revision=entry.revision or fingerprint(path),
        backbone=FluxBackbone(transformer),
        vae=load_part(FLUX_VAE, path / "vae", device, dtype) if vae is None else vae,
        text=FluxTextEncoder(tokenizer, clip, tokenizer_2, t5),
        scheduler=_load_scheduler(path / "scheduler", remedy),
        tokenizer=tokenizer,
        encoder=clip,
        more={"tokenizer_2": tokenizer_2, "text_encoder_2": t5, **alpha},
        residency=None if holding is None else holding.residency(),
    )


def load_processor(path: Path, tokenizer: Any) -> CaptionProcessor:
    """The processor of a published folder, with the same pixels on every machine: PIL, not torchvision."""
    from transformers import Qwen2VLImageProcessorPil

    images = Qwen2VLImageProcessorPil.from_pretrained(str(path / "processor"), local_files_only=True)
    return CaptionProcessor(images, tokenizer)


def _load_transformer(
    checked: CheckedFolder, device: torch.device, dtype: torch.dtype, table: bool, remedy: str
) -> Any:
    """``table``: with a modulation table in the place of the modulation's weights."""
    name, folder = checked.family.transformer, checked.path / "transformer"
    if table:
        return load_with_table(component_class(name), folder, device, dtype, remedy)[0]
    return load_part(name, folder, device, dtype)


def _load_scheduler(folder: Path, remedy: str) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    try:
        return FlowMatchEulerDiscreteScheduler.from_pretrained(str(folder), local_files_only=True)
    except (TypeError, ValueError, OSError) as error:
        raise InputError(f"The scheduler in {folder} cannot be used ({error}); {remedy}.") from error


def _load_text(
    path: Path,
    suffix: str,
    tokenizer_name: str,
    encoder_name: str,
    device: torch.device,
    dtype: torch.dtype,
    remedy: str,
    holding: Holding | None = None,
) -> tuple[Any, Any]:
    """The tokenizer and encoder of the folders with ``suffix``, as transformers' classes of these names."""
    import transformers

    folder, tokenizer_folder = path / f"text_encoder{suffix}", path / f"tokenizer{suffix}"
    tokenizer_class = getattr(transformers, tokenizer_name)
    try:
        tokenizer = tokenizer_class.from_pretrained(str(tokenizer_folder), local_files_only=True)
    except Exception as error:  # the tokenizers library raises plain Exception for a broken vocabulary
        raise InputError(
            f"The tokenizer in {tokenizer_folder} cannot be read ({error}); {remedy}."
        ) from error
    kind = getattr(transformers, encoder_name)

    def load(home: torch.device) -> Any:
        with no_progress_bars():
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
def no_progress_bars() -> Iterator[None]:
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
