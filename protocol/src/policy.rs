//! Who may do what, in [Cedar](https://www.cedarpolicy.com): a policy file, checked against a schema when
//! it is loaded, answers one question at a time.
//!
//! In scope: loading and checking, one decision, and the names of the policies it rests on. Out of
//! scope: what principals, actions and resources there are. The daemons bring their own schema, and
//! build the questions.
//!
//! Everything that no policy permits is denied, and so is a question that cannot be put: a fault must
//! never open a door.

use std::collections::BTreeMap;
use std::fmt;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicyId,
    PolicySet, Request, Schema, ValidationMode, Validator,
};
use serde_json::Value;

/// Largest policy or schema text that is read: people write it; a hundred policies with comments
/// have about 40 KiB.
pub const MAX_POLICY_BYTES: usize = 256 << 10;

/// The annotation that names a policy in decisions and in the ledger: `@id("stewards-read")`.
const NAME: &str = "id";

/// Why policies cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// More text than anybody writes.
    #[error("it has {0} bytes; at most {MAX_POLICY_BYTES} are read")]
    TooLarge(usize),
    /// The schema is not one.
    #[error("the schema cannot be read: {0}")]
    Schema(String),
    /// The text is not Cedar.
    #[error("it is not Cedar: {0}")]
    Syntax(String),
    /// A policy names something that the schema does not have, or compares what cannot be compared.
    #[error("it does not fit the schema: {0}")]
    Invalid(String),
    /// A policy without a name, or with another one's.
    #[error(
        "policy number {number} {problem}; begin each with a line of its own, such as @id(\"auditors-read\")"
    )]
    Name {
        /// Counted from 1 in the order of the text.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Templates are for programs that link them; nobody does here.
    #[error("it holds a template (`?principal` or `?resource`); write the policy out")]
    Template,
}

/// Policies that fit their schema, ready to decide.
pub struct Policies {
    set: PolicySet,
    schema: Schema,
    names: BTreeMap<PolicyId, String>,
    authorizer: Authorizer,
}

/// One question: may `principal` do `action` to `resource`?
#[derive(Debug, Clone, PartialEq)]
pub struct Question<'a> {
    /// Who asks: type and id, for example `("User", "auditor/ann")`.
    pub principal: (&'a str, &'a str),
    /// The action's id, for example `listRuns`.
    pub action: &'a str,
    /// On what: type and id.
    pub resource: (&'a str, &'a str),
    /// What is known of principal and resource: an array in Cedar's JSON form for entities
    /// (`uid`, `attrs`, `parents`).
    pub entities: Value,
    /// What is known of the moment: an object.
    pub context: Value,
}

/// An answer, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Names of the policies that decided: those that permit, or those that forbid. Empty when
    /// nothing permits it.
    pub policies: Vec<String>,
    /// Why the question could not be decided; it is denied then.
    pub fault: Option<String>,
}

impl Verdict {
    fn faulty(fault: impl fmt::Display) -> Self {
        Self {
            allowed: false,
            policies: Vec::new(),
            fault: Some(fault.to_string()),
        }
    }
}

/// For people: which policy, or that there is none.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policies = self.policies.join(", ");
        match (&self.fault, self.allowed, self.policies.is_empty()) {
            (Some(fault), _, _) => write!(f, "the policy could not be asked: {fault}"),
            (None, true, _) => write!(f, "permitted by {policies}"),
            (None, false, true) => f.write_str("no policy permits it"),
            (None, false, false) => write!(f, "forbidden by {policies}"),
        }
    }
}

impl Policies {
    /// Reads `policies` and checks them against `schema`, both in Cedar's own syntax.
    ///
    /// # Errors
    /// [`PolicyError`] says what is wrong, and in which policy.
    pub fn parse(policies: &str, schema: &str) -> Result<Self, PolicyError> {
        for text in [policies, schema] {
            if text.len() > MAX_POLICY_BYTES {
                return Err(PolicyError::TooLarge(text.len()));
            }
        }
        let (schema, _warnings) = Schema::from_cedarschema_str(schema)
            .map_err(|error| PolicyError::Schema(chain(&error)))?;
        let set: PolicySet = policies
            .parse()
            .map_err(|error: cedar_policy::ParseErrors| PolicyError::Syntax(chain(&error)))?;
        if set.templates().next().is_some() {
            return Err(PolicyError::Template);
        }
        let names = names(&set)?;
        let checked = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
        if !checked.validation_passed() {
            let errors: Vec<String> = checked
                .validation_errors()
                .map(|error| {
                    let text = error.to_string();
                    // Cedar numbers policies; people know them by their names.
                    names.iter().fold(text, |text, (id, name)| {
                        text.replace(&format!("policy `{id}`"), &format!("policy `{name}`"))
                    })
                })
                .collect();
            return Err(PolicyError::Invalid(errors.join("; ")));
        }
        Ok(Self {
            set,
            schema,
            names,
            authorizer: Authorizer::new(),
        })
    }

