"""A demonstration: a small DETR learns drawings of real COCO targets, and a page shows how."""
