"""The Gaussian process predicts what it learnt, and knows how little it knows elsewhere."""

import numpy as np

from nas_domains.strategies.samplers.surrogate import (
    Surrogate,
    fit,
    normal_scores,
    squared_distances,
)

X = np.random.default_rng(0).random((40, 3)).astype(np.float32)


def predicted(theta: np.ndarray, truth: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, ...]:
    among = [squared_distances(X, X), squared_distances(X[:, :1], X[:, :1])]
    across = [squared_distances(X, at), squared_distances(X[:, :1], at[:, :1])]
    return Surrogate(among, truth, theta).predict(across)


def test_it_passes_through_what_it_learnt_and_doubts_afar() -> None:
    truth = normal_scores(np.sin(4 * X[:, 0]) + X[:, 1])
    theta = np.array([0.0, 0.0, -8.0])
    mean, std = predicted(theta, truth, X)
    assert np.abs(mean - truth).max() < 0.1 and std.max() < 0.2
    _, far = predicted(theta, truth, X + 50)
    assert far.min() > 3 * std.max()


def test_a_group_that_tells_nothing_gets_the_longer_length() -> None:
    truth = normal_scores(np.sin(4 * X[:, 0]))
    noise = X[:, 1:]
    theta = fit([squared_distances(X[:, :1], X[:, :1]), squared_distances(noise, noise)], truth)
    assert theta[0] < theta[1] - 1


def test_the_posterior_is_that_of_the_textbook() -> None:
    truth = normal_scores(X[:, 2])
    theta = np.array([0.2, -0.1, -2.0])
    at = X[:5] + 0.1

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        d = ((a[:, None] - b[None]) ** 2).sum(2) * np.exp(-0.4)
        d = d + (a[:, None, 0] - b[None, :, 0]) ** 2 * np.exp(0.2)
        r = np.sqrt(5 * d)
        return (1 + r + r**2 / 3) * np.exp(-r)

    x, z = X.astype(float), at.astype(float)
    inverse = np.linalg.inv(kernel(x, x) + np.exp(-2.0) * np.eye(40))
    scale = (truth @ inverse @ truth + 1) / 41
    expected = kernel(z, x) @ inverse @ truth
    variance = scale * (1 - np.einsum("ij,jk,ik->i", kernel(z, x), inverse, kernel(z, x)))
    mean, std = predicted(theta, truth, at)
    # Single precision, and the condition of the kernel's matrix, at most 40 / exp(-2).
    assert np.allclose(mean, expected, atol=2e-3)
    assert np.allclose(std**2, variance, atol=2e-3)


def test_normal_scores_depend_on_ranks_alone() -> None:
    values = np.array([3.0, -1.0, 10.0, 3.0])
    scores = normal_scores(values)
    assert scores[0] == scores[3] and scores[1] < scores[0] < scores[2]
    assert np.allclose(scores, normal_scores(np.exp(values)))
