//! Features: names and numbers that a person can check, and strictness where a
//! model meets new rows.

use super::*;
use crate::data::{SiteData, Slot};
use crate::profile::{Profile, ProfileSums, run_with};
use crate::table::TableMapping;
use crate::task::Task;

pub(super) fn task(extra: &str) -> Task {
    Task::from_toml(&format!(
        "name = \"t\"\ntarget = \"y\"\nsplit = \"fold\"\n{extra}"
    ))
    .expect("a task")
}

pub(super) fn table(text: &str) -> Table {
    Table::read("t.csv", text.as_bytes(), &TableMapping::default()).expect("a table")
}

pub(super) fn profile(task: &Task, text: &str) -> Profile {
    let data = SiteData::new(task, table(text)).expect("data");
    run_with(task, &mut |parts| {
        let sums = parts.iter().map(|part| {
            let shape = part.segments();
            let mut out = crate::ask::Encoder::new(&shape);
            data.answer(part, &mut out).expect("an answer");
            let mut codes = out.finish().expect("every number").into_iter();
            let segments = shape
                .iter()
                .map(|segment| codes.by_ref().take(segment.count()).collect())
                .collect();
            ProfileSums {
                segments,
                contributors: 1,
            }
        });
        Ok(sums.collect())
    })
    .expect("a profile")
}

/// 120 training rows: age 20 to 79 (every tenth missing), thal 3/6/7, sex 0/1,
/// city of three, and 20 test rows.
fn sample() -> String {
    let mut text = "age,thal,sex,city,fold,y\n".to_owned();
    for n in 0..140 {
        let age = if n % 10 == 9 {
            String::new()
        } else {
            (20 + n % 60).to_string()
        };
        let thal = ["3", "6", "7"][n % 3];
        let city = ["Zug", "Bern", "Basel"][(n / 2) % 3];
        let fold = if n < 120 { "train" } else { "test" };
        text += &format!("{age},{thal},{},{city},{fold},{}\n", n % 2, (n / 3) % 2);
    }
    text
}

fn standard() -> Pipeline {
    Pipeline::fit(&profile(&task(""), &sample()), &PipelineSpec::default())
}

fn numbers(matrix: &Matrix) -> Vec<f64> {
    let rows = (0..matrix.rows).map(|row| matrix.row(row).numbers());
    rows.collect::<Vec<_>>().concat()
}

#[test]
fn features_have_names_people_understand() {
    let names = standard().features();
    assert_eq!(names[..2], ["age", "age missing"]);
    assert_eq!(
        names[names.len() - 4..],
        ["sex = 1", "thal = 3", "thal = 6", "thal = 7"]
    );
    assert_eq!(
        names
            .iter()
            .filter(|name| name.starts_with("city = bucket"))
            .count(),
        3
    );
    assert_eq!(names.len(), standard().width());
}

#[test]
fn declared_values_are_named() {
    let task = task("[columns]\ncity = { values = [\"Bern\", \"Basel\", \"Zug\"] }");
    let names = Pipeline::fit(&profile(&task, &sample()), &PipelineSpec::default()).features();
    assert!(names.contains(&"city = Bern".to_owned()), "{names:?}");
}

#[test]
fn rows_become_the_numbers_they_should() {
    let pipeline = standard();
    let names = pipeline.features();
    let at = |name: &str| {
        names
            .iter()
            .position(|known| known == name)
            .expect("the feature")
    };
    let matrix = pipeline
        .design(&table(
            "thal;sex;city;age\n6;1;Bern;49.0\n3;0;Paris;\n99;1;;1000\n",
        ))
        .expect("a design");
    assert_eq!((matrix.rows, matrix.width), (3, names.len()));
    // 49 is near the middle of 20 to 79.
    assert!(
        matrix.row(0).numbers()[at("age")].abs() < 0.2,
        "{:?}",
        matrix.row(0)
    );
    assert_eq!(matrix.row(0).numbers()[at("age missing")], 0.0);
    assert_eq!(matrix.row(0).numbers()[at("thal = 6")], 1.0);
    assert_eq!(matrix.row(0).numbers()[at("thal = 3")], 0.0);
    assert_eq!(matrix.row(0).numbers()[at("sex = 1")], 1.0);
    let cities = |row: usize| -> f64 {
        names
            .iter()
            .zip(matrix.row(row).numbers())
            .filter(|(name, _)| name.starts_with("city"))
            .map(|(_, v)| v)
            .sum()
    };
    assert_eq!((cities(0), cities(2)), (1.0, 0.0));
    assert_eq!(
        matrix.row(1).numbers()[at("age")],
        0.0,
        "missing is the mean"
    );
    assert_eq!(matrix.row(1).numbers()[at("age missing")], 1.0);
    assert_eq!(matrix.row(1).numbers()[at("sex = 1")], 0.0);
    assert_eq!(
        matrix.row(2).numbers()[at("thal = 6")] + matrix.row(2).numbers()[at("thal = 3")],
        0.0
    );
    // Clipped at the largest age seen, not at 1000.
    assert!(
        (1.0..2.5).contains(&matrix.row(2).numbers()[at("age")]),
        "{:?}",
        matrix.row(2)
    );
}

