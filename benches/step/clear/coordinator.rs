//! The clear coordinator.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use collegium_automl::ask::Ask;
use collegium_automl::task::Task;
use collegium_coordinator::config::{Config, Sources};
use collegium_coordinator::init;
use collegium_coordinator::ledger::{Action, Entry, Ledger, Outcome};
use collegium_coordinator::spool::{Spool, Spooled};
use collegium_coordinator::stepfiles::IN_DATABASE;
use collegium_coordinator::store::{JournalRecord, Store, TaskRecord};
use collegium_protocol::Digest;
use collegium_protocol::codec::Blob;
use collegium_protocol::ids::{RunId, StepNumber};
use collegium_protocol::limits::{
    MAX_BODY_BYTES, MAX_TO_COORDINATOR_BYTES, MAX_TO_NODE_BYTES, MAX_UPLOAD_HEADER_BYTES,
};
use collegium_protocol::quic::{
    Accepted, Connection, FrameReceiver, FrameSender, Server, ServerConfig,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Down, RECORD, Up, bytes_of, filler};
use crate::consortium::MEMBERS;
use crate::{asks, daemons};

/// Votes and releases that are waited for: Q = t of four.
const QUORUM: usize = 3;

/// What a node did.
enum Heard {
    Said(Up),
    Uploaded(u16, Spooled),
}

struct Coordinator {
    store: Store,
    ledger: Ledger,
    /// Holds the file of large sums.
    directory: PathBuf,
    run: RunId,
    nodes: Vec<FrameSender>,
    events: mpsc::Receiver<Heard>,
}

/// Measures every size, as the real coordinator's search does.
pub fn run(state: PathBuf) {
    daemons::runtime().block_on(async {
        let task = include_str!("../../../examples/hospitals/task.toml");
        let mut coordinator = Coordinator::start(&state, task).await;
        let task = Task::from_toml(task).expect("a task");
        let mut sequence = 0;
        for (weights, steps) in asks::SIZES {
            for step in 0..=steps {
                sequence += 1;
                let ask = asks::ask(&task, sequence, weights);
                let began = Instant::now();
                let sums = coordinator.sum(&ask).await;
                let took = began.elapsed();
                if step == 0 {
                    check(&ask, &sums);
                    println!("numbers {}", ask.numbers());
                } else {
                    println!("took {}", took.as_micros());
                }
            }
            tokio::task::block_in_place(|| daemons::wait("size"));
        }
    });
}

fn check(ask: &Ask, sums: &[f32]) {
    let mut expected = vec![0.0; sums.len()];
    for salt in 0..MEMBERS.len() as u64 {
        for (sum, code) in expected.iter_mut().zip(asks::numbers(ask, salt)) {
            *sum += code as f32;
        }
    }
    // The order of adding shows in the last bits.
    let near = |(sum, expected): (&f32, &f32)| (sum - expected).abs() <= expected * 1e-6;
    assert!(
        sums.iter().zip(&expected).all(near),
        "the sum over all sites"
    );
}

impl Coordinator {
    async fn start(state: &Path, task: &str) -> Self {
        let sources = Sources {
            file: Some(state.join("coordinator.toml")),
            environment: BTreeMap::new(),
            flags: BTreeMap::new(),
        };
        let config = Config::load(&sources).expect("a configuration");
        let keys = init::load(state).expect("keys");
        let server = Server::bind(ServerConfig {
            listen: config.listen,
            identity: keys.tls.clone(),
            authority: keys.authority.certificate().clone(),
            revocations: keys.revocations.clone(),
        });
        let server = server.expect("the port");
        let directory = state.join("clear");
        std::fs::create_dir_all(&directory).expect("a directory");
        let store = Store::open(&directory).await.expect("a store");
        let run = RunId::from_bytes([1; 16]);
        let record = TaskRecord {
            digest: Digest([1; 32]),
            name: "clear".to_owned(),
            source: task.to_owned(),
            submitted_by: "bench".to_owned(),
        };
        let charter = Digest([2; 32]);
        store
            .create_run(run, &record, charter)
            .await
            .expect("a run");
        store.start_run(run).await.expect("starts");
        let spool = Spool::open(&directory, config.spool.memory.0).expect("a spool");
        let address = state.join("run/address");
        std::fs::write(&address, server.local_address().to_string()).expect("an address");
        let (report, events) = mpsc::channel(256);
        let mut nodes = Vec::new();
        while nodes.len() < MEMBERS.len() {
            let Some(Accepted::Known(connection)) = server.accept().await else {
                panic!("a node with a certificate was expected");
            };
            nodes.push(welcome(connection, &spool, &report).await);
        }
        // The server must live as long as its connections.
        std::mem::forget(server);
        Self {
            ledger: Ledger::open(&directory, &keys.signing).expect("a ledger"),
            store,
            directory,
            run,
            nodes,
            events,
        }
    }

    async fn tell(&mut self, message: &Down) {
        for node in &mut self.nodes {
            node.send(message, MAX_TO_NODE_BYTES).await.expect("sends");
        }
    }

    async fn hear(&mut self) -> Heard {
        self.events.recv().await.expect("the nodes live")
    }

    async fn said(&mut self, wanted: impl Fn(&Up) -> bool) {
        let mut count = 0;
        while count < QUORUM {
            if let Heard::Said(up) = self.hear().await {
                count += usize::from(wanted(&up));
            }
        }
    }

