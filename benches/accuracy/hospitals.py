"""The heart-disease table of the comparison from the data in this repository, without pandas.

    python hospitals.py OUT RESULTS             # writes both folders for simulate.py and compare.py
    python hospitals.py OUT RESULTS --record    # instead reads both and writes hospitals.json

`hospitals.json` holds which rows prepare.py drew for the test, its task file, and the peers'
figures, so that the comparison with `simulate` runs where no library is installed.
"""
import argparse
import csv
import json
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "examples/hospitals/data"
RECORDED = HERE / "hospitals.json"
HOSPITALS = ["cleveland", "hungarian", "switzerland", "va"]
PEERS = ["lightgbm", "catboost", "logistic"]
SEEDS = range(1, 6)


def rows(hospital: str, test: set[int]) -> list[list[str]]:
    """A hospital's rows as prepare.py writes them, header first."""
    with open(DATA / f"{hospital}.csv", newline="") as file:
        header, *body = csv.reader(file)
    out = [[*header[:-1], "hospital", "disease", "split"]]
    for index, cells in enumerate(body):
        cells = [cell.removesuffix(".0") for cell in cells]
        for column in ("chol", "trestbps"):
            at = header.index(column)
            cells[at] = "" if cells[at] == "0" else cells[at]
        disease = "0" if cells.pop() == "0" else "1"
        out.append([*cells, hospital, disease, "test" if index in test else "train"])
    return out


def record(tables: Path, results: Path) -> dict:
    recorded = {}
    for seed in SEEDS:
        folder = tables / "heart_disease" / str(seed)
        test = {}
        for hospital in HOSPITALS:
            with open(folder / "sites" / f"{hospital}.csv", newline="") as file:
                lines = list(csv.reader(file))
            test[hospital] = [i for i, cells in enumerate(lines[1:]) if cells[-1] == "test"]
            assert lines == rows(hospital, set(test[hospital])), hospital
        peers = results / "heart_disease" / str(seed)
        recorded[seed] = {
            "test": test,
            "task": (folder / "task.toml").read_text(),
            "peers": {peer: json.loads((peers / f"{peer}.json").read_text()) for peer in PEERS},
        }
    return recorded


def write(recorded: dict, tables: Path, results: Path) -> None:
    for seed, of_seed in recorded.items():
        folder = tables / "heart_disease" / seed
        (folder / "sites").mkdir(parents=True, exist_ok=True)
        (folder / "task.toml").write_text(of_seed["task"])
        for hospital, test in of_seed["test"].items():
            with open(folder / "sites" / f"{hospital}.csv", "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows(hospital, set(test)))
        peers = results / "heart_disease" / seed
        peers.mkdir(parents=True, exist_ok=True)
        for peer, figures in of_seed["peers"].items():
            (peers / f"{peer}.json").write_text(json.dumps(figures) + "\n")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("out", type=Path)
    args.add_argument("results", type=Path)
    args.add_argument("--record", action="store_true")
    args = args.parse_args()
    if args.record:
        RECORDED.write_text(json.dumps(record(args.out, args.results)) + "\n")
    else:
        write(json.loads(RECORDED.read_text()), args.out, args.results)


if __name__ == "__main__":
    main()
