//! A model family, and a metric, of your own: everything in this one file.
//!
//! The family is naive Bayes over bins. One step is enough to train it: every site counts, for
//! each column, bin, class and fold, its training rows. The counts are added up by the
//! federation, and the model is the log-odds of each bin. The metric is the cost of errors where a
//! missed positive costs five times a false alarm.
//!
//! `cargo run --example custom_family` registers both and lets them take part in a search over
//! the four hospitals' tables.

use std::path::Path;

use collegium_automl::ask::{Encoder, PartTotals, Segment};
use collegium_automl::family::{
    self, AnyObject, AnyPart, Family, FamilyObject, FamilyPart, FoldModel, Head, Offer, Proposal,
    Reads, Setting, Trainer, sigmoid,
};
use collegium_automl::features::{MAX_BINS, Row, TargetCoding};
use collegium_automl::fixed::MAX_ROWS;
use collegium_automl::metric::{self, LossSums, Rows, Rule, ScorePart, Scored};
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::search::{Outcome, Silent};
use collegium_automl::simulate;
use collegium_automl::site::{SiteError, SiteView};
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::{Kind, Task};
use serde::{Deserialize, Serialize};

const NAME: &str = "naive_bayes";
/// Most counts of one part: 500 columns of 64 bins, two classes, five folds.
const MAX_COUNTS: usize = 1 << 19;

/// The family: what it offers, and how its messages are read.
struct NaiveBayes;

/// Rows that are added to every count, so that no probability is zero.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Smoothing {
    rows: f64,
}

impl Family for NaiveBayes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        if offer.head != Head::Binary {
            return Vec::new();
        }
        let binned = offer.pipelines_of(true);
        binned
            .flat_map(|(pipeline, _)| {
                [1.0, 10.0].map(|rows| Proposal {
                    pipeline,
                    name: format!("smoothing {rows}"),
                    hyperparameters: serde_json::json!({ "rows": rows }),
                })
            })
            .collect()
    }

    fn trainer(
        &self,
        hyperparameters: &serde_json::Value,
        setting: &Setting,
    ) -> Result<Box<dyn Trainer>, String> {
        let smoothing = Smoothing::deserialize(hyperparameters).map_err(|e| e.to_string())?;
        Ok(Box::new(Counting::new(smoothing, setting)))
    }

    fn reads(&self) -> Reads {
        Reads::of::<CountPart, LogOdds>()
    }
}

/// What sites are asked: how the current model scores, and how often each bin occurs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountPart {
    /// Scores the current model, with all that a score needs.
    score: ScorePart,
    /// Bins of each column.
    bins: Vec<usize>,
}

impl CountPart {
    fn counts(&self) -> usize {
        usize::from(self.score.folds) * 2 * self.bins.iter().sum::<usize>()
    }
}

impl FamilyPart for CountPart {
    fn pipeline(&self) -> ObjectId {
        self.score.pipeline
    }

    fn objects(&self) -> Vec<ObjectId> {
        vec![self.score.model]
    }

    fn segments(&self) -> Vec<Segment> {
        let mut segments = self.score.segments();
        segments.push(Segment::Count {
            max: self.score.rows,
            count: self.counts(),
        });
        segments
    }

    fn check(&self) -> Result<(), String> {
        self.score.check()?;
        if self.score.head != Head::Binary || self.score.on != Rows::Validation {
            return Err("naive Bayes here knows two classes and validation rows".to_owned());
        }
        if self.score.rows > MAX_ROWS || self.bins.iter().any(|bins| *bins > MAX_BINS) {
            return Err("more rows or bins than a table has".to_owned());
        }
        match self.counts() {
            1..=MAX_COUNTS => Ok(()),
            other => Err(format!("{other} counts, allowed are 1 to {MAX_COUNTS}")),
        }
    }

