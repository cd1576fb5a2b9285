"""The costs and losses of whole batches in torch, on any device."""
