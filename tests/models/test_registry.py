from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from acetate.errors import InputError
from acetate.models.registry import DEFAULT_MODEL, MODELS, ModelEntry, locate, resolve

HUB = "Qwen/Qwen-Image-Layered"
DEV = "black-forest-labs/FLUX.1-dev"


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return cache


def test_known_names() -> None:
    assert resolve("tiny") is MODELS[DEFAULT_MODEL]
    assert resolve(HUB).repo == HUB
    assert all(entry.licence != "unknown" and entry.summary for entry in MODELS.values())
    assert [name for name, entry in MODELS.items() if entry.licence != "Apache-2.0"] == [DEV]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tinny", ["'tinny'", "tiny, Qwen/Qwen-Image-Layered", "Did you mean tiny?"]),
        ("qwen/qwen-image-layerd", ["Did you mean Qwen/Qwen-Image-Layered?"]),
        ("./no/such/folder", ["no model or folder './no/such/folder'"]),
        ("", ["no model or folder ''"]),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(name: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        resolve(name)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model_index"):
        resolve(tmp_path)
    (tmp_path / "model_index.json").write_text("{}")
    entry = resolve(str(tmp_path))
    assert entry.path == tmp_path.resolve() and entry.kind == "folder" and entry.available
    assert locate(entry) is entry
    with pytest.raises(InputError, match="is a file"):
        resolve(tmp_path / "model_index.json")


def test_a_hub_model_that_is_not_here(empty_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = resolve(HUB)
    assert not entry.available
    with pytest.raises(InputError, match=r"downloads are off: run `hf download Qwen/Qwen-Image-Layered`"):
        locate(entry, download=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="downloads are off"):
        locate(entry)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    real = huggingface_hub.snapshot_download

    def unreachable(*args: Any, local_files_only: bool = False, **kwargs: Any) -> str:
        if local_files_only:
            return real(*args, local_files_only=True, **kwargs)
        raise ConnectionError("name resolution failed\nlong trace")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(InputError) as caught:
        locate(entry)
    message = str(caught.value)
    assert "could not be fetched (name resolution failed)" in message and "\n" not in message
    assert "hf download" in message and "`tiny` needs no download" in message


def test_a_hub_model_in_the_cache_is_found_with_its_commit(empty_hub: Path) -> None:
    commit = "1" * 40
    home = empty_hub / "models--Qwen--Qwen-Image-Layered"
    (home / "snapshots" / commit).mkdir(parents=True)
    (home / "snapshots" / commit / "model_index.json").write_text("{}")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    found = locate(resolve(HUB), download=False)
    assert found.revision == commit and found.path == home / "snapshots" / commit
    assert resolve(HUB).available


def test_remedies_fit_the_kind() -> None:
    assert "weights/" in MODELS["tiny"].remedy
    assert "hf download" in MODELS[HUB].remedy
    assert "copy" in ModelEntry(name="x", kind="folder").remedy


def test_listing_models_needs_no_torch() -> None:
    code = "import sys, acetate.models.registry as r; r.MODELS; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("pytorch_lora_weights.safetensors", "is a LoRA, not a model"),
        ("adapter_config.json", "is a LoRA, not a model"),
        ("config.json", "is one part of a model"),
        ("qwen-image-Q4_K_M.gguf", "a transformer as a single .gguf file"),
        ("model.safetensors", "weights in single files"),
        ("readme.txt", "not a model folder"),
    ],
)
def test_folders_that_are_something_else_are_named(tmp_path: Path, file: str, words: str) -> None:
    (tmp_path / file).touch()
    with pytest.raises(InputError) as caught:
        resolve(tmp_path)
    assert (
        words in str(caught.value)
        and "give " in str(caught.value)
        and "model_index.json" in str(caught.value)
    )


def test_entries_tell_what_they_are_and_where(empty_hub: Path, tmp_path: Path) -> None:
    tiny, hub = MODELS["tiny"], MODELS[HUB]
    assert tiny.where.startswith("embedded: ") and "frame_embedding/*" in tiny.files
    assert hub.where == "not here; `hf download Qwen/Qwen-Image-Layered` fetches it"
    assert "processor/*" in hub.files and hub.tasks == ("decompose",) and hub.gigabytes == 57.7
    (tmp_path / "model_index.json").write_text("{}")
    assert resolve(tmp_path).where == f"folder: {tmp_path.resolve()}"


def test_flux_entries_say_what_has_to_come_before_the_download(empty_hub: Path) -> None:
    for name in (DEV, "black-forest-labs/FLUX.1-schnell"):
        entry = MODELS[name]
        assert entry.backbone == "FluxTransformer2DModel" and entry.tasks == ("generate", "transparent")
        assert {"text_encoder_2/*", "tokenizer_2/*"} < set(entry.files) and "processor/*" not in entry.files
        assert entry.where == f"not here; {entry.fetch} fetches it"
        for part in (
            f"hub's page of {name}",
            "`hf auth login`",
            "--include model_index.json --include '*/*'",
        ):
            assert part in entry.fetch and part in entry.remedy
        with pytest.raises(InputError, match="accept the conditions on the hub's page"):
            locate(entry, download=False)
    assert "auth" not in MODELS[HUB].fetch


def test_only_the_folders_of_flux_are_fetched(empty_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(*args: Any, local_files_only: bool = False, **kwargs: Any) -> str:
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        asked.append(kwargs["allow_patterns"])
        return str(empty_hub)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    locate(MODELS[DEV])
    assert asked == [list(MODELS[DEV].files)] and not any(name.startswith("*") for name in asked[0])
    locate(MODELS[DEV], transformer=False)
    assert "transformer/*" not in asked[1] and "transformer/config.json" in asked[1]
    assert set(asked[0]) - set(asked[1]) == {"transformer/*"}


def test_a_gguf_file_is_no_model_and_the_option_for_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "flux1-dev-Q4_K_S.gguf").touch()
    with pytest.raises(InputError, match=r"is a transformer alone; .* with --transformer"):
        resolve(tmp_path / "flux1-dev-Q4_K_S.gguf")
