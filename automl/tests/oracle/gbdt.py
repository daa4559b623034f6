"""Records what XGBoost and LightGBM make of the rows that the tests of boosted trees train on.

    python3 -m venv /tmp/oracle
    /tmp/oracle/bin/pip install xgboost-cpu==3.2.0 lightgbm==4.7.0
    /tmp/oracle/bin/python automl/tests/oracle/gbdt.py > automl/src/family/gbdt/oracle.json

The rows come from a generator of whole numbers that `oracle_tests.rs` repeats: nothing but losses
and predictions is recorded. Both libraries see the very bins (0 is missing), grow every tree to
the same depth, and have the same penalties, so that nothing but ties and the rounding of
gradients may differ. Softmax: LightGBM only, because XGBoost's Hessian is 2 p (1 - p), and
LightGBM's, like ours, K / (K - 1) p (1 - p).
"""

import json
import sys

import lightgbm
import numpy
import xgboost

MASK = (1 << 64) - 1
BINS = [17, 9, 33, 65, 5, 25]
TRAIN, VALID = 3000, 1000
DEPTH, RATE, ROUNDS = 4, 0.3, 20
SHOWN = 20  # predictions recorded, of the first validation rows


def numbers(state):
    """SplitMix64."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def rows(count, seed):
    """Bins, and a score in 1/256 that targets follow from."""
    draw = numbers(seed)
    table, scores = [], []
    for _ in range(count):
        row = [1 + next(draw) % (bins - 1) for bins in BINS]
        if next(draw) % 6 == 0:
            row[1] = 0
        if next(draw) % 10 == 0:
            row[3] = 0
        score = 24 * (row[0] - 8) + (150 if row[1] == 0 else 30 * (row[1] - 4))
        score += -120 if row[3] > 40 and row[0] > 6 else 40
        score += 90 if row[4] in (2, 4) else 0
        score += next(draw) % 401 - 200
        table.append(row)
        scores.append(score)
    return numpy.array(table, dtype=float), numpy.array(scores)


def target(head, scores):
    if head == "number":
        return scores / 256.0
    if head == "binary":
        return (scores > 60).astype(float)
    return (scores > -60).astype(float) + (scores > 160).astype(float)


def with_xgboost(head, x, y, vx, vy):
    objective = {"binary": "binary:logistic", "number": "reg:squarederror"}[head]
    settings = {
        "objective": objective, "tree_method": "hist", "max_bin": 256, "max_depth": DEPTH,
        "learning_rate": RATE, "lambda": 1.0, "min_child_weight": 1.0, "nthread": 1,
        "eval_metric": {"binary": "logloss", "number": "rmse"}[head],
        "base_score": {"binary": float((y.sum() + 0.5) / (len(y) + 1)), "number": 0.0}[head],
    }
    train = xgboost.DMatrix(numpy.where(x == 0, numpy.nan, x), y)
    valid = xgboost.DMatrix(numpy.where(vx == 0, numpy.nan, vx), vy)
    seen = {}
    model = xgboost.train(settings, train, ROUNDS, [(valid, "v")], evals_result=seen, verbose_eval=False)
    losses = list(seen["v"].values())[0]
    if head == "number":
        losses = [loss * loss for loss in losses]
    return losses, model.predict(valid)[:SHOWN]


def with_lightgbm(head, x, y, vx, vy):
    settings = {
        "objective": {"binary": "binary", "number": "regression", "classes": "multiclass"}[head],
        "metric": {"binary": "binary_logloss", "number": "l2", "classes": "multi_logloss"}[head],
        "num_leaves": 2**DEPTH, "max_depth": DEPTH, "learning_rate": RATE, "lambda_l2": 1.0,
        "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 1.0, "max_bin": 255, "min_data_in_bin": 1,
        "feature_pre_filter": False, "enable_bundle": False, "num_threads": 1, "verbose": -1,
        "deterministic": True, "boost_from_average": head != "number",
    }
    if head == "classes":
        settings["num_class"] = 3
    train = lightgbm.Dataset(numpy.where(x == 0, numpy.nan, x), y, params=settings)
    valid = lightgbm.Dataset(numpy.where(vx == 0, numpy.nan, vx), vy, reference=train, params=settings)
    seen = {}
    model = lightgbm.train(settings, train, ROUNDS, [valid], ["v"],
                           callbacks=[lightgbm.record_evaluation(seen)])
    predictions = model.predict(numpy.where(vx == 0, numpy.nan, vx))[:SHOWN]
    if head == "classes":
        predictions = predictions[:, 2]
    return list(seen["v"].values())[0], predictions


def main():
    x, scores = rows(TRAIN, 1)
    vx, valid_scores = rows(VALID, 2)
    runs = []
    for head in ["binary", "classes", "number"]:
        y, vy = target(head, scores), target(head, valid_scores)
        for name, learn in [("xgboost", with_xgboost), ("lightgbm", with_lightgbm)]:
            if (name, head) == ("xgboost", "classes"):
                continue
            losses, predictions = learn(head, x, y, vx, vy)
            runs.append({
                "library": name, "head": head,
                "losses": [round(float(loss), 6) for loss in losses],
                "predictions": [round(float(p), 5) for p in predictions],
            })
    json.dump({"xgboost": xgboost.__version__, "lightgbm": lightgbm.__version__, "runs": runs},
              sys.stdout, indent=1)
    print()


main()
