"""Gradients and buffers kept equal on all ranks, one flat message each.

Lightning's DDP wrapper synchronises in every backward pass and expects every parameter to take
part; a GAN has several passes a step, each through half of the parameters. Here the wrapper's own
synchronisation is off and the gradients of the updated network are averaged once, before its step.
"""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed
from lightning.pytorch.strategies import ParallelStrategy, Strategy
from torch import Tensor, nn


def unsynchronized(strategy: Strategy) -> AbstractContextManager[None]:
    """Return a context in which backward passes leave gradients to :func:`average_gradients`."""
    if not isinstance(strategy, ParallelStrategy):
        return nullcontext()
    blocked: AbstractContextManager[None] = strategy.block_backward_sync()
    return blocked


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all ranks; do nothing in a single process.

    A parameter that has a gradient on some ranks gets one on all of them, counted as zero where it
    had none. One that has none anywhere keeps ``None``, so that its optimiser skips it.

    Args:
        parameters: The same parameters in the same order on every rank.
    """
    if _world_size() == 1:
        return
    for group in _by_type(parameter for parameter in parameters if parameter.requires_grad):
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
        present = torch.tensor([p.grad is not None for p in group]).to(group[0])
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), present])
        flat /= _world_size()  # before the sum, which half precision might not hold
        torch.distributed.all_reduce(flat)
        *means, present = flat.split([*(p.numel() for p in group), len(group)])
        for i, (parameter, mean) in enumerate(zip(group, means, strict=True)):
            if parameter.grad is not None:
                parameter.grad.copy_(mean.view_as(parameter))
            elif present[i] > 0:  # waits for the device, but only where this rank has no gradient
                # In the parameter's memory layout: fused optimisers go through memory, not indices.
                parameter.grad = torch.empty_like(parameter).copy_(mean.view_as(parameter))


def broadcast_buffers(*networks: nn.Module) -> None:
    """Give every rank the buffers of rank 0, as DDP does; do nothing in a single process.

    Running statistics differ between ranks because each sees its own samples. Equal ones make
    every rank's checkpoint, evaluation and resume the same.

    Args:
        networks: Modules with the same buffers on every rank.
    """
    if _world_size() == 1:
        return
    for group in _by_type(buffer for network in networks for buffer in network.buffers()):
        flat = torch.cat([buffer.flatten() for buffer in group])
        torch.distributed.broadcast(flat, src=0)
        for buffer, value in zip(group, flat.split([b.numel() for b in group]), strict=True):
            buffer.copy_(value.view_as(buffer))


def broadcast(tensor: Tensor) -> Tensor:
    """Return rank 0's values of a tensor that has the same shape on all ranks."""
    if _world_size() == 1:
        return tensor
    tensor = tensor.contiguous().clone()
    torch.distributed.broadcast(tensor, src=0)
    return tensor


def smallest(count: int, device: torch.device) -> int:
    """Return the smallest of all ranks' counts."""
    if _world_size() == 1:
        return count
    counts = torch.tensor(count, device=device)
    torch.distributed.all_reduce(counts, torch.distributed.ReduceOp.MIN)
    return int(counts)


def average(values: Tensor) -> Tensor:
    """Return the mean of ``values`` over all ranks."""
    return values if _world_size() == 1 else total(values) / _world_size()


def total(values: Tensor) -> Tensor:
    """Return the sum of ``values`` over all ranks."""
    if _world_size() == 1:
        return values
    values = values.clone()
    torch.distributed.all_reduce(values)
    return values


def gather(rows: Tensor) -> Tensor:
    """Return the rows (N_r, ...) of all ranks, in the order of the ranks."""
    if _world_size() == 1:
        return rows
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(_world_size())]
    torch.distributed.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    counts = [int(size) for size in sizes]
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def is_first() -> bool:
    """Tell whether this is rank 0."""
    return _world_size() == 1 or torch.distributed.get_rank() == 0


def _world_size() -> int:
    initialized = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if initialized else 1


def _by_type(tensors: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    """Group tensors that can share one flat message."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        groups[tensor.dtype, tensor.device].append(tensor)
    return groups.values()
