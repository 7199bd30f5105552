"""Warps against torch's grid_sample, and the rest against loops over pixels."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import grid_sample

from lightning_gan.functional import affine_warp, color_transform, cutout, translate
from lightning_gan.functional.warping import Padding

PADDINGS: tuple[Padding, ...] = ("reflection", "zeros")


def assert_exact(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def maps(n: int, spread: float = 0.6, shift: float = 3.0) -> Tensor:
    """Return random affine maps (n, 2, 3) in float64."""
    linear = torch.eye(2) + spread * torch.randn(n, 2, 2)
    return torch.cat([linear, shift * torch.randn(n, 2, 1)], dim=2).double()


def sampled(images: Tensor, matrices: Tensor, padding: str) -> Tensor:
    """Warp by grid_sample, whose grid reaches from -1 to 1 between the outermost pixels."""
    height, width = images.shape[2:]
    middle = torch.tensor([width - 1, height - 1], dtype=torch.float64) / 2
    rows, columns = np.mgrid[:height, :width]
    places = torch.tensor(np.stack([columns, rows], axis=-1)) - middle  # (H, W, 2)
    places = torch.einsum("nij,hwj->nhwi", matrices[:, :2, :2], places)
    places = places + matrices[:, None, None, :2, 2]
    return grid_sample(images, places / middle, padding_mode=padding, align_corners=True)


def turn(quarters: int) -> Tensor:
    sine, cosine = [0.0, 1.0, 0.0, -1.0][quarters], [1.0, 0.0, -1.0, 0.0][quarters]
    return torch.tensor([[[cosine, -sine, 0.0], [sine, cosine, 0.0]]])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("shape", [(5, 3, 6, 9), (4, 1, 7, 2), (40, 2, 5, 5)])
@pytest.mark.parametrize("shift", [0.0, 3.0, 20.0])
def test_warp_and_its_gradient_are_those_of_grid_sample(
    padding: Padding, shape: tuple[int, ...], shift: float
) -> None:
    images = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    matrices, weights = maps(shape[0], shift=shift), torch.randn(shape, dtype=torch.float64)
    actual = affine_warp(images, matrices, padding)
    expected = sampled(images, matrices, padding)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    gradients = [torch.autograd.grad((x * weights).sum(), images) for x in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padding", PADDINGS)
def test_quarter_turns_are_exact(padding: Padding) -> None:
    for side in (4, 5):
        image = torch.randn(1, 2, side, side)
        for quarters in range(4):
            expected = torch.rot90(image, quarters, dims=(2, 3))
            assert_exact(affine_warp(image, turn(quarters), padding), expected)


@pytest.mark.parametrize("padding", PADDINGS)
def test_mirroring_is_exact_and_each_image_has_its_own_map(padding: Padding) -> None:
    images = torch.randn(4, 3, 5, 8)
    matrices = torch.diag_embed(
        torch.tensor([[1.0, 1, 1], [-1, 1, 1], [1, -1, 1], [-1, -1, 1]])
    )  # 3 x 3
    expected = [images[0], images[1].flip(2), images[2].flip(1), images[3].flip(1, 2)]
    assert_exact(affine_warp(images, matrices, padding), torch.stack(expected))


@pytest.mark.parametrize(("padding", "mode"), [("reflection", "reflect"), ("zeros", "constant")])
def test_moves_by_whole_pixels_are_slices_of_the_padded_image(padding: Padding, mode: str) -> None:
    image = torch.randn(1, 2, 4, 6)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (9, 9), (9, 9)), mode=mode)  # type: ignore[call-overload]
    for x, y in [(0, 0), (2, 0), (0, -3), (-9, 8), (7, 9)]:
        matrix = torch.tensor([[[1.0, 0, x], [0, 1, y]]])
        expected = torch.tensor(padded[:, :, 9 + y : 13 + y, 9 + x : 15 + x])
        assert_exact(affine_warp(image, matrix, padding), expected)


def test_image_of_one_pixel_is_mirrored_into_a_plain_one() -> None:
    image = torch.tensor([[[[0.7]]]])
    matrix = torch.tensor([[[2.0, 1.0, 5.3], [0.0, 1.0, -2.2]]])
    torch.testing.assert_close(affine_warp(image, matrix), image, rtol=0, atol=1e-6)


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "reflection": lambda x: affine_warp(x, maps(2)),
    "zeros": lambda x: affine_warp(x, maps(2), "zeros"),
    "translate": lambda x: translate(x, torch.tensor([[1, -1], [0, 1]])),
    "cutout": lambda x: cutout(x, torch.tensor([[1.0, 2], [3, 1]]), torch.full((2, 2), 2.0)),
    "color": lambda x: color_transform(x, torch.randn(2, 3, 4, dtype=torch.float64)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_derivatives_of_first_and_second_order(name: str) -> None:
    images = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)

    def cubed(x: Tensor) -> Tensor:
        torch.manual_seed(1)
        return OPERATIONS[name](x) ** 3  # so that the second derivative is not zero

    assert gradcheck(cubed, (images,))
    assert gradgradcheck(cubed, (images,))


def test_translation_against_a_loop() -> None:
    images = torch.randn(4, 2, 3, 5)
    shifts = torch.tensor([[0, 0], [2, 1], [-1, -2], [5, 0]])
    expected = torch.zeros_like(images)
    for i, (right, down) in enumerate(shifts.tolist()):
        for row in range(3):
            for column in range(5):
                if 0 <= row + down < 3 and 0 <= column + right < 5:
                    expected[i, :, row + down, column + right] = images[i, :, row, column]
    assert_exact(translate(images, shifts), expected)


def test_cutout_against_a_loop() -> None:
    images = torch.randn(5, 2, 4, 6)
    centers = torch.tensor([[2.0, 3.0], [0.3, 0.0], [5.9, 3.9], [3.5, 1.5], [3.0, 2.0]])
    sizes = torch.tensor([[2.0, 4.0], [3.0, 1.2], [4.0, 4.0], [1.0, 1.0], [0.0, 4.0]])
    expected = images.clone()
    for i in range(5):
        (x, y), (wide, high) = centers[i].tolist(), sizes[i].tolist()
        for row in range(4):
            for column in range(6):
                across, along = abs(column + 0.5 - x), abs(row + 0.5 - y)
                if across < wide / 2 and along < high / 2:
                    expected[i, :, row, column] = 0
    assert_exact(cutout(images, centers, sizes), expected)
    assert [int((image == 0).sum()) // 2 for image in expected] == [6, 2, 4, 1, 0]


@pytest.mark.parametrize("rows", [3, 4])
def test_colors_are_matrix_products(rows: int) -> None:
    images, matrices = torch.randn(3, 3, 2, 5), torch.randn(3, rows, 4)
    expected = np.zeros(images.shape)
    for i in range(3):
        for row in range(2):
            for column in range(5):
                color = np.append(images[i, :, row, column].double().numpy(), 1)
                expected[i, :, row, column] = (matrices[i].double().numpy() @ color)[:3]
    actual = color_transform(images, matrices)
    torch.testing.assert_close(actual, torch.tensor(expected).float(), rtol=1e-5, atol=1e-6)


def test_grey_is_the_mean_of_what_its_color_image_becomes() -> None:
    images, matrices = torch.randn(4, 1, 2, 3), torch.randn(4, 3, 4)
    colored = color_transform(images.expand(-1, 3, -1, -1), matrices)
    torch.testing.assert_close(
        color_transform(images, matrices), colored.mean(dim=1, keepdim=True), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    images, colors = torch.rand(4, 3, 6, 6).to(dtype), torch.randn(4, 3, 4)
    for operation, matrices in [(affine_warp, maps(4).float()), (color_transform, colors)]:
        exact = operation(images.float(), matrices)
        assert_exact(operation(images, matrices), exact.to(dtype))
        with torch.autocast("cpu", torch.bfloat16):
            assert_exact(operation(images.float(), matrices), exact)


def test_bad_arguments_are_refused() -> None:
    images = torch.zeros(2, 4, 3, 3)
    with pytest.raises(ValueError, match=r"Expected 'matrices' of the shape \(2, 2, 3\) or .*\(1,"):
        affine_warp(images, torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match=r"Expected 'padding' to be .* got 'border'"):
        affine_warp(images, torch.zeros(2, 2, 3), "border")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Expected 'matrices' of the shape \(2, 3, 4\) or"):
        color_transform(images, torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match="Expected 'images' to have 1 or 3 channels, got 4"):
        color_transform(images, torch.zeros(2, 3, 4))
