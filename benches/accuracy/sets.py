"""The public data sets: how each is read, which columns are codes, and who holds which rows.

Every cell stays the text it is in the file, so that all programs read the same table. Column kinds
are declared once here and reach both sides through `task.toml`: codes that are written as numbers
are categories for the search and for the peers alike.
"""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Set:
    name: str
    load: Callable[[Path], pd.DataFrame]
    target: str
    # The holder of every row, by the columns or, where nothing natural is recorded, by the seed.
    sites: Callable[[pd.DataFrame, np.random.Generator], pd.Series]
    # Columns of codes and words; or, where those are the most, the columns that are numbers.
    categories: list[str] = field(default_factory=list)
    ignore: list[str] = field(default_factory=list)
    numbers: list[str] | None = None
    positive: str | None = None
    metric: str = "auc"
    entity: str | None = None
    # A column with train and test, where others have published figures for that split.
    fixed_split: str | None = None

    def kinds(self, frame: pd.DataFrame) -> dict[str, str]:
        """`category`, `number` or `ignore` for each column but target, entity and split."""
        kinds = {}
        for column in frame.columns.drop([self.target, "split", self.entity], errors="ignore"):
            if column in self.ignore:
                kinds[column] = "ignore"
            elif self.numbers is not None:
                kinds[column] = "number" if column in self.numbers else "category"
            else:
                kinds[column] = "category" if column in self.categories else "number"
        return kinds


def read(path: Path, **options) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, **options)


def chosen(frame: pd.DataFrame, column: str, groups: dict[str, list[str]], other: str) -> pd.Series:
    """Sites by the values of a column; what no group names goes to `other`."""
    site = {value: name for name, values in groups.items() for value in values}
    return frame[column].map(lambda value: site.get(value, other))


def quartiles(frame: pd.DataFrame, column: str) -> pd.Series:
    parts = pd.qcut(frame[column].astype(float), 4, labels=["q1", "q2", "q3", "q4"])
    return parts.astype(str)


def dirichlet(frame: pd.DataFrame, target: str, rng: np.random.Generator) -> pd.Series:
    """Label skew over four sites: each class is shared out by a draw from Dirichlet(0.5)."""
    site = pd.Series("", index=frame.index)
    for label in sorted(frame[target].unique()):
        rows = frame.index[frame[target] == label]
        # No site below 2 %: it would say nothing.
        share = np.maximum(rng.dirichlet([0.5] * 4), 0.02)
        site[rows] = rng.choice(["s1", "s2", "s3", "s4"], len(rows), p=share / share.sum())
    return site


def adult(data: Path) -> pd.DataFrame:
    files = [data / "adult_income" / f"adult_{part}.csv.gz" for part in ("train", "test")]
    return pd.concat([read(file) for file in files], ignore_index=True)


def adult_sites(frame, _rng):
    return chosen(
        frame,
        "workclass",
        {
            "private": ["Private"],
            "self_employed": ["Self-emp-not-inc", "Self-emp-inc"],
            "local_government": ["Local-gov"],
            "state_and_federal": ["State-gov", "Federal-gov"],
        },
        "unknown",
    )


def bank(data: Path) -> pd.DataFrame:
    # `duration` is known only after the call whose outcome is asked for.
    return read(data / "bank_marketing" / "bank-full.csv.gz", sep=";").drop(columns="duration")


def bank_sites(frame, _rng):
    return chosen(
        frame,
        "job",
        {
            "office": ["management", "admin."],
            "skilled": ["technician", "services"],
            "manual": ["blue-collar", "housemaid"],
            "business": ["entrepreneur", "self-employed"],
        },
        "not_working",
    )


def taiwan(data: Path) -> pd.DataFrame:
    return read(data / "credit_default_taiwan" / "default_of_credit_card_clients.csv.gz")


def german(data: Path) -> pd.DataFrame:
    # The corrected codes of Groemping (2019).
    return read(data / "german_credit" / "south_german_credit.csv")


def german_sites(frame, _rng):
    groups = {"cars": ["1", "2"], "household": ["3", "4", "5", "6"], "business": ["9", "10"]}
    return chosen(frame, "purpose", groups, "other")


def covertype(data: Path) -> pd.DataFrame:
    return read(data / "covertype" / "covtype_20k.csv.gz")


def covertype_sites(frame, _rng):
    areas = [c for c in frame.columns if c.lower().startswith("wilderness")]
    names = dict(zip(areas, ["rawah", "neota", "comanche", "poudre"], strict=True))
    return frame[areas].astype(int).idxmax(axis=1).map(names)


def higgs(data: Path) -> pd.DataFrame:
    files = [data / "higgs" / f"higgs_{part}.csv" for part in ("7k_train", "500_test")]
    return pd.concat([read(file) for file in files], ignore_index=True)


HOSPITALS = ["cleveland", "hungarian", "switzerland", "va"]


