"""Strategies: named compositions that fill a run, by name."""

from ..core import registry as _registry

for _name, _attribute, _summary in (
    ("darts", "darts", "gradient search, first order (Liu et al. 2019)"),
    ("darts-2nd", "darts_second", "gradient search, second order (Liu et al. 2019)"),
    ("pc-darts", "pc_darts", "a quarter of the channels, edge weights (Xu et al. 2020)"),
    ("gdas", "gdas", "one candidate an edge, by hard Gumbel (Dong & Yang 2019)"),
    ("drnas", "drnas", "Dirichlet weights near their prior (Chen et al. 2021)"),
    (
        "drnas-progressive",
        "drnas_progressive",
        "the same with partial channels that grow and candidates that are dropped",
    ),
    ("beta-darts", "beta_darts", "decay of the parameters' log sum exp (Ye et al. 2022)"),
    ("sdarts", "sdarts", "weights learn under random noise (Chen & Hsieh 2020)"),
    ("darts-pt", "darts_pt", "the candidate that is missed most stays (Wang et al. 2021)"),
    ("darts-minus", "darts_minus", "a second skip connection that fades out (Chu et al. 2021)"),
    ("darts-plus", "darts_plus", "ends at two skip connections in a cell (Liang et al. 2019)"),
    ("r-darts", "r_darts", "ends where the dominant eigenvalue rises (Zela et al. 2020)"),
    ("proxyless", "proxyless", "binary gates, two paths (Cai et al. 2019)"),
    ("robust", "robust", "the default for cells: its finds are tried out at full depth"),
    ("dints", "dints", "topology and candidates of the space dints (He et al. 2021)"),
    ("enas", "enas", "a controller and shared weights, in turn (Pham et al. 2018)"),
    ("fairnas", "fairnas", "strictly fair single paths, then evolution (Chu et al. 2021)"),
    ("ofa", "ofa", "sandwich rule and distillation, then evolution (Cai et al. 2020)"),
    ("spos", "spos", "uniform single paths, then evolution (Guo et al. 2020)"),
    ("calibrate", "calibrate", "no training: paths of pretrained weights are scored as they are"),
    ("bayes", "bayes", "a Gaussian process says what is trained next (White et al. 2021)"),
    ("local-search", "local_search", "neighbours of the best, each trained (White et al. 2020)"),
    ("evolution", "evolution", "aging evolution of trained networks (Real et al. 2019)"),
    ("hyperband", "hyperband", "random draws, of which few are trained for long (Li et al. 2018)"),
    ("bohb", "bohb", "the same with draws of Parzen estimators (Falkner et al. 2018)"),
    ("nsga2", "nsga2", "NSGA-II of trained networks, for several goals (Deb et al. 2002)"),
    ("nsga3", "nsga3", "NSGA-III of trained networks, for many goals (Deb & Jain 2014)"),
    ("predictor", "predictor", "trained networks and proxies teach what is next (White et al.)"),
    ("reinforce", "reinforce", "a policy that learns from trained networks (Zoph & Le 2017)"),
    ("tpe", "tpe", "Parzen estimators, each network trained (Bergstra et al. 2011)"),
    ("zero-cost", "zero_cost", "local search over proxies, nothing trained (Mellor et al. 2021)"),
    ("random", "random", "uniform draws, each trained for a few epochs"),
):
    _registry.strategies.register(_name, f"nas_domains.strategies.presets:{_attribute}", _summary)
