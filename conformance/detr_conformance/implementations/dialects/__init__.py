"""The reference's later dialects under the suite's interfaces, a module for each file of `detr_reference.dialects`."""

from detr_conformance.implementations.dialects import lw_detr, rt_detr

IMPLEMENTATIONS = (*rt_detr.IMPLEMENTATIONS, *lw_detr.IMPLEMENTATIONS)