    /// How many policies there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none, which denies everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Decides one question. What no policy permits is denied, and so is a question that does not fit
    /// the schema, or whose evaluation fails in any policy.
    #[must_use]
    pub fn decide(&self, question: &Question<'_>) -> Verdict {
        let (request, entities) = match self.prepare(question) {
            Ok(prepared) => prepared,
            Err(fault) => return Verdict::faulty(fault),
        };
        let response = self
            .authorizer
            .is_authorized(&request, &self.set, &entities);
        // A policy that fails is passed over by Cedar: a `forbid` would not forbid any more.
        if let Some(error) = response.diagnostics().errors().next() {
            return Verdict::faulty(chain(error));
        }
        let mut policies: Vec<String> = response
            .diagnostics()
            .reason()
            .map(|id| {
                self.names
                    .get(id)
                    .cloned()
                    .unwrap_or_else(|| id.to_string())
            })
            .collect();
        policies.sort_unstable();
        Verdict {
            allowed: response.decision() == Decision::Allow,
            policies,
            fault: None,
        }
    }

    fn prepare(&self, question: &Question<'_>) -> Result<(Request, Entities), String> {
        let action = uid(("Action", question.action))?;
        let entities = Entities::from_json_value(question.entities.clone(), Some(&self.schema))
            .map_err(|error| chain(&error))?;
        let context =
            Context::from_json_value(question.context.clone(), Some((&self.schema, &action)))
                .map_err(|error| chain(&error))?;
        let request = Request::new(
            uid(question.principal)?,
            action,
            uid(question.resource)?,
            context,
            Some(&self.schema),
        )
        .map_err(|error| chain(&error))?;
        Ok((request, entities))
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names.values()).finish()
    }
}

/// The name of each policy, which must be there and be its own.
fn names(set: &PolicySet) -> Result<BTreeMap<PolicyId, String>, PolicyError> {
    let mut names: BTreeMap<PolicyId, String> = BTreeMap::new();
    for policy in set.policies() {
        let id = policy.id();
        let wrong = |problem: String| PolicyError::Name {
            number: number(id),
            problem,
        };
        let name = policy.annotation(NAME).unwrap_or_default();
        let odd = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if name.is_empty() || name.len() > 64 || name.contains(odd) {
            return Err(wrong(
                "has no name of 1 to 64 letters, digits, `-` and `_`".to_owned(),
            ));
        }
        if names.values().any(|known| known == name) {
            return Err(wrong(format!("has the name `{name}`, as another has")));
        }
        names.insert(id.clone(), name.to_owned());
    }
    Ok(names)
}

/// Cedar calls the first policy of a text `policy0`.
fn number(id: &PolicyId) -> usize {
    let digits = id.to_string();
    let digits = digits.trim_start_matches("policy");
    digits.parse::<usize>().map_or(0, |number| number + 1)
}

