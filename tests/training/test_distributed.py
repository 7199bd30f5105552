from typing import Any

import torch
from torch import Tensor, nn

from lightning_gan.training.distributed import (
    average,
    average_gradients,
    broadcast,
    broadcast_buffers,
    gather,
    is_first,
    smallest,
    total,
)
from tests.ranks import Ranks

Gradients = list[Tensor | None]


def assert_exact(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


def join() -> None:
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")


def _average_gradients(rank: int, per_rank: list[Gradients], shapes: list[Any]) -> Gradients:
    """Put this rank's gradients on parameters of the given shapes and types; return the means."""
    join()
    parameters = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape, dtype in shapes]
    for parameter, gradient in zip(parameters, per_rank[rank], strict=True):
        parameter.grad = gradient
    average_gradients(iter(parameters))
    return [parameter.grad for parameter in parameters]


def run(ranks: Ranks, first: Gradients, second: Gradients, shapes: list[Any]) -> Gradients:
    """Return the gradients after averaging, which must be equal on both ranks."""
    results: list[Gradients] = ranks.run(_average_gradients, [first, second], shapes)
    for one, other in zip(*results, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_exact(one, other)
    return results[0]


def test_mean_of_gradients_on_both_ranks(ranks: Ranks) -> None:
    shapes = [(2, 3), (), (4, 1, 2, 2)]
    first, second = ([torch.randn(shape) for shape in shapes] for _ in range(2))
    results = run(ranks, [*first], [*second], [(shape, torch.float32) for shape in shapes])
    for result, one, other in zip(results, first, second, strict=True):
        assert result is not None
        torch.testing.assert_close(result, (one + other) / 2, rtol=1e-6, atol=1e-7)


def test_gradient_on_one_rank_counts_zero_on_the_other(ranks: Ranks) -> None:
    shapes = [((2,), torch.float32)] * 3
    first: Gradients = [torch.tensor([2.0, 4.0]), None, torch.tensor([1.0, 1.0])]
    second: Gradients = [None, torch.tensor([-6.0, 8.0]), torch.tensor([3.0, 5.0])]
    expected = [torch.tensor(v) for v in ([1.0, 2.0], [-3.0, 4.0], [2.0, 3.0])]
    assert_exact(run(ranks, first, second, shapes), expected)


def test_gradient_on_no_rank_stays_none(ranks: Ranks) -> None:
    shapes = [((2,), torch.float32)] * 3
    first: Gradients = [None, torch.tensor([2.0, 4.0]), None]
    second: Gradients = [None, torch.tensor([4.0, 0.0]), torch.tensor([2.0, 2.0])]
    results = run(ranks, first, second, shapes)
    assert results[0] is None
    assert_exact(results[1:], [torch.tensor([3.0, 2.0]), torch.tensor([1.0, 1.0])])
    assert run(ranks, [None], [None], shapes[:1]) == [None]


def test_gradient_of_zeros_is_not_taken_for_none(ranks: Ranks) -> None:
    shapes = [((2,), torch.float32)]
    assert_exact(run(ranks, [torch.zeros(2)], [None], shapes), [torch.zeros(2)])


def test_gradients_of_several_types(ranks: Ranks) -> None:
    types = [torch.float32, torch.float16, torch.float64, torch.bfloat16, torch.float32]
    shapes = [((3,), dtype) for dtype in types]
    first: Gradients = [torch.full((3,), float(i), dtype=dtype) for i, dtype in enumerate(types)]
    second: Gradients = [torch.full((3,), 2.0, dtype=dtype) for dtype in types]
    first[1] = second[2] = first[3] = second[3] = None
    expected = [
        torch.full((3,), 1.0),
        torch.full((3,), 1.0, dtype=torch.float16),
        torch.full((3,), 1.0, dtype=torch.float64),
        None,
        torch.full((3,), 3.0),
    ]
    results = run(ranks, first, second, shapes)
    assert results.pop(3) is None
    expected.pop(3)
    assert_exact(results, expected)


def test_nan_of_one_rank_reaches_all(ranks: Ranks) -> None:
    shapes = [((2,), torch.float32)]
    (result,) = run(ranks, [torch.tensor([float("nan"), 1.0])], [torch.ones(2)], shapes)
    assert_exact(result, torch.tensor([float("nan"), 1.0]))


def _average_awkward_gradients(rank: int) -> tuple[list[Tensor], bool, bool]:
    """Average a strided gradient beside a frozen parameter; tell whether it stayed in place."""
    join()
    strided = nn.Parameter(torch.zeros(2, 3, 2, 2).to(memory_format=torch.channels_last))
    frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
    values = torch.arange(24.0).view(2, 3, 2, 2) * (1 + rank)
    strided.grad = values.to(memory_format=torch.channels_last)
    frozen.grad = torch.full((2,), float(rank))
    before = strided.grad
    average_gradients([strided, frozen])
    return (
        [strided.grad, frozen.grad],
        strided.grad is before,
        strided.grad.is_contiguous(memory_format=torch.channels_last),
    )


def test_gradients_stay_in_place_and_frozen_ones_as_they_are(ranks: Ranks) -> None:
    for rank, (gradients, in_place, strides) in enumerate(ranks.run(_average_awkward_gradients)):
        assert_exact(gradients[0], torch.arange(24.0).view(2, 3, 2, 2) * 1.5)
        assert_exact(gradients[1], torch.full((2,), float(rank)))
        assert in_place
        assert strides


def _optimize(rank: int) -> Tensor:
    """Take a step on parameters of which one has no gradient anywhere."""
    join()
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([used, unused], lr=1.0, weight_decay=0.5)
    used.grad = torch.full((2,), float(rank))
    average_gradients([used, unused])
    optimizer.step()
    return torch.cat([used.detach(), unused.detach()])


def test_optimizer_skips_what_no_rank_uses(ranks: Ranks) -> None:
    for weights in ranks.run(_optimize):
        assert_exact(weights, torch.tensor([0.0, 0.0, 1.0, 1.0]))


class _Buffered(nn.Module):
    def __init__(self, offset: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.weight = nn.Parameter(torch.full((2,), float(offset)))
        for i, dtype in enumerate(
            [torch.int64, torch.float16, torch.float64, torch.uint8, torch.bool, torch.float32]
        ):
            values = torch.tensor([[offset, i, 1 - offset]])
            self.register_buffer(f"b{i}", values.to(dtype))
        self.register_buffer("large", torch.tensor(2**60 + offset))
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("scratch", torch.tensor(float(offset)), persistent=False)


def _broadcast(rank: int) -> tuple[list[Tensor], Tensor]:
    join()
    torch.manual_seed(rank)
    networks = _Buffered(rank), nn.BatchNorm1d(2)
    for _ in range(1 + rank):
        networks[0].norm(torch.randn(4, 3, 2, 2))
        networks[1](torch.randn(4, 2))
    broadcast_buffers(*networks)
    buffers = [b.clone() for network in networks for b in network.buffers()]
    return buffers, networks[0].weight.detach()


def test_buffers_become_those_of_rank_zero(ranks: Ranks) -> None:
    torch.manual_seed(0)
    expected = _Buffered(0), nn.BatchNorm1d(2)
    expected[0].norm(torch.randn(4, 3, 2, 2))
    expected[1](torch.randn(4, 2))
    buffers = [b for network in expected for b in network.buffers()]
    for rank, (actual, weight) in enumerate(ranks.run(_broadcast)):
        assert_exact(actual, buffers)
        assert_exact(weight, torch.full((2,), float(rank)))  # no buffer


def _broadcast_nothing(rank: int) -> bool:
    join()
    broadcast_buffers(nn.Linear(2, 2), nn.Identity())
    broadcast_buffers()
    return True


def test_networks_without_buffers(ranks: Ranks) -> None:
    assert ranks.run(_broadcast_nothing) == [True, True]


def _tensors(rank: int) -> list[Tensor]:
    torch.manual_seed(rank)
    whole = torch.randn(4, 3, 2, 2)
    return [
        whole,
        whole.to(memory_format=torch.channels_last),
        whole[::2, 1],  # strided
        whole.half(),
        whole.bfloat16(),
        whole.double(),
        torch.randint(2**60, (5,)),
        torch.arange(3) == rank,
        torch.tensor(float(rank)),
        torch.zeros(0, 2),
    ]


def _broadcast_tensors(rank: int) -> tuple[list[Tensor], list[Tensor]]:
    join()
    given = _tensors(rank)
    return [broadcast(x) for x in given], given


def test_tensors_of_rank_zero_reach_all(ranks: Ranks) -> None:
    for rank, (received, given) in enumerate(ranks.run(_broadcast_tensors)):
        assert_exact(received, _tensors(0))
        assert_exact(given, _tensors(rank))  # what was given stays


def _average(rank: int) -> tuple[Tensor, Tensor]:
    join()
    values = torch.tensor([[1.0, 2.0], [3.0, 10.0]])[rank]
    return average(values), values


def test_average(ranks: Ranks) -> None:
    (first, kept), (second, other) = ranks.run(_average)
    assert_exact([first, second], [torch.tensor([2.0, 6.0])] * 2)
    assert_exact([kept, other], [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 10.0])])


