"""supervision's box operations on NumPy arrays (https://supervision.roboflow.com).

Declared: its IoU is float32 whatever the input, as documented, so it is judged in float32.
"""

from __future__ import annotations

import supervision

from detr_conformance import numpy_implementation
from detr_spec.implementation import Limits

IMPLEMENTATION = numpy_implementation(
    name="supervision",
    limits=Limits(dtypes=("float32",)),
    boxes={"iou": supervision.box_iou_batch, "cxcywh_to_xyxy": supervision.xcycwh_to_xyxy},
)
