"""Surrogate predictors: they learn scores of architectures from features, by name."""

from ...core import registry as _registry

for _name, _class, _summary in (
    ("forest", "Forest", "random forest, the spread of its trees (Breiman 2001)"),
    ("gp", "GaussianProcess", "Gaussian process with a Matern kernel"),
    ("mlp", "MlpEnsemble", "ensemble of perceptrons (Lakshminarayanan et al. 2017)"),
    ("ridge", "Ridge", "Bayesian ridge regression (MacKay 1992)"),
):
    _registry.predictors.register(_name, f"{__name__}.{_name}:{_class}", _summary)
