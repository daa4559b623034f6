//! `node check`: tests everything that usually goes wrong, and says how to mend each.
//!
//! Nothing stays behind (a file is written and removed to see whether it can be), and a daemon
//! that runs meanwhile is not disturbed.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use collegium_automl::data::SitePolicy;
use collegium_automl::noise::zcdp;
use collegium_automl::privacy::{Groups, PrivacyReport, PrivacyRules};
use collegium_automl::table::Table;
use collegium_protocol::charter::{SignedCharter, VerifiedCharter};
use collegium_protocol::ledger::LogKey;
use collegium_protocol::pki::keyfile;
use collegium_protocol::step::Place;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use crate::config::{Bytes, Config};
use crate::data::{self, Loaded};
use crate::keys::NodeKeys;
use crate::ledger::Ledger;
use crate::policy::SitePolicies;
use crate::privacy::site_key;
use crate::store::{Decision, Store};

/// A certificate that ends within this time should be renewed now.
const RENEW_BEFORE: Duration = Duration::from_secs(14 * 24 * 3600);
/// Column names shown; the rest is counted.
const SHOWN_COLUMNS: usize = 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// One line for each thing, in the order of the tests.
    pub lines: Vec<CheckLine>,
}

/// One thing that was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckLine {
    /// What.
    pub name: &'static str,
    /// Whether it is in order.
    pub ok: bool,
    /// What was found; for a failure, what is wrong and what to do.
    pub detail: String,
}

impl CheckReport {
    /// Whether everything is in order.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.lines.iter().all(|line| line.ok)
    }

    fn add(&mut self, name: &'static str, result: Result<String, String>) {
        let ok = result.is_ok();
        let detail = result.unwrap_or_else(|problem| problem);
        self.lines.push(CheckLine { name, ok, detail });
    }

    /// What is done to the columns: one line for each that is not taken as it is.
    fn add_privacy(&mut self, rules: &PrivacyRules, loaded: &Loaded) {
        let PrivacyReport {
            treated,
            refused,
            allowed,
        } = &loaded.report;
        for it in treated {
            let unfit = match it.unfit {
                0 => String::new(),
                1 => "; 1 cell that this does not fit is missing now".to_owned(),
                many => format!("; {many} cells that this does not fit are missing now"),
            };
            let words = format!("`{}`: {}{unfit}", it.column, it.what);
            self.add("desensitized", Ok(words));
        }
        for it in refused {
            let words = format!(
                "left out: {it}; to use it, give it a rule under [privacy.columns]: hash, \
                 generalize or allow"
            );
            self.add("identifiers", Ok(words));
        }
        for it in allowed {
            self.add("identifiers", Ok(format!("allowed by your rule: {it}")));
        }
        if let Some(groups) = &loaded.groups {
            let words = anonymity(groups);
            let checked = loaded.check_groups(rules);
            self.add(
                "anonymity",
                checked
                    .map(|()| words.clone())
                    .map_err(|why| format!("{words}; {why}")),
            );
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let word = if line.ok { "ok" } else { "failed" };
            writeln!(f, "{word:<8}{:<14}{}", line.name, line.detail)?;
        }
        Ok(())
    }
}

/// Tests everything; never fails itself.
pub async fn check(config: &Config) -> CheckReport {
    let mut report = CheckReport { lines: Vec::new() };
    report.add("state", state(&config.state));
    report.add("disk", disk(&config.state, config.limits.free_disk));
    let keys = NodeKeys::load(&config.state);
    match &keys {
        Ok(keys) => {
            report.add(
                "keys",
                Ok(format!("of member {}, for their owner alone", keys.member)),
            );
            let not_after = keys.certificate.not_after;
            let certificate = validity(keys.certificate.not_before, not_after, SystemTime::now());
            report.add("certificate", certificate);
        }
        Err(error) => report.add("keys", Err(error.to_string())),
    }
    report.add("charter", charter(config, keys.as_ref().ok()).await);
    match load(config) {
        Ok(loaded) => {
            let rows = loaded.table.rows();
            report.add("data", described(&loaded.table));
            report.add_privacy(&config.privacy, &loaded);
            report.add("policy", policy(config.policy.site(), rows));
        }
        Err(problem) => {
            report.add("data", Err(problem));
            report.add("policy", policy(config.policy.site(), 0));
        }
    }
    report.add("site policy", site_policy(config));
    report.add("budget", privacy_budget(config).await);
    if let Some(waiting) = waiting(config).await {
        report.add("requests", waiting);
    }
    report.add("ledger", ledger(config, keys.as_ref().ok()));
    if let Ok(keys) = &keys {
        report.add("coordinator", coordinator(config, keys).await);
    }
    report
}