def test_single_process_changes_nothing() -> None:
    with_gradient, without = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    with_gradient.grad = torch.tensor([1.0, 2.0])
    average_gradients([with_gradient, without])
    assert_exact(with_gradient.grad, torch.tensor([1.0, 2.0]))
    assert without.grad is None

    norm = nn.BatchNorm1d(2)
    norm(torch.randn(4, 2))
    before = [b.clone() for b in norm.buffers()]
    broadcast_buffers(norm)
    assert_exact(list(norm.buffers()), before)

    values = torch.randn(3)
    assert_exact(average(values), values)
    assert_exact(broadcast(values), values)


def _optimize_channels_last(rank: int) -> Tensor:
    """Take fused steps with a gradient that this rank may lack."""
    join()
    torch.manual_seed(0)
    start = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    parameter = nn.Parameter(start)
    optimizer = torch.optim.Adam([parameter], lr=0.1, fused=True)
    for step in range(3):
        parameter.grad = None
        if step % 2 == rank:
            values = torch.arange(48.0).view_as(start) - 20
            parameter.grad = values.to(memory_format=torch.channels_last)
        average_gradients([parameter])
        optimizer.step()
    return parameter.detach()


def test_gradient_that_a_rank_lacked_fits_a_fused_optimizer(ranks: Ranks) -> None:
    """A fused kernel pairs weights and gradients by memory, whatever their strides."""
    first, second = ranks.run(_optimize_channels_last)
    assert_exact(first, second)


def _smallest(rank: int) -> int:
    join()
    return smallest(5 - rank, torch.device("cpu"))


def test_smallest_count(ranks: Ranks) -> None:
    assert ranks.run(_smallest) == [4, 4]
    assert smallest(3, torch.device("cpu")) == 3


def _gather(rank: int) -> tuple[Tensor, Tensor, bool]:
    join()
    rows = torch.arange(6.0).view(3, 2)
    return gather(rows[:2] if rank == 0 else rows[2:]), total(torch.tensor([rank + 1])), is_first()


def test_rows_of_all_ranks_in_their_order(ranks: Ranks) -> None:
    for rank, (rows, sums, first) in enumerate(ranks.run(_gather)):
        assert_exact(rows, torch.arange(6.0).view(3, 2))
        assert_exact(sums, torch.tensor([3]))
        assert first == (rank == 0)


def test_a_single_process_is_the_first_and_has_all() -> None:
    rows = torch.zeros(3, 2)
    assert gather(rows) is rows
    assert total(rows) is rows
    assert is_first()
