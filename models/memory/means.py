"""The means by which a model is made to fit, in their fixed order of preference.

A list of ``Means`` per kind of device, from the mildest on: each next one is never faster and never truer to the model
than the one before it, so that more memory never makes a run slower or its results coarser. Knows what the means are,
not what they save.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

EXACT, SEAMS, ROUNDED, EIGHT_BITS, FOUR_BITS = range(5)
BYTES = {"float8": 1.0, "int8": 1.0, "nf4": 0.5 + 1 / 64 + 4 / (64 * 256)}
"""Of a number in each storage, scales included where they weigh anything."""
_STORED = {"float8": "8 bits (float8)", "int8": "8 bits (int8, a scale per row)", "nf4": "4 bits (NF4)"}


@dataclass(frozen=True, kw_only=True)
class Means:
    """How a model is held.

    ``dtype``: what it computes in. ``table``: modulation as a table. ``text_first``: the text encoder is gone before the
    transformer comes, and the other way round. ``offload``: where transformer blocks wait, "host" (the machine's memory,
    fetched one block ahead) or "files" (the model's own, read for every pass); ``resident`` of them stay on the device.
    ``text_offload``: layers of the text encoder wait in the machine's memory too. ``tiling``: the VAE works in tiles.
    ``storage``: None, or how the blocks' linear layers are kept while ``dtype`` is computed with: "float8" (diffusers'
    layerwise casting), "int8" or "nf4" (bitsandbytes).
    """

    dtype: str = "bfloat16"
    table: bool = False
    text_first: bool = False
    offload: str | None = None
    resident: int = 0
    text_offload: bool = False
    tiling: bool = False
    storage: str | None = None

    def loss(self, full: str) -> int:
        """How far results may be from those of a run without a plan, whose dtype is ``full``, as a rank; 0: not at all."""
        if self.storage is not None:
            return FOUR_BITS if self.storage == "nf4" else EIGHT_BITS
        if self.dtype != full:
            return ROUNDED
        return SEAMS if self.tiling else EXACT

    def slowness(self, blocks: int) -> tuple[bool, int, bool]:
        """What is fetched again and again: (whether parts are loaded anew for each prompt, transformer blocks per pass,
        whether layers of the text encoder are)."""
        streamed = 0 if self.offload is None else blocks - self.resident
        return self.text_first, streamed, self.text_offload

    def described(self, blocks: int, full: str) -> list[tuple[str, bool]]:
        """What is done, one sentence each, and whether it leaves every bit of the result as it is. ``full``: the dtype of
        a run without a plan."""
        done: list[tuple[str, bool]] = []
        if self.dtype != full:
            done.append((f"computes in {self.dtype} instead of {full}", False))
        if self.table:
            done.append(("modulation from a table, its weights stay in their files", True))
        if self.text_first:
            done.append(("text encoder first and gone before the transformer is loaded", True))
        if self.offload == "host":
            streamed = blocks - self.resident
            where = "wait in the machine's memory, one is fetched ahead"
            done.append((f"{streamed} of {blocks} transformer blocks {where}", True))
        if self.offload == "files":
            streamed = blocks - self.resident
            done.append(
                (f"{streamed} of {blocks} transformer blocks are read from their files in every pass", True)
            )
        if self.text_offload:
            done.append(("layers of the text encoder wait in the machine's memory", True))
        if self.tiling:
            done.append(("the VAE works in overlapping tiles", False))
        if self.storage is not None:
            done.append((f"transformer blocks are kept in {_STORED[self.storage]}", False))
        return done

    def short(self, blocks: int, full: str) -> str:
        """The same in a few words, as the tables of the documentation have it."""
        words = [
            (self.dtype if self.dtype != full else "", self.dtype != full),
            ("table", self.table),
            ("text first", self.text_first),
            (
                f"{self.resident} of {blocks} blocks stay, the others wait in {self.offload or ''}",
                bool(self.offload),
            ),
            ("text layers wait", self.text_offload),
            ("tiles", self.tiling),
            (self.storage or "", self.storage is not None),
        ]
        return ", ".join(word for word, said in words if said) or "as it is"


def ladder(device: str) -> list[Means]:
    """The means for a kind of device, the mildest first."""
    return _accelerator() if device == "cuda" else _shared("bfloat16" if device == "mps" else "float32")


def full_dtype(device: str) -> str:
    """What a run without a plan computes in."""
    return "float32" if device == "cpu" else "bfloat16"


def _accelerator() -> list[Means]:
    plain = Means()
    table = replace(plain, table=True)
    text = replace(table, text_first=True)
    blocks = replace(text, offload="host")
    layers = replace(blocks, text_offload=True)
    tiles = replace(layers, tiling=True)
    # From here on for machines whose own memory cannot hold what waits: nothing waits, everything is made smaller.
    steps = [plain, table, text, blocks, layers, tiles]
    for storage in ("float8", "nf4"):
        bytes_ = replace(text, storage=storage)
        small = replace(bytes_, text_offload=True)
        steps += [bytes_, small, replace(small, tiling=True)]
    return steps


def _shared(dtype: str) -> list[Means]:
    """Where device and host share one memory nothing is gained by waiting in the host: blocks come from their files."""
    plain = Means(dtype=dtype)
    table = replace(plain, table=True)
    text = replace(table, text_first=True)
    steps = [plain, table, text]
    if dtype == "float32":
        text = replace(text, dtype="bfloat16")
        steps.append(text)
    files = replace(text, offload="files")
    return [*steps, files, replace(files, tiling=True)]
