"""Draws, chooses and judges the portfolio: configurations beyond each family's first candidates.

    python portfolio.py draw    POOL              # a seeded sample of configurations
    python portfolio.py collect JOURNAL LOSSES    # the losses alone of what the study's tool wrote
    python portfolio.py choose  LOSSES PORTFOLIO  # the best of the sample, the best first
    python portfolio.py report  LOSSES            # regrets with every set left out in turn, as tables

POOL and PORTFOLIO are JSON files of the same form (automl/src/family/portfolio.json); JOURNAL holds the
lines of automl/examples/study.rs; the LOSSES that were used are study.json beside this script. Nothing but
the standard library is needed, and the same input gives the same bytes.
"""
import argparse
import json
import math
import random
from pathlib import Path
from statistics import mean, median

SEED = 1
# Configurations of each family that are drawn, and that are kept.
DRAWN = {"gbdt": 64, "net": 24, "ga2m": 16, "logistic": 35, "scorecard": 20}
KEPT = {"gbdt": 40, "net": 16, "ga2m": 10, "logistic": 18, "scorecard": 12}
AFTER = (1, 2, 4, 8, 16, 32)
RANDOM_ORDERS = 200
# What a configuration's own mean regret counts beside that of the best so far.
OWN = 0.1


def log(draw: random.Random, low: float, high: float) -> float:
    """Equal ratios are equally likely; two digits, for people."""
    value = math.exp(draw.uniform(math.log(low), math.log(high)))
    return float(f"{value:.2g}")


def gbdt(draw: random.Random) -> dict:
    return {
        "derived": draw.random() < 0.35,
        "depth": draw.randint(2, 8),
        "row_share": draw.randint(5, 10) / 10,
        "column_share": draw.randint(3, 10) / 10,
        "lambda": log(draw, 0.3, 30),
        "min_hessian": log(draw, 0.2, 20),
        "rate": log(draw, 0.4, 2),
    }


def net(draw: random.Random) -> dict:
    return {
        "pieces": draw.random() < 0.5,
        "embedding": draw.choice([0, 0, 4, 8]),
        "hidden": [draw.choice([16, 32, 64, 128]) for _ in range(draw.choice([1, 2, 2]))],
        "rate": log(draw, 0.001, 0.02),
        "dropout": draw.randint(0, 5) / 10,
        "decay": log(draw, 0.01, 2),
        "server": draw.choice(["average", "average", "adam"]),
    }


def ga2m(draw: random.Random) -> dict:
    pairs = draw.choice([0, 4, 8, 16, 24])
    return {
        "derived": draw.random() < 0.35,
        "groups": draw.choice([8, 12, 16, 24, 32, 48, 64]),
        "pairs": pairs,
        # Without pairs nothing is on a grid.
        "side": draw.choice([4, 5, 6, 8]) if pairs else 8,
        "line": log(draw, 0.1, 30),
    }


def logistic() -> list[dict]:
    """Not drawn: all pipelines with ridges between and beyond those of the candidates."""
    features = ["standard", "bent", "rank", "plain", "derived"]
    ridges = [0.1, 0.3, 3.0, 25.0, 100.0, 200.0, 500.0]
    return [{"features": name, "ridge": ridge} for ridge in ridges for name in features]


def scorecard(draw: random.Random) -> dict:
    return {
        "derived": draw.random() < 0.35,
        "groups": draw.randint(3, 20),
        "least_share": log(draw, 0.005, 0.1),
        "shape": draw.choice(["monotone", "free"]),
        "least_value": log(draw, 0.001, 0.05),
    }


def drawn() -> dict:
    pool = {}
    for family, one in (("gbdt", gbdt), ("net", net), ("ga2m", ga2m), ("scorecard", scorecard)):
        draw = random.Random(f"{SEED} {family}")
        pool[family] = []
        while len(pool[family]) < DRAWN[family]:
            configuration = one(draw)
            if configuration not in pool[family]:
                pool[family].append(configuration)
    pool["logistic"] = logistic()
    return pool


def write(portfolio: dict, path: Path) -> None:
    """A line for each configuration, so that changes can be read."""
    families = []
    for family in ("gbdt", "net", "ga2m", "logistic", "scorecard"):
        lines = ",\n".join("    " + json.dumps(one) for one in portfolio[family])
        families.append(f"  {json.dumps(family)}: [\n{lines}\n  ]")
    path.write_text("{\n" + ",\n".join(families) + "\n}\n")


