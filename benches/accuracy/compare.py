"""Prints the tables of docs/accuracy.md from the results of baselines.py and simulate.py.

    python compare.py RESULTS [--preset balanced] [--check]

The rule, for every set: over the seeds, each paired on identical test rows, the mean difference to
the peer is at least -0.005 and its upper 95 % bound (one-sided, Student's t) is at least 0.
Differences are turned so that positive is better for Collegium. With `--check` the exit status says
whether the rule against LightGBM holds for every set that was run.
"""
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, stdev

MARGIN = -0.005
SEEDS = 5  # What the rule is stated for: with fewer seeds there is no verdict.
# One-sided 95 % quantiles of Student's t by degrees of freedom.
STUDENT = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 6: 1.943, 7: 1.895, 8: 1.860, 9: 1.833}
PEERS = ["lightgbm", "catboost", "logistic"]


class Results:
    def __init__(self, folder: Path, preset: str):
        self.preset = preset
        # {(set, model): {seed: figures}}
        self.all: dict[tuple[str, str], dict[int, dict]] = {}
        for file in folder.glob("*/*/*.json"):
            key = (file.parent.parent.name, file.stem)
            self.all.setdefault(key, {})[int(file.parent.name)] = json.loads(file.read_text())
        # What each set that we ran ranks by.
        self.metric = {
            name: run["metric"]
            for (name, _), runs in sorted(self.all.items())
            for run in runs.values()
            if "metric" in run
        }

    def sign(self, name: str) -> int:
        return 1 if self.metric[name] == "auc" else -1

    def of(self, name: str, model: str) -> dict[int, float]:
        metric, runs = self.metric[name], self.all.get((name, model), {})
        return {seed: run[metric] for seed, run in runs.items() if run.get(metric) is not None}

    def ours(self, name: str) -> list[str]:
        """Our runs of a set: the search over all families, and each family by itself."""
        prefix = f"ours-{self.preset}-"
        return sorted(m for s, m in self.all if s == name and m.startswith(prefix))

    def cost(self, name: str, model: str) -> str:
        runs = list(self.all[name, model].values())
        sent = [run["bytes"] / 1e6 for run in runs if run["bytes"]]
        sent = f"{mean(sent):.1f}" if sent else ""
        seconds = mean(run["seconds"] for run in runs)
        return f"{seconds:.0f} | {mean(run['steps'] for run in runs):.0f} | {sent}"


def best(results: Results, name: str, models: list[str]) -> str | None:
    """The model with the best mean, of those that ran over the most seeds."""
    runs = {m: results.of(name, m) for m in models}
    most = max(map(len, runs.values()), default=0)
    means = {m: results.sign(name) * mean(v.values()) for m, v in runs.items() if len(v) == most > 0}
    return max(means, key=means.get, default=None)


def paired(ours: dict[int, float], theirs: dict[int, float], sign: int):
    """Seeds, mean difference, its standard error, its upper bound."""
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return 0, None, None, None
    differences = [sign * (ours[seed] - theirs[seed]) for seed in seeds]
    middle = mean(differences)
    if len(seeds) < 2:
        return len(seeds), middle, None, None
    error = stdev(differences) / len(seeds) ** 0.5
    return len(seeds), middle, error, middle + STUDENT[len(seeds) - 1] * error


def holds(middle: float | None, upper: float | None) -> bool:
    return middle is not None and upper is not None and middle >= MARGIN and upper >= 0


def cells(results: Results, name: str, ours: str, theirs: str | None) -> str:
    n, middle, error, upper = paired(
        results.of(name, ours), results.of(name, theirs or ""), results.sign(name)
    )
    if middle is None:
        return " |  |  |  | "
    if error is None:
        return f"{middle:+.4f} |  |  | {n} | "
    verdict = "yes" if holds(middle, upper) else "**no**"
    verdict = verdict if n >= SEEDS else "not yet"
    return f"{middle:+.4f} | {error:.4f} | {upper:+.4f} | {n} | {verdict}"