#[test]
fn prediction_is_strict_about_columns() {
    let pipeline = standard();
    let error = |text: &str| {
        pipeline
            .design(&table(text))
            .expect_err("does not fit")
            .to_string()
    };
    assert_eq!(
        error("age,tal,sex,city\n1,3,1,Zug\n"),
        "t.csv: no column `thal`, which the model was trained on (the nearest is `tal`); add or rename it, or map it in the site's column map"
    );
    assert!(
        error("age,thal,sex,city\n1,3,1,Zug\nold,3,1,Zug\n")
            .starts_with("t.csv, line 3, column `age`: not a number")
    );
    assert!(
        error("age,thal,sex,city\n1,normal,1,Zug\n")
            .starts_with("t.csv, line 2, column `thal`: not a number")
    );
}

#[test]
fn a_pipeline_survives_its_journey() {
    let profile = profile(&task(""), &sample());
    for named in pipelines(&task(""), &profile) {
        let bytes = serde_json::to_vec(&named.pipeline).expect("json");
        let back: Pipeline = serde_json::from_slice(&bytes).expect("a pipeline");
        assert_eq!(back, named.pipeline, "{}", named.name);
        assert_eq!(back.check(), Ok(()));
        assert_eq!(serde_json::to_vec(&back).expect("json"), bytes);
        let matrix = back.design(&table(&sample())).expect("a design");
        assert!(
            numbers(&matrix)
                .iter()
                .all(|value| value.abs() <= MAX_FEATURE),
            "{}",
            named.name
        );
    }
}

#[test]
fn variants_differ_and_the_first_is_the_plain_guess() {
    let named = pipelines(&task(""), &profile(&task(""), &sample()));
    assert_eq!(named[0].name, "standard");
    for (place, one) in named.iter().enumerate() {
        assert!(
            named[..place]
                .iter()
                .all(|other| other.pipeline != one.pipeline),
            "{}",
            one.name
        );
    }
    let bent = &named
        .iter()
        .find(|n| n.name == "bent")
        .expect("bent")
        .pipeline;
    assert!(
        bent.features()
            .iter()
            .any(|name| name.starts_with("age above")),
        "{:?}",
        bent.features()
    );
}

#[test]
fn ranks_rise_with_the_value_and_have_unit_spread() {
    let profile = profile(&task(""), &sample());
    let spec = PipelineSpec {
        numbers: Numbers::Rank,
        ..PipelineSpec::default()
    };
    let pipeline = Pipeline::fit(&profile, &spec);
    let text = (0..100).fold("age,thal,sex,city\n".to_owned(), |text, age| {
        text + &format!("{age},3,1,Zug\n")
    });
    let matrix = pipeline.design(&table(&text)).expect("a design");
    let ranks: Vec<f64> = (0..100).map(|row| matrix.row(row).numbers()[0]).collect();
    assert!(ranks.is_sorted(), "{ranks:?}");
    assert!((ranks[0] + 1.732).abs() < 1e-3 && (ranks[99] - 1.732).abs() < 1e-3);
    assert!(ranks[49].abs() < 0.2, "{}", ranks[49]);
}

#[test]
fn a_sites_rows_are_what_prediction_makes_of_them() {
    let task = task("");
    let pipeline = standard();
    let data = SiteData::new(&task, table(&sample())).expect("data");
    let training = data.training(&pipeline).expect("a design");
    let test = data.sealed_test(&pipeline).expect("a design");
    let all = pipeline.design(&table(&sample())).expect("a design");
    assert_eq!((training.matrix.rows, test.matrix.rows), (120, 20));
    assert_eq!(
        [numbers(&training.matrix), numbers(&test.matrix)].concat(),
        numbers(&all)
    );
    assert!(
        training
            .slots
            .iter()
            .all(|slot| matches!(slot, Slot::Fold(0..5)))
    );
    assert!(test.slots.iter().all(|slot| *slot == Slot::TrainOnly));
}

#[test]
fn damaged_pipelines_are_refused() {
    let good = serde_json::to_string(&standard()).expect("json");
    for (from, to) in [
        ("\"scale\":", "\"scale\":-"),
        ("\"lo\":", "\"lo\":9e9"),
        ("\"slots\":[4,7,8]", "\"slots\":[4,64]"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from} does not occur in {good}");
        let refused = serde_json::from_str::<Pipeline>(&bad)
            .map_or(true, |pipeline| pipeline.check().is_err());
        assert!(refused, "{to}");
    }
}

