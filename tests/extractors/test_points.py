import numpy as np
import pytest
import torch

from lightning_gan.extractors import Points


def test_features_are_the_coordinates() -> None:
    x = torch.randn(6, 3, dtype=torch.float64)
    features, logits = Points()(x)
    assert logits is None
    torch.testing.assert_close(features, x.float(), rtol=0, atol=0)


def test_logits_are_minus_half_the_squared_distances() -> None:
    x, centers = torch.randn(6, 3), torch.randn(4, 3)
    extractor = Points(centers)
    logits = extractor(x).logits
    assert logits is not None
    expected = [[-sum((a - c) ** 2) / 2 for c in centers.numpy()] for a in x.numpy()]
    torch.testing.assert_close(
        logits, torch.from_numpy(np.array(expected)).float(), rtol=1e-5, atol=1e-6
    )
    assert extractor.num_classes == 4


def test_centers_may_be_a_list_and_decide_the_digest() -> None:
    digests = {Points(c).digest() for c in (None, [[0.0, 1.0]], [[0.0, 2.0]], [[0.0, 1.0]])}
    assert len(digests) == 3
    assert Points().num_classes is None
    assert (Points().name, Points().published) == ("points", False)


def test_later_changes_of_the_centers_do_not_matter() -> None:
    centers = torch.zeros(2, 2)
    extractor = Points(centers)
    before = extractor.digest()
    centers += 1
    assert extractor.digest() == before


@pytest.mark.parametrize("centers", [[1.0, 2.0], [[]], [[float("nan")]]])
def test_refuses_other_centers(centers: object) -> None:
    with pytest.raises(ValueError, match=r"'centers' to be finite and of shape \(K, d\)"):
        Points(centers)  # type: ignore[arg-type]


def test_refuses_images() -> None:
    with pytest.raises(TypeError, match=r"floating point, got torch\.uint8"):
        Points()(torch.zeros(4, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(N, d\), got \(4, 1, 2, 2\)"):
        Points()(torch.zeros(4, 1, 2, 2))


def test_refuses_points_of_another_dimension_than_the_centers() -> None:
    with pytest.raises(ValueError, match=r"\(N, 2\), got \(4, 3\)"):
        Points([[0.0, 0.0]])(torch.zeros(4, 3))


def test_points_far_from_all_centers_have_no_class() -> None:
    extractor = Points([[0.0, 0.0], [9.0, 0.0]], std=0.1)
    logits = extractor(torch.tensor([[0.29, 0.0], [0.31, 0.0], [9.0, 0.29]])).logits
    assert logits is not None
    assert (logits.amax(dim=1) > extractor.least_logit).tolist() == [True, False, True]
    assert logits.argmax(dim=1).tolist() == [0, 0, 1]


@pytest.mark.parametrize("options", [{"centers": [[0.0]], "std": 0.0}, {"std": 0.1}])
def test_refuses_other_deviations(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"'std' to be positive, and with 'centers', got 0\."):
        Points(**options)  # type: ignore[arg-type]
