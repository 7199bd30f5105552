from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_gan.layers import spectral_normalize, standing_statistics


def over(network: nn.Module, batches: Iterable[Tensor]) -> Callable[[], object]:
    """Return a function that runs the next batch at each call."""
    iterator = iter(batches)
    return lambda: network(next(iterator))


def network_with_history() -> nn.Sequential:
    """Return a network whose running statistics come from other inputs than it is shown next."""
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3), nn.Dropout(0.5))
    for _ in range(3):
        network(5 + 7 * torch.randn(8, 3))
    return network


def test_plain_average_of_each_batchs_mean_and_variance() -> None:
    network, batches = network_with_history(), torch.randn(5, 6, 3)
    standing_statistics(network, over(network, batches), passes=5)
    means, variances = [], []
    for batch in batches:
        features = network[0](batch).detach().numpy()
        means.append(features.mean(axis=0))
        variances.append(features.var(axis=0, ddof=1))
    norm = network[1]
    expected = torch.from_numpy(np.mean(means, axis=0))
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-5, atol=1e-6)
    expected = torch.from_numpy(np.mean(variances, axis=0))
    torch.testing.assert_close(norm.running_var, expected, rtol=1e-5, atol=1e-6)


def test_later_layers_see_batches_normalised_by_themselves() -> None:
    """Not by the statistics that are still being measured."""
    network = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    batches = 3 + 2 * torch.randn(4, 5, 2, 6, 6)
    standing_statistics(network, over(network, batches), passes=4)
    torch.testing.assert_close(network[1].running_mean, torch.zeros(2), rtol=0, atol=1e-5)
    correction = 180 / 179
    torch.testing.assert_close(
        network[1].running_var, torch.full((2,), correction), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("training", [True, False])
def test_nothing_else_changes(training: bool) -> None:
    network = network_with_history().train(training)
    spectral_normalize(network)
    network[0].train(not training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    batch = torch.randn(6, 3)
    outputs: list[Tensor] = []
    standing_statistics(network, lambda: outputs.append(network(batch)), passes=3)
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"1.running_mean", "1.running_var"}  # as many passes as there were before
    assert [module.training for module in network] == [not training, training, training]
    assert network[1].momentum == 0.3
    assert not outputs[0].requires_grad
    for output in outputs:  # neither dropout nor a step of the power iteration
        torch.testing.assert_close(output, outputs[0], rtol=0, atol=0)
    assert outputs[0].all()


def test_training_goes_on_with_moving_averages() -> None:
    network = network_with_history().train()
    standing_statistics(network, over(network, torch.randn(2, 6, 3)), passes=2)
    before = network[1].state_dict()["running_mean"].clone()
    batch = torch.randn(6, 3)
    network(batch)
    expected = 0.7 * before + 0.3 * network[0](batch).mean(dim=0)
    torch.testing.assert_close(network[1].running_mean, expected.detach(), rtol=1e-5, atol=1e-6)


def test_failure_leaves_all_as_it_was() -> None:
    network = network_with_history()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(StopIteration):
        standing_statistics(network, over(network, torch.randn(2, 6, 3)), passes=3)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert network[1].momentum == 0.3
    assert all(module.training for module in network)


def test_layer_that_is_not_run_keeps_its_statistics() -> None:
    network, idle = network_with_history(), nn.BatchNorm1d(3)
    idle(7 + torch.randn(9, 3))
    before = {name: value.clone() for name, value in idle.state_dict().items()}
    both = nn.ModuleList([network, idle])
    standing_statistics(both, over(network, torch.randn(2, 6, 3)), passes=2)
    torch.testing.assert_close(idle.state_dict(), before, rtol=0, atol=0)
    assert network[1].num_batches_tracked == 2


@pytest.mark.parametrize(
    "network",
    [
        nn.Linear(2, 2),
        nn.Sequential(nn.GroupNorm(1, 2), nn.InstanceNorm1d(2, track_running_stats=True)),
        nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)),
    ],
)
def test_refuses_networks_without(network: nn.Module) -> None:
    message = rf"batch normalisation that has running statistics, got a {type(network).__name__} "
    with pytest.raises(ValueError, match=message):
        standing_statistics(network, lambda: None, passes=1)


def test_refuses_no_passes() -> None:
    with pytest.raises(ValueError, match="the number of batches to be at least 1, got 0"):
        standing_statistics(nn.BatchNorm1d(2), lambda: None, passes=0)