def collect(journal: list[dict]) -> dict:
    """By family, set and kind, the losses by place; null where a configuration makes no sense there."""
    losses: dict = {}
    for line in journal:
        sets = losses.setdefault(line["family"], {})
        kinds = sets.setdefault(line["set"], {"candidates": [], "pool": []})
        kind = kinds[line["of"]]
        kind.extend([None] * (line["place"] + 1 - len(kind)))
        loss = line["loss"]
        kind[line["place"]] = None if loss is None else round(loss, 6)
    return losses


def write_losses(losses: dict, path: Path) -> None:
    """A line for each list, so that changes can be read."""
    families = []
    for family, sets in sorted(losses.items()):
        lines = []
        for name, kinds in sorted(sets.items()):
            lists = (f'    {json.dumps(kind)}: {json.dumps(kinds[kind])}' for kind in sorted(kinds))
            lines.append(f"   {json.dumps(name)}: {{\n" + ",\n".join(lists) + "\n   }")
        families.append(f" {json.dumps(family)}: {{\n" + ",\n".join(lines) + "\n }")
    path.write_text("{\n" + ",\n".join(families) + "\n}\n")


class Losses:
    """What the study says of one family: by set, the losses of its candidates and of the pool."""

    def __init__(self, losses: dict, family: str) -> None:
        def of(kind: str) -> dict[str, dict[int, float]]:
            sets = losses.get(family, {}).items()
            return {
                name: {place: loss for place, loss in enumerate(kinds[kind]) if loss is not None}
                for name, kinds in sets
            }

        self.first, self.pool = of("candidates"), of("pool")

    def sets(self) -> list[str]:
        return sorted(name for name in self.pool if self.pool[name] and self.first[name])

    def regret(self, name: str, loss: float) -> float:
        """0 for the best that is known of a set, 1 for the median of the pool; at most 2, so that no one
        loss that went astray counts for all."""
        known = list(self.pool[name].values())
        best = min(known + list(self.first[name].values()))
        middle = median(known)
        if middle <= best:
            return 0.0
        return min((loss - best) / (middle - best), 2.0)

    def regrets(self, names: list[str]) -> dict[int, list[float]]:
        """By place in the pool, the regret on each of these sets; 2 where it has no loss there."""
        places = sorted({place for name in names for place in self.pool[name]})
        lost = float("inf")
        return {
            place: [self.regret(name, self.pool[name].get(place, lost)) for name in names]
            for place in places
        }

    def after_candidates(self, names: list[str]) -> list[float]:
        return [self.regret(name, min(self.first[name].values())) for name in names]


def greedy(regrets: dict[int, list[float]], start: list[float], count: int) -> list[int]:
    """The places one after the other whose best so far is least over the sets on average, their own
    regrets counting a tenth: the least alone follows what did well on one set by chance."""
    left, chosen, best = dict(regrets), [], list(start)
    while left and len(chosen) < count:
        def reached(place: int) -> tuple[float, int]:
            least = mean(min(pair) for pair in zip(best, left[place]))
            return least + OWN * mean(left[place]), place

        place = min(left, key=reached)
        chosen.append(place)
        best = [min(pair) for pair in zip(best, left.pop(place))]
    return chosen


def curve(order: list[float]) -> list[float]:
    """The least regret after each of them."""
    best, reached = 2.0, []
    for regret in order:
        best = min(best, regret)
        reached.append(best)
    return reached


def at(curves: list[list[float]], after: int) -> float | None:
    """The mean over curves after so many configurations; a table that has fewer keeps what it reached.
    Nothing where no table has so many."""
    if all(len(one) < after for one in curves):
        return None
    return mean(one[min(after, len(one)) - 1] for one in curves)


