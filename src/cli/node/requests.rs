//! `collegium node requests`, `approve` and `refuse`: what a task asks of this site, in plain
//! words, and the steward's word about it.

use std::fmt::Write as _;

use collegium_automl::profile;
use collegium_automl::search::{Budget, PRIVATE_STEPS};
use collegium_automl::task::Task;
use collegium_crypto::params::Thresholds;
use collegium_node::check::privacy_budget;
use collegium_node::config::Config;
use collegium_node::requests::{self, Asked};
use collegium_node::store::{Decision, Request};
use serde_json::{Value, json};

use super::Settings;
use crate::output::{self, Output};
use crate::words::{Asks, Columns, paragraph};

/// Arguments of `node requests`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Show those that were answered, too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Arguments of `node approve` and `node refuse`.
#[derive(Debug, clap::Args)]
pub(crate) struct Decide {
    /// The request, by the first digits of its id.
    id: String,
    /// Who decides, for the site's ledger.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "unknown")]
    by: String,
    /// Why; of a refusal, the coordinator reads it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    settings: Settings,
}

/// Lists the requests.
///
/// # Errors
/// When the node's database cannot be read.
pub(super) async fn list(args: List, out: Output) -> anyhow::Result<()> {
    let config = args.settings.load()?;
    let mut asked = requests::list(&config).await?;
    asked.retain(|it| args.all || it.request.decision == Decision::Pending);
    let values: Vec<Value> = asked.iter().map(as_json).collect();
    let text = match asked.as_slice() {
        [] if args.all => "no task was ever asked for".to_owned(),
        [] => "no task waits for a steward".to_owned(),
        some => {
            let left = privacy_budget(&config).await.unwrap_or_else(|why| why);
            let told = some.iter().map(|it| in_words(it, &config, &left));
            let texts: Vec<String> = told.collect();
            texts.join("\n")
        }
    };
    out.result(&values, text.trim_end())
}

/// Writes a steward's word.
///
/// # Errors
/// When there is no such request.
pub(super) async fn decide(args: Decide, decision: Decision, out: Output) -> anyhow::Result<()> {
    let config = args.settings.load()?;
    let request = requests::decide(&config, &args.id, decision, &args.by, &args.reason).await?;
    let name = task_of(&request).map_or_else(|| "(unreadable)".to_owned(), |task| task.name);
    let after = match decision {
        Decision::Approved => {
            "a running node takes part within a second; another one, when the run is offered again"
        }
        _ => "this site answers nothing for it from now on",
    };
    out.result(
        &json!({
            "id": request.id,
            "task": name,
            "decision": request.decision.name(),
            "steward": request.steward,
        }),
        format!(
            "{} by {}: task `{name}` (request {}); {after}",
            request.decision.name(),
            request.steward,
            request.short_id()
        ),
    )
}

fn task_of(request: &Request) -> Option<Task> {
    let text = std::str::from_utf8(&request.task).ok()?;
    Task::from_toml(text).ok()
}

/// What the task asks for, as `task check` says it, over this site's own columns.
fn asks<'a>(request: &'a Request, task: &'a Task) -> Option<Asks<'a>> {
    let sites = usize::from(request.members);
    Some(Asks {
        task,
        columns: Columns::Named(&request.columns),
        thresholds: Thresholds::for_members(sites).ok()?,
        sites,
    })
}

fn in_words(asked: &Asked, config: &Config, left: &str) -> String {
    let request = &asked.request;
    let mut text = format!("Request {}: {}\n", request.short_id(), standing(request));
    let task = task_of(request);
    let Some((task, asks)) = task
        .as_ref()
        .and_then(|task| Some((task, asks(request, task)?)))
    else {
        text.push_str("This version of collegium cannot read the task: refuse it.\n");
        return text;
    };
    text.push_str(&asks.in_words());
    text.push_str("Limits\n");
    paragraph(&mut text, "steps", &steps(task));
    paragraph(&mut text, "budget", &budget(asked, task, config));
    paragraph(
        &mut text,
        "privacy",
        &format!("This site's own budget: {left}."),
    );
    if request.decision == Decision::Pending {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "next: collegium node approve {id}, or collegium node refuse {id} --reason TEXT",
            id = request.short_id()
        );
    }
    text
}

fn standing(request: &Request) -> String {
    let why = match request.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    match request.decision {
        Decision::Pending => format!("run {} waits for a steward", request.run),
        Decision::Approved => format!("approved by {}{why}", request.steward),
        Decision::Refused => format!("refused by {}{why}", request.steward),
    }
}

