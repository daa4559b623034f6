//! What a coordinator shows after an opening: true, or with one total changed.

use collegium_crypto::glwe::{self, Opened, SummedKey};
use collegium_crypto::shamir;
use collegium_protocol::Blob;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Certificate, Propose, Release, Vote};
use collegium_protocol::message::verify::{EvidenceReady, OpenedStep};
use collegium_protocol::step::{Statements, StepEvidence, StepPlan};

use super::{Script, Upload, certificate, share_sums};

impl Script {
    /// Commits to what the sum opens to, with `more` added to the first total, gathers every
    /// node's hash, and shows the evidence.
    pub async fn prove(
        &mut self,
        plan: &StepPlan,
        uploads: &[Upload],
        (propose, votes): (&Propose, &[Vote]),
        releases: &[Release],
        more: u64,
    ) {
        let (key, mut opened) = self.opened(plan, uploads, releases);
        let delta = plan.packing().segments()[0].delta;
        opened.phases[0] += more * delta;
        let mut evidence = self.evidence(plan, propose, certificate(propose, votes), &key, &opened);
        for index in 0..self.sessions.len() {
            let opened = ToNode::Opened(evidence.statements.opened);
            self.send(index, opened).await;
            match self.next(index).await {
                ToCoordinator::BodyHash(hash) => {
                    hash.verify(&self.charter).expect("a valid hash");
                    evidence.statements.hashes.push(hash);
                }
                other => panic!("expected a hash, got {other:?}"),
            }
        }
        let object = evidence.name().expect("encodes");
        let bytes = evidence.to_bytes().expect("encodes");
        self.serve_named(object, bytes);
        let ready = EvidenceReady {
            step: plan.reference(),
            object,
        };
        for index in 0..self.sessions.len() {
            self.send(index, ToNode::Evidence(ready)).await;
        }
    }

    fn opened(
        &self,
        plan: &StepPlan,
        uploads: &[Upload],
        releases: &[Release],
    ) -> (SummedKey, Opened) {
        let mut sum = plan.empty_sum();
        for upload in uploads {
            sum.add_bytes(&upload.body).expect("a body");
        }
        let threshold = self.charter.thresholds().threshold;
        let shares = share_sums(releases);
        let key = shamir::interpolate(&shares, threshold).expect("enough releases");
        let (seed, packing) = (plan.mask_seed(), plan.packing());
        let opened = glwe::open(&sum, &key, &seed, packing, uploads.len()).expect("opens");
        (key, opened)
    }

    fn evidence(
        &self,
        plan: &StepPlan,
        propose: &Propose,
        certificate: Certificate,
        key: &SummedKey,
        opened: &Opened,
    ) -> StepEvidence {
        let (step, proposal) = (plan.reference(), certificate.proposal);
        let statement =
            |commitment| OpenedStep::sign(step, proposal, commitment, &self.coordinator);
        let statements = Statements {
            context: plan.context().clone(),
            shape: plan.shape().clone(),
            propose: propose.clone(),
            certificate,
            opened: statement(proposal),
            key: Blob(key.to_bytes()),
            hashes: Vec::new(),
        };
        let mut evidence = StepEvidence {
            statements,
            phases: opened.phases.clone(),
        };
        evidence.statements.opened = statement(evidence.commitment().expect("a key"));
        evidence
    }
}
