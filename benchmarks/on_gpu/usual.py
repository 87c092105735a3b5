"""The step of a CycleGAN as it is usually written, with the networks and losses of a run: six
passes one by one under autocast, and Adam as torch makes it, eager or with every network compiled.
"""

import torch

from benchmarks.on_gpu.bench import Stepper
from cyclegan.data.batch import Batch
from cyclegan.nets.guided_generator import GuidedGenerator
from cyclegan.nets.network_pairs import Translated
from cyclegan.train.engine.objective import Terms, discriminator_terms, generator_terms
from cyclegan.train.engine.state import TrainState


class UsualStep:
    """Steps on the networks of a `Stepper`, whose own engine is left aside.

    The networks see what that engine's see; fakes go to the discriminators without a pool.
    """

    def __init__(self, stepper: Stepper, dtype: torch.dtype, *, compiled: bool) -> None:
        self.state: TrainState = stepper.state
        self.batch: Batch = stepper.batch
        self.weights = stepper.weights.effective_weights
        self.dtype = dtype
        generators, discriminators = self.state.generators, self.state.discriminators
        if compiled:
            for network in (*generators.children(), *discriminators.children()):
                network.compile()
        self.optimizers = [
            torch.optim.Adam(pair.parameters(), lr=2e-4, betas=(0.5, 0.999))
            for pair in (generators, discriminators)
        ]

    def step(self) -> Terms:
        """One update of the generators, then one of the discriminators."""
        batch, pair, judges = self.batch, self.state.generators, self.state.discriminators
        mri, ct = batch.mri, batch.ct
        judges.requires_grad_(False).eval()
        with torch.autocast(mri.device.type, self.dtype, enabled=self.dtype != torch.float32):
            fake_ct, fake_mri = pair.to_ct(mri), pair.to_mri(ct)
            # A CT is its own guess.
            known = {"known": batch.middle_ct} if isinstance(pair.to_ct, GuidedGenerator) else {}
            images = Translated(
                fake_mri=pair.as_judged(ct, fake_mri),
                fake_ct=pair.as_judged(mri, fake_ct),
                same_mri=pair.to_mri(mri),
                same_ct=pair.to_ct(ct, **known),
                returned_mri=pair.to_mri(pair.as_input(mri, fake_ct)),
                returned_ct=pair.to_ct(pair.as_input(ct, fake_mri)),
            )
            scores = judges.mri(images.fake_mri), judges.ct(images.fake_ct)
        terms = generator_terms(batch, images, scores, self.weights)
        self._descend(0, terms["loss/generators"])
        judges.requires_grad_(True).train()
        seen = (
            (judges.mri, pair.as_judged(mri, batch.middle_mri), images.fake_mri),
            (judges.ct, pair.as_judged(ct, batch.middle_ct), images.fake_ct),
        )
        with torch.autocast(mri.device.type, self.dtype, enabled=self.dtype != torch.float32):
            judged = [torch.cat([judge(real), judge(fake.detach())]) for judge, real, fake in seen]
        found = discriminator_terms(*judged)
        self._descend(1, found["loss/discriminator_mri"] + found["loss/discriminator_ct"])
        return terms | found

    def _descend(self, number: int, loss: torch.Tensor) -> None:
        optimizer = self.optimizers[number]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
