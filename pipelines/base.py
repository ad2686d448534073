"""What every layered pipeline is made of: parts, stored settings, and the way from arguments to a run.

A subclass says which canvases a call has and which layout they take. Knows diffusers' pipeline class; no
file formats.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    QwenImageTransformer2DModel,
)
from diffusers.loaders import QwenImageLoraLoaderMixin
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from ..errors import InputError
from ..models.backbones.qwen import QwenBackbone
from ..models.captioning import QwenCaptioner
from ..models.codecs import QwenRGBACodec
from ..models.family import QWEN, check_family
from ..models.frame_embedding import FrameEmbedding
from ..models.layout import Layout
from ..models.loading import Components, load_components, load_processor
from ..models.memory.residency import Residency
from ..models.text import EmbeddedTextEncoder, QwenTextEncoder, TextEncoder
from .arguments import CALLBACK_TENSORS, CallArguments, check_layers
from .engine import Engine
from .guidance import IDLE_NEGATIVE
from .inputs import make_jobs
from .jobs import Canvas
from .model_name import ModelName
from .modulation_option import ModulationOption
from .outputs import LayersOutput
from .prompts import Prompts, collect_prompts
from .runner import Runner
from .sizes import Box, check_boxes, scaled_box, token_box, working_size

logger = logging.getLogger(__name__)

MAX_PROMPT_TOKENS = 512
MakeLayout = Callable[[int, int, "list[Box | None] | None", tuple[int, ...]], Layout]
STORED = (
    "default_resolution",
    "default_steps",
    "default_guidance",
    "text_guidance",
    "size_multiple",
    "max_layers",
    "transparent_fill",
    "keep_whole",
)


class LayersPipeline(ModelName, ModulationOption, DiffusionPipeline, QwenImageLoraLoaderMixin):
    """The parts of a layered model. Use the pipeline of a task, such as ``ImageToLayersPipeline``.

    The numbers are stored in model_index.json: ``default_resolution`` (square root of the working area in
    pixels), ``default_steps``, ``default_guidance``, ``text_guidance`` (for text to layers; None: the
    same), ``size_multiple`` (of the working sides, pixels),
    ``max_layers``, ``transparent_fill`` (colour in 0..1 that the VAE expects under alpha 0, None: any), and
    ``keep_whole`` (its decompositions need :mod:`acetate.layers.whole`; read by whoever asks for documents). Public
    checkpoints that store none get the values of Qwen-Image-Layered. One pipeline
    serves one call at a time.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    _optional_components: ClassVar[list[str]] = ["text_encoder", "tokenizer", "processor", "frame_embedding"]
    _callback_tensor_inputs: ClassVar[list[str]] = list(CALLBACK_TENSORS)

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: AutoencoderKLQwenImage,
        transformer: QwenImageTransformer2DModel,
        text_encoder: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        processor: ProcessorMixin | None = None,
        frame_embedding: FrameEmbedding | None = None,
        default_resolution: int = 640,
        default_steps: int = 50,
        default_guidance: float = 4.0,
        text_guidance: float | None = None,
        size_multiple: int = 32,
        max_layers: int = 20,
        transparent_fill: float | None = None,
        keep_whole: bool = False,
    ) -> None:
        super().__init__()
        self.register_modules(
            scheduler=scheduler,
            vae=vae,
            transformer=transformer,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            processor=processor,
            frame_embedding=frame_embedding,
        )
        self.register_to_config(
            default_resolution=default_resolution,
            default_steps=default_steps,
            default_guidance=default_guidance,
            text_guidance=text_guidance,
            size_multiple=size_multiple,
            max_layers=max_layers,
            transparent_fill=transparent_fill,
            keep_whole=keep_whole,
        )
        self._backbone: QwenBackbone | None = None
        self._captioner: QwenCaptioner | None = None
        self.residency: Residency | None = None

    # -- loading
    # ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """Loads a diffusers folder or hub name: the embedded layout or that of ``Qwen/Qwen-Image-Layered``.

        The checkpoint's own processor class needs torchvision, so it is left out and acetate's takes its
        place (local folders) unless one is passed. Takes every argument of diffusers' ``from_pretrained``.
        """
        kwargs.setdefault("processor", None)
        pipeline = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        folder = Path(pretrained_model_name_or_path)
        if pipeline.processor is None and (folder / "processor" / "preprocessor_config.json").is_file():
            pipeline.register_modules(processor=load_processor(folder, pipeline.tokenizer))
        return pipeline

    @classmethod
    def from_components(cls, parts: Components) -> Self:
        """The pipeline over parts that are loaded already; the stored settings come from the model's
        folder. Raises InputError for parts of another family."""
        check_family(parts.family, QWEN, parts.entry.name)
        assert isinstance(parts.backbone, QwenBackbone)
        stored = cls.load_config(str(parts.entry.path)) if parts.entry.path is not None else {}
        pipeline = cls(
            scheduler=parts.scheduler,
            vae=parts.vae,
            transformer=parts.transformer,
            text_encoder=parts.encoder,
            tokenizer=parts.tokenizer,
            processor=parts.processor,
            frame_embedding=parts.frame_embedding,
            **{name: stored[name] for name in STORED if name in stored},
        )
        pipeline.model_name, pipeline.model_revision = parts.entry.name, parts.revision
        pipeline._backbone, pipeline._captioner = parts.backbone, parts.captioner
        pipeline.residency = parts.residency
        return pipeline

    @classmethod
    def load(cls, model: str | Path = "tiny", **kwargs: Any) -> Self:
        """The pipeline of a model by its acetate name or folder, checked file by file first; ``kwargs`` go to
        :func:`acetate.models.loading.load_components`. Raises InputError that names the file and the
        remedy."""
        return cls.from_components(load_components(model, **{"family": QWEN, **kwargs}))

    # -- parts
    # -----------------------------------------------------------------------------------------------------

    @property
    def backbone(self) -> QwenBackbone:
        """The adapter of the current transformer and frame embedding."""
        found = self._backbone
        if (
            found is None
            or found.transformer is not self.transformer
            or found.frame_embedding is not self.frame_embedding
        ):
            found = self._backbone = QwenBackbone(self.transformer, self.frame_embedding)
        return found

    @property
    def captioner(self) -> QwenCaptioner | None:
        """Describes pictures that come without a prompt; None when the model cannot."""
        if self.processor is None or self.text_encoder is None or not hasattr(self.text_encoder, "generate"):
            return None
        found = self._captioner
        if found is None or found.model is not self.text_encoder or found.processor is not self.processor:
            revision = f"{self.name}@{self.model_revision}"
            found = self._captioner = QwenCaptioner(self.processor, self.text_encoder, revision=revision)
        return found

    @property
    def cell(self) -> int:
        """Pixels along each side of a token."""
        return int(self.vae.spatial_compression_ratio) * self.backbone.patch_size

    @property
    def default_scale(self) -> float:
        """The guidance scale of a call that names none."""
        return float(self.config.default_guidance)

    def engine(self) -> Engine:
        """The parts joined for one call; raises InputError when they do not belong together."""
        codec = QwenRGBACodec(self.vae, transparent_fill=self.config.transparent_fill)
        channels = self.backbone.capabilities.latent_channels
        if codec.latent_channels != channels:
            raise InputError(
                f"The VAE makes {codec.latent_channels} channels, the transformer takes {channels}; "
                "use the parts of one model."
            )
        device = self._execution_device if self.residency is None else self.residency.device
        return Engine(backbone=self.backbone, codec=codec, device=device)

    def prompt_encoder(self, max_sequence_length: int | None) -> TextEncoder | None:
        """The encoder that fits the pipeline's text model; None when the pipeline has none."""
        if self.text_encoder is None or self.tokenizer is None:
            return None
        if self.text_encoder.config.model_type == "t5":
            if max_sequence_length is not None:
                raise InputError("This model reads prompts of fixed length; leave max_sequence_length out.")
            return EmbeddedTextEncoder(self.tokenizer, self.text_encoder)
        return QwenTextEncoder(
            self.tokenizer, self.text_encoder, max_tokens=max_sequence_length or MAX_PROMPT_TOKENS
        )

    # -- running
    # ---------------------------------------------------------------------------------------------------

    def picture_canvas(
        self,
        width: int,
        height: int,
        *,
        resolution: int | None,
        wanted: tuple[int | None, int | None],
        **content: Any,
    ) -> Canvas:
        """The canvas at the working size for a picture of ``width`` x ``height``; ``resolution`` and ``wanted`` (width,
        height) as the caller gave them, ``content`` the other fields of a Canvas."""
        wide, tall = working_size(
            width,
            height,
            resolution=self.config.default_resolution if resolution is None else resolution,
            multiple=self.config.size_multiple,
            cell=self.cell,
            wanted_width=wanted[0],
            wanted_height=wanted[1],
        )
        return Canvas(width=wide, height=tall, grid=(tall // self.cell, wide // self.cell), **content)

    def collect_prompts(
        self, prompt: str | Sequence[str | None] | None, rows: int, layers: int, call: CallArguments
    ) -> Prompts:
        """The prompts of a call with ``rows`` inputs and ``layers`` layers; raises InputError for
        impossible numbers."""
        check_layers(layers, self.config.max_layers)
        return collect_prompts(
            rows=rows,
            layers=layers,
            prompt=prompt,
            negative_prompt=call.negative_prompt,
            layer_prompts=call.layer_prompts,
            prompt_embeds=call.prompt_embeds,
            prompt_embeds_mask=call.prompt_embeds_mask,
            negative_prompt_embeds=call.negative_prompt_embeds,
            negative_prompt_embeds_mask=call.negative_prompt_embeds_mask,
            max_sequence_length=call.max_sequence_length or MAX_PROMPT_TOKENS,
        )

    @torch.no_grad()
    def run_call(
        self,
        canvases: Sequence[Canvas],
        layers: int,
        prompts: Prompts,
        call: CallArguments,
        *,
        make_layout: MakeLayout,
        facts: dict[str, Any],
    ) -> LayersOutput | tuple[list[Any]]:
        """Runs one canvas per row of prompts. ``make_layout`` takes (rows, columns) of tokens, boxes in tokens and the
        numbers of given layers; ``facts``: the subclass's own arguments, recorded in the documents."""
        boxes = [check_boxes(call.boxes, layers, *canvas.size) for canvas in canvases]
        engine = self.engine()
        layouts = [
            make_layout(*canvas.grid, self._token_boxes(row, canvas), canvas.given_numbers)
            for canvas, row in zip(canvases, boxes, strict=True)
        ]
        guidance = call.guidance(self.default_scale)
        if not guidance.enabled and (
            call.negative_prompt is not None or call.negative_prompt_embeds is not None
        ):
            logger.warning(IDLE_NEGATIVE)
        runner = Runner(
            pipeline=self,
            engine=engine,
            call=call,
            layers=layers,
            prompts=prompts,
            boxes=boxes,
            guidance=guidance,
            steps=self.config.default_steps if call.num_inference_steps is None else call.num_inference_steps,
            encoder=self.prompt_encoder(call.max_sequence_length),
            facts=facts,
            residency=self.residency,
        )
        try:
            output = runner.run(make_jobs(canvases, layouts, call, engine))
        finally:
            self.maybe_free_model_hooks()
        return output if call.return_dict else (output.images,)

    def _token_boxes(self, boxes: Sequence[Box | None] | None, canvas: Canvas) -> list[Box | None] | None:
        if boxes is None:
            return None
        working = (canvas.width, canvas.height)
        return [
            None if box is None else token_box(scaled_box(box, canvas.size, working), self.cell)
            for box in boxes
        ]
