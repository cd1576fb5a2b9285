"""A batch as tensors: the predictions of all decoder layers, and the targets, packed."""
