"""Labels, digits and definitions of the scores."""

from collections.abc import Iterator

from cyclegan.evaluate.score_table import ALIGNED, MIN_SHARE_SEEN, PAIRED, Scores
from cyclegan.inference.cycle import GENERATOR
from cyclegan.metrics.protocol import PROTOCOLS
from mrct.imaging.hounsfield import BONE_HU, CAVITY_HU
from mrct.imaging.modality import Modality

LABELS = {
    "mae_hu": "MAE, HU ↓",
    "psnr_db": "PSNR, dB ↑",
    "ssim": "SSIM ↑",
    "ms_ssim": "MS-SSIM ↑",
    "bone_dice": "bone Dice ↑",
    "mae_air_hu": "MAE of air, HU ↓",
    "mae_air_rim_hu": "MAE of the rim's air, HU ↓",
    "mae_air_cavity_hu": "MAE of cavities, HU ↓",
    "mae_soft_hu": "MAE of soft tissue, HU ↓",
    "mae_bone_hu": "MAE of bone, HU ↓",
    "bias_hu": "mean error, HU (0)",
    "histogram_hu": "HU histogram distance, HU ↓",
    "bone_hd95_mm": "bone HD95, mm ↓",
    "skill": "skill ↑",
    "patient_r": "r of the patient ↑",
    "hu_distance": "HU distance, HU ↓",
    "hu_distance_air": "of air, HU ↓",
    "hu_distance_soft": "of soft tissue, HU ↓",
    "hu_distance_bone": "of bone, HU ↓",
    "hu_place_distance": "HU distance by location, HU ↓",
    "bone_depth_mismatch": "bone depth mismatch ↓",
    "bone_place_mismatch": "bone location mismatch ↓",
    "skull_mismatch_mm": "skull thickness mismatch, mm ↓",
    "roughness_ratio": "roughness along z (1)",
    "kernel_distance": "kernel distance ↓",
    "edge_agreement": "edge agreement ↑",
    "shape_dice": "outline Dice ↑",
    "selection": "selection score ↓",
    "cycle_ssim": "cycle SSIM ↑",
    "cycle_psnr_db": "cycle PSNR, dB ↑",
}
"""Labels with the better direction: ↓ lower, ↑ higher, (x) close to x."""
DIGITS = {
    "mae_hu": 1,
    "mae_air_hu": 1,
    "mae_air_rim_hu": 1,
    "mae_air_cavity_hu": 1,
    "mae_soft_hu": 1,
    "mae_bone_hu": 1,
    "bias_hu": 1,
    "histogram_hu": 1,
    "bone_hd95_mm": 1,
    "skull_mismatch_mm": 1,
    "skill": 2,
    "patient_r": 2,
    "psnr_db": 2,
    "hu_distance": 1,
    "hu_distance_air": 1,
    "hu_distance_soft": 1,
    "hu_distance_bone": 1,
    "hu_place_distance": 1,
    "cycle_psnr_db": 2,
}
MISSING = "–"
NO_TRAIN_CTS = (
    "The store has no CT in its train split, so the atlas, skill, histogram matching and the "
    "comparison of distributions are left out."
)
SAME_DEFINITIONS = (
    f"Bone Dice and HD95: voxels above {BONE_HU:g} HU; HD95 is the larger of both directions' 95th "
    f"percentile of surface distances. MAE by tissue: by the real CT, air below {CAVITY_HU:g} HU, "
    f"bone above {BONE_HU:g} HU. Air of the skin's rim is that in the body's outermost voxel, of "
    "cavities all other. Mean error: above 0 if the synthetic CT is too dense. HU "
    "histogram distance: Wasserstein-1 between the histograms of the two CTs, 0 if the values are "
    "right, wherever they are.",
    "Intervals: 95 % bootstrap of the mean over subjects, for three or more subjects. p: two-sided "
    "sign-flip permutation test on the subjects' mean differences.",
    "Atlas: mean or median HU of the train split's CTs at the same depth below the outline, "
    "height and direction; it sees the MRI's outline and none of its values. Skill: 1 - MAE / MAE "
    "of the median atlas, 0 as good, negative worse. r of the patient: correlation of (synthetic "
    "CT - mean atlas) with (real CT - mean atlas), 0 for the average head painted on everybody.",
    "HU distance (Wasserstein-1) and bone depth mismatch (Bray-Curtis of bone by distance below "
    "the surface, 1 is no agreement): all synthetic CTs of the split against the CTs of the train "
    "split. By tissue, HU distance compares the values within the same limits as the MAE, "
    "independent of the share of the tissue.",
    "By location: the same two scores at each depth, height and direction from the centre of the "
    "slice, so that correct values at wrong locations count as errors.",
    "Skull thickness mismatch: Wasserstein-1 in mm between the distributions of thickness at each "
    "tenth of the height, averaged over the tenths; thickness is the length of bone on the first "
    "40 mm of rays from the outline to the middle of a slice.",
    "Roughness: variation of the synthetic CTs from slice to slice, relative to their in-plane "
    "texture, divided by that of real CTs; 1 is ideal. Kernel distance: squared maximum mean "
    "discrepancy of slices by their histograms of HU and of gradients; 0 is ideal.",
    "Edge agreement: rank correlation of gradient magnitudes of MRI and synthetic CT inside the "
    "body. Outline Dice: the synthetic CT's own body outline against the MRI's.",
    "Selection score: the criterion for the best checkpoint (docs/evaluation.md); needs no pairs.",
    "Cycle SSIM and PSNR: MRI → CT → MRI and CT → MRI → CT. A good cycle does not prove a good CT.",
    "Histogram matching uses the CTs of the train split, never the volume's own. Intensity "
    "regression, the mean HU at each MRI intensity, is fitted on the split's other pairs.",
    "A pair is flagged as misaligned where the body outlines of MRI and CT have a Dice below "
    f"{ALIGNED}: its voxels do not show the same anatomy. If their volumes alone keep it below, no "
    f"registration helps. It is flagged as partly seen if less than {MIN_SHARE_SEEN:.0%} of one "
    "body is in the field of view of the other scan.",
)


