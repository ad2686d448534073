"""The rows of the verb table that make documents with a model, and what their options have in common. Pure data."""

from __future__ import annotations

from argparse import BooleanOptionalAction

from .verb import Argument, Verb, argument


def layer_count(text: str) -> int | str:
    """A number of layers, or "auto"; argparse turns the ValueError of anything else into a message."""
    return text if text == "auto" else int(text)


layer_count.__name__ = "number or auto"  # what argparse calls it in "invalid ... value"


REGION = "\0"
"""Begins the value of a --region among those of --layer: the two share one list, since their order is that of the layers."""


def region(text: str) -> str:
    """The box of a --region, marked as one."""
    return REGION + text


def output(help: str) -> Argument:
    return argument("-o", "--output", metavar="OUT", required=True, help=help)


LAYERED = "where to write: .psd, .psb, .ora, .zip, .pptx, a folder; or flattened: .png, .webp, .tiff"
MODEL = argument(
    "--model",
    metavar="M",
    default="tiny",
    help="a name that `acetate models` lists, or a folder (default: tiny)",
)
STEPS = argument("--steps", metavar="S", type=int, help="denoising steps (default: the model's own)")
SEED = argument(
    "--seed", metavar="K", type=int, default=0, help="the same seed gives the same bytes (default: 0)"
)
LORA = argument(
    "--lora",
    metavar="FILE[:SCALE]",
    action="append",
    default=[],
    help="a LoRA (.safetensors) to lay over the model; can be repeated",
)
HELD = "[--modulation-table] [--memory GB] [--quantise HOW] [--transformer F.gguf]"
TABLE = argument(
    "--modulation-table",
    action="store_true",
    help="leave a third of the transformer's weights in their files: less memory, the same result",
)
MEMORY = argument(
    "--memory",
    metavar="GB",
    help="hold the model so that it fits: auto (what is free), or 8, 12, 16, 24, 48, 80 (default: load everything)",
)
QUANTISE = argument(
    "--quantise",
    "--quantize",
    metavar="HOW",
    help="keep the transformer's blocks in fewer bits: float8, int8 or nf4; other results, docs/memory.md has by how much",
)
TRANSFORMER = argument(
    "--transformer",
    metavar="F.gguf",
    help="a GGUF file with the transformer's weights, for those of the model",
)
TRANSPARENCY = argument(
    "--transparency",
    metavar="PATH",
    help="where FLUX takes alpha from: a file (LayerDiffuse; ART for generate), or the folder of a 4-channel VAE",
)
REPORT = argument(
    "--report", metavar="R.json", help="also write what was done: seed, revision, timings, boxes, errors"
)
QUIET = argument("-q", "--quiet", action="store_true", help="no progress")
SIZE = argument(
    "--size",
    choices=("native", "model"),
    default="native",
    help="native: the picture's own size; model: the size the model works at (default: native)",
)
CANVAS = argument("--size", metavar="WxH", help="canvas in pixels (default: the model's own)")
JSON = argument("--json", action="store_true", help="print JSON")

