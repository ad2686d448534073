"""`acetate models` and `acetate doctor`: what can be used here, and whether it works."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import time
from typing import Any

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "safetensors",
    "huggingface_hub",
    "numpy",
    "scipy",
    "pillow",
    "psd-tools",
    "python-pptx",
    "gradio",
    "xformers",
)


def models(arguments: argparse.Namespace) -> int:
    from ..models.registry import DEFAULT_MODEL, MODELS

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "default": entry.name == DEFAULT_MODEL,
            "kind": entry.kind,
            "here": entry.available,
            "licence": entry.licence,
            "summary": entry.summary,
            "tasks": list(entry.tasks),
            "backbone": entry.backbone,
            "files": list(entry.files),
            "gigabytes": entry.gigabytes,
            "where": entry.where,
        }
        for entry in MODELS.values()
    ]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        here = "here" if row["here"] else "missing" if row["kind"] == "embedded" else "not downloaded"
        print(f"{row['name']:<{width}}  {here:<14}  {row['licence']:<10}  {row['summary']}")
        size = "" if row["gigabytes"] is None else f"; {row['gigabytes']:g} GB"
        print(f"{'':<{width}}  {', '.join(row['tasks'])}; {row['backbone']}{size}; {row['where']}")
    print("Any folder of the same layout is a model too: --model PATH.")
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Everything is gathered before anything is judged; exit status 1 when the embedded model does not run."""
    from .. import __version__

    findings: dict[str, Any] = {
        "acetate": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "torchvision": "present, not used"
        if importlib.util.find_spec("torchvision")
        else "absent, as it may be",
        "devices": _devices(),
        "attention": _attention_backends(),
        "embedded model": _try_embedded_model(),
    }
    if arguments.json:
        print(json.dumps(findings, indent=2))
    else:
        print("\n".join(_lines(findings)))
    return 0 if findings["embedded model"]["works"] else 1


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import torch

    names = [f"cpu, {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        names.append(f"cuda:{index} {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def _attention_backends() -> list[str]:
    """The attention backends of diffusers whose packages are installed here; "native" is torch's own."""
    from diffusers.models.attention_dispatch import AttentionBackendName
    from diffusers.utils import is_flash_attn_available, is_sageattention_available, is_xformers_available

    known = {backend.value for backend in AttentionBackendName}
    optional = {
        "xformers": is_xformers_available(),
        "flash": is_flash_attn_available(),
        "sage": is_sageattention_available(),
    }
    return ["native", *(name for name, present in optional.items() if present and name in known)]


def _try_embedded_model() -> dict[str, Any]:
    """One step on a small picture: proves that weights, classes and arithmetic fit together, not that they are good."""
    import numpy as np

    from ..api import decompose
    from ..errors import AcetateError

    picture = np.zeros((64, 64, 3), np.uint8)
    picture[16:48, 16:48] = (220, 60, 30)
    began = time.perf_counter()
    try:
        document = decompose(picture, 2, steps=1)
    except AcetateError as error:
        return {"works": False, "error": str(error)}
    report = document.metadata["report"]
    return {
        "works": True,
        "revision": report["revision"],
        "seconds": round(time.perf_counter() - began, 2),
        "peak_memory_mib": report["peak_memory_mib"]["host"],
    }


def _lines(findings: dict[str, Any]) -> list[str]:
    lines = [f"{'acetate':<16}{findings['acetate']}"]
    lines.append(f"{'python':<16}{findings['python']} on {findings['system']}")
    lines += [f"{name:<16}{version or 'not installed'}" for name, version in findings["packages"].items()]
    lines.append(f"{'torchvision':<16}{findings['torchvision']}")
    lines.append(f"{'devices':<16}{'; '.join(findings['devices'])}")
    lines.append(f"{'attention':<16}{', '.join(findings['attention'])}")
    model = findings["embedded model"]
    if model["works"]:
        verdict = f"works: revision {model['revision']}, one step in {model['seconds']} s"
    else:
        verdict = f"does not work: {model['error']}"
    return [*lines, f"{'embedded model':<16}{verdict}"]