fn state(path: &Path) -> Result<String, String> {
    if !path.exists() {
        return Err(format!(
            "{} does not exist; run `collegium node join CODE --state DIR` first, or set `state`",
            path.display()
        ));
    }
    let probe = path.join("run/check");
    let probed = keyfile::create_private_dir(&path.join("run"))
        .map_err(|error| error.to_string())
        .and_then(|()| std::fs::write(&probe, b"x").map_err(|error| error.to_string()))
        .and_then(|()| std::fs::remove_file(&probe).map_err(|error| error.to_string()));
    match probed {
        Ok(()) => Ok(format!("{} can be written", path.display())),
        Err(error) => Err(format!(
            "{} cannot be written ({error}); give it to the user the node runs as, or set `state`",
            path.display()
        )),
    }
}

fn disk(path: &Path, needed: Bytes) -> Result<String, String> {
    // What does not exist yet will be made on the disk of what does.
    let path = path
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("."));
    let found = rustix::fs::statvfs(path).map_err(|error| {
        format!(
            "cannot ask for the free space of {}: {error}",
            path.display()
        )
    })?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let shown = Bytes(free >> 20 << 20);
    if free < needed.0 {
        return Err(format!(
            "{shown} free at {}, `limits.free_disk` is {needed}; make room or move `state`",
            path.display()
        ));
    }
    Ok(format!("{shown} free"))
}

fn validity(from: SystemTime, to: SystemTime, now: SystemTime) -> Result<String, String> {
    if now < from {
        return Err("the certificate is not valid yet: set this computer's clock".to_owned());
    }
    let Ok(left) = to.duration_since(now) else {
        return Err(
            "the certificate has expired, or this computer's clock is ahead; ask the \
             coordinator's operator for a new invitation and join again"
                .to_owned(),
        );
    };
    let days = left.as_secs() / (24 * 3600);
    if left < RENEW_BEFORE {
        return Err(format!(
            "the certificate ends in {days} days; ask for a new invitation now"
        ));
    }
    Ok(format!("valid for {days} more days"))
}

async fn charter(config: &Config, keys: Option<&NodeKeys>) -> Result<String, String> {
    let none = "none pinned yet; it comes with the first connection after every steward ran \
                `collegium charter sign`";
    let path = config.database();
    if !path.exists() {
        return Ok(none.to_owned());
    }
    let store = Store::open(&path)
        .await
        .map_err(|error| error.to_string())?;
    let stored = store.pinned_charter().await;
    store.close().await;
    let Some(bytes) = stored.map_err(|error| error.to_string())? else {
        return Ok(none.to_owned());
    };
    let pinned = SignedCharter::from_bytes(&bytes)
        .and_then(VerifiedCharter::from_pinned)
        .map_err(|error| format!("{error}; put node.db back from a backup"))?;
    let pinned = Arc::new(pinned);
    if let Some(keys) = keys {
        Place::new(
            Arc::clone(&pinned),
            Arc::clone(&keys.identity),
            Arc::clone(&keys.sealing),
        )
        .map_err(|error| error.to_string())?;
    }
    let charter = pinned.charter();
    Ok(format!(
        "version {} of {}, {} members, this node among them",
        charter.version,
        charter.consortium,
        charter.members.len()
    ))
}

fn described(table: &Table) -> Result<String, String> {
    let names: Vec<&str> = table.columns().iter().map(|column| column.name()).collect();
    let shown = names[..names.len().min(SHOWN_COLUMNS)].join(", ");
    let more = names.len().saturating_sub(SHOWN_COLUMNS);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    if table.rows() == 0 {
        return Err(format!(
            "{} has no rows; set `data.path` to the site's table",
            table.source()
        ));
    }
    Ok(format!("{} rows, columns {shown}{more}", table.rows()))
}

/// The table as a task would get it. Before the node made its key, any other does for looking.
fn load(config: &Config) -> Result<Loaded, String> {
    let key = site_key(&config.state).map_err(|error| error.to_string())?;
    let key = key.unwrap_or_default();
    data::load(&config.data, &config.privacy, Some(&*key)).map_err(|error| error.to_string())
}

