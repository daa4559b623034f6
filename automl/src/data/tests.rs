//! A site's data under a task.

use super::*;
use crate::features::PipelineSpec;
use crate::profile::{Profile, ProfileSums, run_with};
use crate::table::TableMapping;

fn task(extra: &str) -> Task {
    Task::from_toml(&format!("name = \"t\"\ntarget = \"y\"\n{extra}")).expect("a task")
}

fn table(text: &str) -> Table {
    Table::read("t.csv", text.as_bytes(), &TableMapping::default()).expect("a table")
}

fn error(extra: &str, text: &str) -> String {
    SiteData::new(&task(extra), table(text))
        .expect_err("does not serve the task")
        .to_string()
}

fn profile(task: &Task, sites: &[SiteData]) -> Profile {
    run_with(task, &mut |parts| {
        let sums = parts.iter().map(|part| {
            let shape = part.segments();
            let mut segments: Vec<Vec<u64>> = shape.iter().map(|s| vec![0; s.count()]).collect();
            for site in sites {
                let mut out = Encoder::new(&shape);
                site.answer(part, &mut out).expect("an answer");
                let codes = out.finish().expect("every number");
                segments
                    .iter_mut()
                    .flatten()
                    .zip(codes)
                    .for_each(|(sum, code)| *sum += code);
            }
            ProfileSums {
                segments,
                contributors: sites.len(),
            }
        });
        Ok(sums.collect())
    })
    .expect("a profile")
}

#[test]
fn a_table_that_does_not_serve_is_refused_with_the_fix() {
    assert_eq!(
        error("", "a,yy\n1,2\n"),
        "t.csv: no column `y`, which the task predicts (the nearest is `a`); rename the site's column to it in the column map ([columns.y] from = \"…\")"
    );
    assert!(
        error("[columns]\nage = \"number\"", "agee,y\n1,2\n")
            .contains("declares as a number (the nearest is `agee`)")
    );
    assert!(error("", "a,y\n1,\n2,NA\n").contains("no row has a value in `y`"));
    assert_eq!(
        error("classes = [\"a\", \"b\"]", "x,y\n1,a\n2,B\n3,secret\n"),
        "t.csv, line 4, column `y`: not one of the task's `classes`; correct the cell, or map its value in the column map"
    );
    assert!(
        error("kind = \"regression\"", "x,y\n1,2\n2,high\n")
            .starts_with("t.csv, line 3, column `y`: not a number")
    );
    assert!(error("entity = \"who\"", "x,y\n1,2\n").contains("no column `who`"));
    assert!(
        error("split = \"fold\"", "fold,y\ntrain,2\nvalid,3\n")
            .starts_with("t.csv, line 3, column `fold`")
    );
}

#[test]
fn rows_without_a_target_are_counted_and_left_out() {
    let data = SiteData::new(
        &task("split = \"f\""),
        table("x,f,y\n1,train,0\n2,test,1\n3,train,\n4,train,1\n"),
    );
    let data = data.expect("data");
    assert_eq!(
        data.counts(),
        RowCounts {
            train: 2,
            test: 1,
            unlabelled: 1
        }
    );
}

/// Rows as in FLamby's split of the Swiss hospital: its training rows have one
/// class only, and two of three sites together have both.
fn sites(task: &Task) -> Vec<SiteData> {
    let mut texts = vec!["x,fold,y\n".to_owned(); 3];
    for n in 0..90 {
        let fold = if n % 3 == 2 { "test" } else { "train" };
        texts[0] += &format!("{n},{fold},{}\n", n % 2);
        texts[1] += &format!("{n},{fold},1\n");
        texts[2] += &format!("{n},{fold},{}\n", (n / 7) % 2);
    }
    texts
        .iter()
        .map(|text| SiteData::new(task, table(text)).expect("data"))
        .collect()
}

#[test]
fn one_class_at_one_site_is_fine() {
    let task = task("split = \"fold\"\npositive = \"1\"");
    let sites = sites(&task);
    let profile = profile(&task, &sites);
    assert_eq!((profile.train_rows, profile.test_rows), (180, 90));
    let pipeline = Pipeline::fit(&profile, &PipelineSpec::default());
    for site in &sites {
        let (training, test) = (
            site.training(&pipeline).expect("a design"),
            site.sealed_test(&pipeline).expect("a design"),
        );
        assert_eq!((training.targets.len(), test.targets.len()), (60, 30));
        assert_eq!(training.matrix.rows, training.targets.len());
        assert_eq!(training.slots.len(), 60);
    }
    assert!(
        sites[1]
            .training(&pipeline)
            .expect("a design")
            .targets
            .iter()
            .all(|&y| y == 1.0)
    );
}

