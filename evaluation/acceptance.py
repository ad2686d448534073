"""The acceptance table of the embedded model: which figure, which bar, from which result. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

from .results import Results
from .scoring import MethodScore
from .table import Figure, aligned, missing, reached, told

DB = "{:.1f} dB"
SHARE = "{:.1%}"


def acceptance(results: Results, rows: Sequence[str]) -> list[Figure]:
    """The figures of the ``rows`` that were asked for, in the order of the table."""
    makers = {
        "codec": _codec,
        "decompose": _decompose,
        "auto": _auto,
        "generate": _generate,
        "boxes": _boxes,
        "given": _given,
        "speed": _speed,
    }
    return [figure for name, make in makers.items() if name in rows for figure in make(results)]


def _codec(results: Results) -> list[Figure]:
    codec = results.codec
    note = "" if codec is None else f"{codec.layers} layers; over all pixels at once {codec.pooled:.1f} dB"
    psnr, iou = (None, None) if codec is None else (codec.psnr, codec.alpha_iou)
    return [
        reached("RGBA VAE: PSNR of premultiplied RGBA", psnr, 32, form=DB, note=note),
        reached("RGBA VAE: alpha IoU of object layers", iou, 0.98),
    ]


def _decompose(results: Results) -> list[Figure]:
    model = results.model
    l1, iou = (None, None) if model is None else (model.raw[0].l1, model.raw[0].iou)
    bare = results.bare or model
    cleared = "" if model is None else f"alphas below 8/255 cleared: {model.cleared[0].l1:.3f}"
    cleared_iou = "" if model is None else f"alphas below 8/255 cleared: {model.cleared[0].iou:.3f}"
    if results.bare is not None:
        cleared += f"; the model alone: {results.bare.raw[0].l1:.3f}"
        cleared_iou += f"; the model alone: {results.bare.raw[0].iou:.3f}"
    return [
        reached("decomposition, 0 merges: RGB L1", l1, 0.06, most=True, note=cleared),
        reached("decomposition, 0 merges: alpha soft IoU", iou, 0.85, note=cleared_iou),
        *_against_baselines(results),
        reached(
            "raw recomposition PSNR",
            None if bare is None else bare.recomposition,
            28,
            form=DB,
            note="the model's own layers, before the exact solve",
        ),
        _hidden_background(results),
        told("layers seen, off by (mean)", None if model is None else model.count_error, form="{:.2f}"),
        told("alpha MAE of objects", None if model is None else model.alpha_mae, form="{:.4f}"),
        told("alpha gradient error of objects", None if model is None else model.gradient),
    ]


def _against_baselines(results: Results) -> list[Figure]:
    names = ("RGB L1 against the best baseline", "alpha soft IoU against the best baseline")
    if results.model is None or not results.baselines:
        return [
            missing(name, "better", "not run", "needs the rows decompose and baselines") for name in names
        ]
    absent = "".join(f"; {title}: {why}" for title, why in results.absent)
    best_l1 = min(results.baselines, key=lambda method: method.raw[0].l1)
    best_iou = max(results.baselines, key=lambda method: method.raw[0].iou)
    l1, iou = results.model.raw[0].l1, results.model.raw[0].iou
    return [
        reached(names[0], l1, best_l1.raw[0].l1, most=True, strict=True, note=best_l1.title + absent),
        reached(names[1], iou, best_iou.raw[0].iou, strict=True, note=best_iou.title + absent),
    ]


def _hidden_background(results: Results) -> Figure:
    name = "background PSNR where it was occluded"
    ours = None if results.model is None else results.model.background
    if results.telea is None:
        why = "; ".join(f"{title}: {reason}" for title, reason in results.absent)
        return missing(name, "> Telea", "not run", why or "needs the rows decompose and baselines")
    return reached(name, ours, results.telea, strict=True, form=DB, note="the bar: Telea with the true masks")


def _auto(results: Results) -> list[Figure]:
    errors = results.auto_errors
    exact = None if errors is None else sum(e == 0 for e in errors) / len(errors)
    close = None if errors is None else sum(abs(e) <= 1 for e in errors) / len(errors)
    return [
        reached("-n auto: exact layer count", exact, 0.7, form=SHARE),
        reached("-n auto: off by at most one", close, 0.95, form=SHARE),
    ]


def _generate(results: Results) -> list[Figure]:
    found, judge = results.retrieval, results.judge
    note = "" if judge is None else f"true layers: {judge.top1:.1%} / {judge.top5:.1%}"
    return [
        reached(
            "text to layers: retrieval top-1",
            None if found is None else found.top1,
            0.6,
            form=SHARE,
            note=note,
        ),
        reached("text to layers: retrieval top-5", None if found is None else found.top5, 0.8, form=SHARE),
        told("text to layers: layers against redrawn composite", results.consistency, form=DB),
    ]


def _boxes(results: Results) -> list[Figure]:
    boxes = results.boxes
    note = "" if boxes is None else f"{boxes.layers} layers"
    iou = None if boxes is None else boxes.iou
    figures = [reached("boxes given: mean IoU of visible alpha box", iou, 0.75, note=note)]
    if boxes is not None:
        words = f"top-5 {boxes.retrieval.top5:.1%}"
        figures.append(told("boxes given: retrieval top-1", boxes.retrieval.top1, form=SHARE, note=words))
    return figures


def _given(results: Results) -> list[Figure]:
    given = results.given
    names = ("background to foreground and back: retrieval top-1", "given layer unchanged")
    if given is None:
        return [reached(names[0], None, 0.5, form=SHARE), reached(names[1], None, 1, form=SHARE)]
    note = (
        f"the lower of {given.forward.top1:.1%} of {given.forward.count} objects, {given.back.top1:.1%} of "
        f"{given.back.count} backgrounds (true ones: {given.judge.top1:.1%})"
    )
    lower = min(given.forward.top1, given.back.top1)
    exact = f"{given.unchanged} of {given.given} layers exactly"
    return [
        reached(names[0], lower, 0.5, form=SHARE, note=note),
        reached(names[1], given.unchanged / given.given, 1, form=SHARE, note=exact),
    ]


def _speed(results: Results) -> list[Figure]:
    speed = results.speed
    if speed is None:
        return [missing("4 layers at the model's size", "<= 15.0 s", "not run", "")]
    machine = f"{speed.threads} threads, load {speed.load}"
    what = f"{speed.layers} layers at the model's size ({speed.size} px, {speed.steps} steps)"
    return [
        reached(what, speed.ours, 15, most=True, form="{:.1f} s", note=machine),
        reached(
            "time over diffusers' own pipeline",
            speed.ratio,
            1.0,
            most=True,
            form="{:.2f}x",
            note=f"{speed.stock:.1f} s",
        ),
    ]


def comparison(results: Results) -> str:
    """All ways of taking the same scenes apart, one line each; empty when none was run."""
    methods = [one for one in (results.model, results.bare) if one is not None] + results.baselines
    methods += [results.through_codec] if results.through_codec else []
    if not methods:
        return ""
    head = (
        "method",
        "L1",
        "IoU",
        "L1 @5",
        "IoU @5",
        "grey L1",
        "grey IoU",
        "recomposed",
        "hidden bg",
        "alpha MAE",
    )
    return aligned(
        (*head, "gradient", "count off", "s/scene"), [_line(method) for method in methods], right=range(1, 13)
    )


def _line(method: MethodScore) -> tuple[str, ...]:
    first, last, grey = method.raw[0], method.raw[-1], method.grey[0]
    decibels = (
        f"{value:.1f}" if value is not None else "-" for value in (method.recomposition, method.background)
    )
    scores = (f"{value:.3f}" for value in (first.l1, first.iou, last.l1, last.iou, grey.l1, grey.iou))
    edges = (f"{method.alpha_mae:.4f}", f"{method.gradient:.3f}")
    rest = (f"{method.count_error:.2f}", f"{method.seconds_per_scene:.2f}")
    return (method.title, *scores, *decibels, *edges, *rest)


def by_objects(results: Results) -> str:
    """The model's L1 and IoU by how many objects the scene has; empty when it was not run."""
    if results.model is None:
        return ""
    rows = [
        (str(count), str(int(row["scenes"])), f"{row['l1']:.3f}", f"{row['iou']:.3f}")
        for count, row in results.model.by_objects().items()
    ]
    return aligned(("objects", "scenes", "L1", "IoU"), rows, right=range(4))
