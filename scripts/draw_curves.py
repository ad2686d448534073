"""Draw a training log: `python -P scripts/draw_curves.py LOG.jsonl image text boxes -o docs/curves.png`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#d1495b", "#00798c", "#edae49", "#30638e", "#5f0f40", "#6a994e")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 1000, 560, 80, 40, 160, 50


def points(records: list[dict[str, float]], name: str) -> list[tuple[float, float]]:
    """(step, value) of every record that holds ``name``."""
    return [(r["step"], r[name]) for r in records if name in r]


def draw(series: dict[str, list[tuple[float, float]]], title: str) -> Image.Image:
    """One line a series over the steps, linear axes from zero."""
    scale = 2
    image = Image.new("RGB", (WIDTH * scale, HEIGHT * scale), "white")
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(15 * scale)
    most_x = max(x for line in series.values() for x, _ in line)
    most_y = max(y for line in series.values() for _, y in line)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return (LEFT + wide * x / most_x) * scale, (TOP + tall * (1 - y / most_y)) * scale

    for i in range(6):
        x, y = most_x * i / 5, most_y * i / 5
        pen.line([place(0, y), place(most_x, y)], fill="#dddddd", width=scale)
        pen.text(
            (place(0, y)[0] - 10 * scale, place(0, y)[1]), f"{y:.3g}", font=font, anchor="rm", fill="#444444"
        )
        pen.text(
            (place(x, 0)[0], (HEIGHT - BOTTOM + 10) * scale),
            f"{x:.0f}",
            font=font,
            anchor="ma",
            fill="#444444",
        )
    for colour, (name, line) in zip(COLOURS[: len(series)], series.items(), strict=True):
        pen.line([place(x, y) for x, y in line], fill=colour, width=2 * scale, joint="curve")
        end = place(*line[-1])
        pen.text((end[0] + 8 * scale, end[1]), name, font=font, anchor="lm", fill=colour)
    pen.text((LEFT * scale, 10 * scale), title, font=font, fill="#222222")
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("names", nargs="+", help="keys of the log to draw over the steps")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--title", default="")
    args = parser.parse_args()
    records = [json.loads(line) for line in args.log.read_text().splitlines() if line]
    series = {name: points(records, name) for name in args.names}
    missing = [name for name, line in series.items() if not line]
    if missing:
        parser.error(f"{args.log} holds no {', '.join(missing)}")
    if len(series) > len(COLOURS):
        parser.error(
            f"{len(series)} curves in one picture are more than the {len(COLOURS)} that can be told apart"
        )
    draw(series, args.title or args.log.name).save(args.output)


if __name__ == "__main__":
    main()