def figure(results: Results, name: str, model: str, ours: str) -> str:
    """A model's mean over the seeds that our run has."""
    seeds = results.of(name, ours)
    values = [value for seed, value in results.of(name, model).items() if seed in seeds]
    return f"{mean(values):.4f}" if values else ""


def single_family(results: Results) -> bool:
    """Prints the table; whether the rule holds in every row."""
    good = True
    print("| set | best family | test | LightGBM | difference | s.e. | upper bound | seeds | holds "
          "| seconds | steps | MB up a site |")  # fmt: skip
    print("|---" * 12 + "|")
    for name in results.metric:
        whole = f"ours-{results.preset}-all"
        # The champion of the whole search counts where it is one model, not a blend.
        blended = any(run.get("family") == "blend" for run in results.all.get((name, whole), {}).values())
        single = [m for m in results.ours(name) if m != whole or not blended]
        ours = best(results, name, single)
        # A blend has no line here, and is checked all the same.
        n, middle, _, upper = paired(
            results.of(name, ours or whole), results.of(name, "lightgbm"), results.sign(name)
        )
        good &= n >= SEEDS and holds(middle, upper)
        if ours is None:
            continue
        label = ours.rsplit("-", 1)[1] if ours != whole else "chosen by the search"
        print(f"| {name} ({results.metric[name]}) | {label} | {figure(results, name, ours, ours)} "
              f"| {figure(results, name, 'lightgbm', ours)} | {cells(results, name, ours, 'lightgbm')} "
              f"| {results.cost(name, ours)} |")  # fmt: skip
    return good and bool(results.metric)


def whole_search(results: Results) -> None:
    print("| set | Collegium | LightGBM | CatBoost | logistic | difference to the best | s.e. "
          "| upper bound | seeds | holds | best site alone | seconds | steps | MB up a site |")
    print("|---" * 14 + "|")
    for name in results.metric:
        ours = f"ours-{results.preset}-all"
        if (name, ours) not in results.all:
            continue
        peers = " | ".join(figure(results, name, peer, ours) for peer in PEERS)
        print(f"| {name} ({results.metric[name]}) | {figure(results, name, ours, ours)} | {peers} "
              f"| {cells(results, name, ours, best(results, name, PEERS))} "
              f"| {alone(results, name, ours)} | {results.cost(name, ours)} |")  # fmt: skip


def alone(results: Results, name: str, ours: str) -> str:
    """The best site's own champion on all test rows, mean over the seeds."""
    metric, sign = results.metric[name], results.sign(name)
    tops = []
    for run in results.all[name, ours].values():
        figures = [(site.get("alone_everywhere") or {}).get(metric) for site in run["sites"] or []]
        figures = [value for value in figures if value is not None]
        if figures:
            tops.append(sign * max(sign * value for value in figures))
    return f"{mean(tops):.4f}" if tops else ""


def flamby(results: Results) -> None:
    runs = results.all.get(("heart_flamby", f"ours-{results.preset}-all"), {})
    runs = [run for run in runs.values() if run["sites"]]
    if not runs:
        return
    clients = [mean(site["champion"]["accuracy"] for site in run["sites"]) for run in runs]
    everyone = mean(run["accuracy"] for run in runs)
    print(f"\nFLamby's split, accuracy, mean of {len(runs)} seeds: client mean {mean(clients):.3f} "
          f"(at least .735), all tests {everyone:.3f} (at least .79).")  # fmt: skip


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("results", type=Path)
    args.add_argument("--preset", default="balanced")
    args.add_argument("--check", action="store_true")
    args = args.parse_args()
    results = Results(args.results, args.preset)
    print("## The best single family against LightGBM\n")
    good = single_family(results)
    print("\n## The whole search against the best of three\n")
    whole_search(results)
    flamby(results)
    sys.exit(1 if args.check and not good else 0)


if __name__ == "__main__":
    main()
