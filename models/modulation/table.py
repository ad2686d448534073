"""Modulation as a table. In a diffusion transformer with adaptive layer norms (DiT, arXiv 2212.09748, section 3.2) block
b scales, shifts and gates its tokens by

    m_b = W_b SiLU(e(c)) + w_b,   c = the time sigma, and for some classes the pooled prompt and guidance

so m_b(c) for the few c that a schedule visits can be computed once, and W_b, a third of Qwen-Image's weights, need not
be resident. We know of no paper that does it. Values are computed by the network's own modules on one sample at a time:
a run of batch 1 is equal bit for bit to one without the table; larger batches differ by what their matrix product rounds.

Knows conditions and modules; not schedules, prompts or where a run stands. A condition that was not announced is
computed when it is met, so no result is ever approximate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from ...errors import InputError
from .sites import ModulationSites, Site, modulation_sites
from .weights import Weights


class ModulationTable:
    """Takes the modulation out of ``transformer`` until :meth:`remove`.

    While installed the transformer cannot be saved, and its modulation not be trained or adapted. Raises InputError for
    classes it does not know, for quantised or offloaded modulation, and when there is a table already.
    """

    def __init__(self, transformer: Any, weights: Weights) -> None:
        if find_table(transformer) is not None:
            raise InputError("The transformer has a modulation table already.")
        self.sites: ModulationSites = modulation_sites(transformer)
        self.transformer = transformer
        self._weights = weights
        self._modules = {path: transformer.get_submodule(path) for path in self.sites.put_away}
        self._activations = {
            site.linear: transformer.get_submodule(site.activation) for site in self.sites.sites
        }
        for path, module in self._modules.items():
            _check(path, module)
        for path, module in self._modules.items():
            weights.take(path, module)
        self._lookups = {site.linear: _Lookup(self._rows_per_entry(site)) for site in self.sites.sites}
        self._keys: torch.Tensor | None = None
        self._times: torch.Tensor | None = None
        self._install()

    @property
    def nbytes(self) -> int:
        """Bytes that the table itself holds now."""
        tensors = [lookup.rows for lookup in self._lookups.values()] + [self._keys]
        return sum(0 if tensor is None else tensor.nbytes for tensor in tensors)

    @property
    def entries(self) -> int:
        """How many conditions it knows."""
        return 0 if self._keys is None else len(self._keys)

    def expect(self, times: torch.Tensor) -> None:
        """Announces the times (n,) of the next run, in the dtype that the transformer is called with: they are computed
        together when the first of them is met. Values of other times are forgotten."""
        known = self._times
        same = known is not None and known.dtype == times.dtype and torch.equal(known, times)
        if not same or not self.sites.time_only:
            self._forget()
        self._times = times.detach().cpu()

    def remove(self) -> None:
        """Puts everything back as it was, weights included."""
        device, dtype = self.transformer.device, self.transformer.dtype
        for path, module in self._modules.items():
            module.load_state_dict(self._weights.read(path, module, device, dtype), strict=True, assign=True)
            self.transformer.set_submodule(path, module)
        for site in self.sites.sites:
            self.transformer.set_submodule(site.activation, self._activations[site.linear])
        del self.transformer.save_pretrained
        self._forget()

    def index(self, arguments: tuple[Any, ...]) -> torch.Tensor:
        """What stands for the embedding inside the network: the table's row for each of its rows, int64."""
        given = [arguments[i] for i in self.sites.conditions if arguments[i] is not None]
        wanted = _key(given, self.sites.paired)
        if self._keys is not None and self._keys.dtype != wanted.dtype:
            self._forget()
        entry, known = self._find(wanted)
        missing = (~known).nonzero().flatten().tolist()  # waits for the device: once per call of the network
        for sample in missing:
            if bool(self._find(wanted)[1][sample]):
                continue
            if not bool(wanted[sample].isfinite().all()):
                raise ValueError("the transformer was called with a time or a condition that is not finite")
            self._compute(arguments, sample)
        if missing:
            entry, _ = self._find(wanted)
        return torch.cat([2 * entry, 2 * entry + 1]) if self.sites.paired else entry

    def _rows_per_entry(self, site: Site) -> tuple[int, int]:
        """(rows that the index counts per entry, rows that this site has of them)."""
        return (2, 2 if site.all_rows else 1) if self.sites.paired else (1, 1)

    def _install(self) -> None:
        self.transformer.set_submodule(self.sites.embedding, _Conditions(self))
        for site in self.sites.sites:
            lookup = self._lookups[site.linear]
            self.transformer.set_submodule(site.linear, lookup)
            bypass = _Remember(lookup) if site.late else nn.Identity()
            self.transformer.set_submodule(site.activation, bypass)
        self.transformer.save_pretrained = _refuse_saving

    def _forget(self) -> None:
        self._keys = None
        for lookup in self._lookups.values():
            lookup.rows = None

    def _find(self, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(entry (B,) int64, whether it is known (B,) bool) of conditions (B, k)."""
        if self._keys is None:
            nothing = torch.zeros(len(wanted), dtype=torch.int64, device=wanted.device)
            return nothing, nothing.bool()
        self._keys = self._keys.to(wanted.device)
        same = (wanted[:, None] == self._keys[None]).all(-1)
        return same.int().argmax(1), same.any(1)

    @torch.no_grad()
    def _compute(self, arguments: tuple[Any, ...], sample: int) -> None:
        """Adds entries for the conditions of one sample, at its time and at all the announced ones."""
        first = arguments[0]
        device, dtype = first.device, self.transformer.dtype
        step = len(first) // 2 if self.sites.paired else len(first)
        places = [sample, sample + step] if self.sites.paired else [sample]
        own = [
            a[places] if i in self.sites.conditions and a is not None else a for i, a in enumerate(arguments)
        ]
        calls = [[time, *own[1:]] for time in self._times_for(own[0])]
        given = [[call[i] for i in self.sites.conditions if call[i] is not None] for call in calls]
        keys = torch.cat([_key(one, self.sites.paired) for one in given])
        embed = self._modules[self.sites.embedding]
        parameters = self._weights.read(self.sites.embedding, embed, device, dtype)
        embeddings = [functional_call(embed, parameters, tuple(call)) for call in calls]
        for site in self.sites.sites:
            linear, activation = self._modules[site.linear], self._activations[site.linear]
            parameters = self._weights.read(site.linear, linear, device, dtype)
            seen = embeddings if site.all_rows else [one.chunk(2)[0] for one in embeddings]
            rows = [functional_call(linear, parameters, (activation(one),)) for one in seen]
            self._lookups[site.linear].add(torch.cat(rows))
        self._keys = keys if self._keys is None else torch.cat([self._keys.to(device), keys])

    def _times_for(self, time: torch.Tensor) -> list[torch.Tensor]:
        """The time argument for one sample at every announced time, if its own is among them; else its own alone."""
        if self._times is None or self._times.dtype != time.dtype:
            return [time]
        times = (self._times * self.sites.time_scale).to(time.device).unique()
        if not bool((times == time[0]).any()):
            return [time]
        return [torch.stack([one, *(one * 0 for _ in time[1:])]) for one in times]


class _Conditions(nn.Module):
    """Stands where the conditions were embedded and returns rows of the table."""

    def __init__(self, table: ModulationTable) -> None:
        super().__init__()
        self.table = table

    def forward(self, *arguments: Any) -> torch.Tensor:
        return self.table.index(arguments)


class _Lookup(nn.Module):
    """Stands where a modulation layer was. ``rows`` is no buffer: offloading and casting leave it where it is used."""

    def __init__(self, rows_per_entry: tuple[int, int]) -> None:
        super().__init__()
        counted, held = rows_per_entry
        self.stride = counted // held
        self.rows: torch.Tensor | None = None
        self.index: torch.Tensor | None = None

    def add(self, rows: torch.Tensor) -> None:
        self.rows = rows if self.rows is None else torch.cat([self.rows.to(rows.device), rows])

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        index = index if self.index is None else self.index
        assert self.rows is not None
        if self.rows.device != index.device:
            self.rows = self.rows.to(index.device)
        return self.rows.index_select(0, index // self.stride if self.stride > 1 else index)


class _Remember(nn.Module):
    """Stands where the last activation was and hands the row numbers to its layer, past a cast in between that they
    would not survive."""

    def __init__(self, lookup: _Lookup) -> None:
        super().__init__()
        self._lookup = [lookup]

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        self._lookup[0].index = index
        return index


def find_table(transformer: Any) -> ModulationTable | None:
    """The table that is installed in a transformer, None when there is none."""
    for module in transformer.children():
        if isinstance(module, _Conditions):
            return module.table
    return None


def _key(conditions: list[torch.Tensor], paired: bool) -> torch.Tensor:
    """(B, k): the conditions of each sample side by side, in a dtype that holds them all exactly."""
    batch = len(conditions[0]) // (2 if paired else 1)
    columns = [one[:batch].reshape(batch, -1) for one in conditions]
    dtype = next(one.dtype for one in conditions if one.is_floating_point())
    for one in conditions:
        dtype = torch.promote_types(dtype, one.dtype) if one.is_floating_point() else dtype
    return torch.cat([one.to(dtype) for one in columns], dim=1)


def _check(path: str, module: nn.Module) -> None:
    if any(hasattr(one, "_hf_hook") or hasattr(one, "_diffusers_hook") for one in module.modules()):
        raise InputError(
            f"{path} is offloaded; turn the modulation table on before offloading the transformer."
        )
    for parameter in module.parameters():
        if not parameter.is_floating_point() or type(parameter) is not nn.Parameter:
            raise InputError(
                f"{path} is quantised; turn the modulation table on before quantising, or leave the modulation out of it."
            )


def _refuse_saving(*_: Any, **__: Any) -> None:
    raise InputError(
        "The transformer runs from a modulation table and holds no modulation weights to save; turn the table off first "
        "(pipeline.disable_modulation_table())."
    )
