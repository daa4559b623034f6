"""Accuracy against epsilon: `collegium simulate` under differential privacy on what prepare.py wrote.

    python privacy.py BINARY OUT RESULTS [--sets heart_flamby adult] [--epsilons 10 1 0.1]

Each set's task gets a section [differential_privacy] and the bounds below in place of its columns; `none`
is the same family without. Writes RESULTS/<set>/<seed>/private-<epsilon>.json and prints the table
of docs/privacy.md. True figures are those of the champion on test rows without noise, which nobody would see in
a real run; noisy ones are those of the run's report.
"""
import argparse
import csv
import json
import re
import statistics
import subprocess
from pathlib import Path

# Public knowledge about people, not looked up in the tables. Other columns are not used.
BOUNDS = {
    "heart": {
        "age": (25, 80), "sex": (0, 1), "trestbps": (80, 200), "chol": (100, 400), "fbs": (0, 1),
        "thalach": (60, 210), "exang": (0, 1), "oldpeak": (-1, 5),
    },
    "adult": {
        "age": (17, 90), "education-num": (1, 16), "capital-gain": (0, 10000),
        "capital-loss": (0, 3000), "hours-per-week": (1, 80),
    },
}
CATEGORIES = {
    "heart": ["cp", "restecg"],
    "adult": ["workclass", "marital-status", "occupation", "relationship", "race", "sex"],
}
# FLamby's for its split; for a table of fifty thousand rows a usual one.
DELTAS = {
    "heart": {"10": "1e-3", "1": "1e-3", "0.1": "1e-4"},
    "adult": {"10": "1e-5", "1": "1e-5", "0.1": "1e-5"},
}
SEEDS = range(1, 6)


def task(text: str, kind: str, epsilon: str) -> str:
    """The set's task for one epsilon."""
    head, columns = text.split("[columns]")
    if epsilon == "none":
        return f'{text}\n[constraints]\nallowed_models = ["logistic"]\nsingle_model = true\n'
    lines = [
        f'"{name}" = {{ type = "number", min = {low}, max = {high} }}'
        for name, (low, high) in BOUNDS[kind].items()
    ]
    for name in CATEGORIES[kind]:
        lines.append(re.search(rf'^"{name}" = .*$', columns, re.M)[0])
    privacy = f"[differential_privacy]\nepsilon = {epsilon}\ndelta = {DELTAS[kind][epsilon]}\n"
    return f"{head}{privacy}[columns]\n" + "\n".join(lines) + "\n"


def scored(binary: Path, folder: Path, out: Path, target: str, positive: str) -> float:
    """The champion's accuracy on the test rows at a probability of one half, without noise."""
    with open(folder / "test.csv", newline="") as file:
        truth = [row[target] == positive for row in csv.DictReader(file)]
    scores = out / "scores.csv"
    subprocess.run(
        [binary, "model", "predict", out / "champion.json", folder / "test.csv", "-o", scores],
        check=True, capture_output=True,
    )
    with open(scores, newline="") as file:
        rows = list(csv.DictReader(file))
    called = [float(row[f"p_{positive}"]) >= 0.5 for row in rows]
    return sum(a == b for a, b in zip(truth, called, strict=True)) / len(truth)


def run(binary: Path, folder: Path, name: str, epsilon: str) -> dict:
    out = folder / f"private-{epsilon}"
    out.mkdir(exist_ok=True)
    text = (folder / "task.toml").read_text()
    (out / "task.toml").write_text(task(text, name.split("_")[0], epsilon))
    sites = [f"{file.stem}={file}" for file in sorted((folder / "sites").glob("*.csv"))]
    command = [binary, "simulate", out / "task.toml", *sites, "--no-alone", "--out", out]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    (out / "journal.jsonl").unlink()
    result = json.loads((out / "result.json").read_text())
    said = {key: re.search(rf'^{key} = "(.*)"', text, re.M)[1] for key in ("target", "positive")}
    true = scored(binary, folder, out, **said)
    return {"accuracy": true, "noisy": result["test"].get("accuracy"), "auc": result["test"].get("auc"),
            "privacy": result["privacy"], "seconds": result["seconds"]}


def cell(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({statistics.pstdev(values):.3f})"


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("binary", type=Path)
    args.add_argument("out", type=Path)
    args.add_argument("results", type=Path)
    args.add_argument("--sets", nargs="+", default=["heart_flamby", "heart_disease", "adult"])
    args.add_argument("--epsilons", nargs="+", default=["none", "10", "1", "0.1"])
    args = args.parse_args()
    print("| set | epsilon | delta | accuracy | noisy accuracy |\n|---|---|---|---|---|")
    for name in args.sets:
        for epsilon in args.epsilons:
            found = []
            for seed in SEEDS:
                kept = args.results / name / str(seed) / f"private-{epsilon}.json"
                if not kept.exists():
                    figures = run(args.binary, args.out / name / str(seed), name, epsilon)
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_text(json.dumps(figures, indent=1) + "\n")
                found.append(json.loads(kept.read_text()))
            noisy = [it["noisy"] for it in found if it["noisy"] is not None]
            noisy = cell(noisy) if len(noisy) == len(found) and epsilon != "none" else ""
            true = cell([it["accuracy"] for it in found])
            print(f"| {name} | {epsilon} | {DELTAS[name.split('_')[0]].get(epsilon, '')} | {true} | {noisy} |", flush=True)


if __name__ == "__main__":
    main()
