//! Taking in one upload: header, body into the spool, trailer, every check.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use collegium_protocol::ids::{MemberIndex, MemberName};
use collegium_protocol::limits::{
    MAX_BODY_BYTES, MAX_UPLOAD_HEADER_BYTES, MAX_UPLOAD_TRAILER_BYTES,
};
use collegium_protocol::message::step::{StepRef, UploadHeader, UploadTrailer};
use collegium_protocol::quic::{CloseCode, FrameReceiver, QuicError};
use collegium_protocol::step::{Admission, AdmittedUpload, StepPlan};
use collegium_protocol::{Refusal, RefusalCode};

use crate::spool::{Spool, Spooled};
use crate::stepfiles::Shares;

/// The step that uploads are taken for.
#[derive(Debug)]
pub struct OpenStep {
    plan: Arc<StepPlan>,
    spool: Spool,
    shares: Shares,
    /// Members whose upload is in or on its way: each gets one.
    taken: Mutex<BTreeSet<MemberIndex>>,
}

/// An upload that passed every check.
#[derive(Debug)]
pub struct Arrived {
    /// The step it is for.
    pub step: StepRef,
    /// The member, from its certificate.
    pub member: MemberIndex,
    /// Proof of the checks; its sealed shares are kept in [`Shares`].
    pub admitted: AdmittedUpload,
    /// The body.
    pub body: Spooled,
}

/// Why an upload was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It breaks a rule, or comes at the wrong time.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stream or the connection failed, or a cap was exceeded.
    #[error(transparent)]
    Transport(#[from] QuicError),
    /// It cannot be spooled.
    #[error("cannot spool an upload: {0} (is the disk full?)")]
    Spool(#[from] std::io::Error),
}

impl OpenStep {
    /// Opens the gate for one step.
    #[must_use]
    pub fn new(plan: Arc<StepPlan>, spool: Spool, shares: Shares) -> Self {
        Self {
            plan,
            spool,
            shares,
            taken: Mutex::default(),
        }
    }

    /// Receives one upload from the member that the certificate names.
    ///
    /// # Errors
    /// [`UploadError`]; the stream is stopped, and what was spooled is freed.
    pub async fn receive(
        &self,
        from: &MemberName,
        stream: &mut FrameReceiver,
    ) -> Result<Arrived, UploadError> {
        let result = self.receive_checked(from, stream).await;
        if result.is_err() {
            stream.stop(CloseCode::Refused);
        }
        result
    }

    async fn receive_checked(
        &self,
        from: &MemberName,
        stream: &mut FrameReceiver,
    ) -> Result<Arrived, UploadError> {
        let roster = self.plan.charter().members();
        let member = roster
            .iter()
            .find(|member| member.name == *from)
            .map(|member| member.index)
            .ok_or_else(|| Refusal::from(RefusalCode::UnknownMember))?;
        let header: UploadHeader = stream.expect(MAX_UPLOAD_HEADER_BYTES).await?;
        let mut admission = Admission::begin(&self.plan, member, &header)?;
        let place = Place::take(&self.taken, member)?;
        let mut writer = self.spool.writer(header.body_len)?;
        let mut body = stream.body(header.body_len, MAX_BODY_BYTES)?;
        while let Some(chunk) = body.next_chunk().await? {
            admission.chunk(chunk)?;
            writer.write(chunk)?;
        }
        let trailer: UploadTrailer = stream.expect(MAX_UPLOAD_TRAILER_BYTES).await?;
        stream.end().await?;
        let mut admitted = admission.finish(trailer)?;
        self.shares.keep(member, admitted.trailer())?;
        drop(admitted.take_shares());
        place.keep();
        Ok(Arrived {
            step: self.plan.reference(),
            member,
            admitted,
            body: writer.finish(),
        })
    }
}

/// A member's one place in the step, given back when its upload fails.
struct Place<'a> {
    taken: &'a Mutex<BTreeSet<MemberIndex>>,
    member: Option<MemberIndex>,
}

impl<'a> Place<'a> {
    fn take(taken: &'a Mutex<BTreeSet<MemberIndex>>, member: MemberIndex) -> Result<Self, Refusal> {
        if taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(member)
        {
            Ok(Self {
                taken,
                member: Some(member),
            })
        } else {
            Err(RefusalCode::UploadDuplicate.into())
        }
    }

    fn keep(mut self) {
        self.member = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(member) = self.member {
            self.taken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&member);
        }
    }
}
