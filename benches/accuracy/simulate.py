"""Runs `collegium simulate` on what prepare.py wrote, and keeps the figures beside the peers'.

    python simulate.py BINARY OUT RESULTS [--preset balanced] [--models all gbdt ...]
                       [--sets ...] [--seeds ...] [--alone] [--build COMMIT [--record]]

For each set and seed a search over all families (`all`), or over one for a champion of one model; writes
RESULTS/<set>/<seed>/ours-<preset>-<model>.json. A result that is there already is kept. With
`--alone` the search is also run at every site by itself, and its champion is scored on the union of
the test rows.

With `--build` what `ours.json` holds of this build is taken from there and not run again; with `--record`, too,
what RESULTS holds of this build is written into that file, in place of what another build reached.
"""
import argparse
import json
import re
import subprocess
import sys
from pathlib import Path


def task(folder: Path, preset: str, model: str) -> str:
    text = (folder / "task.toml").read_text()
    # Keys of the top level come before the first section.
    limits = (
        ""
        if model == "all"
        else f'\n[constraints]\nallowed_models = ["{model}"]\nsingle_model = true\n'
    )
    return f'preset = "{preset}"\n{text}{limits}'


def run(binary: Path, folder: Path, out: Path, preset: str, model: str, alone: bool) -> dict:
    out.mkdir(parents=True, exist_ok=True)
    (out / "task.toml").write_text(task(folder, preset, model))
    sites = [f"{file.stem}={file}" for file in sorted((folder / "sites").glob("*.csv"))]
    command = [binary, "simulate", out / "task.toml", *sites, "--out", out]
    if not alone:
        command.append("--no-alone")
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    # Every total of every step: hundreds of megabytes that nothing here reads.
    (out / "journal.jsonl").unlink(missing_ok=True)
    if done.returncode != 0:
        # Say what went wrong and go on: the table shows which runs are missing.
        return {"error": done.stderr.strip().splitlines()[-5:]}
    result = json.loads((out / "result.json").read_text())
    kept = {key: result["test"].get(key) for key in ("auc", "log_loss", "accuracy")}
    kept["metric"] = re.search(r'^metric = "(\w+)"', (folder / "task.toml").read_text(), re.M)[1]
    kept |= {key: result[key] for key in ("seconds", "steps", "early")}
    kept["bytes"] = max((n for n in result["bytes_up_per_site"].values() if n), default=None)
    kept["family"] = result["champion"]["family"]
    kept["champion"] = result["champion"]["description"]
    kept["sites"] = result["sites_alone"]
    return kept


RECORDED = Path(__file__).with_name("ours.json")


def recorded() -> dict:
    """{"set seed label": figures with their build}"""
    return json.loads(RECORDED.read_text()) if RECORDED.exists() else {}


def record(results: Path, build: str) -> None:
    known = recorded()
    for file in results.glob("*/*/ours-*.json"):
        run = json.loads(file.read_text())
        if run.get("build") == build:
            known[f"{file.parent.parent.name} {file.parent.name} {file.stem}"] = run
    lines = [f"{json.dumps(key)}: {json.dumps(known[key])}" for key in sorted(known)]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("binary", type=Path)
    args.add_argument("out", type=Path)
    args.add_argument("results", type=Path)
    args.add_argument("--preset", default="balanced")
    args.add_argument("--models", nargs="+", default=["all"])
    args.add_argument("--sets", nargs="+")
    args.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    args.add_argument("--alone", action="store_true")
    args.add_argument("--build")
    args.add_argument("--record", action="store_true")
    args = args.parse_args()
    if args.record and not args.build:
        sys.exit("--record needs --build: the commit that BINARY was built from")
    known = {key: run for key, run in recorded().items() if run["build"] == args.build}
    failed = 0
    # Seed by seed, so that an interrupted run has something to say of every set.
    for folder in sorted(args.out.glob("*/*"), key=lambda f: (int(f.name), f.parent.name)):
        name, seed = folder.parent.name, int(folder.name)
        if (args.sets and name not in args.sets) or seed not in args.seeds:
            continue
        for model in args.models:
            label = f"ours-{args.preset}-{model}"
            result = args.results / name / str(seed) / f"{label}.json"
            if result.exists():
                continue
            kept = known.get(f"{name} {seed} {label}")
            if kept and (kept["sites"] or not args.alone):
                result.parent.mkdir(parents=True, exist_ok=True)
                result.write_text(json.dumps(kept, indent=1) + "\n")
                continue
            kept = run(args.binary, folder, folder / label, args.preset, model, args.alone)
            kept["build"] = args.build
            print(name, seed, label, json.dumps({**kept, "sites": None}), flush=True)
            if "error" in kept:
                failed += 1
                continue
            result.parent.mkdir(parents=True, exist_ok=True)
            result.write_text(json.dumps(kept, indent=1) + "\n")
    if args.record:
        record(args.results, args.build)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
