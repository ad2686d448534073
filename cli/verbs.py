"""The verb table: every command, its options and the function that runs it. Pure data; the parser, the README's table and
the tests are made from it."""

from __future__ import annotations

from argparse import BooleanOptionalAction

from .render_verb import RENDER
from .verb import Argument, Verb, argument


def layer_count(text: str) -> int | str:
    """A number of layers, or "auto"; argparse turns the ValueError of anything else into a message."""
    return text if text == "auto" else int(text)


layer_count.__name__ = "number or auto"  # what argparse calls it in "invalid ... value"


def _output(help: str) -> Argument:
    return argument("-o", "--output", metavar="OUT", required=True, help=help)


LAYERED = "where to write: .psd, .psb, .ora, .zip, .pptx, a folder; or flattened: .png, .webp, .tiff"
_MODEL = argument(
    "--model",
    metavar="M",
    default="tiny",
    help="a name that `acetate models` lists, or a folder (default: tiny)",
)
_STEPS = argument("--steps", metavar="S", type=int, help="denoising steps (default: the model's own)")
_SEED = argument(
    "--seed", metavar="K", type=int, default=0, help="the same seed gives the same bytes (default: 0)"
)
_MEMORY = argument(
    "--memory",
    metavar="GB",
    help="hold the model so that it fits: auto (what is free), or 8, 12, 16, 24, 48, 80 (default: load everything)",
)
_REPORT = argument(
    "--report", metavar="R.json", help="also write what was done: seed, revision, timings, boxes, errors"
)
_QUIET = argument("-q", "--quiet", action="store_true", help="no progress")
_SIZE = argument(
    "--size",
    choices=("native", "model"),
    default="native",
    help="native: the picture's own size; model: the size the model works at (default: native)",
)
_CANVAS = argument("--size", metavar="WxH", help="canvas in pixels (default: the model's own)")
_JSON = argument("--json", action="store_true", help="print JSON")

