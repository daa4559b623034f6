//! The clear node.

use std::path::PathBuf;
use std::sync::Arc;

use collegium_automl::ask::Ask;
use collegium_node::keys::NodeKeys;
use collegium_node::ledger::{Action, Entry, Ledger, Outcome};
use collegium_node::store::Store;
use collegium_protocol::limits::{
    BODY_CHUNK_BYTES, MAX_ASK_BYTES, MAX_TO_COORDINATOR_BYTES, MAX_TO_NODE_BYTES,
    MAX_UPLOAD_HEADER_BYTES,
};
use collegium_protocol::quic::{Connection, StreamKind};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{Down, RECORD, Up, bytes_of, filler};
use crate::{asks, daemons};

/// Serves until it is killed.
pub fn run(state: PathBuf) {
    daemons::runtime().block_on(serve(state));
}

struct Node {
    store: Store,
    ledger: Ledger,
    connection: Connection,
    salt: u64,
}

async fn serve(state: PathBuf) {
    let keys = NodeKeys::load(&state).expect("keys");
    let connection = keys.client.connect(&keys.coordinator).await;
    let connection = connection.expect("a connection");
    let own = state.join("clear");
    std::fs::create_dir_all(&own).expect("a directory");
    let node = Arc::new(Node {
        store: Store::open(&own.join("node.db")).await.expect("a store"),
        ledger: Ledger::open(&own.join("ledger"), &keys.identity).expect("a ledger"),
        connection: connection.clone(),
        salt: daemons::salt(&state),
    });
    let (mut sender, mut receiver) = connection
        .open(StreamKind::Control)
        .await
        .expect("a control stream");
    loop {
        let message: Down = match receiver.expect(MAX_TO_NODE_BYTES).await {
            Ok(message) => message,
            Err(_) => return,
        };
        let answer = match message {
            Down::Announce { step, ask } => {
                // Beside the session, as the real node's trainer and upload are.
                let node = Arc::clone(&node);
                tokio::spawn(async move { node.answer(step, ask.as_slice()).await });
                continue;
            }
            Down::Deliver { dealer } => Up::Verdict { dealer },
            Down::Propose(_) => {
                // The real record holds a sum of shares as well.
                node.durable(&[("committee", 33 << 10)], Action::Vote).await;
                Up::Vote(filler(200))
            }
            Down::Certificate(_) => {
                node.durable(&[("release", RECORD)], Action::Release).await;
                Up::Release(filler(200))
            }
        };
        sender
            .send(&answer, MAX_TO_COORDINATOR_BYTES)
            .await
            .expect("sends");
    }
}

impl Node {
    /// Records in the store and an entry in the ledger, synced side by side.
    async fn durable(&self, records: &[(&str, usize)], action: Action) {
        let rows: Vec<_> = records
            .iter()
            .map(|(key, bytes)| ((*key).to_owned(), vec![7; *bytes]))
            .collect();
        let ledger = self.ledger.clone();
        let entry =
            Entry::new(action, "run/step", Outcome::Done).evidence(json!({"of": "x".repeat(300)}));
        let appended = spawn_blocking(move || ledger.append(entry));
        let (stored, appended) = tokio::join!(self.store.put_records(&rows), appended);
        stored.expect("stores");
        appended.expect("a thread").expect("appends");
    }

    async fn answer(&self, _step: u64, ask: &[u8]) {
        let ask = Ask::from_bytes(ask, MAX_ASK_BYTES).expect("an ask");
        let salt = self.salt;
        let computing =
            spawn_blocking(move || -> Vec<f32> { asks::converted(&ask, salt, |code| code as f32) });
        let records = [("step", 100), ("committee", 200)];
        let (values, ()) = tokio::join!(computing, self.durable(&records, Action::Ask));
        let values = values.expect("computes");
        let mut stream = self.connection.open_upload().await.expect("a stream");
        let length = values.len() as u64 * 4;
        stream
            .send(&length, MAX_UPLOAD_HEADER_BYTES)
            .await
            .expect("sends");
        for piece in values.chunks(BODY_CHUNK_BYTES / 4) {
            stream.write_body(bytes_of(piece)).await.expect("sends");
        }
        stream.send(&filler(64), 1024).await.expect("sends");
        stream.delivered().await.expect("delivered");
    }
}
