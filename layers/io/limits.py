"""How much an untrusted file may ask of this machine, and the wall that turns its lies into one clear error.

Knows nothing of any format: readers ask here before they allocate, and run third-party parsers inside
:func:`reading`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ...errors import AcetateError, InputError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Ceilings checked before anything is allocated; the defaults hold a 16384 x 16384 canvas and 500
    layers.
    """

    side: int = 300_000
    """Longest side in pixels (the PSB format's own maximum)."""
    pixels: int = 2**28
    """Pixels of a canvas, a picture or one layer."""
    total_pixels: int = 2**31
    """Pixels of all layers and masks of a document together."""
    layers: int = 4096
    """Layers and groups of a document."""
    depth: int = 32
    """Groups inside groups."""
    file_bytes: int = 2**33
    """Size of a file on disk, and of everything unpacked from an archive."""
    text_bytes: int = 2**26
    """Size of one manifest, XML tree or metadata packet."""
    entries: int = 10_000
    """Files inside one archive."""
    ratio: int = 100
    """Unpacked over packed size of an archive entry above one MiB."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int) or value < 1:
                raise InputError(f"limit {name} must be a whole number of at least 1, not {value!r}")

    def check_size(self, width: int, height: int, what: str) -> None:
        """Raise InputError if ``width`` x ``height`` pixels is empty or larger than one canvas may be."""
        if width < 1 or height < 1:
            raise InputError(f"{what} has no pixels ({width} x {height})")
        if max(width, height) > self.side:
            raise InputError(
                f"{what} is {width} x {height} pixels, longer than the {self.side} pixels a side that acetate opens: "
                "make it smaller first"
            )
        if width * height > self.pixels:
            raise InputError(
                f"{what} is {width} x {height} pixels, more than the {self.pixels / 1e6:.0f} megapixels that "
                "acetate opens: make it smaller first"
            )

    def check_layer(self, width: int, height: int, what: str) -> None:
        """Like :meth:`check_size`, but a layer may be empty (0 x 0)."""
        if width or height:
            self.check_size(width, height, what)


LIMITS = Limits()


class Budget:
    """Counts what one document has taken so far; every method raises InputError once a limit is passed."""

    def __init__(self, what: str, limits: Limits = LIMITS) -> None:
        self.what = what
        self.limits = limits
        self._pixels = 0
        self._nodes = 0

    def pixels(self, width: int, height: int, name: str) -> None:
        """Account for a layer or mask of ``width`` x ``height`` before it is allocated."""
        self.limits.check_layer(width, height, f"{name!r} in {self.what}")
        self._pixels += width * height
        if self._pixels > self.limits.total_pixels:
            raise InputError(
                f"the layers of {self.what} hold more than {self.limits.total_pixels / 1e6:.0f} megapixels "
                "together: crop or merge some of them first"
            )

    def node(self, depth: int) -> None:
        """Account for one layer or group that lies ``depth`` groups deep."""
        self._nodes += 1
        if self._nodes > self.limits.layers:
            raise InputError(
                f"{self.what} has more than {self.limits.layers} layers: merge some of them first"
            )
        if depth > self.limits.depth:
            raise InputError(
                f"{self.what} nests groups more than {self.limits.depth} deep: ungroup some first"
            )


@contextmanager
def reading(what: str, kind: str) -> Iterator[None]:
    """Run a parser over untrusted bytes: whatever it raises becomes one InputError about ``what``.

    The parsers of Pillow, psd-tools, zipfile and expat signal damage with some fifteen exception types
    between them, and a hostile file can reach any. This border is the one place where all of them are caught;
    errors that are already meant for people pass through, and the original stays attached as the cause.
    """
    try:
        yield
    except AcetateError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{what} needs more memory to open than this machine has: make it smaller first"
        ) from error
    except Exception as error:
        detail = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{what} is damaged, cut short or not {kind} ({detail}): save it again from its program"
        ) from error
