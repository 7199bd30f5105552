"""Earlier generated samples, shown to the discriminator again."""

from typing import Any

import torch
from torch import Tensor

from lightning_gan.training.batch import Batch
from lightning_gan.training.distributed import broadcast, smallest


class ExperienceReplay:
    """Replace a share of what the generator makes by what it made before.

    A discriminator that is shown the present alone forgets why it rejected the past, and the
    generator may cycle through modes. The memory holds at most ``capacity`` samples, in the
    precision and on the device of the weights, and is part of the checkpoint: 3 MiB for 1,024
    images of 1x28x28, 12 MiB for 3x32x32. In every discriminator update as many new samples enter
    it, at random places, as old ones are shown. All processes hold the same memory, fed by the
    first one. A sample stands in only for one of its own class where the model is conditional.

    Args:
        capacity: Number of samples remembered.
        fraction: Share of each batch of generated samples that is replaced, once there are old
            ones; half as in the paper.

    Raises:
        ValueError: If ``capacity`` is below 1 or ``fraction`` outside (0, 1].

    Reference:
        Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial
        Training", CVPR 2017, https://arxiv.org/abs/1612.07828, section 2.3.
    """

    def __init__(self, capacity: int = 1024, fraction: float = 0.5) -> None:
        if capacity < 1:
            raise ValueError(f"Expected 'capacity' to be at least 1, got {capacity}.")
        if not 0 < fraction <= 1:
            raise ValueError(f"Expected 'fraction' in (0, 1], got {fraction}.")
        self.capacity = capacity
        self.fraction = fraction
        self._memory: Batch | None = None
        self._seen = 0  # samples that ever entered

    def __len__(self) -> int:
        """Return the number of samples remembered now."""
        return 0 if self._memory is None else len(self._memory.samples)

    def mix(self, fake: Batch) -> Batch:
        """Return the batch with its first samples replaced by old ones, and remember those."""
        n = smallest(round(self.fraction * len(fake.samples)), fake.samples.device)
        n = min(n, self.capacity)
        if n == 0:
            return fake
        fresh, rest = fake.rows(slice(n)), fake.rows(slice(n, None))
        mixed = fake
        if self._memory is not None and self._memory.samples.shape[1:] != fake.samples.shape[1:]:
            self._memory = None  # of networks that have grown since
        if self._memory is not None:
            # A loaded memory is where the checkpoint was read to, in the precision of that run.
            self._memory = self._memory.map(lambda old, new: old.to(new), fake)
            mixed = self._recall(self._memory, fresh).join(rest)
        self._remember(fresh.map(broadcast))
        return mixed

    def _recall(self, memory: Batch, fresh: Batch) -> Batch:
        """Return as many old samples of the same classes; where there is none, the fresh one."""
        n, device = len(fresh.samples), fresh.samples.device
        if fresh.labels is None or memory.labels is None:
            return memory.rows(torch.randint(len(memory.samples), (n,), device=device))
        same = fresh.labels[:, None] == memory.labels  # (n, size)
        known = same.any(dim=1)
        drawn = torch.multinomial(same.float() + ~known[:, None], num_samples=1).squeeze(1)
        return memory.rows(drawn).map(lambda old, new: _choose(known, old, new), fresh)

    def _remember(self, fresh: Batch) -> None:
        n = len(fresh.samples)
        free = self.capacity - len(self)
        if self._memory is None:
            self._memory = fresh.map(Tensor.clone)
        elif free > 0:
            self._memory = self._memory.join(fresh.rows(slice(free)))
        if n > free:
            # Drawn from the count, which is equal on all ranks and saved, unlike their generators.
            generator = torch.Generator().manual_seed(self._seen)
            places = torch.randperm(self.capacity, generator=generator)[: n - free]
            places = places.to(fresh.samples.device)
            self._memory.map(
                lambda old, new: old.index_copy_(0, places, new), fresh.rows(slice(free, None))
            )
        self._seen += n

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {"seen": self._seen, **({} if self._memory is None else self._memory._asdict())}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a memory where :meth:`state` left it; of a smaller capacity now, a part."""
        memory = {name: value for name, value in state.items() if name != "seen"}
        self._seen = state["seen"]
        self._memory = None
        if memory:
            self._memory = Batch(**memory).map(lambda x: x[: self.capacity].clone())


def _choose(which: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return row i of the first where ``which[i]``, else of the second."""
    return torch.where(which.view(-1, *(1,) * (first.dim() - 1)), first, second)