/// Where one part validates, its rows have groups all the same; a group with too few rows is held
/// back as a fold is.
#[test]
fn held_out_rows_have_groups_and_small_ones_are_held_back() {
    let task = task("");
    let mut text = "x,y\n".to_owned();
    for n in 0..400 {
        text += &format!("{n},{}\n", n % 2);
    }
    let data = SiteData::new(&task, table(&text)).expect("data");
    let mut profile = profile(&task, std::slice::from_ref(&data));
    profile.plan = SplitPlan::Holdout;
    let pipeline = Pipeline::fit(&profile, &PipelineSpec::default());
    let design = data.training(&pipeline).expect("a design");
    let mut counts = [0_u64; split::GROUPS as usize];
    for (slot, group) in design.slots.iter().zip(&design.groups) {
        match (slot, group) {
            (Slot::Fold(0), Slot::Fold(group)) => counts[usize::from(*group)] += 1,
            (Slot::TrainOnly, Slot::TrainOnly) => {}
            other => panic!("{other:?}"),
        }
    }
    let (least, most) = (counts.iter().min(), counts.iter().max());
    let (least, most) = (*least.expect("five"), *most.expect("five"));
    assert!(least > 0 && most > least, "{counts:?}");
    assert!(!data.withholds_group(&pipeline));
    let careful = data.with_policy(SitePolicy {
        min_rows: most,
        min_cell: 0,
    });
    assert!(careful.withholds_group(&pipeline));
    assert!(!careful.withholds_fold(&pipeline));
    let design = careful.training(&pipeline).expect("a design");
    for (group, count) in (0..).zip(counts) {
        let shown = design.groups.iter().filter(|g| **g == Slot::Fold(group));
        let expected = if count == most { most } else { 0 };
        assert_eq!(shown.count() as u64, expected, "{counts:?}");
    }
    assert!(
        design.slots.contains(&Slot::Fold(0)),
        "the part is large enough"
    );
}

#[test]
fn a_site_without_training_rows_answers_with_zeros() {
    let task = task("split = \"fold\"");
    let mut all = sites(&task);
    let before = profile(&task, &all);
    all.push(SiteData::new(&task, table("x,fold,y\n1e6,test,1\n")).expect("data"));
    let after = profile(&task, &all);
    assert_eq!(after.test_rows, before.test_rows + 1);
    assert_eq!(after.columns, before.columns);
    let pipeline = Pipeline::fit(&after, &PipelineSpec::default());
    assert_eq!(all[3].training(&pipeline).expect("a design").matrix.rows, 0);
}

#[test]
fn a_class_that_only_the_test_has_is_left_out_of_it() {
    let task = task("split = \"fold\"");
    let mut all = sites(&task);
    all.push(
        SiteData::new(&task, table("x,fold,y\n1,test,1\n2,test,5\n3,train,0\n")).expect("data"),
    );
    let pipeline = Pipeline::fit(&profile(&task, &all), &PipelineSpec::default());
    assert_eq!(
        all[3].sealed_test(&pipeline).expect("a design").targets,
        [1.0]
    );
}

#[test]
fn a_pipeline_of_another_task_is_refused() {
    let here = task("split = \"fold\"");
    let pipeline = Pipeline::fit(&profile(&here, &sites(&here)), &PipelineSpec::default());
    let private = task("split = \"fold\"\n[columns]\nx = \"ignore\"");
    let data = sites(&private).remove(0);
    assert!(matches!(
        data.training(&pipeline),
        Err(SiteDataError::Protected { .. })
    ));
    let other = Task::from_toml("name = \"t\"\ntarget = \"x\"\nsplit = \"fold\"").expect("a task");
    let data = sites(&other).remove(0);
    assert!(matches!(
        data.training(&pipeline),
        Err(SiteDataError::OtherTarget { .. })
    ));
}

#[test]
fn the_digest_follows_the_mapped_content() {
    let digest = |text: &str| {
        SiteData::new(&task(""), table(text))
            .expect("data")
            .digest()
    };
    assert_eq!(digest("x,y\n1,0\n"), digest("x;y\n1.0;0\n"));
    assert_ne!(digest("x,y\n1,0\n"), digest("x,y\n1,1\n"));
}
