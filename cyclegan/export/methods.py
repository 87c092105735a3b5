"""The paragraph of a paper that says how a model was made, with the works that it rests on."""

import re

from cyclegan.export.metadata import ModelInfo, TableInfo
from cyclegan.export.seen import SeenScans
from mrct.version import DISTRIBUTION, __version__

CITATIONS = {
    "johnson": "Johnson J, Alahi A, Fei-Fei L. Perceptual losses for real-time style transfer and "
    "super-resolution. ECCV 2016. doi:10.1007/978-3-319-46475-6_43",
    "isola": "Isola P, Zhu J-Y, Zhou T, Efros AA. Image-to-image translation with conditional "
    "adversarial networks. CVPR 2017. doi:10.1109/CVPR.2017.632",
    "miyato": "Miyato T, Kataoka T, Koyama M, Yoshida Y. Spectral normalization for generative "
    "adversarial networks. ICLR 2018. arXiv:1802.05957",
    "zhu": "Zhu J-Y, Park T, Isola P, Efros AA. Unpaired image-to-image translation using "
    "cycle-consistent adversarial networks. ICCV 2017. doi:10.1109/ICCV.2017.244",
    "mao": "Mao X, Li Q, Xie H, Lau RYK, Wang Z, Smolley SP. Least squares generative adversarial "
    "networks. ICCV 2017. doi:10.1109/ICCV.2017.304",
    "wang": "Wang Z, Bovik AC, Sheikh HR, Simoncelli EP. Image quality assessment: from error "
    "visibility to structural similarity. IEEE Trans Image Process 2004;13(4):600-612. "
    "doi:10.1109/TIP.2003.819861",
    "heinrich": "Heinrich MP, Jenkinson M, Bhushan M, et al. MIND: modality independent "
    "neighbourhood descriptor for multi-modal deformable registration. Med Image Anal "
    "2012;16(7):1423-1435. doi:10.1016/j.media.2012.05.008",
    "mathieu": "Mathieu M, Couprie C, LeCun Y. Deep multi-scale video prediction beyond mean "
    "square error. ICLR 2016. arXiv:1511.05440",
    "kingma": "Kingma DP, Ba J. Adam: a method for stochastic optimization. ICLR 2015. "
    "arXiv:1412.6980",
    "tustison": "Tustison NJ, Avants BB, Cook PA, et al. N4ITK: improved N3 bias correction. IEEE "
    "Trans Med Imaging 2010;29(6):1310-1320. doi:10.1109/TMI.2010.2046908",
    "dempster": "Dempster AP, Laird NM, Rubin DB. Maximum likelihood from incomplete data via the "
    "EM algorithm. J R Stat Soc B 1977;39(1):1-38. doi:10.1111/j.2517-6161.1977.tb01600.x",
    "software": f"The contributors. {DISTRIBUTION} {__version__} (software).",
}
"""Works by the keys that the texts below put into braces."""
_TERMS = {
    "adversarial": "least-squares adversarial {mao}",
    "cycle": "cycle consistency (L1)",
    "identity": "identity (L1)",
    "ssim": "structural similarity of the cycles {wang}",
    "gradient": "gradient difference of the cycles {mathieu}",
    "shape": "agreement of the body's outline",
    "population": "distribution of values by depth below the outline",
    "structure": "modality-independent neighbourhood descriptors {heinrich}",
    "depth": "mean value by depth below the outline",
    "paired": "aligned pairs of training scans, both ways (L1)",
    "anchor": "MRIs from CTs warped onto them (L1)",
}
"""What each term of the loss is called in a paper."""


_GUIDES = {
    "none": "",
    "atlas": " The generator's output is added to the mean HU that the training CTs have at a "
    "pixel's position in the body.",
    "table": " The generator's output is added to the HU that the training CTs have at a pixel's "
    "position in the body and MRI value, by a contrast table fitted by expectation-maximisation "
    "{dempster}.",
}
"""What a guided generator corrects."""


