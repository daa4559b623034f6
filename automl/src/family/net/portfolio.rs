//! The networks that a search tries.

use serde::{Deserialize, Serialize};

use super::{LocalTraining, NetCandidate, Server};
use crate::family::portfolio::{Configuration, within};
use crate::family::{Offer, Proposal};
use crate::features::{NamedPipeline, Numbers};
use crate::search::{Knob, Scale};

/// Below this many training rows over all sites a network is small and held back.
const FEW_ROWS: u64 = 6000;

/// Floating-point operations of all sites together for one step's training of one candidate: some
/// tenths of a second of one core.
const TRAINING_WORK: f64 = 2e9;
/// The same for its scores, spread over the steps between two.
const SCORING_WORK: f64 = 3e8;

/// Federated averaging.
const AVERAGE: Server = Server::Average {
    learning_rate: 1.0,
    momentum: 0.0,
};

/// Where sites differ, their changes nearly cancel, and Adam makes up for it.
const ADAM: Server = Server::Adam {
    learning_rate: 0.01,
    tau: 0.001,
};
/// What the average of the weights keeps of the steps before.
const AVERAGING: f64 = 0.8;

/// Which numbers a candidate wants.
#[derive(Clone, Copy, PartialEq)]
enum Wants {
    /// Scaled, clipped numbers only.
    Smooth,
    /// Cut into pieces too.
    Pieces,
}

pub(super) fn candidates(offer: &Offer<'_>) -> Vec<Proposal> {
    let configurations = if offer.profile.train_rows < FEW_ROWS {
        few_rows()
    } else {
        many_rows(offer.profile.train_rows)
    };
    let propose = |(wants, candidate): (Wants, NetCandidate)| {
        let (place, named) = pipeline(offer, wants)?;
        bounded(offer, place, named, candidate)
    };
    configurations.into_iter().filter_map(propose).collect()
}

/// A configuration of the portfolio: how large batches are and how fast rates fall follows from
/// the rows, and the share of the rows that a step takes from its work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetConfiguration {
    /// Whether numbers are cut into pieces too.
    pub pieces: bool,
    /// Numbers that each column is embedded as, 0 to 64.
    pub embedding: u32,
    /// Widths of the hidden layers: 1 to 4 of 4 to 512 units.
    pub hidden: Vec<u32>,
    /// Learning rate of the sites, 0.0001 to 0.05.
    pub rate: f64,
    /// Share of hidden units dropped, 0 to 0.7.
    pub dropout: f64,
    /// Weight decay of the sites, 0 to 5.
    pub decay: f64,
    /// What the averaged changes do.
    pub server: NetServer,
}

/// The servers of the portfolio's networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetServer {
    /// Federated averaging.
    Average,
    /// Adam over the averaged changes.
    Adam,
}

impl Configuration for NetConfiguration {
    fn check(&self) -> Result<(), String> {
        within("embedding", f64::from(self.embedding), (0.0, 64.0))?;
        within("hidden layers", self.hidden.len() as f64, (1.0, 4.0))?;
        for width in &self.hidden {
            within("hidden", f64::from(*width), (4.0, 512.0))?;
        }
        within("rate", self.rate, (1e-4, 0.05))?;
        within("dropout", self.dropout, (0.0, 0.7))?;
        within("decay", self.decay, (0.0, 5.0))
    }

    fn propose(&self, offer: &Offer<'_>) -> Option<Proposal> {
        let wants = if self.pieces {
            Wants::Pieces
        } else {
            Wants::Smooth
        };
        let (place, named) = pipeline(offer, wants)?;
        let rows = offer.profile.train_rows;
        let candidate = NetCandidate {
            embedding: self.embedding,
            hidden: self.hidden.clone(),
            local: LocalTraining {
                epochs: 1,
                share: 1.0,
                batch: batch(rows),
                learning_rate: self.rate,
                weight_decay: self.decay,
                dropout: self.dropout,
                proximal: 0.0,
            },
            decay: decay(rows),
            server: match self.server {
                NetServer::Average => AVERAGE,
                NetServer::Adam => ADAM,
            },
            averaging: AVERAGING,
            score_every: 1,
        };
        bounded(offer, place, named, candidate)
    }
}

/// A candidate within the work of a step; `None` where its weights are too many.
fn bounded(
    offer: &Offer<'_>,
    pipeline: usize,
    named: &NamedPipeline,
    mut candidate: NetCandidate,
) -> Option<Proposal> {
    let (width, columns) = (named.pipeline.width(), named.pipeline.widths());
    // A table of hundreds of columns leaves no room for some embeddings and layers.
    let shape = candidate.shape(width, &columns, offer.head);
    shape.check(offer.head).ok()?;
    let weights = shape.parameters() as f64;
    bound_work(&mut candidate, weights, offer.profile.train_rows, named);
    Some(Proposal {
        pipeline,
        name: name(&candidate),
        hyperparameters: serde_json::to_value(&candidate).ok()?,
    })
}

/// What later rounds vary.
pub(super) fn knobs() -> Vec<Knob> {
    let knob = |pointer, scale| Knob { pointer, scale };
    vec![
        knob("/local/learning_rate", Scale::Log(5e-4, 0.02)),
        knob("/local/dropout", Scale::Linear(0.0, 0.5)),
        knob("/local/weight_decay", Scale::Log(0.01, 2.0)),
        knob("/hidden/0", Scale::Whole(16, 160)),
    ]
}

