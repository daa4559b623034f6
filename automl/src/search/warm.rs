//! Which candidates a later round starts with.

use std::collections::BTreeSet;

use crate::family::{self, Proposal};
use crate::features::NamedPipeline;
use crate::random::derive;
use crate::search::candidates::Offered;
use crate::search::memory::{Measured, Notes};
use crate::task::Task;

/// Configurations that go on because they did well.
const BEST: usize = 8;
/// Part of the portfolio that is tried anew beside them: one in this many, so that after four
/// rounds everything was tried again on newer rows.
const FRESH_ONE_IN: usize = 4;

/// Thins the portfolio out: the most promising configurations by history, the best of every
/// family, and a quarter of the rest, those first that were not tried for the longest time. In the
/// portfolio's order; configurations that it does not offer any more come last.
pub(super) fn choose(
    task: &Task,
    offers: Vec<Offered>,
    pipelines: &[NamedPipeline],
    notes: &Notes,
) -> Vec<Offered> {
    let promising = notes.promising();
    let mut chosen: BTreeSet<usize> = BTreeSet::new();
    let mut extra: Vec<Offered> = Vec::new();
    for measured in &promising {
        if chosen.len() + extra.len() >= BEST {
            break;
        }
        match place(measured, &offers, pipelines) {
            Some(place) => {
                chosen.insert(place);
            }
            None => extra.extend(again(measured, &offers, pipelines)),
        }
    }
    for family in family::names() {
        let of_family = |at: &usize| offers[*at].family.name() == family;
        if !chosen.iter().any(of_family) {
            let mut known = promising
                .iter()
                .filter(|measured| measured.family == family);
            let best = known.find_map(|measured| place(measured, &offers, pipelines));
            chosen.extend(best.or_else(|| (0..offers.len()).find(of_family)));
        }
    }
    chosen.extend(fresh(task, &offers, pipelines, notes, &chosen));
    let kept = offers
        .into_iter()
        .enumerate()
        .filter(|(at, _)| chosen.contains(at));
    kept.map(|(_, offered)| offered).chain(extra).collect()
}

/// A quarter of the portfolio from what was not chosen yet.
fn fresh(
    task: &Task,
    offers: &[Offered],
    pipelines: &[NamedPipeline],
    notes: &Notes,
    chosen: &BTreeSet<usize>,
) -> Vec<usize> {
    let round = notes.round + 1;
    let tried = |at: usize| {
        let history = notes.history.iter();
        let rounds = history.filter(|measured| place(measured, offers, pipelines) == Some(at));
        rounds.map(|measured| measured.round).max().unwrap_or(0)
    };
    let mut rest: Vec<_> = (0..offers.len())
        .filter(|at| !chosen.contains(at))
        .map(|at| {
            // Drawn anew each round among those that were tried equally long ago.
            let lot = derive(
                "collegium automl fresh candidates v1",
                &[
                    &task.seed.to_le_bytes(),
                    &round.to_le_bytes(),
                    &(at as u64).to_le_bytes(),
                ],
            );
            (tried(at), lot, at)
        })
        .collect();
    rest.sort_unstable();
    rest.truncate(offers.len().div_ceil(FRESH_ONE_IN));
    rest.into_iter().map(|(_, _, at)| at).collect()
}

/// The place of a remembered configuration in the portfolio. Some hyperparameters follow from the
/// number of rows, so the words decide where nothing is equal.
fn place(measured: &Measured, offers: &[Offered], pipelines: &[NamedPipeline]) -> Option<usize> {
    let known = |offered: &Offered| {
        let features = pipelines.get(offered.proposal.pipeline);
        offered.family.name() == measured.family
            && features.is_some_and(|named| named.name == measured.features)
    };
    let equal = |offered: &Offered| offered.proposal.hyperparameters == measured.hyperparameters;
    let exact = offers.iter().position(|o| known(o) && equal(o));
    exact.or_else(|| {
        offers
            .iter()
            .position(|o| known(o) && o.name(pipelines) == measured.name)
    })
}

/// A remembered configuration that the portfolio does not offer, if its family and pipeline are
/// still there.
fn again(measured: &Measured, offers: &[Offered], pipelines: &[NamedPipeline]) -> Option<Offered> {
    // A family that offers nothing, because the task or the rows do not let it, stays out.
    let family = offers
        .iter()
        .map(|o| o.family)
        .find(|f| f.name() == measured.family)?;
    let pipeline = pipelines
        .iter()
        .position(|named| named.name == measured.features)?;
    let (before, after) = (
        format!("{} ", measured.family),
        format!(" on {}", measured.features),
    );
    let name = measured
        .name
        .strip_prefix(&before)
        .unwrap_or(&measured.name);
    let name = name.strip_suffix(&after).unwrap_or(name);
    Some(Offered {
        family,
        proposal: Proposal {
            pipeline,
            name: name.to_owned(),
            hyperparameters: measured.hyperparameters.clone(),
        },
        remembered: true,
        tried: None,
    })
}

#[cfg(test)]
mod tests;
