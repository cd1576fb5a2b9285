"""A small detector's losses, as a project has them that never heard of detr-spec."""