    fn answer(&self, site: &mut SiteView<'_>, out: &mut Encoder) -> Result<(), SiteError> {
        let model: &LogOdds = site.model(self.score.model)?;
        let columns = site.pipeline.bin_columns();
        if !columns
            .iter()
            .map(|column| column.bins)
            .eq(self.bins.iter().copied())
        {
            return Err(SiteError::unfit(
                self.pipeline(),
                "its bins differ from the ask's",
            ));
        }
        self.score.answer(model, site.rows, out)?;
        let mut counts = vec![0_u64; self.counts()];
        let per_fold = 2 * self.bins.iter().sum::<usize>();
        for row in 0..site.rows.len() {
            let positive = usize::from(site.rows.targets[row] == 1.0);
            for fold in (0..usize::from(self.score.folds)).filter(|f| site.rows.trains(row, *f)) {
                let mut start = fold * per_fold;
                for (bin, bins) in site.rows.row(row).bins().iter().zip(&self.bins) {
                    counts[start + 2 * usize::from(*bin) + positive] += 1;
                    start += 2 * bins;
                }
            }
        }
        counts.into_iter().try_for_each(|count| out.count(count))?;
        Ok(())
    }
}

/// The model: for each fold the log-odds of the classes, and what each bin adds to them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogOdds {
    pipeline: ObjectId,
    base: Vec<f64>,
    /// `bins[fold][column][bin]`.
    bins: Vec<Vec<Vec<f64>>>,
}

impl FamilyObject for LogOdds {
    fn check(&self) -> Result<(), String> {
        let width = self.width();
        let whole = self.bins.iter().all(|fold| fold.len() == width);
        let numbers = self.bins.iter().flatten().flatten().chain(&self.base);
        if !whole
            || self.base.len() != self.bins.len()
            || numbers.into_iter().any(|x| !x.is_finite())
        {
            return Err("log-odds are missing or not finite".to_owned());
        }
        Ok(())
    }

    fn model(&self) -> Option<&dyn FoldModel> {
        Some(self)
    }
}

impl FoldModel for LogOdds {
    fn pipeline(&self) -> ObjectId {
        self.pipeline
    }

    fn head(&self) -> Head {
        Head::Binary
    }

    fn folds(&self) -> usize {
        self.base.len()
    }

    fn width(&self) -> usize {
        self.bins.first().map_or(0, Vec::len)
    }

    fn binned(&self) -> bool {
        true
    }

    fn predict(&self, fold: usize, row: Row<'_>, scores: &mut [f64]) {
        let mut logit = self.base[fold];
        for (odds, bin) in self.bins[fold].iter().zip(row.bins()) {
            logit += odds.get(usize::from(*bin)).copied().unwrap_or(0.0);
        }
        scores[0] = sigmoid(-logit);
        scores[1] = sigmoid(logit);
    }
}

/// Trains it: the first step counts, the second scores what came of it.
struct Counting {
    smoothing: Smoothing,
    setting: Setting,
    bins: Vec<usize>,
    model: LogOdds,
    scored: LogOdds,
    kept: LogOdds,
    steps: u32,
}

impl Counting {
    fn new(smoothing: Smoothing, setting: &Setting) -> Self {
        let columns = setting.features.bin_columns();
        let bins: Vec<usize> = columns.iter().map(|column| column.bins).collect();
        let zero: Vec<Vec<f64>> = bins.iter().map(|bins| vec![0.0; *bins]).collect();
        let folds = usize::from(setting.folds);
        let model = LogOdds {
            pipeline: setting.pipeline,
            base: vec![0.0; folds],
            bins: vec![zero; folds],
        };
        Self {
            smoothing,
            setting: setting.clone(),
            bins,
            scored: model.clone(),
            kept: model.clone(),
            model,
            steps: 0,
        }
    }

    fn part(&self, model: ObjectId) -> CountPart {
        CountPart {
            score: ScorePart {
                pipeline: self.setting.pipeline,
                model,
                on: Rows::Validation,
                head: Head::Binary,
                folds: self.setting.folds,
                rows: self.setting.rows,
                curves: false,
                metric: None,
            },
            bins: self.bins.clone(),
        }
    }

    fn fit(&mut self, counts: &[u64]) {
        let smooth = self.smoothing.rows;
        let mut counts = counts
            .chunks_exact(2)
            .map(|pair| [pair[0] as f64, pair[1] as f64]);
        for (base, columns) in self.model.base.iter_mut().zip(&mut self.model.bins) {
            for odds in columns {
                let pairs: Vec<[f64; 2]> = counts.by_ref().take(odds.len()).collect();
                let total = |class: usize| pairs.iter().map(|pair| pair[class]).sum::<f64>();
                let (negatives, positives) = (total(0) + smooth, total(1) + smooth);
                *base = (positives / negatives).ln();
                let share = smooth / pairs.len() as f64;
                for (odds, [negative, positive]) in odds.iter_mut().zip(&pairs) {
                    let ratio = (positive + share) / positives / ((negative + share) / negatives);
                    *odds = ratio.ln();
                }
            }
        }
    }
}

