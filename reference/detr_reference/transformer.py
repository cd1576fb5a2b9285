"""The transformer between backbone and heads: encoder, decoder, and both together (norm §1; Carion et al. 2020,
section 3.2 and appendix A.3; Vaswani et al. 2017 for the layers).

Inside, sequences come first: [S, B, D] with S = h · w positions, or [Q, B, D]. Layers are post-norm: each sublayer's
output is added to its input, and the sum is normalised.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with its residual sum and layer norm."""

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(
        self, states: Tensor, queries: Tensor, keys: Tensor, values: Tensor, padding: Tensor | None = None
    ) -> Tensor:
        """Return the states [N, B, D] after the queries [N, B, D] have attended to keys and values [S, B, D].

        padding: bool [B, S], true for keys to ignore.
        """
        attended, _ = self.attention(queries, keys, values, key_padding_mask=padding, need_weights=False)
        summed: Tensor = self.norm(states + self.dropout(attended))
        return summed


class FeedForward(nn.Module):
    """Two linear maps with a ReLU between them, with their residual sum and layer norm."""

    def __init__(self, hidden_dim: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Linear(hidden_dim, feedforward_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward_dim, hidden_dim),
            nn.Dropout(dropout),
        )
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, states: Tensor) -> Tensor:
        """Return the states [..., D] after the sublayer."""
        summed: Tensor = self.norm(states + self.maps(states))
        return summed


class EncoderLayer(nn.Module):
    """Self-attention over the positions of an image, and a feed-forward network."""

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(hidden_dim, num_heads, dropout)
        self.feed_forward = FeedForward(hidden_dim, feedforward_dim, dropout)

    def forward(self, features: Tensor, padding: Tensor, positions: Tensor) -> Tensor:
        """Return the features [S, B, D] after the layer; padding is bool [B, S], positions [S, B, D]."""
        placed = features + positions
        encoded: Tensor = self.feed_forward(self.self_attention(features, placed, placed, features, padding))
        return encoded


class DecoderLayer(nn.Module):
    """Self-attention among queries, attention of the queries to the memory, and a feed-forward network."""

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(hidden_dim, num_heads, dropout)
        self.cross_attention = Attention(hidden_dim, num_heads, dropout)
        self.feed_forward = FeedForward(hidden_dim, feedforward_dim, dropout)

    def forward(self, states: Tensor, memory: Tensor, padding: Tensor, queries: Tensor, positions: Tensor) -> Tensor:
        """Return the states [Q, B, D] after the layer; queries are their embeddings [Q, B, D]."""
        placed = states + queries
        states = self.self_attention(states, placed, placed, states)
        states = self.cross_attention(states, states + queries, memory + positions, memory, padding)
        decoded: Tensor = self.feed_forward(states)
        return decoded


class Encoder(nn.Module):
    """A stack of encoder layers; positions are added to queries and keys in each, never to values."""

    def __init__(
        self, num_layers: int, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(hidden_dim, num_heads, feedforward_dim, dropout) for _ in range(num_layers)
        )

    def forward(self, features: Tensor, padding: Tensor, positions: Tensor) -> Tensor:
        """Return the memory [S, B, D] of features [S, B, D]; padding is bool [B, S], positions [S, B, D]."""
        for layer in self.layers:
            features = layer(features, padding, positions)
        return features


class Decoder(nn.Module):
    """A stack of decoder layers and one layer norm for the output of any of them.

    With return_intermediate every layer's normed output is returned, as auxiliary losses need, else the last's.

    Raises ValueError if num_layers < 1.
    """

    def __init__(
        self,
        num_layers: int,
        hidden_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float = 0.0,
        return_intermediate: bool = True,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"a decoder needs at least one layer, got num_layers={num_layers}")
        self.layers = nn.ModuleList(
            DecoderLayer(hidden_dim, num_heads, feedforward_dim, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.return_intermediate = return_intermediate

    def forward(self, memory: Tensor, padding: Tensor, queries: Tensor, positions: Tensor) -> Tensor:
        """Return the normed output of each layer [L, Q, B, D], or of the last layer alone [1, Q, B, D].

        The states start from zeros; the query embeddings enter at every layer. memory: [S, B, D]. padding: bool
        [B, S], true for positions to ignore. queries: embeddings [Q, B, D]. positions: [S, B, D].
        """
        states = torch.zeros_like(queries)
        outputs = []
        for layer in self.layers:
            states = layer(states, memory, padding, queries, positions)
            outputs.append(states)
        chosen = outputs if self.return_intermediate else outputs[-1:]
        return torch.stack([self.norm(output) for output in chosen])


class Transformer(nn.Module):
    """Encoder and decoder, from a feature map to the hidden states of the queries.

    The defaults are those of Carion et al. 2020. Matrices start from Xavier's uniform distribution. Without encoder
    layers the features are the memory. Raises ValueError if decoder_layers < 1.
    """

    def __init__(
        self,
        hidden_dim: int = 256,
        num_heads: int = 8,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
        return_intermediate: bool = True,
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.encoder = Encoder(encoder_layers, hidden_dim, num_heads, feedforward_dim, dropout)
        self.decoder = Decoder(decoder_layers, hidden_dim, num_heads, feedforward_dim, dropout, return_intermediate)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the hidden states [L, B, Q, D] ([1, B, Q, D] without intermediate ones) and the memory [B, D, h, w].

        features and positions: [B, D, h, w]. padding: bool [B, h, w], true outside the image; no hidden state depends
        on what is there, and the memory there means nothing. query_embed: [Q, D].

        Raises ValueError on wrong shapes, and where an image is padding alone, as nothing could be attended to.
        """
        self._check(features, padding, query_embed, positions)
        batch, _, height, width = features.shape
        outside = padding.flatten(1)
        places = _as_sequence(positions)
        queries = query_embed[:, None].expand(-1, batch, -1)
        memory = self.encoder(_as_sequence(features), outside, places)
        hidden = self.decoder(memory, outside, queries, places)
        return hidden.transpose(1, 2), memory.permute(1, 2, 0).unflatten(2, (height, width))

    def _check(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> None:
        if features.dim() != 4 or features.shape[1] != self.hidden_dim or positions.shape != features.shape:
            raise ValueError(
                f"features and positions must both have shape [B, {self.hidden_dim}, h, w], "
                f"got {list(features.shape)} and {list(positions.shape)}"
            )
        if query_embed.dim() != 2 or query_embed.shape[1] != self.hidden_dim:
            raise ValueError(f"query_embed must have shape [Q, {self.hidden_dim}], got {list(query_embed.shape)}")
        expected = (features.shape[0], *features.shape[2:])
        if padding.shape != expected or padding.dtype != torch.bool:
            raise ValueError(
                f"padding must be bool of shape {list(expected)}, got {padding.dtype} {list(padding.shape)}"
            )
        if padding.flatten(1).all(dim=1).any():
            raise ValueError("an image is padding alone; padding is true outside the image: was the mask inverted?")


def _as_sequence(maps: Tensor) -> Tensor:
    """Return maps [B, D, h, w] as sequences of positions [h · w, B, D]."""
    return maps.flatten(2).permute(2, 0, 1)