fn steps(task: &Task) -> String {
    let run = match task.max_steps {
        _ if task.differential_privacy.is_some() => {
            format!("At most {PRIVATE_STEPS} secure sums a run.")
        }
        Some(most) => format!("At most {most} secure sums a run, by the task's own limit."),
        None => format!(
            "The task sets no limit of its own; a search of the preset `{}` takes at most about {} \
             secure sums, more where its candidates do not fit into one. A policy can set a limit \
             (used.run_steps).",
            task.preset.name(),
            Budget::new(task.preset, None).about(profile::STEPS)
        ),
    };
    match (task.rounds, task.every) {
        (Some(rounds), _) if rounds > 1 => {
            format!("{run} {rounds} rounds, a run each; approving is for all of them.")
        }
        (None, Some(_)) => {
            format!(
                "{run} Round after round until it is cancelled, a run each; approving is for all of them."
            )
        }
        _ => run,
    }
}

fn budget(asked: &Asked, task: &Task, config: &Config) -> String {
    let used = asked.used;
    let policy = match &config.policy.file {
        Some(file) => format!("the policy {}", file.display()),
        None => "the built-in policy".to_owned(),
    };
    let noise = match task.differential_privacy {
        None => "No noise is added: opened sums are exact.",
        Some(_) => "Noise is added to every answer; a step beyond the task's epsilon is refused.",
    };
    format!(
        "So far this site answered {} steps of this run and {} of tasks of this name, {} in all. \
         At every step {policy} is asked again. {noise}",
        used.run_steps,
        used.task_steps,
        output::bytes(used.task_bytes)
    )
}

fn as_json(asked: &Asked) -> Value {
    let Asked { request, used } = asked;
    let task = task_of(request);
    let asks = task
        .as_ref()
        .and_then(|task| Some(asks(request, task)?.as_json()));
    json!({
        "id": request.id,
        "run": request.run,
        "decision": request.decision.name(),
        "steward": request.steward,
        "reason": request.reason,
        "asked_ms": request.asked_ms,
        "task": task.as_ref().map(|task| &task.name),
        "summary": task.as_ref().map(|it| it.summary().lines().map(str::to_owned).collect::<Vec<_>>()),
        "asks": asks,
        "columns": request.columns,
        "members": request.members,
        "max_steps": task.as_ref().and_then(|task| task.max_steps),
        "used": used,
    })
}

#[cfg(test)]
mod tests {
    use collegium_node::policy::Used;
    use collegium_protocol::RunId;

    use super::*;

    const TASK: &str = "name = \"readmission\"\ntarget = \"back\"\nentity = \"patient\"\n\
                        max_steps = 200\nrounds = 3\n\
                        [constraints]\nallowed_models = [\"logistic\"]\n\
                        [columns]\nage = \"number\"\nnote = \"ignore\"\n";

    fn asked() -> Asked {
        let columns = ["patient", "age", "ward", "back"].map(str::to_owned);
        Asked {
            request: Request::new(
                RunId::from_bytes([7; 16]),
                TASK.as_bytes(),
                &columns,
                4,
                1_764_000_000_000,
            ),
            used: Used {
                run_steps: 0,
                task_steps: 12,
                run_bytes: 0,
                task_bytes: 3_400_000,
            },
        }
    }

    #[test]
    fn a_steward_reads_what_a_request_is_about() {
        let asked = asked();
        let id = asked.request.short_id();
        let text = in_words(&asked, &Config::default(), "none");
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/requests.txt");
        let golden = std::fs::read_to_string(file).expect("the golden text");
        let golden = golden.replace("ID", &id);
        assert_eq!(text, golden, "the text is:\n{text}");
    }

    #[test]
    fn what_was_decided_is_said() {
        let mut asked = asked();
        asked.request.decision = Decision::Refused;
        asked.request.steward = "ann".to_owned();
        asked.request.reason = "no consent".to_owned();
        let text = in_words(&asked, &Config::default(), "none");
        assert!(text.contains(": refused by ann (no consent)\n"), "{text}");
        assert!(!text.contains("next:"), "{text}");
        let value = as_json(&asked);
        assert_eq!(value["decision"], "refused");
        assert_eq!(value["max_steps"], 200);
        assert_eq!(
            value["asks"]["columns"]["used"]["ward"],
            "as a first look finds it"
        );
        asked.request.task = b"not a task".to_vec();
        assert!(in_words(&asked, &Config::default(), "none").contains("refuse it"));
    }
}
