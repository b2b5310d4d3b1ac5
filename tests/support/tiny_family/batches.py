"""What a step of the tiny family sees: sources, images of the domains they go to, and those domains as labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from starcast.train.data.batch import TensorBatch
from starcast.train.data.batches import StepBatches


@dataclass(frozen=True)
class Batch(TensorBatch):
    source: Tensor
    target: Tensor
    labels: Tensor  # float32 (N, domains): 1 for the target's domain


class LabelledBatches(StepBatches):
    def draw(self, step: int) -> Batch:
        source_domain, domain = (self.draw_domains(step, purpose) for purpose in ("source domain", "domain"))
        source, target = self.draw_images(step, "source", source_domain), self.draw_images(step, "target", domain)
        return Batch(
            source=self.load(step, "source", source_domain, source, source),
            target=self.load(step, "target", domain, target, target),
            labels=torch.from_numpy(np.eye(len(self.images), dtype=np.float32)[domain]),
        )
