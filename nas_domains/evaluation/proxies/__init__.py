"""Zero-cost proxies: scores of untrained networks, by name."""

from ...core import registry as _registry

for _name, _class, _summary in (
    ("epe_nas", "EpeNas", "correlation of Jacobians within classes (Lopes et al. 2021)"),
    ("fisher", "Fisher", "squared gradients of channels (Turner et al. 2020)"),
    ("flops", "Flops", "floating-point operations of one input"),
    ("grad_norm", "GradNorm", "norms of the weights' gradients (Abdelfattah et al. 2021)"),
    ("grasp", "Grasp", "what a step does to the gradients' norm (Wang et al. 2020)"),
    ("jacov", "Jacov", "how unlike the Jacobians of inputs are (Mellor et al. 2021, v1)"),
    ("naswot", "NasWot", "how unlike the activation codes of inputs are (Mellor et al. 2021)"),
    ("params", "Params", "parameters that are trained"),
    ("snip", "Snip", "what each weight adds to the loss (Lee et al. 2019)"),
    ("synflow", "SynFlow", "flow of the absolute weights, without data (Tanaka et al. 2020)"),
    ("zen", "Zen", "how far features move under noise (Lin et al. 2021)"),
):
    _registry.proxies.register(_name, f"{__name__}.{_name}:{_class}", _summary)
