//! A person's access to a coordinator: key and certificate in a directory of the person's own.
//!
//! ```text
//! tls.key         made here, mode 0600, never sent
//! tls.pem         the certificate for it, which says name and role
//! authority.pem   the consortium's authority
//! person.json     name, role, consortium, and where the coordinator is; written last
//! ```

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use collegium_protocol::MemberName;
use collegium_protocol::limits::{MAX_JOIN_REQUEST_BYTES, MAX_JOIN_RESPONSE_BYTES};
use collegium_protocol::message::join::{EnrollRequest, JoinResponse, VERSION};
use collegium_protocol::pki::keyfile::{self, Access};
use collegium_protocol::pki::{
    AuthorityCertificate, HolderFiles, InviteCode, Peer, Role, TlsIdentity, TlsKey, wait_to_renew,
};
use collegium_protocol::quic::{self, AdminClient, Client, StreamKind};
use serde::{Deserialize, Serialize};

/// `person.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Person {
    pub(crate) name: MemberName,
    pub(crate) role: Role,
    pub(crate) consortium: String,
    /// `host:port`.
    pub(crate) coordinator: String,
}

/// The files of a person's directory.
struct Files(PathBuf);

impl Files {
    fn holder(&self) -> HolderFiles {
        HolderFiles::of(&self.0)
    }

    fn authority(&self) -> PathBuf {
        self.0.join("authority.pem")
    }

    fn person(&self) -> PathBuf {
        self.0.join("person.json")
    }

    /// Who this directory belongs to; `None` before joining.
    fn read(&self) -> anyhow::Result<Option<Person>> {
        let path = self.person();
        if !path.exists() {
            return Ok(None);
        }
        let read = serde_json::from_slice(&keyfile::read_public(&path)?);
        read.map(Some)
            .with_context(|| format!("{}: damaged; join again with a new code", path.display()))
    }
}

/// Turns an invitation into access, kept in `directory`. An attempt that breaks off can be repeated
/// with the same code; a new code for the same name gives a new certificate.
///
/// # Errors
/// What is wrong with the code, the directory or the coordinator's answer.
pub(crate) async fn join(code: &str, directory: &Path) -> anyhow::Result<Person> {
    let code: InviteCode = code.parse()?;
    let name = MemberName::new(&code.name)?;
    ensure!(
        !code.expired(SystemTime::now()),
        "the invitation for {name} has expired; ask the coordinator's operator for a new one"
    );
    let files = Files(directory.to_owned());
    if let Some(before) = files.read()? {
        let authority = AuthorityCertificate::load(&files.authority())?;
        if before.name != name || authority.fingerprint() != code.authority {
            bail!(
                "{} belongs to {} of {} already; give another directory with --user",
                directory.display(),
                before.name,
                before.consortium
            );
        }
    }
    keyfile::create_private_dir(directory)?;
    let holder = files.holder();
    if !holder.key().exists() {
        TlsKey::generate()?.create_file(holder.key())?;
    }
    let key = TlsKey::load(holder.key())?;
    let (identity, pem, authority, consortium) = enroll(&code, &name, &key).await?;
    keyfile::replace(holder.certificate(), pem.as_bytes(), Access::Public)?;
    authority.save(&files.authority())?;
    let person = Person {
        name,
        role: identity.peer().subject.role,
        consortium,
        coordinator: code.address.clone(),
    };
    let mut text = serde_json::to_vec_pretty(&person)?;
    text.push(b'\n');
    keyfile::replace(&files.person(), &text, Access::Public)?;
    Ok(person)
}

async fn enroll(
    code: &InviteCode,
    name: &MemberName,
    key: &TlsKey,
) -> anyhow::Result<(TlsIdentity, String, AuthorityCertificate, String)> {
    let request = EnrollRequest {
        version: VERSION,
        secret: *code.secret.expose(),
        name: name.clone(),
        request: key.signing_request()?.into(),
    };
    let connection = quic::join(&code.address, code.authority).await?;
    let (mut sender, mut receiver) = connection.open(StreamKind::Enroll).await?;
    sender.send(&request, MAX_JOIN_REQUEST_BYTES).await?;
    sender.finish();
    let response: JoinResponse = receiver.expect(MAX_JOIN_RESPONSE_BYTES).await?;
    connection.finish().await;
    let (pem, authority, consortium) = match response {
        JoinResponse::Joined {
            certificate,
            authority,
            consortium,
        } => (certificate, authority, consortium),
        JoinResponse::Refused(refusal) => bail!("the coordinator refused: {refusal}"),
    };
    let authority = AuthorityCertificate::from_pem(&authority)?;
    ensure!(
        authority.fingerprint() == code.authority,
        "the coordinator gave another authority than the invitation names; do not go on, and ask its operator"
    );
    let identity = TlsIdentity::new(&pem, key)?;
    let subject = &identity.peer().subject;
    ensure!(
        subject.name == name.as_str(),
        "the coordinator gave a certificate for {subject}, not for {name}"
    );
    Ok((identity, pem, authority, consortium))
}

/// Who a directory belongs to.
///
/// # Errors
/// When nobody has joined with it.
fn load(directory: &Path) -> anyhow::Result<(Files, Person, AuthorityCertificate)> {
    let files = Files(directory.to_owned());
    let person = files.read()?.with_context(|| {
        format!(
            "{} holds no access; run `collegium user join CODE --user {0}` with the code from the \
             coordinator's operator",
            directory.display()
        )
    })?;
    let authority = AuthorityCertificate::load(&files.authority())?;
    Ok((files, person, authority))
}

/// Connects to the coordinator, and renews the certificate when a third of its life is left.
///
/// # Errors
/// When the coordinator cannot be reached or does not take the certificate. A renewal that fails is
/// only said: the old certificate is good for weeks.
pub(crate) async fn connect(directory: &Path) -> anyhow::Result<AdminClient> {
    let (files, person, authority) = load(directory)?;
    let identity = files.holder().load()?;
    let client = Client::new(&identity, &authority)?;
    let client = AdminClient::connect(&client, &person.coordinator).await?;
    if wait_to_renew(identity.peer(), SystemTime::now()).is_none()
        && let Err(error) = quic::exchange(files.holder(), &client).await
    {
        eprintln!("your certificate ends soon and could not be renewed: {error}");
    }
    Ok(client)
}

/// Where the person reaches the coordinator.
///
/// # Errors
/// When nobody has joined with the directory.
pub(crate) fn coordinator(directory: &Path) -> anyhow::Result<String> {
    Ok(load(directory)?.1.coordinator)
}

/// A new key and certificate, now; the old one is taken away.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn rotate(directory: &Path) -> anyhow::Result<Peer> {
    let (files, person, authority) = load(directory)?;
    Ok(quic::rotate(files.holder(), &authority, &person.coordinator).await?)
}

/// What the person's certificate says.
///
/// # Errors
/// When nobody has joined with the directory, or a file cannot be used.
pub(crate) fn certificate(directory: &Path) -> anyhow::Result<Peer> {
    Ok(load(directory)?.0.holder().load()?.peer().clone())
}
