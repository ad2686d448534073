from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from acetate.errors import InputError
from acetate.models.captioning import IMAGE_TOKEN, CaptionProcessor, QwenCaptioner, cache_folder, on_white


@pytest.fixture(scope="module")
def processor(qwen_parts: tuple[Any, Any]) -> CaptionProcessor:
    return CaptionProcessor(Qwen2VLImageProcessorPil(), qwen_parts[0])


class CountingModel:
    """Answers with the number of times it was asked, and shows what it was given."""

    device = torch.device("cpu")

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.asked: list[dict[str, Any]] = []

    def generate(self, **inputs: Any) -> torch.Tensor:
        self.asked.append(inputs)
        answer = self.tokenizer(f" caption {len(self.asked)} ", return_tensors="pt")["input_ids"]
        return torch.cat((inputs["input_ids"], answer), dim=1)


def test_each_placeholder_becomes_its_pictures_patches(processor: CaptionProcessor, qwen_parts: Any) -> None:
    text = f"x{IMAGE_TOKEN}y{IMAGE_TOKEN}z"
    out = processor(text=[text], images=[Image.new("RGB", (56, 112)), Image.new("RGB", (84, 56))])
    token = qwen_parts[0].convert_tokens_to_ids(IMAGE_TOKEN)
    assert out["image_grid_thw"].tolist() == [[1, 8, 4], [1, 4, 6]]
    assert (out["input_ids"] == token).sum() == 8 + 6
    assert out["pixel_values"].shape[0] == 32 + 24
    assert torch.equal(out["mm_token_type_ids"] == 1, out["input_ids"] == token)
    assert set(out) <= set(processor.model_input_names)


def test_batches_are_padded_and_text_alone_works(processor: CaptionProcessor) -> None:
    out = processor(text=["a", "longer"], padding=True)
    assert out["attention_mask"].sum(1).tolist() == [1, 6]
    with pytest.raises(InputError, match="asks for 1 images, but 0"):
        processor(text=IMAGE_TOKEN)


def test_processor_saves_loads_and_decodes(processor: CaptionProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    again = CaptionProcessor(
        Qwen2VLImageProcessorPil.from_pretrained(tmp_path),
        type(processor.tokenizer).from_pretrained(tmp_path),
    )
    ids = again(text="hello")["input_ids"]
    assert torch.equal(ids, processor(text="hello")["input_ids"])
    assert again.batch_decode(ids) == ["hello"]


def test_a_real_model_writes_a_caption(processor: CaptionProcessor, qwen_parts: Any, tmp_path: Path) -> None:
    captioner = QwenCaptioner(processor, qwen_parts[1], max_new_tokens=4, cache=tmp_path)
    image = Image.new("RGB", (60, 60), "red")
    first = captioner.caption(image)
    assert isinstance(first, str)
    again = QwenCaptioner(processor, qwen_parts[1], max_new_tokens=4, cache=False)
    assert again.caption(image) == first  # greedy: the same picture, the same words


def test_captions_are_remembered_per_picture_model_and_language(
    processor: CaptionProcessor, qwen_parts: Any, tmp_path: Path
) -> None:
    model = CountingModel(qwen_parts[0])
    red, blue = Image.new("RGB", (30, 30), "red"), Image.new("RGB", (30, 30), "blue")
    captioner = QwenCaptioner(processor, model, cache=tmp_path, revision="m@1")
    assert captioner.caption(red) == "caption 1"
    assert captioner.caption(red.copy()) == "caption 1"
    assert captioner.caption(blue) == "caption 2"
    assert QwenCaptioner(processor, model, cache=tmp_path, revision="m@1").caption(red) == "caption 1"
    assert QwenCaptioner(processor, model, cache=tmp_path, revision="m@2").caption(red) == "caption 3"
    chinese = QwenCaptioner(processor, model, cache=tmp_path, revision="m@1", language="zh")
    assert chinese.caption(red) == "caption 4"
    assert len(list(tmp_path.iterdir())) == 4
    assert "请" in processor.batch_decode(model.asked[-1]["input_ids"])[0]
    assert model.asked[0]["do_sample"] is False and model.asked[0]["max_new_tokens"] == 512


def test_every_picture_gets_its_own_caption_and_given_prompts_stay(
    processor: CaptionProcessor, qwen_parts: Any
) -> None:
    model = CountingModel(qwen_parts[0])
    captioner = QwenCaptioner(processor, model, cache=False)
    images = [Image.new("RGB", (30, 30), colour) for colour in ("red", "blue", "green")]
    assert captioner.fill(images, None) == ["caption 1", "caption 2", "caption 3"]
    assert captioner.fill(images, ["mine", " ", None]) == ["mine", "caption 2", "caption 3"]
    assert captioner.fill(images, None, have_embeds=True) == [None] * 3
    assert len(model.asked) == 3
    with pytest.raises(InputError, match="1 prompts"):
        captioner.fill(images, ["one"])
    with pytest.raises(InputError, match="'fr'"):
        QwenCaptioner(processor, model, language="fr", cache=False)


def test_a_cache_that_cannot_be_written_is_told_and_not_fatal(
    processor: CaptionProcessor, qwen_parts: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    captioner = QwenCaptioner(processor, CountingModel(qwen_parts[0]), cache=blocked / "captions")
    assert captioner.caption(Image.new("RGB", (30, 30))) == "caption 1"
    assert captioner.caption(Image.new("RGB", (30, 30), "red")) == "caption 2"
    assert caplog.text.count("not remembered") == 1
    assert blocked.read_text() == "in the way"


def test_the_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "acetate" / "captions"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "acetate" / "captions"


def test_transparent_parts_are_shown_on_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 255, 255))
    shown = on_white(image)
    assert shown.mode == "RGB" and [shown.getpixel((x, 0)) for x in range(2)] == [
        (255, 255, 255),
        (0, 0, 255),
    ]
    assert on_white(Image.new("L", (1, 1), 7)).getpixel((0, 0)) == (7, 7, 7)
