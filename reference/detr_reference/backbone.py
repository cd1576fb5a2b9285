"""A convolutional backbone: the stages of a torchvision ResNet, without weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
STAGES = 4


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a group norm of 8 channels a group; unlike batch norm it works with one image a batch."""
    return nn.GroupNorm(max(channels // 8, 1), channels)


class Backbone(nn.Module):
    """A ResNet up to one of its stages, from images to features.

    name: resnet18, resnet34, resnet50 or resnet101; the weights are random and nothing is downloaded. last_stage: 1
    to 4, at strides 4, 8, 16 and 32. norm_layer: from a number of channels to a norm, batch norm if None; `group_norm`
    suits small batches, torchvision.ops.FrozenBatchNorm2d loaded weights.

    `num_channels` is the number of channels of the features, `stride` how many pixels a position stands for.

    Raises ValueError for another name or stage.
    """

    def __init__(
        self, name: str = "resnet50", last_stage: int = STAGES, norm_layer: Callable[..., nn.Module] | None = None
    ) -> None:
        super().__init__()
        if name not in RESNETS:
            raise ValueError(f"unknown backbone {name!r}; choose from {', '.join(RESNETS)}")
        if not 1 <= last_stage <= STAGES:
            raise ValueError(f"last_stage must lie in [1, {STAGES}], got {last_stage}")
        import torchvision  # noqa: PLC0415  it takes as long to import as torch, and nothing else here needs it

        network = torchvision.models.get_model(name, weights=None, norm_layer=norm_layer)
        stages = ["conv1", "bn1", "relu", "maxpool", *(f"layer{stage}" for stage in range(1, last_stage + 1))]
        self.body = nn.Sequential(OrderedDict((stage, getattr(network, stage)) for stage in stages))
        self.num_channels: int = network.fc.in_features // 2 ** (STAGES - last_stage)
        self.stride = 2 ** (last_stage + 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features [B, num_channels, h, w] of images [B, 3, H, W], h = ⌈H / stride⌉ and w likewise."""
        features: Tensor = self.body(pixels)
        return features
