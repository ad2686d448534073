"""`acetate doctor`: whether this installation has what it needs, and whether it works."""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import time
from typing import Any


def doctor(arguments: argparse.Namespace) -> int:
    """Everything is gathered before anything is judged; exit status 1 when a package that acetate needs is missing or out of
    range, or the embedded model does not run."""
    from .. import __version__
    from .requirements import findings as requirements

    packages = requirements()
    findings: dict[str, Any] = {
        "acetate": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {one.name: one.found for one in packages},
        "requirements": [
            {"name": one.name, "wanted": one.wanted, "extra": one.extra, "found": one.found, "fits": one.fits}
            for one in packages
        ],
        "problems": [one.problem for one in packages if one.problem is not None],
        "torchvision": "present, not used"
        if importlib.util.find_spec("torchvision")
        else "absent, as it may be",
        "devices": _devices(),
        "memory": _memory(),
        "attention": _attention_backends(),
        "embedded model": _try_embedded_model(),
    }
    if arguments.json:
        print(json.dumps(findings, indent=2))
    else:
        print("\n".join(_lines(findings)))
    needed = all(one.fits for one in packages if not one.extra)
    return 0 if needed and findings["embedded model"]["works"] else 1


def _devices() -> list[str]:
    import torch

    names = [f"cpu, {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        names.append(f"cuda:{index} {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def _memory() -> str:
    """What --memory auto would go by."""
    from ..errors import InputError
    from ..models.memory.budget import GB, free_memory
    from ..session import device_name

    try:
        device = device_name()
        return f"{free_memory(device) / GB:.1f} GB free on {device}"
    except InputError as error:
        return str(error)


def _attention_backends() -> dict[str, dict[str, Any]]:
    """Every attention backend of diffusers: whether it is installed, runs on this device, and does right by masks."""
    from ..errors import InputError
    from ..models.attention import backend_names, probe
    from ..session import device_name

    try:
        device = device_name()
    except InputError:
        device = "cpu"  # named already, by the line on memory
    found = [probe(name, device) for name in backend_names()]
    return {
        one.name: {"installed": one.installed, "runs": one.runs, "masks": one.masks, "note": one.note}
        for one in found
    }


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
    # A driver that does not fit, kernels that are not built for this device: whatever it is, it is what was asked about.
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        return {"works": False, "error": f"{type(error).__name__}: {reason}"}
    report = document.metadata["report"]
    return {
        "works": True,
        "revision": report["revision"],
        "seconds": round(time.perf_counter() - began, 2),
        "peak_memory_mib": report["peak_memory_mib"]["host"],
    }


def _lines(findings: dict[str, Any]) -> list[str]:
    lines = [f"{'acetate':<24}{findings['acetate']}"]
    lines.append(f"{'python':<24}{findings['python']} on {findings['system']}")
    for one in findings["requirements"]:
        extra = f", for acetate[{one['extra']}]" if one["extra"] else ""
        found = one["found"] or "not installed"
        wanted = "" if one["fits"] else f" (wanted: {one['wanted'] or 'any'}{extra})"
        lines.append(f"{one['name']:<24}{found}{wanted}")
    lines.append(f"{'torchvision':<24}{findings['torchvision']}")
    lines.append(f"{'devices':<24}{'; '.join(findings['devices'])}")
    lines.append(f"{'memory':<24}{findings['memory']}")
    lines += _attention_lines(findings["attention"])
    model = findings["embedded model"]
    if model["works"]:
        verdict = f"works: revision {model['revision']}, one step in {model['seconds']} s"
    else:
        verdict = f"does not work: {model['error']}"
    problems = [f"{'problem':<24}{problem}" for problem in findings["problems"]]
    return [*lines, f"{'embedded model':<24}{verdict}", *problems]


def _attention_lines(backends: dict[str, dict[str, Any]]) -> list[str]:
    """Those that run, with what they do with masks; those that do not run here; and the others by name."""
    verdicts = {
        "right": "right, with masks too",
        "refused": "right, but refuses masks: not for prompts of different lengths",
        "ignored": "IGNORES MASKS: refused where one is needed",
        "wrong": "GETS MASKS WRONG: refused where one is needed",
    }
    lines, absent = [], []
    for name, found in backends.items():
        if not found["installed"]:
            absent.append(name)
        elif found["runs"]:
            lines.append(f"{'attention':<24}{name}: {verdicts[found['masks']]}")
        else:
            lines.append(f"{'attention':<24}{name}: does not run on this device ({found['note']})")
    if absent:
        lines.append(f"{'attention':<24}not installed: {', '.join(absent)}")
    return lines
