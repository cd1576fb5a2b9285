"""The reference's later dialects under the suite's interfaces, a module for each file of `detr_reference.dialects`."""

from detr_conformance.implementations.dialects import (
    conditional_detr,
    d_fine,
    dab_detr,
    deim,
    dino,
    grounding_dino,
    group_detr,
    h_detr,
    lw_detr,
    mask2former,
    mmdet,
    paddle,
    rf_detr_seg,
    rt_detr,
    scenic,
    tf_models,
    ultralytics,
)

MODULES = (
    conditional_detr,
    dab_detr,
    dino,
    grounding_dino,
    h_detr,
    group_detr,
    rt_detr,
    lw_detr,
    d_fine,
    deim,
    ultralytics,
    paddle,
    mmdet,
    scenic,
    mask2former,
    rf_detr_seg,
    tf_models,
)

IMPLEMENTATIONS = tuple(implementation for module in MODULES for implementation in module.IMPLEMENTATIONS)
