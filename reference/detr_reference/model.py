"""DETR from images to predictions: backbone, transformer, heads (norm §1; Carion et al. 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from .backbone import Backbone
from .heads import MLP, DetectionHeads
from .images import ImageBatch, pad_images, resize_padding
from .positions import sine_positions
from .transformer import Transformer


class DETR(nn.Module):
    """A set of predictions for each image, one for each of num_queries learnt queries.

    backbone: any module from images [B, 3, H, W] to features [B, num_channels, h, w] with that attribute, such as
    `Backbone`. aux_loss: whether earlier decoder layers predict too. no_object: whether the logits have a last column
    for no-object, as in the softmax dialect.

    Raises ValueError if num_queries < 1, or if aux_loss is asked for and the transformer keeps its intermediate states
    to itself.
    """

    def __init__(
        self,
        backbone: nn.Module,
        transformer: Transformer,
        num_classes: int,
        num_queries: int,
        aux_loss: bool = True,
        no_object: bool = True,
    ) -> None:
        super().__init__()
        if num_queries < 1:
            raise ValueError(f"num_queries must be at least 1, got {num_queries}")
        if aux_loss and not transformer.decoder.return_intermediate:
            raise ValueError("aux_loss needs a transformer with return_intermediate=True")
        hidden_dim = transformer.hidden_dim
        self.backbone = backbone
        self.projection = nn.Conv2d(int(backbone.num_channels), hidden_dim, kernel_size=1)  # type: ignore[arg-type]
        self.transformer = transformer
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.heads = DetectionHeads(hidden_dim, num_classes, aux_loss=aux_loss, no_object=no_object)

    @property
    def class_embed(self) -> nn.Linear:
        """The class head."""
        return self.heads.class_embed

    @property
    def bbox_embed(self) -> MLP:
        """The box head, before its sigmoid."""
        return self.heads.bbox_embed

    def forward(self, images: Sequence[Tensor] | ImageBatch) -> dict[str, Any]:
        """Return `pred_logits` [B, Q, C], `pred_boxes` [B, Q, 4] and, with aux_loss, `aux_outputs`.

        Boxes are cxcywh in [0, 1], relative to each image without its padding; `aux_outputs` is a list of L-1 dicts
        of both keys, first decoder layer first. C is K+1, or K without no_object.

        images: B images [3, H, W], each of its own size, or a batch of them made by `pad_images`.

        Raises ValueError on images of wrong shapes.
        """
        batch = images if isinstance(images, ImageBatch) else pad_images(images)
        features = self.projection(self.backbone(batch.pixels))
        padding = resize_padding(batch.padding, *features.shape[-2:])
        positions = sine_positions(padding, self.transformer.hidden_dim, features.dtype)
        hidden, _ = self.transformer(features, padding, self.query_embed.weight, positions)
        outputs: dict[str, Any] = self.heads(hidden)
        return outputs


def build_detr(
    num_classes: int,
    num_queries: int = 100,
    *,
    backbone: str = "resnet50",
    last_stage: int = 4,
    norm_layer: Callable[..., nn.Module] | None = None,
    hidden_dim: int = 256,
    num_heads: int = 8,
    encoder_layers: int = 6,
    decoder_layers: int = 6,
    feedforward_dim: int = 2048,
    dropout: float = 0.1,
    aux_loss: bool = True,
    no_object: bool = True,
) -> DETR:
    """Return a DETR with random weights; the defaults are the model of Carion et al. 2020 on a ResNet-50.

    One that a CPU trains: `build_detr(num_classes, 10, backbone="resnet18", last_stage=3, norm_layer=group_norm,
    hidden_dim=64, num_heads=4, encoder_layers=1, decoder_layers=2, feedforward_dim=128, dropout=0.0)`. num_classes is
    the largest label plus one; the other parameters are those of `Backbone`, `Transformer` and `DETR`.

    Raises ValueError as they do.
    """
    transformer = Transformer(
        hidden_dim, num_heads, encoder_layers, decoder_layers, feedforward_dim, dropout, return_intermediate=True
    )
    return DETR(Backbone(backbone, last_stage, norm_layer), transformer, num_classes, num_queries, aux_loss, no_object)
