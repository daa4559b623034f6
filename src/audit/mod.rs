//! What an auditor does with copies of ledgers: no network, no daemon, and no trust in anything but
//! the charter.
//!
//! - [`trust`]: the charter, and whose ledger a folder is;
//! - [`verify`]: the coordinator's ledger, members' ledgers, and whether they agree ([`cross`]);
//! - [`select`]: entries by time, actor, action, task, run and member;
//! - [`export`]: entries for other programs and for people.

pub(crate) mod cross;
pub(crate) mod export;
pub(crate) mod select;
pub(crate) mod trust;
pub(crate) mod verify;
