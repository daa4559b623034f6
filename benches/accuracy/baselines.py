"""What others reach on the pooled rows: LightGBM, CatBoost and logistic regression, as they come.

    python baselines.py OUT RESULTS [--sets ...] [--seeds ...] [--models lightgbm catboost logistic]
                        [--fresh] [--record]

Reads what prepare.py wrote, trains on `train.csv` with each library's defaults, predicts
`test.csv`, and writes RESULTS/<set>/<seed>/<model>.json. A result that is there already is kept.
One thread, so that a run can be repeated to the bit: what `peers.json` holds for the same library
version and the same bytes of `train.csv` and `test.csv` is taken from there, not trained again,
unless `--fresh` is given. `--record` writes every result of RESULTS into that file.
"""
import argparse
import hashlib
import json
import time
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from catboost import CatBoostClassifier
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def table(folder: Path):
    """Numbers as numbers, codes as text with "" for missing, the target as a class index."""
    task = tomllib.loads((folder / "task.toml").read_text())
    kind = {c: r if isinstance(r, str) else r["type"] for c, r in task["columns"].items()}
    numbers = [c for c in kind if kind[c] == "number"]
    codes = [c for c in kind if kind[c] == "category"]
    parts = {}
    for part in ("train", "test"):
        text = pd.read_csv(folder / f"{part}.csv", dtype=str, keep_default_na=False)
        # LightGBM refuses brackets in a name.
        data = {f"n{i}": pd.to_numeric(text[c]) for i, c in enumerate(numbers)}
        data |= {f"c{i}": text[c] for i, c in enumerate(codes)}
        y = text[task["target"]].map(task["classes"].index).to_numpy()
        if "positive" in task:
            y = (y == task["classes"].index(task["positive"])).astype(int)
        parts[part] = (pd.DataFrame(data), y)
    return parts, [f"n{i}" for i in range(len(numbers))], [f"c{i}" for i in range(len(codes))]


def lightgbm(parts, numbers, codes, seed):
    (x, y), (x_test, _) = parts["train"], parts["test"]
    x, x_test = x.copy(), x_test.copy()
    for code in codes:
        kind = pd.CategoricalDtype(sorted(set(x[code]) - {""}))
        # A missing code, and one that training never saw, are both missing.
        for part in (x, x_test):
            part[code] = part[code].where(part[code].isin(kind.categories)).astype(kind)
    model = LGBMClassifier(
        random_state=seed, deterministic=True, force_row_wise=True, n_jobs=1, verbosity=-1
    )
    return model.fit(x, y).predict_proba(x_test)


def catboost(parts, numbers, codes, seed):
    (x, y), (x_test, _) = parts["train"], parts["test"]
    model = CatBoostClassifier(
        random_seed=seed, thread_count=1, verbose=False, allow_writing_files=False,
        cat_features=codes,
    )  # fmt: skip
    return model.fit(x, y).predict_proba(x_test)


def logistic(parts, numbers, codes, seed):
    (x, y), (x_test, _) = parts["train"], parts["test"]
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    model = make_pipeline(
        ColumnTransformer(
            [("numbers", scaled, numbers), ("codes", OneHotEncoder(handle_unknown="ignore"), codes)]
        ),
        LogisticRegression(max_iter=2000),
    )
    return model.fit(x, y).predict_proba(x_test)


MODELS = {"lightgbm": lightgbm, "logistic": logistic, "catboost": catboost}


def figures(y: np.ndarray, p: np.ndarray) -> dict:
    return {
        "auc": roc_auc_score(y, p[:, 1]) if p.shape[1] == 2 else None,
        "log_loss": log_loss(y, p, labels=range(p.shape[1])),
        "accuracy": accuracy_score(y, p.argmax(axis=1)),
    }


RECORDED = Path(__file__).with_name("peers.json")
LIBRARIES = {"lightgbm": "lightgbm", "logistic": "scikit-learn", "catboost": "catboost"}


def key(folder: Path, name: str) -> str:
    """What a result depends on: the set, the seed, the rows and the library."""
    rows = hashlib.sha256()
    for part in ("train.csv", "test.csv"):
        rows.update(hashlib.sha256((folder / part).read_bytes()).digest())
    library = LIBRARIES[name]
    return " ".join(
        [folder.parent.name, folder.name, rows.hexdigest()[:16], name, library, version(library)]
    )


def record(out: Path, results: Path) -> None:
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    for folder in out.glob("*/*"):
        for name in MODELS:
            result = results / folder.parent.name / folder.name / f"{name}.json"
            if result.exists():
                recorded[key(folder, name)] = json.loads(result.read_text())
    RECORDED.write_text(json.dumps(recorded, indent=0, sort_keys=True) + "\n")


def train(folder: Path, name: str) -> dict:
    parts, numbers, codes = table(folder)
    began = time.perf_counter()
    p = MODELS[name](parts, numbers, codes, int(folder.name))
    return figures(parts["test"][1], p) | {"seconds": time.perf_counter() - began}


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("out", type=Path)
    args.add_argument("results", type=Path)
    args.add_argument("--sets", nargs="+")
    args.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    args.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    args.add_argument("--fresh", action="store_true")
    args.add_argument("--record", action="store_true")
    args = args.parse_args()
    recorded = {} if args.fresh or not RECORDED.exists() else json.loads(RECORDED.read_text())
    for name in args.models:
        for folder in sorted(args.out.glob("*/*")):
            if args.sets and folder.parent.name not in args.sets:
                continue
            if int(folder.name) not in args.seeds:
                continue
            result = args.results / folder.parent.name / folder.name / f"{name}.json"
            if result.exists():
                continue
            values = recorded.get(key(folder, name)) or train(folder, name)
            result.parent.mkdir(parents=True, exist_ok=True)
            result.write_text(json.dumps(values) + "\n")
            print(folder.parent.name, folder.name, name, json.dumps(values), flush=True)
    if args.record:
        record(args.out, args.results)


if __name__ == "__main__":
    main()