/// Hyperparameters whose knobs were changed, within the work of a step.
pub(super) fn varied(
    offer: &Offer<'_>,
    pipeline: usize,
    hyperparameters: &serde_json::Value,
) -> Option<Proposal> {
    let named = offer.pipelines.get(pipeline)?;
    let candidate = NetCandidate::deserialize(hyperparameters).ok()?;
    bounded(offer, pipeline, named, candidate)
}

/// Takes so many batches of a pass, and scores so seldom, that a step stays within the work that
/// is bounded above.
fn bound_work(candidate: &mut NetCandidate, weights: f64, rows: u64, named: &NamedPipeline) {
    let rows = rows as f64;
    let folds = f64::from(named.pipeline.folds());
    // Forwards, and backwards to weights and to inputs; a multiplication and an addition each.
    let pass = 6.0 * weights * rows * folds * f64::from(candidate.local.epochs);
    candidate.local.share = (TRAINING_WORK / pass).min(1.0);
    // Every row is scored by one fold.
    let score = 2.0 * weights * rows;
    candidate.score_every = libm::ceil(score / SCORING_WORK).clamp(1.0, 10.0) as u32;
}

/// The pipeline that a candidate wants, or the first one of numbers: a variant that makes the
/// same features as an earlier one is not there.
fn pipeline<'a>(offer: &'a Offer<'_>, wants: Wants) -> Option<(usize, &'a NamedPipeline)> {
    let wanted = |named: &NamedPipeline| match named.spec.numbers {
        Numbers::Smooth { pieces } => (pieces >= 2) == (wants == Wants::Pieces),
        _ => false,
    };
    let found = offer.pipelines_of(false).find(|(_, named)| wanted(named));
    found.or_else(|| offer.pipelines_of(false).next())
}

fn name(candidate: &NetCandidate) -> String {
    let NetCandidate {
        embedding,
        hidden,
        local,
        server,
        ..
    } = candidate;
    let embedded = match embedding {
        0 => String::new(),
        width => format!("embedding {width} "),
    };
    let server = match server {
        Server::Average { .. } => "",
        Server::Adam { .. } => " server adam",
        Server::Yogi { .. } => " server yogi",
    };
    format!(
        "{embedded}{hidden:?} lr {} dropout {}{server}",
        local.learning_rate, local.dropout
    )
}

/// Most rows in a batch, where there are so many training rows.
fn batch(rows: u64) -> u32 {
    match rows {
        0..FEW_ROWS => 32,
        FEW_ROWS..50_000 => 64,
        50_000.. => 256,
    }
}

/// What rates are multiplied with after each step.
fn decay(rows: u64) -> f64 {
    if rows < FEW_ROWS { 0.98 } else { 0.97 }
}

/// Strongly regularised, for a few hundred rows say little; and two that are not, for where little
/// noise is in them: the step with the least validation loss is shown, so they can do no harm.
fn few_rows() -> Vec<(Wants, NetCandidate)> {
    let net = |hidden: &[u32], learning_rate, weight_decay, dropout| NetCandidate {
        embedding: 0,
        hidden: hidden.to_vec(),
        local: LocalTraining {
            epochs: 1,
            share: 1.0,
            batch: 32,
            learning_rate,
            weight_decay,
            dropout,
            proximal: 0.0,
        },
        decay: 0.98,
        server: AVERAGE,
        averaging: AVERAGING,
        score_every: 1,
    };
    vec![
        (Wants::Smooth, net(&[32], 0.01, 1.0, 0.5)),
        (Wants::Pieces, net(&[32], 0.01, 1.0, 0.5)),
        (Wants::Smooth, net(&[64], 0.005, 1.0, 0.3)),
        (Wants::Smooth, net(&[16, 16], 0.005, 1.0, 0.2)),
        (Wants::Smooth, net(&[64, 32], 0.01, 0.1, 0.1)),
        (Wants::Pieces, net(&[64, 32], 0.01, 0.1, 0.1)),
    ]
}

fn many_rows(rows: u64) -> Vec<(Wants, NetCandidate)> {
    let net = |embedding, hidden: &[u32], learning_rate, dropout| NetCandidate {
        embedding,
        hidden: hidden.to_vec(),
        local: LocalTraining {
            epochs: 1,
            share: 1.0,
            batch: batch(rows),
            learning_rate,
            weight_decay: 0.1,
            dropout,
            proximal: 0.0,
        },
        decay: decay(rows),
        server: AVERAGE,
        averaging: AVERAGING,
        score_every: 1,
    };
    let embedded = net(8, &[128], 0.002, 0.2);
    let held_back = NetCandidate {
        local: LocalTraining {
            weight_decay: 1.0,
            dropout: 0.4,
            ..embedded.local
        },
        ..embedded.clone()
    };
    let adam = |candidate: NetCandidate| NetCandidate {
        server: ADAM,
        ..candidate
    };
    vec![
        (Wants::Pieces, embedded.clone()),
        (Wants::Pieces, adam(embedded)),
        (Wants::Pieces, held_back),
        (Wants::Pieces, net(0, &[128, 64], 0.002, 0.2)),
        (Wants::Pieces, adam(net(0, &[128, 64], 0.002, 0.2))),
        (Wants::Smooth, net(0, &[128, 128], 0.002, 0.2)),
    ]
}
