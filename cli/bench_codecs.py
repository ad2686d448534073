"""`acetate bench codecs`: every transparent codec that is on this machine on the same held-out layers, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .progress import make_progress

if TYPE_CHECKING:
    import numpy as np

    from ..evaluation.codec_bench import Contender
    from ..models.codecs import TiledCodec

KINDS = ("qwen", "kl", "layerdiffuse")
SYNTAX = (
    "qwen:VAE_FOLDER, kl:VAE_FOLDER, layerdiffuse:FILE,vae=FOLDER[,encoder=FILE], or layerdiffuse:FOLDER with parts as "
    "scripts/train_codecs.py writes"
)


def bench_codecs(arguments: argparse.Namespace, folder: Path, json: Path | None) -> int:
    from ..evaluation.codec_bench import CodecSettings, run_codecs

    given = {"scenes": arguments.scenes, "size": arguments.size, "tile": arguments.tile}
    settings = CodecSettings(**{name: value for name, value in given.items() if value is not None})
    with make_progress(arguments.quiet) as progress:
        progress("load", 0, 1, None)
        contenders = [model_codec(arguments.model, settings.tile)]
        contenders += [named_codec(text, settings.tile) for text in arguments.codec or ()]
        folder.mkdir(parents=True, exist_ok=True)
        report = run_codecs(contenders, settings, progress)
    written = report.write(folder, json)
    print(report.text())
    print("\nwritten: " + ", ".join(str(path) for path in written))
    return 0


def model_codec(model: str, tile: int) -> Contender:
    """The codec of a model by its name; nothing else of the model is loaded. Raises InputError where it is missing or
    broken."""
    import torch

    from ..models.codecs import QwenRGBACodec
    from ..models.folder import fingerprint, read_json
    from ..models.registry import locate, resolve
    from ..session import device_name

    entry = locate(resolve(model), download=False)
    assert entry.path is not None
    settings = read_json(entry.path / "model_index.json", entry.remedy)
    fill = settings.get("transparent_fill")
    vae = _part("AutoencoderKLQwenImage", entry.path / "vae", torch.device(device_name()))
    codec = QwenRGBACodec(vae, transparent_fill=None if fill is None else float(fill))
    name = "embedded" if entry.kind == "embedded" else Path(entry.name).name
    return contender(name, f"{name} (revision {entry.revision or fingerprint(entry.path)})", codec, tile)


def named_codec(text: str, tile: int) -> Contender:
    """The codec that ``--codec`` names. Raises InputError that repeats the syntax, or says what is wrong with its files."""
    import torch

    from ..session import device_name

    kind, _, rest = text.partition(":")
    place, *extra = rest.split(",")
    options = dict(one.partition("=")[::2] for one in extra)
    if (
        kind not in KINDS
        or not place
        or set(options) - ({"vae", "encoder"} if kind == "layerdiffuse" else set())
    ):
        raise InputError(f"--codec is {SYNTAX}; not {text!r}")
    path = Path(place).expanduser()
    device = torch.device(device_name())
    codec: TiledCodec
    if kind == "kl":
        from ..models.codecs import KLRGBACodec

        codec = KLRGBACodec.from_folder(path, device)
    elif kind == "qwen":
        from ..models.codecs import QwenRGBACodec

        codec = QwenRGBACodec(_part("AutoencoderKLQwenImage", path, device))
    else:
        codec = _layerdiffuse(path, options, device)
    name = path.absolute().parent.name if path.name == "vae" else path.stem
    return contender(name, f"{kind}:{path.name}", codec, tile)


def _layerdiffuse(path: Path, options: dict[str, str], device: Any) -> TiledCodec:
    from ..models.codecs import LayerDiffuseCodec

    if path.is_dir():
        if options:
            raise InputError(
                f"--codec layerdiffuse:{path} is a folder with its own vae/, decoder/ and encoder/; name no others"
            )
        vae = _part("AutoencoderKL", path / "vae", device)
        decoder = _part("TransparentUNet", path / "decoder", device)
        return LayerDiffuseCodec(vae, decoder, _part("LatentOffsetEncoder", path / "encoder", device))
    if "vae" not in options:
        raise InputError(f"--codec layerdiffuse:{path} needs the base model's VAE; add ,vae=FOLDER")
    vae = _part("AutoencoderKL", Path(options["vae"]).expanduser(), device)
    encoder = Path(options["encoder"]).expanduser() if "encoder" in options else None
    return LayerDiffuseCodec.from_file(path, vae, encoder=encoder)


def _part(name: str, folder: Path, device: Any) -> Any:
    """The module of a codec's part, strict, in float32."""
    import torch

    from ..models.parts import check_weights, load_part, part_config

    remedy = "give the folder of a codec's part"
    check_weights(folder, name, part_config(folder, name, remedy), remedy)
    return load_part(name, folder, device, torch.float32)


def contender(name: str, origin: str, codec: TiledCodec, tile: int) -> Contender:
    """``codec`` as functions of layers, whole and in tiles of ``tile`` pixels that share half of it."""
    from ..evaluation.codec_bench import Contender
    from ..models.codecs import Tiling

    tiled = Tiling(tile=tile, overlap=tile // 2, pictures=1)
    tiled.in_latents(codec.downscale, codec.tile_multiple)  # refused here, before anything long runs

    def through(tiling: Tiling) -> Any:
        def run(layers: np.ndarray) -> np.ndarray:
            import numpy as np
            import torch

            from ..layers.composite import quantise, to_float
            from ..models.codecs import still_convolutions
            from ..pipelines.images import to_pixels, to_tensor

            vae: Any = codec.vae  # type: ignore[attr-defined]
            codec.tiling = tiling
            with torch.no_grad(), still_convolutions(vae):
                pixels = torch.stack([to_tensor(to_float(layer)) for layer in layers]).to(vae.device)
                decoded = [to_pixels(one) for one in codec.decode(codec.encode(pixels))]
            return quantise(np.stack(decoded), 8)

        return run

    return Contender(name=name, origin=origin, whole=through(Tiling(pictures=1)), tiled=through(tiled))
