//! The trainer: one thread of its own that holds the site's rows and does all computing on them.
//!
//! Asks go in, answers come out; nothing else touches the rows. The daemon's other tasks stay
//! responsive while a model trains, and a panic in the computing becomes a refusal of that one
//! step: the thread goes on, and the run's site is built anew for the next ask.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use collegium_automl::ask::{Answer, Ask};
use collegium_automl::data::Withheld;
use collegium_automl::noise::NoiseKey;
use collegium_automl::object::ObjectId;
use collegium_automl::site::Site;
use collegium_automl::task::Task;
use collegium_protocol::{Digest, RunId};
use tokio::sync::oneshot;

/// Stack of the trainer's thread: the networks' graphs recurse once for each layer, and 16 MiB
/// is eight times the system's default.
const STACK_BYTES: usize = 16 << 20;

/// Why the trainer has no result. The text may hold file and column names and stays at the
/// site, in its log; peers get a stable code only.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// The task cannot be read.
    #[error("the task cannot be read: {0}")]
    Task(String),
    /// The site's data does not fit the task or cannot be read.
    #[error("{0}")]
    Data(String),
    /// The site's own rules keep the rows back; the coordinator may read why.
    #[error("{0}")]
    Withheld(String),
    /// The ask cannot be answered.
    #[error("the ask cannot be answered: {0}")]
    Ask(String),
    /// The computing panicked; the run's site is built anew for the next ask.
    #[error("the computing failed inside: {0}; please report this with the log above")]
    Panicked(String),
    /// The run was never opened here.
    #[error("run {0} is not open here")]
    NotOpen(RunId),
    /// The thread is gone.
    #[error("the trainer has stopped")]
    Stopped,
}

/// A site for one task, and the hash of the rows that it answers from.
pub struct OpenSite {
    /// The site.
    pub site: Box<dyn Site>,
    /// Hash of the mapped rows.
    pub data: Digest,
    /// How many rows there are, for this site's log only.
    pub rows: usize,
    /// The columns that the task may read here.
    pub columns: Vec<String>,
}

/// What the trainer needs from the site's data; tests put another in its place.
pub trait Workshop: Send + 'static {
    /// Reads the rows for `task`.
    ///
    /// # Errors
    /// [`TrainerError::Data`], with the file, the column and what to do.
    fn open(&mut self, task: &Task) -> Result<OpenSite, TrainerError>;

    /// Compares the champion with this site's own model on this site's own test rows: the
    /// JSON text of the report.
    ///
    /// # Errors
    /// When the rows or the champion cannot be read.
    fn report(&mut self, task: &Task, champion: &[u8]) -> Result<serde_json::Value, TrainerError>;
}

/// What opening a run says about the site's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Hash of the mapped rows.
    pub data: Digest,
    /// How many rows there are, for this site's log only.
    pub rows: usize,
    /// The columns that the task may read here.
    pub columns: Vec<String>,
}

/// An answer, and what this site should know about it.
#[derive(Debug)]
pub struct Answered {
    /// What peers get, encrypted.
    pub answer: Answer,
    /// Hash of the rows it was computed from.
    pub data: Digest,
    /// What the site's own limits kept out of it.
    pub withheld: BTreeSet<Withheld>,
}

type Job = Box<dyn FnOnce(&mut Room) + Send>;

/// Handle of the trainer's thread. The thread ends when all handles are gone.
#[derive(Clone)]
pub struct Trainer {
    jobs: mpsc::Sender<Job>,
}

