//! What a profile means: where its credentials come from.

use std::fmt;
use std::sync::Arc;

use reqsign_aws_core::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider, EnvCredentialProvider,
    IMDSv2CredentialProvider, ProcessCredentialProvider, SSOCredentialProvider, StaticCredentialProvider,
};
use reqsign_core::{Context, ProvideCredentialDyn};

use super::profiles::{Profiles, Section};
use super::roles;

/// The name of sessions that roles are assumed for, where a profile has none.
const SESSION: &str = "polder";

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Environment,
    WebIdentityOfEnvironment,
    Keys(Keys),
    /// The output of a program.
    Program(String),
    /// Single sign-on. `cache`: what the file of its token is named after.
    SignOn {
        cache: String,
        region: String,
        account: String,
        role: String,
    },
    WebIdentity {
        role: String,
        token_file: String,
        session: String,
    },
    /// The role of a container.
    Container,
    /// The role of a virtual machine.
    Machine,
    Role(Box<Role>),
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

/// A role, and who may assume it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) session: String,
    pub(super) external_id: Option<String>,
    pub(super) seconds: Option<u32>,
    pub(super) by: Origin,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl fmt::Display for Origin {
    /// As the beginning of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment | Self::WebIdentityOfEnvironment => f.write_str("the environment"),
            Self::Keys(_) => f.write_str("the access key"),
            Self::Program(_) => f.write_str("the program of `credential_process`"),
            Self::SignOn { role, account, .. } => write!(f, "single sign-on as {role} of account {account}"),
            Self::WebIdentity { role, .. } => write!(f, "the web identity for {role}"),
            Self::Container => f.write_str("the container's role"),
            Self::Machine => f.write_str("the machine's role"),
            Self::Role(role) => write!(f, "the role {}", role.arn),
        }
    }
}

impl Origin {
    pub(super) fn keys(id: &str, secret: &str, token: Option<&str>) -> Self {
        Self::Keys(Keys { id: id.to_owned(), secret: secret.to_owned(), token: token.map(str::to_owned) })
    }

    /// Where the credentials of a profile come from. `None`: it has none of its own.
    ///
    /// # Errors
    /// A profile that refers to one that is not there, to itself in a circle, or to what nobody knows.
    pub(super) fn of_profile(profiles: &Profiles, name: &str) -> Result<Option<Self>, String> {
        resolve(profiles, name, &mut Vec::new())
    }

    pub(super) fn provider(
        &self,
        context: &Context,
        region: &str,
    ) -> Arc<dyn ProvideCredentialDyn<Credential = Credential>> {
        match self {
            Self::Environment => Arc::new(EnvCredentialProvider::new()),
            Self::WebIdentityOfEnvironment => {
                let provider = AssumeRoleWithWebIdentityCredentialProvider::new().with_region(region.to_owned());
                Arc::new(provider.with_regional_sts_endpoint())
            }
            Self::Keys(keys) => {
                let provider = StaticCredentialProvider::new(&keys.id, &keys.secret);
                Arc::new(match &keys.token {
                    Some(token) => provider.with_session_token(token),
                    None => provider,
                })
            }
            Self::Program(command) => Arc::new(ProcessCredentialProvider::new().with_command(command)),
            Self::SignOn { cache, region, account, role } => {
                let provider = SSOCredentialProvider::new().with_start_url(cache).with_region(region);
                Arc::new(provider.with_account_id(account).with_role_name(role))
            }
            Self::WebIdentity { role, token_file, session } => {
                let provider =
                    AssumeRoleWithWebIdentityCredentialProvider::with_config(role.clone(), token_file.into());
                let provider = provider.with_role_session_name(session.clone()).with_region(region.to_owned());
                Arc::new(provider.with_regional_sts_endpoint())
            }
            Self::Container => Arc::new(ECSCredentialProvider::new()),
            Self::Machine => Arc::new(IMDSv2CredentialProvider::new()),
            Self::Role(role) => Arc::new(roles::provider(role, context, region)),
        }
    }
}

fn resolve(profiles: &Profiles, name: &str, seen: &mut Vec<String>) -> Result<Option<Origin>, String> {
    let Some(section) = profiles.get(name) else { return Ok(None) };
    let value = |key: &str| section.get(key).filter(|value| !value.is_empty());
    let own_keys = keys(section);
    // A profile may assume its role with its own keys: then it names itself.
    if seen.iter().any(|other| other == name) {
        return match own_keys {
            Some(keys) => Ok(Some(keys)),
            None => Err(format!("the profiles {} name each other in a circle", seen.join(", "))),
        };
    }
    seen.push(name.to_owned());
    if let Some(arn) = value("role_arn") {
        let session = value("role_session_name").map_or(SESSION, String::as_str).to_owned();
        if let Some(file) = value("web_identity_token_file") {
            return Ok(Some(Origin::WebIdentity { role: arn.clone(), token_file: file.clone(), session }));
        }
        let by = assumer(profiles, name, section, seen)?;
        return Ok(Some(Origin::Role(Box::new(Role {
            arn: arn.clone(),
            session,
            external_id: value("external_id").cloned(),
            seconds: value("duration_seconds").and_then(|seconds| seconds.parse().ok()),
            by,
        }))));
    }
    if own_keys.is_some() {
        return Ok(own_keys);
    }
    if let Some(role) = value("sso_role_name") {
        return sign_on(profiles, name, section, role).map(Some);
    }
    Ok(value("credential_process").map(|command| Origin::Program(command.clone())))
}