/// How small the groups are that the quasi-identifiers make.
fn anonymity(groups: &Groups) -> String {
    let Groups {
        columns,
        k,
        groups: count,
        small,
        small_rows,
        rows,
    } = groups;
    format!(
        "k = {k}: the {rows} rows make {count} groups with the same {}; {small_rows} rows are in \
         groups of fewer than {small}",
        columns.join(", ")
    )
}

fn site_policy(config: &Config) -> Result<String, String> {
    let policies =
        SitePolicies::load(config.policy.file.as_deref()).map_err(|error| error.to_string())?;
    let in_force = policies.in_force();
    Ok(format!(
        "{} loads: {} policies{}",
        in_force.source,
        in_force.len(),
        if in_force.is_empty() {
            ", so this site takes part in nothing"
        } else {
            ""
        }
    ))
}

/// What is left of the privacy budget, in words.
///
/// # Errors
/// When the node's database cannot be read.
pub async fn privacy_budget(config: &Config) -> Result<String, String> {
    let Some(limit) = config.budget.limit() else {
        return Ok("none beyond each task's own: set `budget.epsilon` to keep one".to_owned());
    };
    let (path, now) = (config.database(), SystemTime::now());
    let told = if path.exists() {
        let store = Store::open(&path).await.map_err(|it| it.to_string())?;
        let told = store.told(limit, now, None).await;
        store.close().await;
        told.map_err(|it| it.to_string())?
    } else {
        0.0
    };
    let delta = config.budget.delta;
    let of = config.budget.epsilon.unwrap_or_default();
    let spent = zcdp::epsilon(told, delta);
    let left = zcdp::epsilon((limit.rho - told).max(0.0), delta);
    let when = match config.budget.days {
        0 => "ever".to_owned(),
        days => format!("in the last {days} days"),
    };
    Ok(format!(
        "for one row, at delta {delta}: epsilon {spent:.3} of {of} spent {when}; one more task of \
         up to epsilon {left:.3} fits"
    ))
}

/// Tasks that wait for a steward, if any.
async fn waiting(config: &Config) -> Option<Result<String, String>> {
    let path = config.database();
    if !path.exists() {
        return None;
    }
    let store = Store::open(&path).await.ok()?;
    let requests = store.requests().await;
    store.close().await;
    let pending = requests
        .ok()?
        .iter()
        .filter(|it| it.decision == Decision::Pending)
        .count();
    (pending > 0).then(|| {
        Ok(format!(
            "{pending} wait for a steward: see `collegium node requests`"
        ))
    })
}

/// What the site holds back; `rows` is 0 where there is no table.
fn policy(policy: SitePolicy, rows: usize) -> Result<String, String> {
    let SitePolicy { min_rows, min_cell } = policy;
    if (1..min_rows).contains(&(rows as u64)) {
        return Err(format!(
            "all {rows} rows are held back: they are fewer than `policy.min_rows` = {min_rows}; \
             lower it, or do not take part"
        ));
    }
    Ok(format!("min_rows = {min_rows}, min_cell = {min_cell}"))
}

fn ledger(config: &Config, keys: Option<&NodeKeys>) -> Result<String, String> {
    let Some(keys) = keys else {
        return Err("cannot be verified without the member's key".to_owned());
    };
    let key = LogKey::node(keys.identity.public());
    let entries = Ledger::inspect(&config.ledger(), &key).map_err(|error| error.to_string())?;
    Ok(format!(
        "{entries} entries, as this member's last checkpoint signs them"
    ))
}

async fn coordinator(config: &Config, keys: &NodeKeys) -> Result<String, String> {
    let address = config.coordinator.as_ref().unwrap_or(&keys.coordinator);
    let started = Instant::now();
    let connected = timeout(config.link.connect_timeout.0, keys.client.connect(address)).await;
    match connected {
        Ok(Ok(connection)) => {
            let took = started.elapsed().as_millis();
            connection.finish().await;
            Ok(format!(
                "{address} answers over UDP and accepts this node ({took} ms)"
            ))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "no answer from {address} within {}; check that the coordinator runs there and that \
             firewalls let UDP through to this port",
            config.link.connect_timeout
        )),
    }
}

#[cfg(test)]
mod tests;
