//! Domain-separation strings: a digest or signature made for one purpose never passes for
//! another. Most stand in `collegium-crypto`; here are those that only this crate uses. A change
//! of what is hashed under a string is a new version of it.

pub use collegium_crypto::transcript::domain::*;

/// The coordinator's signature over an announcement.
pub const ANNOUNCE: &str = "collegium/announce/v1";
/// A member's commitment to its part of the beacon.
pub const BEACON_COMMITMENT: &str = "collegium/beacon-commitment/v1";
/// The beacon that draws a committee.
pub const BEACON: &str = "collegium/beacon/v1";
/// A seat's complaint about the share that a dealer sealed to it.
pub const COMPLAINT: &str = "collegium/complaint/v1";
/// One sealed share in the list of an upload's shares.
pub const SHARE_LEAF: &str = "collegium/sealed-share-leaf/v2";
/// What a sealed share is bound to (HPKE's associated data).
pub const SHARE_BINDING: &str = "collegium/share-binding/v2";
/// A proposed contributing set with what each contributor uploaded: H(U).
pub const PROPOSAL: &str = "collegium/proposal/v1";
/// The bytes of a released share sum.
pub const SHARE_SUM: &str = "collegium/share-sum/v1";
/// The coordinator's signature over what a step opened to.
pub const OPENED_STEP: &str = "collegium/opened-step/v1";
/// A contributor's signature over the linear hash of its body.
pub const BODY_HASH: &str = "collegium/body-hash/v1";
/// The name of a step's evidence.
pub const EVIDENCE: &str = "collegium/evidence/v1";
/// A set of members under a later version of the charter, by their keys.
pub const COHORT_BY_KEY: &str = "collegium/cohort-by-key/v1";
/// A joining site's signature over its request.
pub const JOIN: &str = "collegium/join/v2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_purposes_share_a_string() {
        let all = [
            ANNOUNCE,
            BEACON,
            BEACON_COMMITMENT,
            COMPLAINT,
            SHARE_LEAF,
            SHARE_BINDING,
            PROPOSAL,
            OPENED_STEP,
            BODY_HASH,
            SHARE_SUM,
            ASK,
            BODY,
            CHARTER,
            CHARTER_SIGNATURE,
            COHORT,
            COHORT_BY_KEY,
            CONTEXT,
            EVIDENCE,
            JOIN,
            MASK,
            RELEASE,
            RESULT,
            SEALED_SHARE,
            SHAPE,
            SHARES,
            TASK,
            UPLOAD,
            VOTE,
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
