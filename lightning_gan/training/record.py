"""Values collected during training without stopping it.

``self.log`` costs a quarter of a millisecond a call, as much as a layer, and reading a value waits
for the device. Values are therefore kept as detached tensors and read together, once in a while.
"""

import time

import torch
from lightning import Trainer
from torch import Tensor

from lightning_gan.training.distributed import average


class Record:
    """Named scalars of the iterations since they were last read."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}
        self._order: dict[str, list[int]] = {}
        self._added = 0

    def add(self, name: str, value: Tensor) -> None:
        """Keep a scalar; its graph is dropped, its device is not waited for."""
        self._values.setdefault(name, []).append(value.detach())
        self._order.setdefault(name, []).append(self._added)
        self._added += 1

    def means(self, step: int, *, tolerate_some: bool = False) -> dict[str, float]:
        """Average over iterations and ranks and forget the values. Waits for the device once.

        Every rank must have recorded the same names in the same order.

        Args:
            step: Number of generator iterations so far, for the message.
            tolerate_some: Whether values that are not finite are left out of the mean, unless
                all of a name's are.

        Returns:
            Means by name.

        Raises:
            FloatingPointError: If a value is not finite, naming the first of them.
        """
        if not self._values:
            return {}
        stacks = {name: torch.stack(values).float() for name, values in self._values.items()}
        order, self._values, self._order = self._order, {}, {}
        finite = [stack.isfinite() for stack in stacks.values()]
        sums = [stack.where(ok, 0).sum() for stack, ok in zip(stacks.values(), finite, strict=True)]
        counts = [ok.sum() for ok in finite]
        totals, kept = average(
            torch.stack([torch.stack(sums), torch.stack(counts).float()])
        ).tolist()
        sizes = [len(stack) for stack in stacks.values()]
        bad = [
            name
            for name, count, size in zip(stacks, kept, sizes, strict=True)
            if count == 0 or (count < size and not tolerate_some)
        ]
        if bad:
            first = {name: _first_bad(stacks[name], order[name]) for name in bad}
            raise FloatingPointError(_describe(min(first, key=lambda n: first[n]), stacks, step))
        return {
            name: total / count for name, total, count in zip(stacks, totals, kept, strict=True)
        }


def _first_bad(values: Tensor, order: list[int]) -> int:
    """Return when the first value that is not finite was added, for a name that has one."""
    place = int(values.isfinite().long().cumprod(0).sum())
    return order[place] if place < len(order) else order[-1]  # the latter on other ranks only


def _describe(name: str, stacks: dict[str, Tensor], step: int) -> str:
    """Say what failed first: once weights are NaN, everything is."""
    bad = stacks[name][~stacks[name].isfinite()]
    value = bad[0].item() if len(bad) else "NaN on another rank"
    return (
        f"Expected finite values in training, got '{name}' = {value} within the last "
        f"iterations before {step}. The last good checkpoint is kept. A lower learning rate, "
        "'gradient_clip_val_g' and 'gradient_clip_val_d', or a stronger penalty may help."
    )


def hand_over(trainer: Trainer, values: dict[str, float]) -> None:
    """Give values to the loggers, to callbacks that monitor them, and losses to the progress bar.

    What was given to ``self.log`` once, Lightning goes over again after every later batch.
    """
    tensors = {name: torch.tensor(value) for name, value in values.items()}
    trainer.callback_metrics.update(tensors)
    trainer.logged_metrics.update(tensors)
    trainer.progress_bar_metrics.update(
        {name: value for name, value in values.items() if name.endswith(("/d_loss", "/g_loss"))}
    )
    for logger in trainer.loggers:
        # Steps are counted from 0 on the loggers' axis, as everywhere in Lightning.
        logger.log_metrics(
            values | {"epoch": trainer.current_epoch}, max(trainer.global_step - 1, 0)
        )


class Pace:
    """How fast a count grows.

    Args:
        count: Its value now.
    """

    def __init__(self, count: int) -> None:
        self._last = (time.perf_counter(), count)

    def per_second(self, count: int) -> float:
        """Return the count's growth per second since the last call."""
        (then, before), self._last = self._last, (time.perf_counter(), count)
        return (count - before) / (self._last[0] - then)