def captions_of(scores: Scores) -> dict[str, str]:
    """Return the grid, mask and HU range of each table, by the table's name in the JSON.

    The names are `paired`, `structures`, `populations`, `unpaired` and `cycle`.
    """
    store = f"the store's ({' x '.join(f'{mm:g}' for mm in scores.spacing_mm)} mm, z y x)"
    grid = store if scores.grid == "store" else "each source CT's own, never interpolated"
    low, high = PROTOCOLS[scores.protocol].window_hu
    both = "within the field of view of both scans"
    return {
        "paired": f"Grid: {grid}. Mask: the one given with the real CT, else its body, {both}; "
        "outside it both are -1024 HU. "
        f"HU range: CTs are clipped to [-1024, 3071]; for PSNR and SSIM ({scores.protocol}) to "
        f"[{low:.0f}, {high:.0f}], range {high - low:.0f}.",
        "structures": f"Grid: {grid}. Mask: {both}. HU range: [-1024, 3071].",
        "populations": f"Grid: {store}. Mask: the MRI's body for synthetic CTs, the CT's own for "
        "real ones. HU range: [-1024, 3071].",
        "unpaired": f"Grid: {store}. Mask: the MRI's body. HU range: [-1024, 3071]; MRI in its "
        "robust window.",
        "cycle": f"Grid: {store}. Mask: air outside the volume's body, slices that show any of it. "
        "Range: [-1, 1], which for a CT is [-1024, 3071] HU; data range 2.",
    }


def definitions_of(scores: Scores) -> tuple[str, ...]:
    """Return the definitions of the scores."""
    multiscale = (
        "MS-SSIM is that of SynthRAD2025, with the luminance term at every scale. "
        if PROTOCOLS[scores.protocol].multiscale
        else ""
    )
    return (
        f"MAE, PSNR and SSIM as {scores.protocol} defines them; SSIM with 7 x 7 x 7 uniform "
        f"windows. {multiscale}Means are over volumes, each counting once.",
        *SAME_DEFINITIONS,
    )


def text_of(metric: str, value: float | None) -> str:
    """Return a score as text, with as many digits as are meaningful."""
    return MISSING if value is None else f"{value:.{DIGITS.get(metric, 3)}f}"


def spread_of(
    scores: Scores, metric: str, method: str = GENERATOR, modality: Modality = "mri"
) -> str:
    """Return the interval of a mean as text, or ± the standard deviation with too few subjects."""
    interval = scores.interval(metric, method=method, modality=modality)
    if interval:
        return f"[{', '.join(text_of(metric, end) for end in interval)}]"
    sd = scores.sd(metric, method=method, modality=modality)
    return "" if sd is None else f"± {text_of(metric, sd)}"


def comparisons_of(scores: Scores) -> Iterator[str]:
    """Yield a sentence per other model and headline score: the difference, its interval, and p."""
    for other in scores.compared_models:
        for metric in PAIRED:
            if found := scores.compare(metric, other):
                low, high = found.interval_95 or (None, None)
                ends = "" if low is None else f" [{text_of(metric, low)}, {text_of(metric, high)}]"
                p = "too few subjects for a test" if found.p is None else f"p {found.p:.3f}"
                yield (
                    f"{LABELS[metric]}: {GENERATOR} minus {other} "
                    f"{text_of(metric, found.difference)}{ends}, {p}, {found.subjects} subjects"
                )
