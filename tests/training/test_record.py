import weakref

import pytest
import torch
from torch import Tensor

from lightning_gan.training.record import Record
from tests.ranks import Ranks

NAN, INF = float("nan"), float("inf")


def recorded(**values: list[float]) -> Record:
    record = Record()
    for name, numbers in values.items():
        for number in numbers:
            record.add(name, torch.tensor(number))
    return record


def test_means_over_steps() -> None:
    means = recorded(d_loss=[1.0, 2.0, 6.0], g_loss=[-1.5]).means(step=3)
    assert list(means) == ["d_loss", "g_loss"]
    assert means == pytest.approx({"d_loss": 3.0, "g_loss": -1.5})
    assert all(type(value) is float for value in means.values())


def test_reading_forgets() -> None:
    record = recorded(a=[1.0])
    assert record.means(step=1) == {"a": 1.0}
    assert record.means(step=2) == {}
    record.add("a", torch.tensor(5.0))
    assert record.means(step=3) == {"a": 5.0}


def test_nothing_recorded() -> None:
    assert Record().means(step=0) == {}


def test_other_types_of_numbers() -> None:
    record = Record()
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64):
        record.add(str(dtype), torch.tensor(2, dtype=dtype))
        record.add(str(dtype), torch.tensor(3, dtype=dtype))
    assert set(record.means(step=1).values()) == {2.5}


def test_half_precision_is_summed_in_float32() -> None:
    record = Record()
    for _ in range(10):
        record.add("a", torch.tensor(60000.0, dtype=torch.float16))
    assert record.means(step=1) == {"a": pytest.approx(60000, rel=1e-3)}


def test_values_are_detached_and_their_graphs_freed() -> None:
    record = Record()
    weight = torch.ones(3, requires_grad=True)
    hidden = weight * 2
    freed = weakref.ref(hidden)
    record.add("a", hidden.square().sum())
    del hidden
    assert freed() is None
    assert not any(v.requires_grad for values in record._values.values() for v in values)
    assert record.means(step=1) == {"a": 12.0}


@pytest.mark.parametrize(("bad", "text"), [(NAN, "nan"), (INF, "inf"), (-INF, "-inf")])
def test_value_that_is_not_finite_is_named(bad: float, text: str) -> None:
    record = recorded(g_loss=[1.0, 1.0], d_loss=[1.0, bad])
    message = f"got 'd_loss' = {text} within the last iterations before 7"
    with pytest.raises(FloatingPointError, match=message):
        record.means(step=7)
    assert record.means(step=8) == {}  # reported once


def test_message_says_what_may_help() -> None:
    with pytest.raises(FloatingPointError, match=r"'gradient_clip_val_g' and .*_d'.* penalty"):
        recorded(a=[NAN]).means(step=1)


@pytest.mark.parametrize("order", [1, -1])
def test_earliest_of_several_is_named(order: int) -> None:
    values = {"late": [1.0, 1.0, 1.0, NAN], "first": [1.0, INF, NAN, NAN], "mid": [0.0, 0, NAN, 1]}
    record = Record()
    for i in range(4):
        for name in list(values)[::order]:
            record.add(name, torch.tensor(values[name][i]))
    with pytest.raises(FloatingPointError, match="got 'first' = inf within"):
        record.means(step=4)


def test_earliest_is_found_among_names_recorded_unequally_often() -> None:
    record = Record()
    for value in (1.0, 1.0, NAN):  # the discriminator fails in its third update
        record.add("d_loss", torch.tensor(value))
    for name in ("g_loss", "g_norm"):
        record.add(name, torch.tensor(NAN))
    with pytest.raises(FloatingPointError, match="got 'd_loss' = nan"):
        record.means(step=2)


def test_tolerates_some() -> None:
    record = recorded(a=[1.0, INF, 3.0, NAN], b=[5.0, 6.0])
    assert record.means(step=4, tolerate_some=True) == pytest.approx({"a": 2.0, "b": 5.5})


def test_does_not_tolerate_all() -> None:
    record = recorded(some=[NAN, NAN, 1.0], every=[INF, NAN])
    with pytest.raises(FloatingPointError, match="got 'every' = inf"):
        record.means(step=4, tolerate_some=True)


def _means(
    rank: int, values: list[list[float]], tolerate_some: bool = False
) -> dict[str, float] | str:
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    record = recorded(a=values[rank], b=[float(rank)] * 2)
    try:
        return record.means(step=5, tolerate_some=tolerate_some)
    except FloatingPointError as error:
        return str(error)


def test_means_over_ranks(ranks: Ranks) -> None:
    results = ranks.run(_means, [[1.0, 2.0], [3.0, 10.0]])
    assert results == [{"a": 4.0, "b": 0.5}] * 2


def test_every_rank_stops_for_a_value_of_one(ranks: Ranks) -> None:
    first, second = ranks.run(_means, [[1.0, 2.0], [3.0, NAN]])
    assert "got 'a' = NaN on another rank within" in first
    assert "got 'a' = nan within" in second


def test_tolerates_some_of_one_rank(ranks: Ranks) -> None:
    results = ranks.run(_means, [[1.0, 2.0], [NAN, INF]], True)
    assert results == [{"a": 1.5, "b": 0.5}] * 2
    stopped = ranks.run(_means, [[NAN, NAN], [NAN, INF]], True)
    assert all("got 'a' = nan within" in message for message in stopped)


def test_reading_keeps_the_recorded_tensors_as_they_are() -> None:
    value: Tensor = torch.tensor(INF)
    record = Record()
    record.add("a", value)
    record.add("a", torch.tensor(1.0))
    record.means(step=1, tolerate_some=True)
    assert value.isinf()
