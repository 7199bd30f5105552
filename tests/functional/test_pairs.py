from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lightning_gan.functional import features
from lightning_gan.functional.pairs import Pairs, visit
from tests.functional.feature_sets import distances


class Recorder:
    def __init__(self, rows: int, columns: int) -> None:
        self.seen = torch.zeros(rows, columns, dtype=torch.float64)
        self.count = torch.zeros(rows, columns, dtype=torch.int64)

    def add(self, rows: slice, columns: slice, products: Tensor) -> None:
        self.seen[rows, columns] = products.double()
        self.count[rows, columns] += 1


@pytest.fixture(params=[1, 4, 100])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr(features, "BLOCK", size)
    return size


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_each_pair_of_two_sets_is_seen_once(dtype: torch.dtype, block: int) -> None:
    x, y = torch.randn(9, 70).to(dtype), torch.randn(6, 70).to(dtype)
    pairs, seen = Pairs.between(x, y), Recorder(9, 6)
    visit(pairs, seen)
    centre = y.double().mean(dim=0)
    expected = (x.double() - centre) @ (y.double() - centre).T
    torch.testing.assert_close(seen.seen, expected, rtol=1e-5, atol=1e-4)
    assert seen.count.eq(1).all()


def test_each_pair_of_one_set_is_seen_once(block: int) -> None:
    pairs, seen = Pairs.among(torch.randn(9, 3)), Recorder(9, 9)
    visit(pairs, seen)
    assert pairs.within
    i, j = torch.triu_indices(9, 9)
    assert seen.count[i, j].eq(1).all()
    assert seen.count[j, i].sum() <= 9 * block  # only within a block are both seen


@pytest.mark.parametrize("kind", ["normal", "constant", "offset", "copies", "far"])
@pytest.mark.parametrize("width", [64, 2048])
def test_squared_distances_are_within_the_tolerance(kind: str, width: int) -> None:
    x, y = torch.randn(30, width), torch.randn(20, width)
    if kind == "constant":
        x, y = torch.rand(30, 1).expand(-1, width), torch.rand(20, 1).expand(-1, width)
    elif kind == "offset":
        x, y = x + 1e4, y + 1e4
    elif kind == "copies":
        x = x + 0.1
        y = x[:20]
    elif kind == "far":
        x = x + 300
    pairs = Pairs.between(x, y)
    assert pairs.dtype == torch.float32
    norms = pairs.left.norms[:, None] + pairs.right.norms
    exact = torch.from_numpy(distances(x, y)).square()
    for dtype in (torch.float32, torch.float64):
        products = pairs.products(slice(0, 30), slice(0, 20), dtype).double()
        off = (norms - 2 * products - exact).abs()
        assert (off <= pairs.tolerance(dtype) * norms).all()
    i, j = torch.ones(30, 20).nonzero().T
    torch.testing.assert_close(pairs.distances(i, j).view(30, 20), exact.sqrt(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (torch.ones(4, 64), torch.float32),
        (torch.ones(4, 64, dtype=torch.bfloat16), torch.float32),
        (torch.ones(4, 64, dtype=torch.float64), torch.float64),
        (torch.ones(4, 64, dtype=torch.int64), torch.float64),
        (torch.ones(4, 63), torch.float64),
        (1e7 * torch.eye(64), torch.float64),
        (1e-14 * torch.eye(64), torch.float64),
    ],
)
def test_products_are_taken_in_float32_where_that_is_safe(
    features: Tensor, expected: torch.dtype
) -> None:
    assert Pairs.among(features).dtype == expected
    assert Pairs.between(features, features).dtype == expected
    assert Pairs.between(features, features.double()).dtype == torch.float64


@pytest.fixture
def fast_products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def precisions() -> list[str]:
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    return [backend.fp32_precision for backend in backends]


@pytest.mark.usefixtures("fast_products")
def test_products_are_in_full_precision() -> None:
    class Failing:
        def add(self, rows: slice, columns: slice, products: Tensor) -> None:
            assert precisions() == ["ieee", "ieee"]
            assert products.dtype == torch.float32
            raise KeyError

    before = precisions()
    assert "tf32" in before
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(KeyError):
        visit(Pairs.among(torch.randn(5, 64)), Failing())
    assert precisions() == before


def test_a_bar_is_shown_only_if_asked_for_and_worth_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = Pairs.among(torch.randn(5, 3))
    visit(pairs, Recorder(5, 5), progress=True, title="Looking")
    monkeypatch.setattr("lightning_gan.functional.pairs._PATIENCE", 0.0)
    visit(pairs, Recorder(5, 5))
    assert not capsys.readouterr().err
    visit(pairs, Recorder(5, 5), progress=True, title="Looking")
    assert "Looking: 100%" in capsys.readouterr().err
