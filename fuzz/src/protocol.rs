//! Messages, records, charters, certificates and codes. The codec promises one byte string for
//! one value, so whatever it accepts must be written back as it came.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::SystemTime;

use collegium_protocol::charter::SignedCharter;
use collegium_protocol::codec::{self, CodecError};
use collegium_protocol::ids::{MemberName, RunId};
use collegium_protocol::ledger::proof::Proof;
use collegium_protocol::ledger::tile::TileName;
use collegium_protocol::ledger::{LogKey, SignedCheckpoint, entry, read};
use collegium_protocol::limits::{
    MAX_ADMIN_REQUEST_BYTES, MAX_ADMIN_RESPONSE_BYTES, MAX_CHARTER_BYTES, MAX_JOIN_REQUEST_BYTES,
    MAX_JOIN_RESPONSE_BYTES, MAX_NODE_RECORD_BYTES, MAX_OBJECT_REQUEST_BYTES,
    MAX_OBJECT_RESPONSE_BYTES, MAX_RUN_RECORD_BYTES, MAX_TILE_REQUEST_BYTES,
    MAX_TILE_RESPONSE_BYTES, MAX_TO_COORDINATOR_BYTES, MAX_TO_NODE_BYTES, MAX_UPLOAD_HEADER_BYTES,
    MAX_UPLOAD_TRAILER_BYTES,
};
use collegium_protocol::message::admin::{AdminRequest, AdminResponse};
use collegium_protocol::message::join::{EnrollRequest, JoinRequest, JoinResponse};
use collegium_protocol::message::ledger::{TileRequest, TileResponse};
use collegium_protocol::message::session::{ObjectRequest, ObjectResponse, ToCoordinator, ToNode};
use collegium_protocol::message::step::{
    SealedShare, UploadHeader, UploadTrailer, cohort_digest, shares_digest,
};
use collegium_protocol::pki::{
    Authority, AuthorityCertificate, Fingerprint, InviteCode, Peer, Role, Serial, Subject,
};
use collegium_protocol::step::{NodeRecord, RunRecord, StepEvidence};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Decodes one value, strictly. Printing it must not fail either: logs do that.
fn decoded<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8], cap: usize) -> Option<T> {
    match codec::decode::<T>(bytes, cap) {
        Ok(value) => {
            assert!(bytes.len() <= cap);
            assert_eq!(codec::encode(&value).expect("it was decoded"), bytes);
            assert!(!format!("{value:?}").is_empty());
            Some(value)
        }
        Err(CodecError::Unencodable(why)) => panic!("decoded and not encodable: {why}"),
        Err(_) => None,
    }
}

/// From the coordinator, on the control stream.
pub fn to_node(bytes: &[u8]) {
    match decoded::<ToNode>(bytes, MAX_TO_NODE_BYTES) {
        Some(ToNode::Charter(charter)) => drop(charter.verify(None)),
        Some(ToNode::Propose(propose)) => {
            let _ = (propose.digest(), cohort_digest(&propose.members()));
        }
        Some(ToNode::Deliver(deliver)) => {
            let _ = (deliver.share.leaf(), shares_digest(&deliver.leaves));
        }
        _ => {}
    }
}

/// From a node, on the control stream.
pub fn to_coordinator(bytes: &[u8]) {
    decoded::<ToCoordinator>(bytes, MAX_TO_COORDINATOR_BYTES);
}

/// First and last frame of an upload's stream.
pub fn upload(bytes: &[u8]) {
    decoded::<UploadHeader>(bytes, MAX_UPLOAD_HEADER_BYTES);
    if let Some(trailer) = decoded::<UploadTrailer>(bytes, MAX_UPLOAD_TRAILER_BYTES) {
        let leaves: Vec<_> = trailer.shares.iter().map(SealedShare::leaf).collect();
        let _ = shares_digest(&leaves);
    }
}

/// Both directions of an object stream.
pub fn object_stream(bytes: &[u8]) {
    decoded::<ObjectRequest>(bytes, MAX_OBJECT_REQUEST_BYTES);
    decoded::<ObjectResponse>(bytes, MAX_OBJECT_RESPONSE_BYTES);
}

/// Both directions of a join stream: the one that needs no certificate.
pub fn join(bytes: &[u8]) {
    if let Some(request) = decoded::<JoinRequest>(bytes, MAX_JOIN_REQUEST_BYTES) {
        let _ = request.verify();
    }
    decoded::<EnrollRequest>(bytes, MAX_JOIN_REQUEST_BYTES);
    decoded::<JoinResponse>(bytes, MAX_JOIN_RESPONSE_BYTES);
}

