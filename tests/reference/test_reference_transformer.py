"""Sine positions, encoder, decoder and transformer, against their definitions and against loops over single images."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detr_reference import Decoder, Transformer, sine_positions

DIM, HEADS, QUERIES = 16, 4, 5


def transformer(*, return_intermediate: bool = True, seed: int = 0, dropout: float = 0.0) -> Transformer:
    torch.manual_seed(seed)
    module = Transformer(DIM, HEADS, 2, 3, feedforward_dim=32, dropout=dropout, return_intermediate=return_intermediate)
    return module.double().eval()


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two images, of 4 x 5 and 2 x 3 positions, in one batch."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, DIM, 4, 5, generator=generator, dtype=torch.float64)
    padding = torch.zeros(2, 4, 5, dtype=torch.bool)
    padding[1, 2:] = True
    padding[1, :, 3:] = True
    queries = torch.randn(QUERIES, DIM, generator=generator, dtype=torch.float64)
    return features, padding, queries, sine_positions(padding, DIM, torch.float64)


def assert_same(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)


# Positions


def test_positions_follow_their_formula() -> None:
    padding = torch.zeros(1, 3, 4, dtype=torch.bool)
    padding[0, 2] = True
    padding[0, :, 3] = True
    embedding = sine_positions(padding, 8, torch.float64)
    assert embedding.shape == (1, 8, 3, 4)
    for row in range(2):
        for column in range(3):
            y, x = 2 * math.pi * (row + 1) / 2, 2 * math.pi * (column + 1) / 3
            expected = [f(u / 10000 ** (i / 2)) for u in (y, x) for i in (0, 1) for f in (math.sin, math.cos)]
            assert embedding[0, :, row, column].tolist() == pytest.approx(expected, abs=1e-6)


def test_positions_ignore_how_much_padding_there_is() -> None:
    narrow, wide = torch.ones(1, 3, 3, dtype=torch.bool), torch.ones(1, 7, 5, dtype=torch.bool)
    narrow[0, :3, :2] = False
    wide[0, :3, :2] = False
    assert torch.equal(sine_positions(narrow, DIM)[..., :3, :2], sine_positions(wide, DIM)[..., :3, :2])


def test_positions_differ_everywhere_and_are_finite_in_padding() -> None:
    padding = torch.zeros(1, 4, 5, dtype=torch.bool)
    inside = sine_positions(padding, DIM)[0].flatten(1).T
    assert (torch.cdist(inside, inside) + torch.eye(20)).min() > 1e-3
    padding[0, 1:] = True
    assert sine_positions(padding, DIM).isfinite().all()


@pytest.mark.parametrize("dim", [0, 6, -4])
def test_positions_refuse_dimensions_without_two_axes_of_pairs(dim: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        sine_positions(torch.zeros(1, 2, 2, dtype=torch.bool), dim)


def test_positions_refuse_a_mask_of_numbers() -> None:
    with pytest.raises(ValueError, match="bool"):
        sine_positions(torch.zeros(1, 2, 2), DIM)


# Transformer


def test_shapes() -> None:
    features, padding, queries, positions = batch()
    hidden, memory = transformer()(features, padding, queries, positions)
    assert hidden.shape == (3, 2, QUERIES, DIM)
    assert memory.shape == features.shape
    hidden, _ = transformer(return_intermediate=False)(features, padding, queries, positions)
    assert hidden.shape == (1, 2, QUERIES, DIM)


def test_the_decoder_puts_layers_and_queries_first() -> None:
    decoder = Decoder(3, DIM, HEADS, 32).eval()
    memory, positions, queries = torch.randn(20, 2, DIM), torch.randn(20, 2, DIM), torch.randn(QUERIES, 2, DIM)
    padding = torch.zeros(2, 20, dtype=torch.bool)
    assert decoder(memory, padding, queries, positions).shape == (3, QUERIES, 2, DIM)
    decoder.return_intermediate = False
    assert decoder(memory, padding, queries, positions).shape == (1, QUERIES, 2, DIM)


def test_the_stacked_last_is_the_unstacked_result() -> None:
    stacked, _ = transformer()(*batch())
    unstacked, _ = transformer(return_intermediate=False)(*batch())
    assert torch.equal(stacked[-1:], unstacked)


def test_every_layer_is_normed() -> None:
    hidden, _ = transformer()(*batch())
    assert_same(hidden.mean(dim=-1), torch.zeros_like(hidden[..., 0]))
    torch.testing.assert_close(hidden.var(dim=-1, unbiased=False), torch.ones_like(hidden[..., 0]), rtol=1e-3, atol=0)


def test_one_image_alone_without_its_padding() -> None:
    features, padding, queries, positions = batch()
    together, memory = transformer()(features, padding, queries, positions)
    cropped = (features[1:, :, :2, :3], padding[1:, :2, :3], queries, positions[1:, :, :2, :3])
    alone, memory_alone = transformer()(*cropped)
    assert_same(together[:, 1:], alone)
    assert_same(memory[1:, :, :2, :3], memory_alone)


def test_what_is_in_the_padding_does_not_matter() -> None:
    features, padding, queries, positions = batch()
    expected, _ = transformer()(features, padding, queries, positions)
    outside = padding[:, None].expand_as(features)
    changed, _ = transformer()(
        features.masked_fill(outside, 1e3), padding, queries, positions.masked_fill(outside, -7.0)
    )
    assert_same(changed, expected)


def test_features_positions_and_queries_do_matter() -> None:
    given = batch()
    expected, _ = transformer()(*given)
    for place in (0, 2, 3):
        arguments = list(given)
        arguments[place] = given[place] + torch.randn(given[place].shape, dtype=torch.float64)
        changed, _ = transformer()(*arguments)
        assert (changed - expected).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_permuting_the_queries_permutes_the_states() -> None:
    features, padding, queries, positions = batch()
    order = torch.tensor([3, 0, 4, 1, 2])
    expected, _ = transformer()(features, padding, queries, positions)
    permuted, _ = transformer()(features, padding, queries[order], positions)
    assert_same(permuted, expected[:, :, order])


def test_queries_enter_at_every_layer() -> None:
    features, padding, queries, positions = batch()
    module = transformer()
    seen = []
    for layer in module.decoder.layers:
        layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[3]))
    module(features, padding, queries, positions)
    assert len(seen) == 3
    assert all(torch.equal(entered[:, image], queries) for entered in seen for image in range(2))


def test_without_encoder_layers_the_features_are_the_memory() -> None:
    features, padding, queries, positions = batch()
    module = Transformer(DIM, HEADS, 0, 1, 32).double().eval()
    assert torch.equal(module(features, padding, queries, positions)[1], features)


def test_dropout_acts_in_training_alone() -> None:
    module, given = transformer(dropout=0.5), batch()
    assert torch.equal(module(*given)[0], module(*given)[0])
    module.train()
    assert not torch.equal(module(*given)[0], module(*given)[0])


def test_gradients_reach_every_parameter() -> None:
    module = transformer()
    hidden, _ = module(*batch())
    hidden.square().sum().backward()
    hidden, _ = module(*batch())
    (hidden * torch.randn_like(hidden)).sum().backward()
    assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []


def test_an_image_of_padding_alone_is_refused() -> None:
    features, padding, queries, positions = batch()
    padding[1] = True
    with pytest.raises(ValueError, match="padding alone"):
        transformer()(features, padding, queries, positions)


def test_wrong_shapes_are_refused() -> None:
    features, padding, queries, positions = batch()
    for arguments, name in (
        ((features[:, 1:], padding, queries, positions), "features"),
        ((features, padding, queries, positions[..., 1:]), "positions"),
        ((features, padding[:, 1:], queries, positions), "padding"),
        ((features, padding.double(), queries, positions), "padding"),
        ((features, padding, queries[:, 1:], positions), "query_embed"),
    ):
        with pytest.raises(ValueError, match=name):
            transformer()(*arguments)
    with pytest.raises(ValueError, match="num_layers"):
        Decoder(0, DIM, HEADS, 32)