def left_out(losses: Losses) -> dict[str, list[list[float]]]:
    """For each order, the curves on every set, the order being chosen on the others."""
    curves: dict[str, list[list[float]]] = {"chosen": [], "by hand": [], "random": []}
    draw = random.Random(f"{SEED} orders")
    for name in losses.sets():
        others = [other for other in losses.sets() if other != name]
        known = losses.regrets(others)
        own = {place: losses.regret(name, loss) for place, loss in losses.pool[name].items()}
        order = greedy(known, [2.0] * len(others), len(known))
        curves["chosen"].append(curve([own.get(place, 2.0) for place in order]))
        first = losses.first[name]
        curves["by hand"].append(curve([losses.regret(name, first[it]) for it in sorted(first)]))
        orders = []
        for _ in range(RANDOM_ORDERS):
            places = sorted(own)
            draw.shuffle(places)
            orders.append(curve([own[place] for place in places]))
        curves["random"].append([mean(column) for column in zip(*orders)])
    return curves


def beside(losses: Losses) -> list[float]:
    """Mean regret of the candidates alone, with 4 and 8 of the pool beside them that were chosen on the
    other sets, and with 4 and 8 that were drawn."""
    draw = random.Random(f"{SEED} beside")
    rows = []
    for name in losses.sets():
        others = [other for other in losses.sets() if other != name]
        start = losses.after_candidates([name])[0]
        own = {place: losses.regret(name, loss) for place, loss in losses.pool[name].items()}

        def reached(places: list[int]) -> float:
            return min([start] + [own.get(place, 2.0) for place in places])

        order = greedy(losses.regrets(others), losses.after_candidates(others), 8)
        orders = [draw.sample(sorted(own), min(8, len(own))) for _ in range(RANDOM_ORDERS)]
        by_chance = [mean(reached(one[:count]) for one in orders) for count in (4, 8)]
        rows.append([start, reached(order[:4]), reached(order), *by_chance])
    return [mean(column) for column in zip(*rows)]


def of_set(losses: Losses, name: str) -> list[float]:
    """Losses of one set in nats: of the best candidate, with 8 of the pool beside the candidates that were
    chosen on the other sets, and of the best there is."""
    others = [other for other in losses.sets() if other != name]
    order = greedy(losses.regrets(others), losses.after_candidates(others), 8)
    pool = losses.pool[name]
    first = min(losses.first[name].values())
    eight = min([first] + [pool[place] for place in order if place in pool])
    return [first, eight, min([first, *pool.values()])]


def report(study: dict) -> None:
    heads = " | ".join(str(after) for after in AFTER)
    print(f"| family (sets) | order | {heads} |")
    print("|---" * (2 + len(AFTER)) + "|")
    for family in DRAWN:
        losses = Losses(study, family)
        for order, curves in left_out(losses).items():
            means = [at(curves, after) for after in AFTER]
            cells = " | ".join("" if it is None else f"{it:.3f}" for it in means)
            print(f"| {family} ({len(losses.sets())}) | {order} | {cells} |")
    heads = ["candidates alone", "4 chosen", "8 chosen", "4 drawn", "8 drawn"]
    print(f"\n| family | {' | '.join(heads)} |")
    print("|---" * (1 + len(heads)) + "|")
    for family in DRAWN:
        cells = " | ".join(f"{it:.3f}" for it in beside(Losses(study, family)))
        print(f"| {family} | {cells} |")
    print("\n| set | family | best candidate | with 8 chosen | best known |\n|---|---|---|---|---|")
    for family in DRAWN:
        losses = Losses(study, family)
        for name in losses.sets():
            cells = " | ".join(f"{loss:.4f}" for loss in of_set(losses, name))
            print(f"| {name} | {family} | {cells} |")


def choose(study: dict) -> dict:
    pool, portfolio = drawn(), {}
    for family, count in KEPT.items():
        losses = Losses(study, family)
        names = losses.sets()
        places = greedy(losses.regrets(names), losses.after_candidates(names), count)
        portfolio[family] = [pool[family][place] for place in places]
    return portfolio


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("what", choices=["draw", "collect", "choose", "report"])
    args.add_argument("files", type=Path, nargs="+")
    args = args.parse_args()
    if len(args.files) != {"draw": 1, "collect": 2, "choose": 2, "report": 1}[args.what]:
        raise SystemExit(f"`{args.what}` takes other files:\n{__doc__}")
    first, last = args.files[0], args.files[-1]
    if args.what == "draw":
        write(drawn(), first)
    elif args.what == "collect":
        journal = [json.loads(line) for line in first.read_text().splitlines()]
        write_losses(collect(journal), last)
    elif args.what == "choose":
        write(choose(json.loads(first.read_text())), last)
    else:
        report(json.loads(first.read_text()))


if __name__ == "__main__":
    main()
