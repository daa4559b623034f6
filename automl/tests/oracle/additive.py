"""Records ../fixtures/additive.json: penalised logistic fits over bins, with scikit-learn and scipy.

    pip install scikit-learn==1.9.1 scipy numpy && python additive.py > ../fixtures/additive.json

Weight of evidence of a bin: ln(((positives + 0.5) / all positives) / ((negatives + 0.5) / all
negatives)). The tables are drawn so that no two neighbouring bins are alike (chi-square above
2.706, shares of positives ascending), so that a scorecard keeps every bin as a group. Weights come
intercept first. `ridge` is 1 / C. Bins count from 1, 0 being missing values.
"""
import json

import numpy as np
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge


def draw(seed, rows, columns, bins, strength, suppressor=False):
    rng = np.random.default_rng(seed)
    x = rng.integers(1, bins + 1, size=(rows, columns))
    if suppressor:
        # All of the second column's evidence is the first one's, and it acts against it.
        moved = rng.uniform(size=rows) < 0.4
        x[:, 1] = np.where(moved, rng.integers(1, bins + 1, size=rows), x[:, 0])
    score = strength * (x - (bins + 1) / 2).sum(axis=1)
    if suppressor:
        middle = (bins + 1) / 2
        score = strength * (1.8 * (x[:, 0] - middle) - 0.5 * (x[:, 1] - middle) + (x[:, 2] - middle))
    y = (rng.uniform(size=rows) < 1 / (1 + np.exp(-(score - 0.5)))).astype(int)
    return x, y


def woe(x, y, bins):
    columns = []
    for column in x.T:
        values, last = [], None
        for b in range(1, bins + 1):
            positives = int(((column == b) & (y == 1)).sum())
            negatives = int(((column == b) & (y == 0)).sum())
            if last is not None:
                a, c = last
                n = a + c + positives + negatives
                across = a * positives - c * negatives
                chi = n * across**2 / ((a + c) * (positives + negatives) * (a + negatives) * (c + positives))
                assert chi > 2.706 and c / (a + c) < positives / (positives + negatives), (chi, b)
            last = (negatives, positives)
            values.append(np.log(((positives + 0.5) / y.sum()) / ((negatives + 0.5) / (1 - y).sum())))
        columns.append(values)
    return columns


def fit(design, y, ridge):
    model = LogisticRegression(C=1 / ridge, solver="newton-cholesky", tol=1e-14, max_iter=1000)
    model.fit(design, y)
    return [float(model.intercept_[0])] + model.coef_[0].tolist()


def fit_non_negative(design, y, ridge):
    """Drops columns one by one as a bounded optimiser does, then polishes without them."""
    signs = 2 * y - 1

    def objective(w):
        margin = signs * (w[0] + design @ w[1:])
        loss = np.logaddexp(0, -margin).sum() + 0.5 * ridge * (w[1:] ** 2).sum()
        slope = -signs / (1 + np.exp(margin))
        return loss, np.concatenate([[slope.sum()], design.T @ slope + ridge * w[1:]])

    bounds = [(None, None)] + [(0, None)] * design.shape[1]
    found = minimize(objective, np.zeros(1 + design.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B")
    kept = found.x[1:] > 1e-6
    assert 0 < kept.sum() < design.shape[1], found.x
    weights = np.zeros(1 + design.shape[1])
    free = fit(design[:, kept], y, ridge)
    assert min(free[1:]) > 0
    weights[0] = free[0]
    weights[1:][kept] = free[1:]
    return weights.tolist()


cases = []
for name, seed, rows, columns, bins, ridge, suppressor in [
    ("scorecard", 1, 900, 3, 3, 0.1, False),
    ("scorecard", 2, 1500, 2, 5, 5.0, False),
    ("scorecard with a column that drops out", 3, 1500, 3, 3, 0.1, True),
]:
    x, y = draw(seed, rows, columns, bins, 0.8, suppressor)
    values = woe(x, y, bins)
    design = np.array([[values[c][b - 1] for c, b in enumerate(row)] for row in x])
    weights = (fit_non_negative if suppressor else fit)(design, y, ridge)
    cases.append({"name": name, "kind": "scorecard", "ridge": ridge, "bins": bins, "x": x.tolist(),
                  "y": y.tolist(), "woe": values, "weights": weights})

for kind, seed, rows, ridge in [("ga2m", 4, 300, 1.0), ("ga2m", 5, 200, 20.0), ("ga2m number", 6, 150, 3.0)]:
    x, y = draw(seed, rows, 3, 4, 0.5)
    columns = [(x[:, c] == b).astype(float) for c in range(3) for b in range(1, 5)]
    design = np.stack(columns, axis=1)
    if kind == "ga2m":
        weights = fit(design, y, ridge)
    else:
        y = np.round(x[:, 0] * 0.4 - 0.3 * (x[:, 1] == 2) + np.random.default_rng(seed).normal(size=rows) * 0.3, 3)
        model = Ridge(alpha=ridge, solver="cholesky").fit(design, y)
        weights = [float(model.intercept_)] + model.coef_.tolist()
    cases.append({"name": kind, "kind": kind, "ridge": ridge, "bins": 4, "x": x.tolist(),
                  "y": y.tolist(), "woe": [], "weights": weights})

print(json.dumps({"recorded_with": "scikit-learn and scipy, see ../oracle/additive.py", "cases": cases},
                 separators=(",", ":")))