    /// One step; the totals are in the journal when this returns.
    async fn sum(&mut self, ask: &Ask) -> Vec<f32> {
        let bytes = ask.to_bytes().expect("an ask");
        let digest = Digest(ask.digest().expect("a digest").0);
        let (run, step) = (self.run, StepNumber(ask.sequence.into()));
        let record = [bytes.as_slice(), &[7; RECORD]].concat();
        let opened = self
            .store
            .open_step(run, step, ask.sequence, digest, &record);
        opened.await.expect("opens");
        let ask_bytes = Blob(bytes);
        self.tell(&Down::Announce {
            step: step.0,
            ask: ask_bytes,
        })
        .await;
        let sum = self.collect(ask.numbers()).await;

        self.propose(step, &sum, &record).await;
        self.tell(&Down::Propose(filler(RECORD))).await;
        self.said(|up| matches!(up, Up::Vote(_))).await;
        let certified = self.store.certify_step(run, step, &record);
        certified.await.expect("certifies");
        self.tell(&Down::Certificate(filler(RECORD))).await;
        self.said(|up| matches!(up, Up::Release(_))).await;

        let ledger = self.ledger.clone();
        let entry = Entry::new(Action::Step, "coordinator", "run/step", Outcome::Done)
            .evidence(json!({"of": "x".repeat(500)}));
        let appended = spawn_blocking(move || ledger.append(entry)).await;
        appended.expect("a thread").expect("appends");
        let totals = bytes_of(&sum);
        let journaled = JournalRecord {
            ask: digest,
            totals,
        };
        let recorded = self.store.record_journal(run, ask.sequence, journaled);
        recorded.await.expect("journals");
        sum
    }

    /// Bodies are added as they come; every upload is told to every node, which answers.
    async fn collect(&mut self, numbers: usize) -> Vec<f32> {
        let sum = Arc::new(Mutex::new(vec![0.0; numbers]));
        let mut adding = Vec::new();
        let (mut uploads, mut verdicts) = (0, 0);
        while uploads < MEMBERS.len() || verdicts < MEMBERS.len() * MEMBERS.len() {
            match self.hear().await {
                Heard::Uploaded(dealer, body) => {
                    uploads += 1;
                    let sum = Arc::clone(&sum);
                    adding.push(spawn_blocking(move || {
                        add(&mut sum.lock().expect("a sum"), body)
                    }));
                    self.tell(&Down::Deliver { dealer }).await;
                }
                Heard::Said(Up::Verdict { .. }) => verdicts += 1,
                // Votes and releases above the quorum of the step before.
                Heard::Said(_) => {}
            }
        }
        for one in adding {
            one.await.expect("adds");
        }
        Arc::into_inner(sum)
            .expect("all are done")
            .into_inner()
            .expect("a sum")
    }

    /// The sum and the proposal, synced as the real coordinator does.
    async fn propose(&self, step: StepNumber, sum: &[f32], record: &[u8]) {
        let bytes = bytes_of(sum);
        if bytes.len() as u64 <= IN_DATABASE {
            let proposed = self
                .store
                .propose_step(self.run, step, Some(&bytes), record);
            return proposed.await.expect("proposes");
        }
        let file = self.directory.join("sum");
        let written = spawn_blocking(move || -> std::io::Result<()> {
            let mut file = std::fs::File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(file)?;
            file.write_all(&bytes)?;
            file.set_len(bytes.len() as u64)?;
            file.sync_data()
        });
        let proposed = self.store.propose_step(self.run, step, None, record);
        let (written, proposed) = tokio::join!(written, proposed);
        written.expect("a thread").expect("writes");
        proposed.expect("proposes");
    }
}

fn add(sum: &mut [f32], mut body: Spooled) {
    let mut values = sum.iter_mut();
    body.for_each_chunk(|piece| {
        // The bytes first: what they do not use of the values is for the next piece.
        for (bytes, value) in piece.as_chunks::<4>().0.iter().zip(values.by_ref()) {
            *value += f32::from_le_bytes(*bytes);
        }
        std::io::Result::Ok(())
    })
    .expect("reads");
}

/// Listens to a node; gives the sending half of its control stream.
async fn welcome(
    connection: Connection,
    spool: &Spool,
    report: &mpsc::Sender<Heard>,
) -> FrameSender {
    let stream = connection.accept().await.expect("a stream");
    let (_, sender, mut receiver) = stream.identify().await.expect("a control stream");
    let said = report.clone();
    tokio::spawn(async move {
        while let Ok(up) = receiver.expect::<Up>(MAX_TO_COORDINATOR_BYTES).await {
            if said.send(Heard::Said(up)).await.is_err() {
                return;
            }
        }
    });
    let (spool, report) = (spool.clone(), report.clone());
    tokio::spawn(async move {
        while let Ok(stream) = connection.accept_upload().await {
            let body = receive(stream, &spool).await;
            if report.send(Heard::Uploaded(0, body)).await.is_err() {
                return;
            }
        }
    });
    sender
}

async fn receive(mut stream: FrameReceiver, spool: &Spool) -> Spooled {
    let length: u64 = stream
        .expect(MAX_UPLOAD_HEADER_BYTES)
        .await
        .expect("a header");
    let mut writer = spool.writer(length).expect("starts");
    let mut body = stream.body(length, MAX_BODY_BYTES).expect("a body");
    while let Some(chunk) = body.next_chunk().await.expect("arrives") {
        writer.write(chunk).expect("writes");
    }
    let _: Blob = stream.expect(1024).await.expect("a trailer");
    stream.end().await.expect("an end");
    writer.finish()
}
