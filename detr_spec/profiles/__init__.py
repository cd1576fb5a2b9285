"""The dialects that have a name, one file each."""

from collections.abc import Iterator
from importlib.metadata import entry_points

from detr_spec.profile import Profile
from detr_spec.profiles.conditional import CONDITIONAL
from detr_spec.profiles.d_fine import D_FINE, DEIM
from detr_spec.profiles.dab import DAB
from detr_spec.profiles.deformable import DEFORMABLE
from detr_spec.profiles.detr import DETR
from detr_spec.profiles.dino import DINO
from detr_spec.profiles.grounding_dino import GROUNDING_DINO
from detr_spec.profiles.group_detr import GROUP_DETR
from detr_spec.profiles.h_detr import H_DETR
from detr_spec.profiles.lw_detr import LW_DETR
from detr_spec.profiles.mask2former import MASK2FORMER
from detr_spec.profiles.mmdet import CO_DINO, MMDET, MMDET_DINO, MMDET_FOCAL
from detr_spec.profiles.paddle import PADDLE
from detr_spec.profiles.rf_detr import RF_DETR_SEG
from detr_spec.profiles.rt_detr import RT_DETR
from detr_spec.profiles.scenic import SCENIC
from detr_spec.profiles.tf_models import TF_MODELS
from detr_spec.profiles.ultralytics import ULTRALYTICS
from detr_spec.values import InvalidValue

__all__ = [
    "CONDITIONAL",
    "CO_DINO",
    "DAB",
    "DEFORMABLE",
    "DEIM",
    "DETR",
    "DINO",
    "D_FINE",
    "GROUNDING_DINO",
    "GROUP_DETR",
    "H_DETR",
    "LW_DETR",
    "MASK2FORMER",
    "MMDET",
    "MMDET_DINO",
    "MMDET_FOCAL",
    "PADDLE",
    "PROFILES",
    "RF_DETR_SEG",
    "RT_DETR",
    "SCENIC",
    "TF_MODELS",
    "ULTRALYTICS",
    "named_profile",
]

GROUP = "detr_spec.profiles"
"""The group of entry points by which other packages register profiles."""


def _registered() -> Iterator[Profile]:
    for entry in entry_points(group=GROUP):
        try:
            profile = entry.load()
        except Exception as error:
            what = f"the profile {entry.name!r} that {entry.value} registers cannot be imported: {error!r}"
            raise InvalidValue(f"{what}; mend that package, or uninstall it") from error
        if not isinstance(profile, Profile):
            raise InvalidValue(f"the entry point {entry.name!r} of {GROUP} is {entry.value}; expected a Profile")
        yield profile


OWN = (
    DETR,
    DEFORMABLE,
    CONDITIONAL,
    DAB,
    DINO,
    GROUNDING_DINO,
    H_DETR,
    GROUP_DETR,
    RT_DETR,
    LW_DETR,
    D_FINE,
    DEIM,
    ULTRALYTICS,
    PADDLE,
    MMDET,
    MMDET_FOCAL,
    MMDET_DINO,
    CO_DINO,
    SCENIC,
    MASK2FORMER,
    RF_DETR_SEG,
    TF_MODELS,
)
"""The profiles of this package."""

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (*OWN, *_registered())}


def named_profile(name: str) -> Profile:
    """The profile of that name; raises `KeyError` with the known names otherwise."""
    try:
        return PROFILES[name]
    except KeyError:
        raise KeyError(f"no profile is called {name!r}; the profiles are {', '.join(PROFILES)}") from None
