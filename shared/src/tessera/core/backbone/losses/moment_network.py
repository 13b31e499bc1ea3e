"""Loss of moment networks: of each parameter the posterior's mean and standard deviation.

Jeffrey and Wandelt, "Solving high-dimensional parameter inference", arXiv 2011.05991, with logarithms as in
CAMELS (Villaescusa-Navarro et al., arXiv 2109.10360), so that no parameter outweighs the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-12


def moment_network_loss(
    mean: Tensor, spread: Tensor, target: Tensor, *, eps: float = EPS, weight: Tensor | None = None
) -> Tensor:
    """Means, standard deviations and targets (B, P), or (B,) each -> scalar.

    ln(<e^2> + eps) + ln(<(e^2 - spread^2)^2> + eps), averaged over the parameters, with e = mean - target and
    <> the average over the batch.

    Logarithms of averages do not add up over samples: the loss of a batch is not the mean of the losses of
    its parts. Gradients accumulated over batches, or averaged over devices, are those of another loss;
    compare losses over equally many samples only. Only the square of ``spread`` counts: make it positive in
    the same way here and in inference, or training may settle on the other sign.

    Args:
        mean: Of the posterior, targets standardised or scaled to about 1.
        spread: Its standard deviation, in the unit of the targets.
        target: True values.
        eps: Keeps a batch that is fitted exactly from minus infinity; in the targets' unit to the 2nd power
            in the first term and to the 4th in the second.
        weight: How much each row (B,) counts; all the same by default.
    """
    if not mean.shape == spread.shape == target.shape:
        raise ValueError(
            f"moment network loss: means {tuple(mean.shape)}, spreads {tuple(spread.shape)} and targets "
            f"{tuple(target.shape)}; give all three the same shape"
        )
    squared = (mean.float() - target.float()).square()
    excess = (squared - spread.float().square()).square()
    if weight is None:
        weight = squared.new_ones(len(squared))
    shares = weight.float() / weight.float().sum().clamp_min(torch.finfo(torch.float32).tiny)
    terms = [torch.tensordot(shares, part, dims=1) + eps for part in (squared, excess)]
    return (terms[0].log() + terms[1].log()).mean()