fn keys(section: &Section) -> Option<Origin> {
    let token = section.get("aws_session_token").map(String::as_str);
    Some(Origin::keys(section.get("aws_access_key_id")?, section.get("aws_secret_access_key")?, token))
}

/// Who assumes the role of a profile.
fn assumer(profiles: &Profiles, name: &str, section: &Section, seen: &mut Vec<String>) -> Result<Origin, String> {
    if let Some(source) = section.get("source_profile") {
        let found = resolve(profiles, source, seen)?;
        return found.ok_or_else(|| format!("the profile `{source}`, which `{name}` names, has no credentials"));
    }
    match section.get("credential_source").map(String::as_str) {
        Some("Environment") => Ok(Origin::Environment),
        Some("EcsContainer") => Ok(Origin::Container),
        Some("Ec2InstanceMetadata") => Ok(Origin::Machine),
        Some(other) => Err(format!("the profile `{name}` has `credential_source = {other}`, which is none")),
        None => Err(format!("the profile `{name}` has a role, and neither `source_profile` nor `credential_source`")),
    }
}

fn sign_on(profiles: &Profiles, name: &str, section: &Section, role: &str) -> Result<Origin, String> {
    let session = section.get("sso_session");
    let shared = match session {
        Some(session) => Some(
            profiles
                .session(session)
                .ok_or_else(|| format!("there is no `[sso-session {session}]`, which the profile `{name}` names"))?,
        ),
        None => None,
    };
    let value = |key: &str| {
        let found = section.get(key).or_else(|| shared.and_then(|shared| shared.get(key)));
        found.cloned().ok_or_else(|| format!("the profile `{name}` signs on without `{key}`"))
    };
    Ok(Origin::SignOn {
        // The token of a session is kept under the session's name, that of a profile of old under the address.
        cache: session.cloned().map_or_else(|| value("sso_start_url"), Ok)?,
        region: value("sso_region")?,
        account: value("sso_account_id")?,
        role: role.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::context::scripted;
    use super::*;

    async fn origin(config: &str, profile: &str) -> Result<Option<Origin>, String> {
        let profiles = Profiles::read(&scripted(&[], &[("/aws/config", config)], "")).await;
        Origin::of_profile(&profiles, profile)
    }

    #[tokio::test]
    async fn roles_lead_to_those_who_assume_them() {
        let config = "[profile a]\nrole_arn=A\nsource_profile=b\nexternal_id=x\n[profile b]\nrole_arn=B\n\
            credential_source=Ec2InstanceMetadata\n[profile self]\nrole_arn=S\nsource_profile=self\n\
            aws_access_key_id=K\naws_secret_access_key=s\n[profile c]\nrole_arn=C\nsource_profile=d\n\
            [profile d]\nrole_arn=D\nsource_profile=c\n[profile e]\nrole_arn=E\n";
        let Some(Origin::Role(a)) = origin(config, "a").await.unwrap() else { panic!("no role") };
        assert_eq!((a.arn.as_str(), a.external_id.as_deref(), a.session.as_str()), ("A", Some("x"), "polder"));
        assert!(matches!(&a.by, Origin::Role(b) if b.arn == "B" && b.by == Origin::Machine));
        assert!(
            matches!(origin(config, "self").await.unwrap(), Some(Origin::Role(s)) if matches!(s.by, Origin::Keys(_)))
        );
        assert!(origin(config, "c").await.unwrap_err().contains("circle"));
        assert!(origin(config, "e").await.unwrap_err().contains("neither `source_profile`"));
    }

    #[tokio::test]
    async fn sign_on_is_of_a_session_or_of_a_profile() {
        let config = "[sso-session corp]\nsso_start_url=https://corp\nsso_region=eu-west-1\n[profile new]\n\
            sso_session=corp\nsso_account_id=1\nsso_role_name=reader\n[profile old]\nsso_start_url=https://old\n\
            sso_region=eu-west-1\nsso_account_id=2\nsso_role_name=reader\n[profile wrong]\nsso_session=crop\n\
            sso_account_id=1\nsso_role_name=reader\n";
        let cache = |origin| match origin {
            Some(Origin::SignOn { cache, .. }) => cache,
            other => panic!("{other:?}"),
        };
        assert_eq!(cache(origin(config, "new").await.unwrap()), "corp");
        assert_eq!(cache(origin(config, "old").await.unwrap()), "https://old");
        assert!(origin(config, "wrong").await.unwrap_err().contains("[sso-session crop]"));
    }
}
