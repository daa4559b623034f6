//! A round under differential privacy: few steps, planned so that the budget is spent where it
//! tells most.
//!
//! There is no profile: columns are scaled by what the task declares. There is one candidate, a
//! logistic model, so nothing has to be chosen on validation rows, and no calibration, blend or
//! comparison follows. Every number comes from [`NoisyPart`]s. Training rows pay for two or three
//! looks at the derivatives of the likelihood, test rows for one histogram; as a row is one or the
//! other, both have all of the budget.

mod belief;

use belief::Belief;

use crate::ask::{Part, Stage};
use crate::family::logistic::{self, LogisticModel};
use crate::family::{AnyObject, Head};
use crate::features::Pipeline;
use crate::federation::Federation;
use crate::metric::Metrics;
use crate::model::{Champion, TaskSummary};
use crate::noise::{MAX_WIDTH, Noise, NoisyPart, OutcomesPart, Slopes, SlopesPart, Spent};
use crate::object::{Object, ObjectId};
use crate::random::derive;
use crate::search::memory::{Memory, Notes};
use crate::search::observer::{Observer, Standing, State};
use crate::search::report::RoundReport;
use crate::search::{Candidate, Conductor, Outcome, SearchError, incumbent};
use crate::task::{DifferentialPrivacy, Task};

/// Steps at most: three looks and the test.
pub const STEPS: u32 = 4;
/// Share of the budget for the first look.
const FIRST: f64 = 0.5;
/// From so many rows, times the root of twice the budget in zCDP, weights of zero are too far from
/// the solution for the noise to hide it: the looks after the first are then taken at the weights
/// so far. A look there costs four times as much as one at zero, because a row's residual may be 1
/// instead of one half.
const RICH: f64 = 2000.0;

/// What a finished round has told about any one row.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Told {
    /// What the task allowed, and how the spending is to be read.
    pub epsilon: f64,
    /// As above.
    pub delta: f64,
    /// What one row is protected by: always `row`, added or removed.
    pub unit: Unit,
    /// Spent in zCDP, by kind of row.
    pub spent: Spent,
}

/// What is added or removed where a mechanism's outputs are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// One row of a table.
    Row,
}

/// What is asked about, and what that may still cost.
struct Plan<'a, 'c> {
    conductor: &'a mut Conductor<'c>,
    pipeline: ObjectId,
    width: usize,
    clip: f64,
    rho: f64,
    spent: Spent,
}

/// Runs the round.
///
/// # Errors
/// When a step has no totals, or the task's columns are too many or its budget too small.
pub(super) fn round(
    task: &Task,
    privacy: DifferentialPrivacy,
    federation: &mut dyn Federation,
    observer: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    let mut conductor = Conductor::new(task, federation, observer);
    conductor.expect_steps(STEPS);
    conductor.enter(Stage::Race);
    let (pipeline, clip) = Pipeline::declared(task);
    let width = pipeline.width();
    if width > MAX_WIDTH as usize {
        return Err(SearchError::NoCandidates(format!(
            "the declared columns make {width} features, more than the {MAX_WIDTH} that noise \
             leaves anything of; declare some as \"ignore\", or with fewer values"
        )));
    }
    let published = conductor.publish(Object::Pipeline(pipeline.clone()))?;
    let mut plan = Plan {
        conductor: &mut conductor,
        pipeline: published,
        width,
        clip,
        rho: privacy.to_plan(),
        spent: Spent::default(),
    };
    let weights = plan.train()?;
    let model = plan.model(&weights);
    let (test, spent) = plan.test(&model)?;
    let champion = champion(task, pipeline, published, model, clip, test, &conductor);
    Ok(outcome(task, privacy, champion, spent, &mut conductor))
}

impl Plan<'_, '_> {
    /// The weights of the features and of the 1, of rows as they are clipped.
    fn train(&mut self) -> Result<Vec<f64>, SearchError> {
        let first = self.look(None, FIRST)?;
        // Rows are clipped at about their usual length, so that this is about their number.
        let rows = 4.0 * belief::trace(&first.curvature, self.width + 1);
        let prior = Belief::before(self.width + 1, self.clip);
        if rows * libm::sqrt(2.0 * self.rho) < RICH {
            let second = self.look(None, 1.0 - FIRST)?;
            return Ok(prior.first(&mean(&first, &second)).mean);
        }
        let mut belief = prior.first(&first);
        for _ in 0..2 {
            let model = self.model(&belief.mean);
            let id = self.conductor.publish(model)?;
            let look = self.look(Some(id), (1.0 - FIRST) / 2.0)?;
            belief = belief.again(&look);
        }
        Ok(belief.mean)
    }

    /// The derivatives at a model's weights, for a share of the budget.
    fn look(&mut self, model: Option<ObjectId>, share: f64) -> Result<Slopes, SearchError> {
        let part = |noise| SlopesPart {
            pipeline: self.pipeline,
            model,
            width: self.width as u32,
            clip: self.clip,
            noise,
        };
        let part = self.priced(share * self.rho, |noise| NoisyPart::Slopes(part(noise)))?;
        let totals = self.ask(Stage::Race, &part)?;
        match &part {
            NoisyPart::Slopes(part) => Ok(part.read(&totals.part(0))),
            NoisyPart::Outcomes(_) => Err(SearchError::NothingScored),
        }
    }