CREATE: tuple[Verb, ...] = (
    Verb(
        "decompose",
        "decompose IN [-n LAYERS] [--model M] [--prompt P] [--layer-prompt P]... [--steps S] [--seed K] "
        f"[--lora FILE[:SCALE]]... {HELD} [--best-of N] [--keep-whole] "
        "[--size native|model] -o OUT [--report R.json]",
        "take a picture apart into layers",
        "create:decompose",
        (
            argument(
                "picture", metavar="IN", help="the picture: PNG, JPEG, WebP, TIFF … in any size and mode"
            ),
            argument(
                "-n",
                "--layers",
                metavar="LAYERS",
                type=layer_count,
                default=4,
                help="layers of the result, the background included, or auto (default: 4)",
            ),
            MODEL,
            argument(
                "--prompt", metavar="P", help="what the picture shows (default: the model looks for itself)"
            ),
            argument(
                "--layer-prompt",
                metavar="P",
                action="append",
                default=[],
                help="what a layer shows and so its name, once for each from the background up; '' leaves one open. The "
                "model is told, but none was trained to follow it here",
            ),
            STEPS,
            SEED,
            LORA,
            TABLE,
            MEMORY,
            QUANTISE,
            TRANSFORMER,
            argument(
                "--best-of",
                metavar="N",
                type=int,
                default=1,
                help="tries with the seeds from --seed on; the layers nearest to the picture are kept (default: 1)",
            ),
            argument(
                "--keep-whole",
                action=BooleanOptionalAction,
                default=None,
                help="put objects together that the model spread over several layers (default: as the model needs it)",
            ),
            SIZE,
            output(LAYERED),
            REPORT,
            QUIET,
        ),
        "acetate decompose poster.png -n 4 -o poster.psd",
    ),
    Verb(
        "generate",
        'generate "PROMPT" [--layer "prompt@x0,y0,x1,y1"]... [--region x0,y0,x1,y1]... [-n LAYERS] [--size WxH] [--model M] '
        f"[--transparency PATH] [--steps S] [--seed K] [--lora FILE[:SCALE]]... {HELD} -o OUT "
        "[--report R.json]",
        "make a layered picture from text",
        "create:generate",
        (
            argument("prompt", metavar="PROMPT", help="the whole scene in words"),
            argument(
                "--layer",
                dest="layer",
                metavar='"PROMPT@x0,y0,x1,y1"',
                action="append",
                default=[],
                help="one layer above the background, bottom to top; the box in pixels may be left out",
            ),
            argument(
                "--region",
                dest="layer",
                metavar="x0,y0,x1,y1",
                action="append",
                type=region,
                help="one layer with a box and no words of its own, as FLUX makes them; its place among --layer counts",
            ),
            argument(
                "-n",
                "--layers",
                metavar="LAYERS",
                type=int,
                help="layers of the result, the background included (default: one more than --layer, or 3)",
            ),
            CANVAS,
            MODEL,
            TRANSPARENCY,
            STEPS,
            SEED,
            LORA,
            TABLE,
            MEMORY,
            QUANTISE,
            TRANSFORMER,
            output(LAYERED),
            REPORT,
            QUIET,
        ),
        'acetate generate "a red circle on a blue sky" -n 3 -o scene.ora',
    ),
    Verb(
        "complete",
        "complete FILE [--layer NAME] [--add above|below] [--prompt P] [--box x0,y0,x1,y1] [--scene P] [--model M] "
        f"[--steps S] [--seed K] [--lora FILE[:SCALE]]... {HELD} -o OUT [--report R.json]",
        "make one layer of a document anew, or a new one, to fit the others",
        "create:complete",
        (
            argument("file", metavar="FILE", help="a layered document; its other layers stay as they are"),
            argument(
                "--layer",
                metavar="NAME",
                help="the layer to make anew: its name, its id, or #0, the lowest (default: a new one on top)",
            ),
            argument(
                "--add",
                choices=("above", "below"),
                help="make a new layer above or below that one instead; without --layer, above or below all",
            ),
            argument("--prompt", metavar="P", help="what the layer shows"),
            argument(
                "--box",
                metavar="x0,y0,x1,y1",
                help="where it is, in pixels (default: anywhere on the canvas)",
            ),
            argument("--scene", metavar="P", help="the whole scene in words"),
            MODEL,
            STEPS,
            SEED,
            LORA,
            TABLE,
            MEMORY,
            QUANTISE,
            TRANSFORMER,
            output(LAYERED),
            REPORT,
            QUIET,
        ),
        'acetate complete poster.psd --layer "Layer 1" --prompt "a red star" -o poster2.psd',
    ),
    Verb(
        "extract",
        "extract IN [--mask M.png | --box x0,y0,x1,y1] [--model M] [--steps S] [--seed K] [--lora FILE[:SCALE]]... "
        f"{HELD} [--size native|model] -o OUT [--report R.json]",
        "lift an object with its shadow off its background",
        "create:extract",
        (
            argument("picture", metavar="IN", help="the picture, of any size and mode"),
            argument(
                "--mask",
                metavar="M.png",
                help="a picture of the same size, white where the object is; it need not be tight",
            ),
            argument(
                "--box", metavar="x0,y0,x1,y1", help="instead of a mask: a box around the object, in pixels"
            ),
            MODEL,
            STEPS,
            SEED,
            LORA,
            TABLE,
            MEMORY,
            QUANTISE,
            TRANSFORMER,
            SIZE,
            output(LAYERED),
            REPORT,
            QUIET,
        ),
        "acetate extract photo.jpg --box 40,60,220,300 -o lifted.psd",
    ),
    Verb(
        "transparent",
        'transparent "PROMPT" [--image IN] [--strength S] [--guidance G] [--size WxH] [--model M] [--transparency PATH] '
        f"[--steps S] [--seed K] [--lora FILE[:SCALE]]... {HELD} -o OUT [--report R.json]",
        "make a single transparent layer from text, or from text and a picture",
        "create:transparent",
        (
            argument("prompt", metavar="PROMPT", help="what the layer shows"),
            argument("--image", metavar="IN", help="a picture to start from, with or without alpha"),
            argument(
                "--strength",
                metavar="S",
                type=float,
                help="how much of the picture changes, above 0 and at most 1 (default: 0.8)",
            ),
            argument(
                "--guidance",
                metavar="G",
                type=float,
                help="how closely the words are followed (default: the model's own; schnell cannot be told)",
            ),
            CANVAS,
            MODEL,
            TRANSPARENCY,
            STEPS,
            SEED,
            LORA,
            TABLE,
            MEMORY,
            QUANTISE,
            TRANSFORMER,
            output(LAYERED),
            REPORT,
            QUIET,
        ),
        'acetate transparent "a red star" -o star.png',
    ),
)
