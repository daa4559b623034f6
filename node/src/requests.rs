//! The steward's side of the site's policy: tasks that wait for a word, and the word.
//!
//! It works on the node's database, whether the daemon runs or not: a running daemon finds the
//! word within a second, another one when the run is offered again.

use collegium_protocol::Digest;

use crate::config::Config;
use crate::policy::Used;
use crate::store::{Decision, Request, Store, StoreError};

/// Longest name or reason that is kept: the coordinator gets the reason in one line.
const MAX_WORDS: usize = 200;

/// Why there is no such request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node never ran here.
    #[error("there is no database in {0}: the node never ran with this state directory")]
    NoDatabase(String),
    /// No request begins with these digits.
    #[error("no request begins with `{0}`; `collegium node requests --all` lists them")]
    Unknown(String),
    /// Several do.
    #[error("several requests begin with `{0}`; give more digits")]
    Ambiguous(String),
    /// Too much text.
    #[error("{0} has more than {MAX_WORDS} bytes; shorten it")]
    TooLong(&'static str),
}

/// A request, and what this site gave for tasks of its name.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request.
    pub request: Request,
    /// What was given in the run that was offered last, and in all runs.
    pub used: Used,
}

/// All requests, the oldest first.
///
/// # Errors
/// [`RequestError`], when there is no database or it cannot be read.
pub async fn list(config: &Config) -> Result<Vec<Asked>, RequestError> {
    let store = open(config).await?;
    let listed = read(&store).await;
    store.close().await;
    Ok(listed?)
}

async fn read(store: &Store) -> Result<Vec<Asked>, StoreError> {
    let mut asked = Vec::new();
    for request in store.requests().await? {
        let used = store.given(request.run, &name_of(&request)).await?;
        asked.push(Asked { request, used });
    }
    Ok(asked)
}

/// The task's name; empty for a task that this version cannot read.
fn name_of(request: &Request) -> String {
    let text = std::str::from_utf8(&request.task).unwrap_or_default();
    collegium_automl::task::Task::from_toml(text).map_or_else(|_| String::new(), |task| task.name)
}

/// Writes a steward's word about the request whose id begins with `id`; gives the request.
///
/// # Errors
/// [`RequestError`].
pub async fn decide(
    config: &Config,
    id: &str,
    decision: Decision,
    steward: &str,
    reason: &str,
) -> Result<Request, RequestError> {
    for (what, text) in [("the steward's name", steward), ("the reason", reason)] {
        if text.len() > MAX_WORDS {
            return Err(RequestError::TooLong(what));
        }
    }
    let store = open(config).await?;
    let decided = write(&store, id, decision, steward, reason).await;
    store.close().await;
    decided
}

async fn write(
    store: &Store,
    id: &str,
    decision: Decision,
    steward: &str,
    reason: &str,
) -> Result<Request, RequestError> {
    let id: Digest = find(&store.requests().await?, id)?;
    store.decide_request(id, decision, steward, reason).await?;
    let found = store.request(id).await?;
    found.ok_or_else(|| RequestError::Unknown(id.to_string()))
}

fn find(requests: &[Request], start: &str) -> Result<Digest, RequestError> {
    let mut found = requests
        .iter()
        .filter(|it| !start.is_empty() && it.id.to_string().starts_with(start));
    match (found.next(), found.next()) {
        (Some(request), None) => Ok(request.id),
        (Some(_), Some(_)) => Err(RequestError::Ambiguous(start.to_owned())),
        (None, _) => Err(RequestError::Unknown(start.to_owned())),
    }
}

async fn open(config: &Config) -> Result<Store, RequestError> {
    let path = config.database();
    if !path.exists() {
        return Err(RequestError::NoDatabase(config.state.display().to_string()));
    }
    Ok(Store::open(&path).await?)
}

#[cfg(test)]
mod tests {
    use collegium_protocol::RunId;

    use super::*;

    #[tokio::test]
    async fn requests_survive_and_are_found_by_the_first_digits() {
        let directory = tempfile::tempdir().expect("tempdir");
        let config = Config {
            state: directory.path().to_owned(),
            ..Config::default()
        };
        let none = list(&config).await.expect_err("no database");
        assert!(matches!(none, RequestError::NoDatabase(_)), "{none}");

        let store = Store::open(&config.database()).await.expect("opens");
        let run = RunId::from_bytes([1; 16]);
        let task = b"name = \"heart\"\ntarget = \"y\"\n";
        let columns = ["y".to_owned(), "age".to_owned()];
        let request = Request::new(run, task, &columns, 4, 1000);
        let kept = store.put_request(&request).await.expect("writes");
        assert_eq!(kept, request);
        // Another column is another request.
        let wider = Request::new(run, task, &columns[..1], 4, 2000);
        assert_ne!(wider.id, request.id);
        store.put_request(&wider).await.expect("writes");
        store.add_given(run, "heart", 500).await.expect("counts");
        store.close().await;

        let listed = list(&config).await.expect("reads");
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].request, request);
        assert_eq!(
            (listed[0].used.run_steps, listed[0].used.run_bytes),
            (1, 500)
        );

        let id = request.short_id();
        let decided = decide(&config, &id, Decision::Approved, "ann", "").await;
        let decided = decided.expect("decides");
        assert_eq!(
            (decided.decision, decided.steward.as_str()),
            (Decision::Approved, "ann")
        );
        // Offered again in a later round: the answer stays, the run is the new one.
        let store = Store::open(&config.database()).await.expect("opens");
        let later = RunId::from_bytes([2; 16]);
        let again = Request::new(later, task, &columns, 4, 9000);
        let kept = store.put_request(&again).await.expect("writes");
        assert_eq!(
            (kept.decision, kept.run, kept.asked_ms),
            (Decision::Approved, later, 1000)
        );
        store.close().await;

        for (id, part) in [("", "no request"), ("zz", "no request")] {
            let error = decide(&config, id, Decision::Refused, "ann", "").await;
            let error = error.expect_err("no such request").to_string();
            assert!(error.contains(part), "{error}");
        }
        let long = "x".repeat(MAX_WORDS + 1);
        let error = decide(&config, &id, Decision::Refused, "ann", &long).await;
        assert!(matches!(error, Err(RequestError::TooLong("the reason"))));
        assert!(matches!(
            find(&[request.clone(), request], &id),
            Err(RequestError::Ambiguous(_))
        ));
    }
}
