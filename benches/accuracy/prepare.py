"""Writes the tables of the accuracy comparison, one folder per data set and seed.

    python prepare.py DATA OUT [--sets adult higgs ...] [--seeds 1 2 3 4 5]

DATA holds the public sets, one folder each (see README.md for where they come from). In
OUT/<set>/<seed>/ come `task.toml`, `train.csv` and `test.csv` with all rows for the peers, and
`sites/<name>.csv` with the column `split` for the federation. Test rows are the same on both sides.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from sets import SETS, Set
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

TEST_SHARE = 0.2
# The longest vocabulary that a task may declare, and the longest name.
MAX_VALUES, MAX_BYTES = 256, 64


def split(spec: Set, frame: pd.DataFrame, site: pd.Series, seed: int) -> pd.Series:
    """`train` or `test` for each row: a fifth for the test, stratified by site and class."""
    if spec.fixed_split:
        return frame[spec.fixed_split]
    label = frame[spec.target]
    if spec.entity:
        # Rows of one person stay on one side.
        folds = StratifiedGroupKFold(round(1 / TEST_SHARE), shuffle=True, random_state=seed)
        _, test = next(folds.split(frame, label, groups=frame[spec.entity]))
    else:
        strata = site + "/" + label
        # A stratum of one row cannot be divided.
        strata = strata.where(strata.map(strata.value_counts()) > 1, "few")
        if (strata == "few").sum() == 1:
            strata = strata.replace("few", strata.mode()[0])
        _, test = train_test_split(
            np.arange(len(frame)), test_size=TEST_SHARE, stratify=strata, random_state=seed
        )
    parts = pd.Series("train", index=frame.index)
    parts.iloc[test] = "test"
    return parts


def task(spec: Set, frame: pd.DataFrame, seed: int) -> str:
    """The task file; the values of a category are public where a code book lists them."""
    quote = json.dumps  # A JSON string is a TOML string.
    labels = sorted(frame[spec.target].unique())
    lines = [
        f"name = {quote(spec.name)}",
        f"target = {quote(spec.target)}",
        'kind = "classification"',
        f"classes = {quote(labels)}",
        f"metric = {quote(spec.metric)}",
        'split = "split"',
        f"seed = {seed}",
    ]
    if spec.positive:
        lines.append(f"positive = {quote(spec.positive)}")
    if spec.entity:
        lines.append(f"entity = {quote(spec.entity)}")
    lines.append("\n[columns]")
    for column, kind in spec.kinds(frame).items():
        values = sorted(set(frame[column]) - {""})
        named = len(values) <= MAX_VALUES and all(len(v.encode()) <= MAX_BYTES for v in values)
        if kind == "category" and named:
            kind = f'{{ type = "category", values = {quote(values, ensure_ascii=False)} }}'
        else:
            kind = quote(kind)
        lines.append(f"{quote(column)} = {kind}")
    return "\n".join(lines) + "\n"


def write(spec: Set, data: Path, out: Path, seeds: list[int]) -> None:
    whole = spec.load(data)
    for seed in seeds:
        site = spec.sites(whole, np.random.default_rng(seed))
        parts = split(spec, whole, site, seed)
        frame = whole.drop(columns=spec.fixed_split or []).assign(split=parts)
        folder = out / spec.name / str(seed)
        (folder / "sites").mkdir(parents=True, exist_ok=True)
        for name in sorted(site.unique()):
            frame[site == name].to_csv(folder / "sites" / f"{name}.csv", index=False)
        for part in ("train", "test"):
            frame[parts == part].to_csv(folder / f"{part}.csv", index=False)
        (folder / "task.toml").write_text(task(spec, frame, seed))
    counts = site.value_counts().sort_index().to_dict()
    print(f"{spec.name}: {len(whole)} rows, {int((parts == 'test').sum())} for the test, {counts}")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("data", type=Path)
    args.add_argument("out", type=Path)
    args.add_argument("--sets", nargs="+", default=[spec.name for spec in SETS])
    args.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    args = args.parse_args()
    for spec in SETS:
        if spec.name in args.sets:
            write(spec, args.data, args.out, args.seeds)


if __name__ == "__main__":
    main()