VERBS: tuple[Verb, ...] = (
    Verb(
        "decompose",
        "decompose IN [-n LAYERS] [--model M] [--prompt P] [--steps S] [--seed K] [--memory GB] [--best-of N] "
        "[--keep-whole] [--size native|model] -o OUT [--report R.json]",
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
            _MODEL,
            argument(
                "--prompt", metavar="P", help="what the picture shows (default: the model looks for itself)"
            ),
            _STEPS,
            _SEED,
            _MEMORY,
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
            _SIZE,
            _output(LAYERED),
            _REPORT,
            _QUIET,
        ),
        "acetate decompose poster.png -n 4 -o poster.psd",
    ),
    Verb(
        "generate",
        'generate "PROMPT" [--layer "prompt@x0,y0,x1,y1"]... [-n LAYERS] [--size WxH] [--model M] [--steps S] '
        "[--seed K] [--memory GB] -o OUT [--report R.json]",
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
                "-n",
                "--layers",
                metavar="LAYERS",
                type=int,
                help="layers of the result, the background included (default: one more than --layer, or 3)",
            ),
            _CANVAS,
            _MODEL,
            _STEPS,
            _SEED,
            _MEMORY,
            _output(LAYERED),
            _REPORT,
            _QUIET,
        ),
        'acetate generate "a red circle on a blue sky" -n 3 -o scene.ora',
    ),
    Verb(
        "complete",
        "complete FILE [--layer NAME] [--add above|below] [--prompt P] [--box x0,y0,x1,y1] [--scene P] [--model M] "
        "[--steps S] [--seed K] [--memory GB] -o OUT [--report R.json]",
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
            _MODEL,
            _STEPS,
            _SEED,
            _MEMORY,
            _output(LAYERED),
            _REPORT,
            _QUIET,
        ),
        'acetate complete poster.psd --layer "Layer 1" --prompt "a red star" -o poster2.psd',
    ),
    Verb(
        "extract",
        "extract IN [--mask M.png | --box x0,y0,x1,y1] [--model M] [--steps S] [--seed K] [--memory GB] "
        "[--size native|model] -o OUT [--report R.json]",
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
            _MODEL,
            _STEPS,
            _SEED,
            _MEMORY,
            _SIZE,
            _output(LAYERED),
            _REPORT,
            _QUIET,
        ),
        "acetate extract photo.jpg --box 40,60,220,300 -o lifted.psd",
    ),
    Verb(
        "transparent",
        'transparent "PROMPT" [--size WxH] [--model M] [--steps S] [--seed K] [--memory GB] -o OUT [--report R.json]',
        "make a single transparent layer from text",
        "create:transparent",
        (
            argument("prompt", metavar="PROMPT", help="what the layer shows"),
            _CANVAS,
            _MODEL,
            _STEPS,
            _SEED,
            _MEMORY,
            _output(LAYERED),
            _REPORT,
            _QUIET,
        ),
        'acetate transparent "a red star" -o star.png',
    ),
    RENDER,
    Verb(
        "inspect",
        "inspect FILE [--json]",
        "show a document's layers",
        "documents:inspect",
        (argument("file", metavar="FILE", help="a layered document or a flat picture"), _JSON),
        "acetate inspect poster.psd",
    ),
    Verb(
        "flatten",
        "flatten FILE -o OUT.png",
        "merge all layers into one picture",
        "documents:flatten",
        (
            argument("file", metavar="FILE", help="a layered document"),
            _output("the picture to write: .png, .webp or .tiff"),
        ),
        "acetate flatten poster.psd -o poster.png",
    ),
    Verb(
        "convert",
        "convert IN OUT",
        "write a document in another format",
        "documents:convert",
        (
            argument("file", metavar="IN", help="a layered document"),
            argument("output", metavar="OUT", help="the document to write; its suffix names the format"),
        ),
        "acetate convert poster.psd poster.ora",
    ),
    Verb(
        "edit",
        "edit FILE OP... -o OUT",
        "change layers: move, scale, rename, group …",
        "documents:edit",
        (
            argument("file", metavar="FILE", help="a layered document"),
            argument(
                "operations", metavar="OP", nargs="+", help="operations, applied in order; listed below"
            ),
            _output("where to write the changed document"),
        ),
        'acetate edit poster.psd "move:Layer 1,40,-10" "opacity:Layer 2,0.5" -o poster2.psd',
    ),
    Verb(
        "ui",
        "ui [--host H] [--port P] [--auth NAME:PASSWORD]... [--model M]... [--store DIR] [--hours H] [--max-upload MIB]",
        "open the studio: layers, stage and generator in the browser",
        "studio:serve",
        (
            argument(
                "--host",
                metavar="H",
                default="127.0.0.1",
                help="who may reach it (default: 127.0.0.1, this machine)",
            ),
            argument(
                "--port", metavar="P", type=int, default=7860, help="0 takes a free one (default: 7860)"
            ),
            argument(
                "--auth",
                metavar="NAME:PASSWORD",
                action="append",
                default=[],
                help="somebody who may log in; can be repeated (default: no login)",
            ),
            argument(
                "--model",
                metavar="M",
                action="append",
                default=[],
                help="a model that visitors may choose; can be repeated (default: tiny)",
            ),
            argument(
                "--store",
                metavar="DIR",
                help="where documents lie while in use (default: a temporary folder)",
            ),
            argument(
                "--hours",
                metavar="H",
                type=float,
                default=4.0,
                help="unused documents are removed (default: 4)",
            ),
            argument(
                "--max-upload",
                metavar="MIB",
                type=int,
                default=256,
                help="largest file to open (default: 256)",
            ),
        ),
        "acetate ui --port 7860",
    ),
    Verb(
        "bench",
        "bench quality [--scenes N] [--model M] [--steps S] [--rows ROW,ROW] [--out DIR] [--json FILE]",
        "measure a model on held-out scenes, beside baselines",
        "bench:bench",
        (
            argument(
                "what",
                metavar="quality",
                choices=("quality",),
                help="what is measured: quality, the only one so far",
            ),
            argument(
                "--scenes", metavar="N", type=int, default=200, help="how many held-out scenes (default: 200)"
            ),
            _MODEL,
            _STEPS,
            argument(
                "--rows",
                metavar="ROW,ROW",
                help="parts of the table: codec, decompose, baselines, auto, generate, boxes, given, speed (default: all)",
            ),
            argument(
                "--out",
                metavar="DIR",
                help="a folder for the contact sheets and the JSON (default: out/bench)",
            ),
            argument("--json", metavar="FILE", help="where the JSON goes (default: DIR/quality.json)"),
            _QUIET,
        ),
        "acetate bench quality --scenes 20 --rows decompose,baselines",
    ),
    Verb(
        "models",
        "models [MODEL] [--memory GB] [-n LAYERS] [--size WxH] [--device D] [--json]",
        "list the models that --model knows, or tell how one fits into memory",
        "models:models",
        (
            argument(
                "model",
                metavar="MODEL",
                nargs="?",
                help="a name of the list, or a folder: how it would be held, without loading it",
            ),
            argument(
                "--memory",
                metavar="GB",
                help="auto, or 8, 12, 16, 24, 48, 80 (default: a table of all presets)",
            ),
            argument(
                "-n", "--layers", metavar="LAYERS", type=int, help="layers of a decomposition (default: 4)"
            ),
            argument(
                "--size", metavar="WxH", help="the size it works at, in pixels (default: the model's own)"
            ),
            argument(
                "--device",
                metavar="D",
                choices=("cuda", "cpu", "mps"),
                help="cuda, cpu or mps (default: this machine's)",
            ),
            _JSON,
        ),
        "acetate models Qwen/Qwen-Image-Layered --memory 24 --device cuda",
    ),
    Verb(
        "doctor",
        "doctor [--json]",
        "check this installation and run the embedded model once",
        "doctor:doctor",
        (_JSON,),
        "acetate doctor",
    ),
)