fn object(model: &LogOdds) -> Object {
    Object::Family(AnyObject::new(NAME, model.clone()))
}

impl Trainer for Counting {
    fn ask(&self) -> (AnyPart, Vec<Object>) {
        let model = object(&self.model);
        let id = model.id().unwrap_or(self.setting.id);
        (AnyPart::new(NAME, self.part(id)), vec![model])
    }

    fn learn(&mut self, totals: &PartTotals<'_>) -> Option<LossSums> {
        let part = self.part(self.setting.pipeline);
        let scored = part.score.read(totals);
        self.scored.clone_from(&self.model);
        if self.steps == 0 {
            self.fit(&totals.counts(part.score.segments().len()));
        }
        self.steps += 1;
        Some(scored.losses)
    }

    fn finished(&self) -> bool {
        self.steps >= 2
    }

    fn keep(&mut self) {
        self.kept.clone_from(&self.scored);
    }

    fn shown(&self) -> Object {
        object(&self.kept)
    }

    fn model(&self) -> Object {
        object(&self.model)
    }
}

/// The metric: the mean cost of errors, where a missed positive costs five.
struct Cost;

impl Rule for Cost {
    fn name(&self) -> &'static str {
        "cost"
    }

    fn fits(&self, kind: Kind) -> bool {
        kind == Kind::Classification
    }

    fn larger_is_better(&self) -> bool {
        false
    }

    fn exponents(&self) -> &'static [i32] {
        &[3] // a row costs at most 2^3
    }

    fn row(&self, scores: &[f64], target: f64, sums: &mut [f64]) {
        // Where a miss costs five, whoever is ill with a probability of one in six is treated.
        let alarm = scores.len() == 2 && scores[1] >= 1.0 / 6.0;
        sums[0] = match (alarm, target == 1.0) {
            (false, true) => 5.0,
            (true, false) => 1.0,
            _ => 0.0,
        };
    }

    fn value(&self, scored: &Scored, _target: &TargetCoding) -> Option<f64> {
        Some(scored.own.first()? / scored.losses.rows as f64)
    }
}

const NAMES: [&str; 4] = ["cleveland", "hungarian", "switzerland", "va"];

fn read(name: &str) -> Result<(String, Table), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hospitals");
    let mapping = std::fs::read_to_string(folder.join(format!("sites/{name}.toml")))?;
    let mapping = TableMapping::from_toml(&mapping)?;
    let table = Table::open(&folder.join(format!("data/{name}.csv")), &mapping)?;
    Ok((name.to_owned(), table))
}

/// Registers the family and the metric, and runs a search in which they take part.
pub fn run() -> Result<Outcome, Box<dyn std::error::Error>> {
    family::register(&NaiveBayes)?;
    metric::register(&Cost)?;
    let task = Task::from_toml(
        "name = \"heart\"\ntarget = \"disease\"\npositive = \"1\"\nmetric = \"cost\"\n\
         preset = \"fast\"\nseed = 1\n\
         [constraints]\nallowed_models = [\"logistic\", \"naive_bayes\"]\n",
    )?;
    let sites = NAMES.map(read).into_iter().collect::<Result<_, _>>()?;
    Ok(simulate::run(&task, sites, &mut Silent)?)
}

#[allow(
    dead_code,
    reason = "the test suite includes this file and calls `run` itself"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let outcome = run()?;
    println!("candidate                                  validation loss");
    for standing in &outcome.leaderboard {
        let loss = standing.loss.unwrap_or(f64::NAN);
        println!("{:<42} {loss:.4}", standing.name);
    }
    let cost = outcome.test.other.get("cost").copied().unwrap_or(f64::NAN);
    println!(
        "champion: {}; cost of a test row {cost:.3}",
        outcome.champion.candidate.name
    );
    Ok(())
}