def methods_section(info: ModelInfo | TableInfo) -> str:
    """Return the paragraph, with numbers for its citations in the order of their first use, and the
    list of these, as Markdown."""
    draft = _of_network(info) if isinstance(info, ModelInfo) else _of_table(info)
    draft += " Software: " + "{software}."
    keys = list(dict.fromkeys(re.findall(r"\{(\w+)\}", draft)))
    text = re.sub(r"\{(\w+)\}", lambda found: f"[{keys.index(found[1]) + 1}]", draft)
    listed = "\n".join(f"{number}. {CITATIONS[key]}" for number, key in enumerate(keys, start=1))
    return f"{text}\n\n{listed}"


def _of_network(info: ModelInfo) -> str:
    source, target = info.source.upper(), info.target.upper()
    generator, trained = info.generator, info.training
    inputs = f"axial {source} slices"
    if info.neighbours:
        inputs += f" with {info.neighbours} neighbouring slice(s) on each side"
    if info.conditions:
        inputs += ", the depth below the body's outline and the height in the body"
    text = (
        f"Synthetic {target}s were made from {inputs} by the generator of a CycleGAN {{zhu}}: a "
        f"residual network {{johnson}} with {generator.filters} filters and {generator.blocks} "
        f"blocks. {_data(info.seen, info)}{_GUIDES[generator.guide]}"
    )
    if not trained.pairs_per_step:
        return text
    terms = ", ".join(f"{weight:g} x {_TERMS[name]}" for name, weight in trained.loss.items())
    norm = " with spectral normalisation {miyato}" if trained.is_spectral else ""
    epochs = f" ({trained.epochs:.3g} epochs)" if trained.epochs else ""
    mean = (
        f" The weights are an exponential moving average (decay {trained.ema_decay:g})."
        if trained.ema_decay
        else ""
    )
    rate = {"constant": "constant", "linear": "linear decay", "cosine": "cosine decay"}
    of_judge = trained.discriminator_learning_rate
    judged = f" (discriminators {of_judge:g})" if of_judge not in (0, trained.learning_rate) else ""
    kind = "slice(s)" if uses_pairs(info) else "unpaired slice(s)"
    start = " The first weights were those of another model." if info.initial_weights else ""
    return (
        f"{text} PatchGAN discriminators {{isola}}{norm} judged both domains. The "
        f"generators' loss was {terms}. Training took {trained.steps:,} steps"
        f"{epochs} of {trained.pairs_per_step} {kind} of each modality with Adam "
        f"{{kingma}}, learning rate {trained.learning_rate:g}{judged} "
        f"({rate[trained.learning_rate_schedule]}).{start}{mean}"
    )


def _of_table(info: TableInfo) -> str:
    return (
        "Synthetic CTs were made from MRIs by a contrast table, without a network: at each "
        "position in the body the distribution of HU is that of the training CTs, and what each HU "
        "looks like in MRI was fitted to training MRIs by expectation-maximisation {dempster} and "
        "refitted to each input; neighbouring voxels are coupled by a Markov random field (mean "
        f"field). {_data(info.seen, info)}"
    )


def uses_pairs(info: ModelInfo | TableInfo) -> bool:
    """Return whether a model learned from true pairs."""
    return isinstance(info, ModelInfo) and "paired" in info.training.loss


def _data(seen: SeenScans, info: ModelInfo | TableInfo) -> str:
    z, y, x = info.preprocessing.spacing_mm
    rows, columns = info.preprocessing.size
    pairs = "with aligned pairs among them" if uses_pairs(info) else "without pairs"
    n4 = ", bias-corrected (N4 {tustison})" if info.preprocessing.bias_correction else ""
    return (
        f"It was trained on {seen}, {pairs}, resampled to {x:g} x {y:g} x {z:g} mm (slices of "
        f"{columns} x {rows}){n4}. MRIs were scaled by the median of the body; CTs were clipped to "
        "[-1024, 3071] HU."
    )
