"""The dialect of DETR. Carion et al. 2020, "End-to-End Object Detection with Transformers"."""

from detr_spec.profile import Profile

DETR = Profile(
    name="detr",
    summary="softmax with a no-object class, weighted cross-entropy, one detection a query (Carion et al. 2020)",
)
