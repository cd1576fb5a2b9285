"""The dialects of D-FINE and DEIM. Peng et al. 2024, "D-FINE"; Huang et al. 2025, "DEIM"."""

from detr_spec.profile import FurtherLoss, MatcherRules, MatchingScope, replace
from detr_spec.profiles.rt_detr import RT_DETR
from detr_spec.terms import DistributionDistillation, FineGrainedLocalization, Matchability

D_FINE = replace(
    RT_DETR,
    name="d-fine",
    summary="varifocal loss, box losses under the union of all predictions' pairs (Peng et al. 2024)",
    matching=MatchingScope(box_pairs="all-predictions"),
    matcher=MatcherRules(entry="indices"),
    # It trains with 33 distances; what is true of nine is true of these, and cases stay small.
    further_losses=(
        FurtherLoss(key="loss_fgl", term=FineGrainedLocalization(reg_max=8.0), weight=0.15),
        FurtherLoss(key="loss_ddf", term=DistributionDistillation(reg_max=8.0), weight=1.5),
    ),
    keys=replace(
        RT_DETR.keys, initial_loss="{loss}_pre", denoising="dn_outputs", initial_denoising_loss="{loss}_dn_pre"
    ),
)

DEIM = replace(
    D_FINE,
    name="deim",
    summary="matchability-aware loss, otherwise as D-FINE (Huang et al. 2025)",
    class_loss=Matchability(),
    keys=replace(D_FINE.keys, classification="loss_mal"),
)
