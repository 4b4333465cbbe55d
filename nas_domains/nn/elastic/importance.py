"""Which heads and units of an encoder matter, and putting those first."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ..encoder import AttentionBlock, FeedForwardBlock


def taylor_scores(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """How much the loss would change, to first order, were a head or a unit switched off.

    The mean over batches of ``|d loss / d gate|``, where a gate of one multiplies what a head or a
    unit gives (Michel et al. 2019, arXiv 1905.10650, equation 2; Molchanov et al. 2017). Signs
    cancel within a batch, so small ones tell more.

    Args:
        network: In which plain attention and feed-forward blocks are; its mode is left as it was.
        batches: Inputs and labels on the network's device.
        loss: (output, y) -> scalar.

    Returns:
        Name of the block -> scores float64 [heads or units], 0 or more.
    """
    last: dict[str, tuple[nn.Linear, int]] = {}
    for name, module in network.named_modules():
        if isinstance(module, AttentionBlock):
            last[name] = module.out, module.heads
        elif isinstance(module, FeedForwardBlock):
            last[name] = module.outer, module.outer.in_features
    weights = [linear.weight for linear, _ in last.values()]
    scores = {name: torch.zeros(n, dtype=torch.float64) for name, (_, n) in last.items()}
    was_training, seen = network.training, 0
    network.eval()
    for x, y in batches:
        seen += 1
        slopes = torch.autograd.grad(loss(network(x), y), weights)
        for (name, (linear, n)), slope in zip(last.items(), slopes, strict=True):
            # A gate multiplies columns of the layer behind it, so its slope is theirs added up.
            products = (linear.weight.detach() * slope).double().sum(0)
            scores[name] += products.view(n, -1).sum(1).abs().cpu()
    network.train(was_training)
    return {name: score / max(1, seen) for name, score in scores.items()}


@torch.no_grad()
def put_in_order(network: nn.Module, scores: dict[str, Tensor]) -> None:
    """Puts the heads and units with the largest scores first; what the network gives is the same.

    Args:
        network: That the scores are of; changed in place.
        scores: Of :func:`taylor_scores`.
    """
    for name, score in scores.items():
        block = network.get_submodule(name)
        order = torch.argsort(score, descending=True, stable=True)
        if isinstance(block, AttentionBlock):
            size = block.spec.head_size
            rows = (order[:, None] * size + torch.arange(size)).flatten()
            layers, outer = [block.query, block.key, block.value], block.out
        else:
            assert isinstance(block, FeedForwardBlock)
            rows, layers, outer = order, [block.inner], block.outer
        rows = rows.to(outer.weight.device)
        for layer in layers:
            layer.weight.copy_(layer.weight[rows])
            layer.bias.copy_(layer.bias[rows])
        outer.weight.copy_(outer.weight[:, rows])