/// Both directions of an administration stream.
pub fn admin(bytes: &[u8]) {
    decoded::<AdminRequest>(bytes, MAX_ADMIN_REQUEST_BYTES);
    decoded::<AdminResponse>(bytes, MAX_ADMIN_RESPONSE_BYTES);
    if let Some(request) = decoded::<TileRequest>(bytes, MAX_TILE_REQUEST_BYTES) {
        // What the coordinator opens is inside of its ledger.
        let path = request.tile.to_string();
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        assert!(
            path.starts_with("tile/") && path.split('/').all(plain),
            "{path}"
        );
    }
    decoded::<TileResponse>(bytes, MAX_TILE_RESPONSE_BYTES);
}

/// A signed charter, as stored and sent.
pub fn charter(bytes: &[u8]) {
    if let Some(charter) = decoded::<SignedCharter>(bytes, MAX_CHARTER_BYTES) {
        let _ = charter.verify(None);
    }
}

/// A signed charter as the file for people. What reads back from it is the same charter.
pub fn charter_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(charter) = SignedCharter::from_toml(text) else {
        return;
    };
    let written = charter.to_toml().expect("it was read");
    assert_eq!(SignedCharter::from_toml(&written), Ok(charter.clone()));
    let _ = charter.verify(None);
}

/// The proof of a step's totals, from whoever holds the file.
pub fn evidence(bytes: &[u8]) {
    if let Ok(evidence) = StepEvidence::from_bytes(bytes) {
        assert_eq!(evidence.to_bytes().expect("it was read"), bytes);
        let _ = evidence.commitment();
    }
}

/// A node's record in its own database.
pub fn node_record(bytes: &[u8]) {
    if let Some(record) = decoded::<NodeRecord>(bytes, MAX_NODE_RECORD_BYTES) {
        assert!(!record.key().is_empty());
    }
}

/// The coordinator's record of a step in its own database.
pub fn run_record(bytes: &[u8]) {
    if let Some(record) = decoded::<RunRecord>(bytes, MAX_RUN_RECORD_BYTES) {
        let _ = (record.is_certified(), record.step(), record.shape.codes());
    }
}

/// The line that an operator hands to a new member, typed or pasted by people.
pub fn invitation(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(code) = text.parse::<InviteCode>() {
        // Numbers may be written with leading zeros; the line that is written has none.
        let line = code.to_line();
        let again: InviteCode = line.parse().expect("its own line");
        assert_eq!(again.to_line(), line);
    }
}

/// A certificate, as DER (from the handshake) and as PEM (from a file or the coordinator), and a
/// request for one (from a site that joins).
pub fn certificate(bytes: &[u8]) {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let authority = AUTHORITY
        .get_or_init(|| Authority::create("fuzz", SystemTime::now()).expect("an authority"));
    let subject = Subject::new(Role::Node, "fuzz").expect("a subject");
    let _ = authority.sign_request(bytes, &subject, SystemTime::now());
    if let Ok(peer) = Peer::from_der(bytes) {
        assert!(peer.subject.name.len() <= 40);
        assert!(!format!("{peer:?}").is_empty());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = AuthorityCertificate::from_pem(text);
    }
}

/// Files of a ledger: checkpoints, proofs, pending entries, names of tiles, entries.
pub fn ledger(bytes: &[u8]) {
    if let Ok(note) = SignedCheckpoint::parse(bytes) {
        assert_eq!(note.to_text().as_bytes(), bytes);
        let own = note.without_cosignatures().to_text();
        assert!(SignedCheckpoint::parse(own.as_bytes()).is_ok());
        let origin = &note.checkpoint().origin;
        if let Some(log) = LogKey::from_coordinator(origin) {
            assert_eq!(log.origin(), origin);
        }
    }
    let mut end = 0;
    for record in read::records(bytes) {
        assert!(record.end > end && record.end <= bytes.len());
        end = record.end;
        let _ = SignedCheckpoint::parse(record.note);
    }
    if let Ok(value) = entry::parse(bytes) {
        assert_eq!(entry::canonical(&value).expect("it was parsed"), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(proof) = Proof::parse(text) {
        assert_eq!(proof.to_text(), text);
    }
    if let Some(name) = TileName::parse(text) {
        assert_eq!(name.to_string(), text);
    }
}

/// Names, ids, serial numbers and fingerprints, as people type them.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = text.parse::<MemberName>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(run) = text.parse::<RunId>() {
        assert_eq!(run.to_string(), text);
    }
    if let Ok(serial) = text.parse::<Serial>() {
        assert_eq!(serial.to_string().parse::<Serial>().ok(), Some(serial));
    }
    if let Ok(print) = text.parse::<Fingerprint>() {
        assert_eq!(print.to_string().parse::<Fingerprint>().ok(), Some(print));
    }
}