#[test]
fn privacy_kinds_are_told_by_the_name() {
    use PrivacyKind::{Address, Birth, Email, Id, Name, NationalId, Phone};
    for (kind, column) in [
        (Id, "id"),
        (Id, "patient_id"),
        (Id, "customerID"),
        (Id, "encounter-id"),
        (Id, "patient_nbr"),
        (Id, "Account No"),
        (Id, "病历号"),
        (Id, "客户编号"),
        (Id, "ssn"),
        (NationalId, "national_id"),
        (NationalId, "身份证号"),
        (Phone, "home phone"),
        (Phone, "手机号码"),
        (Email, "e_mail"),
        (Name, "lastName"),
        (Name, "姓名"),
        (Address, "ZIP"),
        (Address, "家庭住址"),
        (Birth, "date_of_birth"),
        (Birth, "出生日期"),
    ] {
        assert!(kind.matches(column), "{kind:?} {column}");
    }
    for (kind, column) in [
        (Id, "acid"),
        (Id, "fluid_intake"),
        (Id, "thal"),
        (Phone, "age"),
        (Name, "names_count"),
        (Address, "chol"),
        (NationalId, "patient_id"),
    ] {
        assert!(!kind.matches(column), "{kind:?} {column}");
    }
}

#[test]
fn later_columns_are_refused_by_the_temporal_check() {
    let checked = task("[constraints]\ntemporal_check = true");
    for column in ["follow_up_days", "FollowUp", "future_cost", "随访结果"] {
        assert!(
            refused(&checked, column).is_some_and(|reason| reason.contains("temporal_check")),
            "{column}"
        );
        assert_eq!(refused(&task(""), column), None);
    }
    let declared =
        task("[constraints]\ntemporal_check = true\n[columns]\nfuture_cost = \"number\"");
    assert_eq!(refused(&declared, "future_cost"), None);
}

fn binned() -> Pipeline {
    let spec = PipelineSpec {
        numbers: Numbers::Bins { most: 64 },
        small: SmallNumbers::Quantities,
        missing_flags: false,
        ..PipelineSpec::default()
    };
    Pipeline::fit(&profile(&task(""), &sample()), &spec)
}

#[test]
fn bins_follow_the_order_of_the_numbers_and_keep_missing_apart() {
    let pipeline = binned();
    assert!(pipeline.binned() && pipeline.check().is_ok());
    let columns = pipeline.bin_columns();
    let of = |name: &str| {
        columns
            .iter()
            .position(|column| column.name == name)
            .expect("the column")
    };
    let (age, city) = (of("age"), of("city"));
    // 54 ages have a cell of their own or share one with a neighbour.
    assert!(columns[age].ordered && (30..=56).contains(&columns[age].bins));
    // Missing and three cities.
    assert!(!columns[city].ordered && columns[city].bins == 4);
    let mut text = "thal;sex;city;age\n".to_owned();
    for age in ["", "-5", "21", "30.5", "50", "79", "1e9"] {
        text += &format!("6;1;Paris;{age}\n");
    }
    let matrix = pipeline.design(&table(&text)).expect("a design");
    let ages: Vec<u8> = (0..matrix.rows)
        .map(|row| matrix.row(row).bins()[age])
        .collect();
    assert_eq!((ages[0], ages[1]), (0, 1), "missing, then the lowest");
    assert!(ages[1..].is_sorted() && ages[2] < ages[3] && ages[3] < ages[4]);
    assert_eq!(usize::from(ages[6]) + 1, columns[age].bins);
    assert_eq!(matrix.row(0).bins()[city], 0, "never seen is as missing");
    assert_eq!(pipeline.bin_name(city, 0), "city missing");
    assert!(pipeline.bin_name(age, 1).starts_with("age < "));
    // Several bins in words.
    let last = columns[age].bins as u8 - 1;
    let run = pipeline.bins_name(age, &[2, 3, 4]);
    let (low, high) = run.split_once(" <= age < ").expect("an interval");
    assert!(low.parse::<f64>().expect("a cut") < high.parse().expect("a cut"));
    assert_eq!(pipeline.bins_name(age, &[1]), pipeline.bin_name(age, 1));
    assert_eq!(pipeline.bins_name(age, &[0]), "age missing");
    let rest: Vec<u8> = (0..=last).filter(|bin| *bin != 2).collect();
    let rest = pipeline.bins_name(age, &rest);
    assert!(
        rest.starts_with("age < ") && rest.ends_with(" or missing"),
        "{rest}"
    );
    let everything: Vec<u8> = (1..=last).collect();
    assert_eq!(pipeline.bins_name(age, &everything), "age present");
    let cities = pipeline.bins_name(city, &[0, 1, 3]);
    assert!(
        cities.starts_with("city = ") && cities.ends_with(" or missing"),
        "{cities}"
    );
    assert_eq!(pipeline.bins_name(99, &[1]), "");
}

#[test]
fn bins_find_values_crowded_into_a_narrow_range() {
    let mut text = "year,fold,y\n".to_owned();
    for n in 0..400 {
        text += &format!("{},train,{}\n", 1990 + n % 30, n % 2);
    }
    // One far value must not cost the others their bins.
    text += "900000,train,1\n";
    let spec = PipelineSpec {
        numbers: Numbers::Bins { most: 64 },
        ..PipelineSpec::default()
    };
    let pipeline = Pipeline::fit(&profile(&task(""), &text), &spec);
    let years = pipeline.bin_columns();
    assert!(years[0].bins >= 25, "{years:?}");
}