def heart(data: Path) -> pd.DataFrame:
    tables = []
    for hospital in HOSPITALS:
        table = read(data / "heart_disease" / f"{hospital}.csv")
        tables.append(table.assign(hospital=hospital, row=[str(i) for i in range(len(table))]))
    frame = pd.concat(tables, ignore_index=True)
    # Codes are written 3 in one file and 3.0 in another.
    for column in frame.columns.drop(["hospital", "row"]):
        frame[column] = frame[column].str.replace(r"\.0$", "", regex=True)
    frame["disease"] = (frame.pop("num") != "0").astype(int).astype(str)
    # Not measured: the hospitals' own column maps in examples/hospitals say the same.
    for column in ("chol", "trestbps"):
        frame[column] = frame[column].replace("0", "")
    return frame


def heart_seeded(data: Path) -> pd.DataFrame:
    return heart(data).drop(columns="row")


def heart_flamby(data: Path) -> pd.DataFrame:
    """The 740 rows, ten columns and the one split of FLamby's Fed-Heart-Disease."""
    split = read(data / "heart_disease" / "flamby_split.csv")
    split.columns = ["hospital", "row", "fold"]
    frame = heart(data).merge(split, on=["hospital", "row"], validate="one_to_one")
    return frame.drop(columns=["row", "slope", "ca", "thal"])


DIABETES_NUMBERS = [
    "time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications",
    "number_outpatient", "number_emergency", "number_inpatient", "number_diagnoses",
]  # fmt: skip


def diabetes(data: Path) -> pd.DataFrame:
    frame = read(data / "diabetes_130_hospitals" / "diabetic_data.csv.gz").replace("?", "")
    # Who died or went to a hospice cannot come back (Strack et al. 2014).
    gone = frame["discharge_disposition_id"].isin(["11", "13", "14", "19", "20", "21"])
    frame = frame[~gone].reset_index(drop=True)
    frame["readmitted"] = (frame["readmitted"] == "<30").astype(int).astype(str)
    return frame.drop(columns="encounter_id")


def diabetes_sites(frame, _rng):
    groups = {
        "emergency": ["7"],
        "referral": ["1", "2", "3"],
        "transfer": ["4", "5", "6", "10", "18", "22", "25", "26"],
    }
    return chosen(frame, "admission_source_id", groups, "unknown")


def ai4i(data: Path) -> pd.DataFrame:
    # The modes of failure say that there is one; the identifiers count the rows.
    leaks = ["UDI", "Product ID", "TWF", "HDF", "PWF", "OSF", "RNF"]
    return read(data / "ai4i2020" / "ai4i2020.csv").drop(columns=leaks)


def ai4i_sites(frame, _rng):
    air = frame["Air temperature [K]"].astype(float)
    light = np.where(air > air.median(), "light_warm", "light_cool")
    rest = frame["Type"].map({"M": "medium", "H": "heavy"})
    return rest.fillna(pd.Series(light, index=frame.index))


def breast(data: Path) -> pd.DataFrame:
    return read(data / "breast_cancer_wisconsin" / "wdbc.csv")


ADULT_CODES = [
    "workclass", "education", "marital-status", "occupation", "relationship", "race", "sex",
    "native-country",
]  # fmt: skip
BANK_CODES = [
    "job", "marital", "education", "default", "housing", "loan", "contact", "month", "poutcome",
]  # fmt: skip
GERMAN_CODES = [
    "status", "credit_history", "purpose", "savings", "employment_duration",
    "personal_status_sex", "other_debtors", "property", "other_installment_plans", "housing",
    "job", "people_liable", "telephone", "foreign_worker",
]  # fmt: skip


def by_hospital(frame, _rng):
    return frame["hospital"]


SETS = [
    Set(name="adult", load=adult, target="income", positive=">50K", sites=adult_sites, categories=ADULT_CODES),
    Set(name="bank_marketing", load=bank, target="y", positive="yes", sites=bank_sites, categories=BANK_CODES),
    Set(
        name="credit_default_taiwan", load=taiwan, target="default.payment.next.month", positive="1",
        sites=lambda frame, _: quartiles(frame, "LIMIT_BAL"),
        categories=["SEX", "EDUCATION", "MARRIAGE"], ignore=["ID"],
    ),
    Set(name="german_credit", load=german, target="credit_risk", positive="0", sites=german_sites, categories=GERMAN_CODES),
    Set(name="covertype", load=covertype, target="Cover_Type", metric="log_loss", sites=covertype_sites),
    Set(name="higgs", load=higgs, target="label", positive="1", sites=lambda frame, rng: dirichlet(frame, "label", rng)),
    Set(
        name="heart_disease", load=heart_seeded, target="disease", positive="1", sites=by_hospital,
        categories=["cp", "restecg", "thal"], ignore=["hospital"],
    ),
    Set(
        name="heart_flamby", load=heart_flamby, target="disease", positive="1", metric="log_loss",
        sites=by_hospital, fixed_split="fold", categories=["cp", "restecg"], ignore=["hospital"],
    ),
    Set(
        name="diabetes_130_hospitals", load=diabetes, target="readmitted", positive="1",
        sites=diabetes_sites, numbers=DIABETES_NUMBERS, entity="patient_nbr",
    ),
    Set(name="ai4i2020", load=ai4i, target="Machine failure", positive="1", sites=ai4i_sites, categories=["Type"]),
    Set(
        name="breast_cancer_wisconsin", load=breast, target="target", positive="0",
        sites=lambda frame, _: quartiles(frame, "radius_mean"),
    ),
]  # fmt: skip
