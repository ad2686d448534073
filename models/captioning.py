"""Captions for pictures that come without a prompt: Qwen2.5-VL asked to describe the whole image, hidden parts aside.

``CaptionProcessor`` stands in for transformers' Qwen2VLProcessor, which cannot be built without torchvision (its video
processor needs it): here is no video. Captions are remembered by the hash of the pixels, in memory and on disk. This
module knows pictures and words; not layers, latents or sampling.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature, ProcessorMixin

from ..errors import InputError, OutputError
from ..layers.io.atomic import atomic_write
from .memory.placing import computing_device

logger = logging.getLogger(__name__)

IMAGE_TOKEN = "<|image_pad|>"
CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{}"
    f"\n<|vision_start|>{IMAGE_TOKEN}<|vision_end|><|im_end|>\n<|im_start|>assistant\n"
)
REQUESTS = {
    "en": (
        "Write a caption for this image in plain, flowing sentences, without lists or markup. Name every object with its "
        "number, colour, shape, size, material, position and action, say how the objects relate to one another and "
        "overlap, and describe the background, light and mood. Quote all readable text exactly, without translating it. "
        "Describe only what can be seen."
    ),
    "zh": (
        "请用自然流畅的语句为这张图像写一段描述,不要使用列表或标记。写出每个物体的数量、颜色、形状、大小、材质、位置和动作,"
        "说明物体之间的关系与遮挡,并描述背景、光线和氛围。用引号逐字写出所有可读的文字,不要翻译。只描述能看到的内容。"
    ),
}
MEMORY = 256  # captions remembered per captioner


class CaptionProcessor(ProcessorMixin):
    """Text and pictures to model inputs: each ``<|image_pad|>`` becomes as many copies as its picture has merged patches.

    Saved and loaded with ``save_pretrained`` and ``from_pretrained``; give a Qwen2VLImageProcessorPil for the same
    pixels on every machine.
    """

    def __init__(self, image_processor: Any = None, tokenizer: Any = None) -> None:
        super().__init__(image_processor, tokenizer)

    def __call__(
        self,
        text: Any = None,
        images: Any = None,
        padding: bool | str = True,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """input_ids, attention_mask and, with pictures, pixel_values, image_grid_thw and mm_token_type_ids.

        Raises InputError when the number of placeholders in ``text`` and of ``images`` differ.
        """
        texts = [text] if isinstance(text, str) else list(text)
        pictures = [] if images is None else list(images) if isinstance(images, (list, tuple)) else [images]
        wanted = sum(part.count(IMAGE_TOKEN) for part in texts)
        if wanted != len(pictures):
            raise InputError(f"The text asks for {wanted} images, but {len(pictures)} were given.")
        data: dict[str, Any] = {}
        if pictures:
            data.update(self.image_processor(images=pictures, return_tensors=return_tensors))
            merged = [
                int(grid.prod()) // self.image_processor.merge_size**2 for grid in data["image_grid_thw"]
            ]
            texts = _expand(texts, iter(merged))
        data.update(self.tokenizer(texts, padding=padding, return_tensors=return_tensors, **kwargs))
        if pictures:
            token = self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
            data["mm_token_type_ids"] = (torch.as_tensor(data["input_ids"]) == token).int()
        return BatchFeature(data=data)

    @property
    def model_input_names(self) -> list[str]:
        names = [
            *self.tokenizer.model_input_names,
            *self.image_processor.model_input_names,
            "mm_token_type_ids",
        ]
        return list(dict.fromkeys(names))


class QwenCaptioner:
    """Describes pictures with a Qwen2_5_VLForConditionalGeneration; greedy, so the same picture gets the same words.

    ``language`` is "en" or "zh". ``cache`` is the folder of remembered captions (None: the user's cache folder, XDG),
    False keeps them in memory only. ``revision`` separates the captions of different models.
    """

    def __init__(
        self,
        processor: Any,
        model: Any,
        *,
        language: str = "en",
        max_new_tokens: int = 512,
        revision: str = "",
        cache: Path | str | bool | None = None,
    ) -> None:
        if language not in REQUESTS:
            raise InputError(f"Captions are written in one of {', '.join(REQUESTS)}, not in {language!r}.")
        self.processor = processor
        self.model = model
        self.language = language
        self.max_new_tokens = max_new_tokens
        self.revision = revision
        self.folder = (
            None if cache is False else Path(cache) if isinstance(cache, (str, Path)) else cache_folder()
        )
        self._memory: OrderedDict[str, str] = OrderedDict()

    def fill(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str | None] | None,
        *,
        have_embeds: bool = False,
    ) -> list[str | None]:
        """One prompt per image: the given one where there is one, a caption where it is None or blank.

        With ``have_embeds`` the prompts are already encoded and nothing is captioned.
        """
        given: list[str | None] = list(prompts) if prompts is not None else [None] * len(images)
        if len(given) != len(images):
            raise InputError(f"{len(given)} prompts were given for {len(images)} images; give one each.")
        if have_embeds:
            return given
        return [
            text if text and text.strip() else self.caption(image)
            for image, text in zip(images, given, strict=True)
        ]

    def caption(self, image: Image.Image) -> str:
        """The caption of one picture (any mode; transparency is shown on white), from the cache where known."""
        key = self.key(image)
        if key not in self._memory:
            known = self._read(key)
            self._memory[key] = known if known is not None else self._generate(image)
            if known is None:
                self._write(key, self._memory[key])
        self._memory.move_to_end(key)
        while len(self._memory) > MEMORY:
            self._memory.popitem(last=False)
        return self._memory[key]

    def key(self, image: Image.Image) -> str:
        """SHA-256 over the pixels, the model, the language and the length limit."""
        digest = hashlib.sha256(
            repr((image.size, self.language, self.max_new_tokens, self.revision)).encode()
        )
        digest.update(image.convert("RGBA").tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def _generate(self, image: Image.Image) -> str:
        request = CHAT.format(REQUESTS[self.language])
        inputs = self.processor(text=[request], images=[on_white(image)], padding=True, return_tensors="pt")
        inputs = inputs.to(computing_device(self.model))
        produced = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
        answer = produced[:, inputs["input_ids"].shape[1] :]
        text = self.processor.batch_decode(
            answer, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )[0]
        return text.strip()

    def _read(self, key: str) -> str | None:
        if self.folder is None or not (path := self.folder / f"{key}.txt").is_file():
            return None
        return path.read_text(encoding="utf-8", errors="replace")

    def _write(self, key: str, text: str) -> None:
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.folder / f"{key}.txt") as file:
                file.write(text.encode())
        except (OSError, OutputError) as error:
            # A caption that cannot be remembered is still a caption: say so once, and keep to memory from now on.
            logger.warning("captions are not remembered on disk: %s", error)
            self.folder = None


def cache_folder() -> Path:
    """Where captions are remembered: $XDG_CACHE_HOME/acetate/captions, by default under ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "acetate" / "captions"


def on_white(image: Image.Image) -> Image.Image:
    """RGB, with transparent parts on white instead of the invisible colour that lies under them."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _expand(texts: list[str], counts: Any) -> list[str]:
    result = []
    for text in texts:
        first, *rest = text.split(IMAGE_TOKEN)
        result.append(first + "".join(IMAGE_TOKEN * next(counts) + part for part in rest))
    return result