fn uid((kind, id): (&str, &str)) -> Result<EntityUid, String> {
    let kind: EntityTypeName = kind
        .parse()
        .map_err(|error: cedar_policy::ParseErrors| chain(&error))?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SCHEMA: &str = r#"
        entity Role enum ["reader", "writer"];
        entity User in [Role] { name: String };
        entity Book { owner?: User };
        action read, write appliesTo {
            principal: [User], resource: [Book], context: { hour: Long }
        };
    "#;

    const POLICIES: &str = r#"
        @id("readers-read")
        permit (principal in Role::"reader", action == Action::"read", resource);
        @id("own-books")
        permit (principal, action, resource)
        when { resource has owner && resource.owner == principal };
        @id("not-at-night")
        forbid (principal, action, resource) when { context.hour < 6 };
    "#;

    fn ask(policies: &Policies, role: &str, action: &str, owner: &str, hour: i64) -> Verdict {
        policies.decide(&Question {
            principal: ("User", "ann"),
            action,
            resource: ("Book", "b"),
            entities: json!([
                { "uid": { "type": "User", "id": "ann" }, "attrs": { "name": "ann" },
                  "parents": [{ "type": "Role", "id": role }] },
                { "uid": { "type": "Book", "id": "b" },
                  "attrs": { "owner": { "__entity": { "type": "User", "id": owner } } },
                  "parents": [] },
            ]),
            context: json!({ "hour": hour }),
        })
    }

    #[test]
    fn a_decision_names_its_policies() {
        let policies = Policies::parse(POLICIES, SCHEMA).unwrap();
        assert_eq!(policies.len(), 3);
        let verdict = ask(&policies, "reader", "read", "bob", 12);
        assert!(verdict.allowed);
        assert_eq!(verdict.policies, ["readers-read"]);
        let both = ask(&policies, "reader", "read", "ann", 12);
        assert_eq!(both.policies, ["own-books", "readers-read"]);
        let denied = ask(&policies, "writer", "write", "bob", 12);
        assert!(!denied.allowed && denied.policies.is_empty());
        assert_eq!(denied.to_string(), "no policy permits it");
        let night = ask(&policies, "reader", "read", "ann", 3);
        assert!(!night.allowed);
        assert_eq!(night.to_string(), "forbidden by not-at-night");
    }

    #[test]
    fn what_cannot_be_asked_is_denied() {
        let policies = Policies::parse(POLICIES, SCHEMA).unwrap();
        // An unknown action, an unknown role, and a context of another shape.
        for verdict in [
            ask(&policies, "reader", "burn", "ann", 12),
            ask(&policies, "owner", "read", "ann", 12),
        ] {
            assert!(!verdict.allowed && verdict.fault.is_some(), "{verdict:?}");
        }
        let question = Question {
            principal: ("User", "ann"),
            action: "read",
            resource: ("Book", "b"),
            entities: json!([]),
            context: json!({ "hour": "noon" }),
        };
        let verdict = policies.decide(&question);
        assert!(!verdict.allowed && verdict.fault.is_some(), "{verdict:?}");
    }

    #[test]
    fn a_policy_that_fails_denies() {
        let text = r#"
            @id("all") permit (principal, action, resource);
            @id("overflow") forbid (principal, action, resource)
            when { context.hour + 9223372036854775807 < 0 };
        "#;
        let policies = Policies::parse(text, SCHEMA).unwrap();
        let verdict = ask(&policies, "reader", "read", "ann", 1);
        assert!(!verdict.allowed, "{verdict:?}");
        assert!(verdict.fault.is_some(), "{verdict:?}");
    }

    #[test]
    fn no_policy_denies_everything() {
        let policies = Policies::parse("// nobody may do anything\n", SCHEMA).unwrap();
        assert!(policies.is_empty());
        assert!(!ask(&policies, "reader", "read", "ann", 12).allowed);
    }

    #[test]
    fn bad_files_are_refused_with_the_reason() {
        let good = |line: &str| format!("@id(\"one\")\n{line}");
        let cases = [
            (
                "permit (principal, action, resource)".to_owned(),
                "not Cedar",
            ),
            (
                good(r#"permit (principal in Role::"raeder", action, resource);"#),
                "raeder",
            ),
            (
                good(r#"permit (principal, action == Action::"raed", resource);"#),
                "raed",
            ),
            (
                good(r#"permit (principal, action, resource) when { principal.nmae == "x" };"#),
                "nmae",
            ),
            (
                good(r#"permit (principal == ?principal, action, resource);"#),
                "template",
            ),
            (
                "permit (principal, action, resource);".to_owned(),
                "policy number 1",
            ),
            (
                format!("{0}\n{0}", good("permit (principal, action, resource);")),
                "policy number 2",
            ),
            ("x".repeat(MAX_POLICY_BYTES + 1), "bytes"),
        ];
        for (text, words) in cases {
            let error = Policies::parse(&text, SCHEMA).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        let error = Policies::parse("", "entity").unwrap_err();
        assert!(matches!(error, PolicyError::Schema(_)), "{error}");
    }
}