impl Trainer {
    /// Starts the thread. At most `open_runs` runs keep their rows in memory.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(workshop: impl Workshop, open_runs: usize) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let mut room = Room {
            workshop: Box::new(workshop),
            open_runs: open_runs.max(1),
            tasks: BTreeMap::new(),
            sites: VecDeque::new(),
        };
        thread::Builder::new()
            .name("collegium-trainer".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                for job in inbox {
                    job(&mut room);
                }
            })?;
        Ok(Self { jobs })
    }

    /// Reads the site's rows for a run's task. Asking again answers from memory.
    ///
    /// # Errors
    /// [`TrainerError`], when the task or the rows cannot be used.
    pub async fn open(&self, run: RunId, task: Vec<u8>) -> Result<Opened, TrainerError> {
        self.call(run, move |room| {
            let text = std::str::from_utf8(&task)
                .map_err(|_| TrainerError::Task("it is not UTF-8 text".to_owned()))?;
            let task =
                Task::from_toml(text).map_err(|error| TrainerError::Task(error.to_string()))?;
            room.tasks.insert(run, task);
            let site = room.site(run)?;
            Ok(Opened {
                data: site.data,
                rows: site.rows,
                columns: site.columns.clone(),
            })
        })
        .await
    }

    /// The objects that the site lacks for `ask`.
    ///
    /// # Errors
    /// [`TrainerError`], when the run is not open or its rows cannot be read again.
    pub async fn missing(&self, run: RunId, ask: Ask) -> Result<Vec<ObjectId>, TrainerError> {
        self.call(run, move |room| Ok(room.site(run)?.site.missing(&ask)))
            .await
    }

    /// Gives the site an object; returns the hash of its bytes.
    ///
    /// # Errors
    /// [`TrainerError::Ask`], when the bytes are not an object.
    pub async fn insert(&self, run: RunId, bytes: Vec<u8>) -> Result<ObjectId, TrainerError> {
        self.call(run, move |room| {
            let inserted = room.site(run)?.site.insert(&bytes);
            inserted.map_err(|error| TrainerError::Ask(error.to_string()))
        })
        .await
    }

    /// The columns whose cells the answer to `ask` depends on; the objects that it names are here.
    ///
    /// # Errors
    /// [`TrainerError`], when the run is not open or an object is missing.
    pub async fn columns(&self, run: RunId, ask: Ask) -> Result<BTreeSet<String>, TrainerError> {
        self.call(run, move |room| {
            let columns = room.site(run)?.site.columns(&ask);
            columns.map_err(|error| TrainerError::Ask(error.to_string()))
        })
        .await
    }

    /// Computes the answer, under differential privacy with noise from this key, of which so many
    /// shares are in every sum from members who do not collude.
    ///
    /// # Errors
    /// [`TrainerError`]; a panic is one of them.
    pub async fn answer(
        &self,
        run: RunId,
        ask: Ask,
        noise: Option<(NoiseKey, u16)>,
    ) -> Result<Answered, TrainerError> {
        self.call(run, move |room| {
            let open = room.site(run)?;
            if let Some((key, shares)) = noise {
                open.site.noise_with(key, shares);
            }
            let answered = open.site.answer(&ask);
            let answer = answered.map_err(|error| TrainerError::Ask(error.to_string()))?;
            Ok(Answered {
                answer,
                data: open.data,
                withheld: open.site.withheld(&ask),
            })
        })
        .await
    }

    /// The champion beside this site's own model, on this site's test rows.
    ///
    /// # Errors
    /// [`TrainerError`]; a panic is one of them.
    pub async fn report(
        &self,
        run: RunId,
        champion: Vec<u8>,
    ) -> Result<serde_json::Value, TrainerError> {
        self.call(run, move |room| {
            let task = room.tasks.get(&run).ok_or(TrainerError::NotOpen(run))?;
            room.workshop.report(task, &champion)
        })
        .await
    }

    /// Forgets a run's rows.
    pub fn close(&self, run: RunId) {
        let forget: Job = Box::new(move |room| {
            room.tasks.remove(&run);
            room.forget(run);
        });
        // A stopped trainer has forgotten already.
        let _ = self.jobs.send(forget);
    }

    /// Runs `work` on the thread; a panic inside drops the run's site and becomes an error.
    async fn call<T: Send + 'static>(
        &self,
        run: RunId,
        work: impl FnOnce(&mut Room) -> Result<T, TrainerError> + Send + 'static,
    ) -> Result<T, TrainerError> {
        let (reply, result) = oneshot::channel();
        let job: Job = Box::new(move |room| {
            let result = catch_unwind(AssertUnwindSafe(|| work(room)));
            let result = result.unwrap_or_else(|panic| {
                // Whatever the panic left half-done is thrown away with the site.
                room.forget(run);
                Err(TrainerError::Panicked(panic_text(panic.as_ref())))
            });
            // The asker may have given up, for instance because the connection broke.
            let _ = reply.send(result);
        });
        self.jobs.send(job).map_err(|_| TrainerError::Stopped)?;
        result.await.map_err(|_| TrainerError::Stopped)?
    }
}

/// What lives on the thread.
struct Room {
    workshop: Box<dyn Workshop>,
    open_runs: usize,
    tasks: BTreeMap<RunId, Task>,
    /// The most recently used last.
    sites: VecDeque<(RunId, OpenSite)>,
}

impl Room {
    /// The run's site, read again if it was pushed out or lost to a panic.
    fn site(&mut self, run: RunId) -> Result<&mut OpenSite, TrainerError> {
        let found = self.sites.iter().position(|(id, _)| *id == run);
        let entry = match found.and_then(|at| self.sites.remove(at)) {
            Some(entry) => entry,
            None => {
                let task = self.tasks.get(&run).ok_or(TrainerError::NotOpen(run))?;
                let open = self.workshop.open(task)?;
                while self.sites.len() >= self.open_runs {
                    self.sites.pop_front();
                }
                (run, open)
            }
        };
        self.sites.push_back(entry);
        let last = self.sites.back_mut().map(|(_, open)| open);
        last.ok_or(TrainerError::NotOpen(run))
    }

    fn forget(&mut self, run: RunId) {
        self.sites.retain(|(id, _)| *id != run);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests;