    /// The part with the least noise that costs no more than this.
    fn priced(
        &self,
        rho: f64,
        part: impl Fn(Noise) -> NoisyPart,
    ) -> Result<NoisyPart, SearchError> {
        let shares = self.conductor.honest_shares();
        let least = part(Noise {
            variance: crate::noise::MIN_VARIANCE,
            shares,
        });
        let noise = Noise::for_rho(rho, least.sensitivity(), least.numbers(), shares);
        let too_small = || {
            SearchError::NoCandidates(
                "the budget of [differential_privacy] is so small that nothing would be left \
                 under the noise; raise epsilon or delta"
                    .to_owned(),
            )
        };
        noise.map(part).ok_or_else(too_small)
    }

    fn ask(
        &mut self,
        stage: Stage,
        part: &NoisyPart,
    ) -> Result<crate::search::StepTotals, SearchError> {
        let rho = crate::noise::zcdp::rho_of_sum(part.sensitivity(), part.numbers(), part.noise());
        let asked = Part::Noisy(part.clone());
        if asked.reads_test() {
            self.spent.test += rho;
        } else {
            self.spent.train += rho;
        }
        Ok(self.conductor.sum(stage, vec![asked])?)
    }

    /// A model of rows as they are, from weights of rows that are divided by `clip`.
    fn model(&self, weights: &[f64]) -> Object {
        let mut model = LogisticModel::zero(self.pipeline, Head::Binary, 1, self.width);
        for (own, weight) in model.folds[0][0].iter_mut().zip(weights) {
            *own = weight / self.clip;
        }
        Object::Family(AnyObject::new(logistic::NAME, model))
    }

    /// The model's figures on test rows.
    fn test(&mut self, model: &Object) -> Result<(Metrics, Spent), SearchError> {
        self.conductor.enter(Stage::Test);
        let model = self.conductor.publish(model.clone())?;
        let pipeline = self.pipeline;
        let part = self.priced(self.rho, |noise| {
            NoisyPart::Outcomes(OutcomesPart {
                pipeline,
                model,
                noise,
            })
        })?;
        let totals = self.ask(Stage::Test, &part)?;
        let metrics = match &part {
            NoisyPart::Outcomes(part) => part.read(&totals.part(0)).metrics(),
            NoisyPart::Slopes(_) => Metrics::default(),
        };
        Ok((metrics, self.spent))
    }
}

/// Two looks at the same place.
fn mean(a: &Slopes, b: &Slopes) -> Slopes {
    let mean = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| 0.5 * (a + b)).collect();
    Slopes {
        gradient: mean(&a.gradient, &b.gradient),
        curvature: mean(&a.curvature, &b.curvature),
        variances: [0, 1].map(|at| 0.25 * (a.variances[at] + b.variances[at])),
    }
}

fn champion(
    task: &Task,
    pipeline: Pipeline,
    published: ObjectId,
    model: Object,
    clip: f64,
    test: Metrics,
    conductor: &Conductor<'_>,
) -> Champion {
    let hyperparameters = serde_json::json!({ "clip": clip });
    let described = hyperparameters.to_string();
    let id = derive(
        "collegium automl private candidate v1",
        &[
            published.as_bytes(),
            described.as_bytes(),
            &task.seed.to_le_bytes(),
        ],
    );
    let candidate = Candidate {
        id,
        name: format!("{} on declared columns, with noise", logistic::NAME),
        features: "declared".to_owned(),
        family: logistic::NAME.to_owned(),
        hyperparameters,
    };
    let summary = TaskSummary::new(task, pipeline.target());
    let none = Metrics::default();
    let lineage = conductor.lineage();
    let mut champion = Champion::new(summary, candidate, pipeline, model, none, lineage);
    champion.test = test;
    champion
}

fn outcome(
    task: &Task,
    privacy: DifferentialPrivacy,
    champion: Champion,
    spent: Spent,
    conductor: &mut Conductor<'_>,
) -> Outcome {
    let leaderboard = vec![Standing {
        id: champion.candidate.id,
        name: champion.candidate.name.clone(),
        family: champion.candidate.family.clone(),
        loss: None,
        loss_se: None,
        steps: conductor.steps() - 1,
        state: State::Champion,
        history: None,
    }];
    conductor.leaderboard(&leaderboard);
    let judged = incumbent::first(&champion.description(), &[], 1);
    Outcome {
        test: champion.test.clone(),
        memory: Memory {
            champion: champion.clone(),
            notes: Notes::new(task, 1, Vec::new(), Vec::new()),
        },
        round: RoundReport {
            number: 1,
            verdict: judged.verdict,
            drift: None,
            lineage: champion.lineage.clone(),
        },
        champion,
        leaderboard,
        steps: conductor.steps(),
        numbers: conductor.numbers(),
        early: None,
        privacy: Some(Told {
            epsilon: privacy.epsilon,
            delta: privacy.delta,
            unit: Unit::Row,
            spent,
        }),
    }
}
